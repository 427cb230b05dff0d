"""The lines bridge: a plug-in whose program reads and writes lines instead of a WebSocket.

    exec "$BKG_PYTHON" -m bkg_workbench.sdk.lines [--tabs] [--register FILE] -- ./program …

For languages without a WebSocket of their own, such as shells; docs/protocol.md describes the
lines. Owns the program's process, its lines, and what of the bus is the same for every program:
connecting, beats, deadlines, exactly one answer. Runs in the plug-in's own process tree.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from bkg_workbench.bus.channel import REGISTERED_LIMIT
from bkg_workbench.errors import PluginFailure, RequestError, WorkbenchError
from bkg_workbench.sdk.context import Closing, Context
from bkg_workbench.sdk.handlers import Handler
from bkg_workbench.sdk.linetext import (
    Answer,
    BadLine,
    Chunk,
    Declared,
    Line,
    Log,
    Progress,
    Request,
    Status,
    Telemetry,
    cancel_line,
    declared,
    parse,
    request_line,
    response_line,
    variables,
)
from bkg_workbench.sdk.runner import WrongSetup, run_process
from bkg_workbench.sdk.spoken import SpokenPlugin

REGISTER_SECONDS = 20.0
GRACE_SECONDS = 3.0
"""For requests in flight at a stop; the program then has the rest of the Host's 5 s to end."""
END_SECONDS = 1.0
ODD_LINES = 20
"""How many lines that are none are told of, so that a chatty program does not flood the log."""

_LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}


class Open:
    """A request that the program has yet to answer."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.came: asyncio.Queue[Answer | Chunk | WorkbenchError] = asyncio.Queue()


class Bridge:
    """The program and the plug-in that speaks for it.

    Parameters: `command` starts the program; `tabs` gives it fields with tabs between instead of
    JSON; `register` is a file with what it would else say in its first line.
    """

    def __init__(self, command: Sequence[str], *, tabs: bool, register: Path | None) -> None:
        self.plugin = SpokenPlugin(GRACE_SECONDS)
        self.code = 0
        self._command, self._tabs, self._register = list(command), tabs, register
        self._open: dict[str, Open] = {}
        self._ids = itertools.count(1)
        self._odd = 0
        self._process: asyncio.subprocess.Process
        self._tasks: set[asyncio.Task[None]] = set()
        self.plugin.on_start(self._begin)
        self.plugin.on_stop(self._end)

    # -- the program ----------------------------------------------------------------------------
    async def _begin(self) -> None:
        known = declared(_content(self._register)) if self._register else None
        if known is not None:
            self.plugin.declare(known)
        environment = {**os.environ, **variables(self.plugin.settings or {})}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
                limit=REGISTERED_LIMIT,
            )
        except OSError as error:
            what = f"{self._command[0]} cannot be started ({error.strerror}); is it executable?"
            raise WrongSetup(what) from None
        try:
            self._serve(known or await self._introduced())
        except BaseException:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            raise
        self._spawn(self._read())
        self._spawn(self._watch())

    async def _introduced(self) -> Declared:
        """The program's first line. Raises `WrongSetup`."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(REGISTER_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise WrongSetup(
                f"{self._command[0]} wrote no register line within {REGISTER_SECONDS:g} s."
            ) from None
        if not line:
            code = await self._process.wait()
            raise WrongSetup(f"{self._command[0]} ended ({code}) before its register line.")
        known = declared(line)
        self.plugin.declare(known)
        return known

    def _serve(self, known: Declared) -> None:
        for name in known.capabilities:
            self.plugin.handlers[name] = self._handler(name, known.schema(name))

    def _handler(self, name: str, schema: dict[str, Any]) -> Handler:
        async def serve(payload: msgspec.Raw, context: Context) -> Any:
            if context.wants_stream:
                return self._streamed(payload, context)
            return await self._answered(payload, context)

        return Handler(
            capability=name,
            function=serve,
            kind="coroutine",
            arguments=("payload", "context"),
            payload_type=msgspec.Raw,
            schema=schema,
            stream=bool(schema.get("stream")),
            decoder=msgspec.json.Decoder(msgspec.Raw),
        )

    async def _watch(self) -> None:
        """End with the program, and with its exit status."""
        code = await self._process.wait()
        if self.plugin.is_stopping:
            return
        self.code = 128 - code if code < 0 else code or 1
        self.plugin.log.error("%s ended by itself (%s).", self._command[0], code)
        for one in self._open.values():
            one.came.put_nowait(PluginFailure(plugin=self.plugin.name))
        self.plugin.stop()

    async def _end(self) -> None:
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        for ask_to_end in (process.terminate, process.kill):
            try:
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
                break
            except TimeoutError:
                with suppress(ProcessLookupError):
                    ask_to_end()
        await process.wait()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- requests -------------------------------------------------------------------------------
    async def _answered(self, payload: msgspec.Raw, context: Context) -> Any:
        async with aclosing(self._asked(payload, context)) as items:
            async for item in items:
                if isinstance(item, Closing):
                    return item.data
        return None

    async def _streamed(self, payload: msgspec.Raw, context: Context) -> AsyncIterator[Any]:
        async with aclosing(self._asked(payload, context)) as items:
            async for item in items:
                yield item

    async def _asked(self, payload: msgspec.Raw, context: Context) -> AsyncGenerator[Any, None]:
        """Ask the program: its chunks, then `Closing` with the answer's data."""
        number = str(next(self._ids))
        one = self._open[number] = Open(context)
        is_answered = False
        try:
            await self._tell(request_line(number, payload, context, tabs=self._tabs))
            while not is_answered:
                came = await one.came.get()
                is_answered = not isinstance(came, Chunk)
                if isinstance(came, WorkbenchError):
                    raise came
                if isinstance(came, Chunk):
                    yield came.data
                else:
                    yield Closing(came.data)
        finally:
            del self._open[number]
            if not is_answered:
                self._write(cancel_line(number, tabs=self._tabs))

    async def _tell(self, line: bytes) -> None:
        self._write(line)
        stdin = self._process.stdin
        assert stdin is not None
        try:
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise PluginFailure(
                f"The program of {self.plugin.name} does not read any more; its log has the "
                "details.",
                plugin=self.plugin.name,
            ) from None

    def _write(self, line: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        if not stdin.is_closing():
            stdin.write(line)

    # -- what the program says ------------------------------------------------------------------
    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while True:
            try:
                line = await stdout.readline()
            except ValueError:
                self._is_odd(f"a line of more than {REGISTERED_LIMIT >> 20} MiB")
                continue
            if not line:
                return
            if not line.strip():
                continue
            try:
                self._said(parse(line))
            except BadLine as error:
                self._is_odd(str(error))
                self._refuse(error)

    def _refuse(self, error: BadLine) -> None:
        """An answer that cannot be read is still the answer: nobody waits for another."""
        one = self._open.get(error.number or "")
        if one is not None:
            text = f"{self.plugin.name} answered with what is no JSON; its log has the details."
            one.came.put_nowait(PluginFailure(text, plugin=self.plugin.name))

    def _is_odd(self, what: str) -> None:
        self._odd += 1
        if self._odd <= ODD_LINES:
            last = " Further ones are not told of." if self._odd == ODD_LINES else ""
            self.plugin.log.warning("A line of the program was ignored: %s.%s", what, last)

    def _said(self, line: Line) -> None:
        match line:
            case Answer() | Chunk():
                self._answer(line)
            case Progress():
                one = self._open.get(line.number)
                if one is not None:
                    self._spawn(one.context.progress(line.value, line.total, line.message))
            case Log():
                self.plugin.log.log(_LEVELS.get(line.level, logging.INFO), "%s", line.message)
            case Status():
                verdict = (line.status, line.detail) if line.detail else line.status
                self.plugin.check = lambda: verdict
            case Telemetry():
                for name, number in line.numbers.items():
                    self.plugin.gauges[name] = lambda number=number: number  # type: ignore[misc]
            case Request():
                self._spawn(self._call(line))

    def _answer(self, line: Answer | Chunk) -> None:
        one = self._open.get(line.number)
        if one is None:
            # Usual after a cancel: the program could not know yet.
            self.plugin.log.debug("An answer to %s, which is not open, was ignored.", line.number)
        elif isinstance(line, Chunk) and not one.context.wants_stream:
            self._is_odd(f"a chunk for {line.number}, which did not ask for a stream")
        elif isinstance(line, Answer) and line.error is not None:
            one.came.put_nowait(line.error)
        else:
            one.came.put_nowait(line)

    async def _call(self, line: Request) -> None:
        """A request of the program's own."""
        data: Any = None
        error: WorkbenchError | None = None
        try:
            data = await self.plugin.ask(line.capability, line.payload, line.token, line.timeout)
        except WorkbenchError as failure:
            error = failure
        except Exception:
            self.plugin.log.exception("%s could not be asked.", line.capability)
            error = RequestError(capability=line.capability)
        self._write(response_line(line.number, data, error))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WrongSetup(f"{file} cannot be read ({error.strerror}).") from None


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the bridge as this process."""
    parser = argparse.ArgumentParser(prog="bkg_workbench.sdk.lines", description=__doc__)
    parser.add_argument("--tabs", action="store_true", help="fields with tabs instead of JSON")
    parser.add_argument("--register", type=Path, metavar="FILE", help="JSON: capabilities, …")
    parser.add_argument("command", nargs="+", metavar="PROGRAM", help="and its arguments")
    given = parser.parse_args(arguments)
    bridge = Bridge(given.command, tabs=given.tabs, register=given.register)
    try:
        run_process(bridge.plugin)
    except SystemExit as end:
        sys.exit(bridge.code or end.code)


if __name__ == "__main__":
    main()
