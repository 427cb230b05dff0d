"""What a plug-in author declares: capabilities, hooks, gauges, settings.

Owns the declarations and the settings in force. Does not own the connection (`link`) or the
process (`runner`). Nothing happens at import time but declaring.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from bkg_workbench.bus.channel import Channel
from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.errors import ConfigInvalid
from bkg_workbench.protocol.envelopes import PROTOCOL, Register
from bkg_workbench.sdk.asking import lost
from bkg_workbench.sdk.context import OnProgress, Stream
from bkg_workbench.sdk.handlers import Collect, Handler, make_handler
from bkg_workbench.sdk.link import Link
from bkg_workbench.sdk.logs import BusLog
from bkg_workbench.sdk.settings import Settings, config_schema, convert
from bkg_workbench.sdk.vitals import Check, Gauge, check_gauge_name

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

F = TypeVar("F", bound=Callable[..., Any])
Hook = Callable[[], Awaitable[None] | None]
OnConfig = Callable[[Any, Any], Awaitable[bool | None] | bool | None]


class Plugin:
    """A plug-in: declare, then `run()`.

    Parameters: `name` as in its definition (`BKG_PLUGIN_NAME` wins); `settings` a subclass of
    `Settings`; `features` the cards of its page; `engine` what does the work inside; `threads` for
    handlers declared with `thread=True`; `telemetry_seconds` between samples (0: none);
    `grace_seconds` for requests in flight at a stop; `clock` and `jitter` (0..1) for tests.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: type[Settings] | None = None,
        version: str = "0",
        features: Sequence[Mapping[str, str]] = (),
        engine: str | None = None,
        threads: int = 8,
        telemetry_seconds: float = 5.0,
        grace_seconds: float = 4.0,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.version, self.engine = version, engine
        self.features = [dict(feature) for feature in features]
        self.http_port: int | None = None
        self.settings_type = settings
        self.settings: Any = None
        self.telemetry_seconds, self.grace_seconds = telemetry_seconds, grace_seconds
        self.clock, self.jitter = clock or SystemClock(), jitter
        self.log = logging.getLogger(name)
        self.bus_log = BusLog(name)
        self.handlers: dict[str, Handler] = {}
        self.gauges: dict[str, Gauge] = {}
        self.check: Check | None = None
        self.is_stopping = False
        self.link: Link | None = None
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._start_hooks: list[Hook] = []
        self._stop_hooks: list[Hook] = []
        self._config_hook: OnConfig | None = None
        self.busy_threads: set[int] = set()
        self.begin()

    # -- declaring ------------------------------------------------------------------------------
    def capability(
        self,
        name: str,
        *,
        description: str | None = None,
        scope: str | None = None,
        idempotent: bool = False,
        destructive: bool = False,
        stream: bool = False,
        thread: bool = False,
        collect: Collect | None = None,
    ) -> Callable[[F], F]:
        """Serve a capability with the decorated function.

        An `async def` gives the response. An async generator gives chunks, and at the end
        optionally `Closing(data)`; asked without streaming, its answer is
        `{"chunks": […], "closing": data}` or what `collect(chunks, data)` makes of them. A
        coroutine declared with `stream=True` may return an async iterator where
        `context.wants_stream`. A plain `def` needs `thread=True` and then may block.
        The type hints of payload and result give the schemas; `scope` is by default the name.
        """
        names = sys._getframe(1).f_locals

        def declare(function: F) -> F:
            if name in self.handlers:
                raise ValueError(f"{name} is declared twice.")
            self.handlers[name] = make_handler(
                name,
                function,
                description=description,
                scope=scope,
                idempotent=idempotent,
                destructive=destructive,
                stream=stream,
                thread=thread,
                collect=collect,
                names=names,
            )
            return function

        return declare

    def health(self, check: F) -> F:
        """Decorate the check that each beat asks: "up", "degraded", "down", or (status, detail)."""
        self.check = check
        return check

    def telemetry(self, name: str, gauge: Gauge | None = None) -> Any:
        """Add a number to each sample: `telemetry("entries", len_of)`, or as a decorator."""
        check_gauge_name(name)

        def declare(function: Gauge) -> Gauge:
            self.gauges[name] = function
            return function

        return declare(gauge) if gauge is not None else declare

    def on_start(self, hook: F) -> F:
        """Run once before the plug-in registers; set `http_port` here. No calls yet."""
        self._start_hooks.append(hook)
        return hook

    def on_stop(self, hook: F) -> F:
        """Run once after the last request; hooks run in reverse order."""
        self._stop_hooks.append(hook)
        return hook

    def on_config(self, hook: F) -> F:
        """Apply new settings live: `hook(new, old)`. Return False where a restart is needed.

        A `WorkbenchError` refuses them; the old ones stay.
        """
        self._config_hook = hook
        return hook

    # -- asking ---------------------------------------------------------------------------------
    async def call(
        self,
        capability: str,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Ask another plug-in for the plug-in itself, within its definition's `calls`.

        Inside a request use `context.call`. Raises the answer's own error, `RequestTimeout`, and
        `HostGone` without a connection.
        """
        return await self._connected(capability).asker.call(
            capability, payload, timeout=timeout, result_type=result_type, on_progress=on_progress
        )

    def stream(
        self, capability: str, payload: Any = None, *, timeout: float | None = None
    ) -> Stream:
        """Ask for a streamed reply outside a request; see `Stream`."""
        return self._connected(capability).asker.stream(capability, payload, timeout=timeout)

    def _connected(self, capability: str) -> Link:
        if self.link is None:
            raise lost(capability)
        return self.link

    # -- living ---------------------------------------------------------------------------------
    def run(self) -> NoReturn:
        """Be this process: read the environment, connect, serve, and exit.

        Exit status: 0 after SIGTERM or SIGINT, 78 where environment, settings or token are
        wrong, 1 where `on_start` failed.
        """
        from bkg_workbench.sdk.runner import run_process

        run_process(self)

    async def serve(self, channel: Channel, settings: Mapping[str, Any] | None = None) -> None:
        """Serve over one open channel until it closes or `stop()`; for tests and embedding.

        `settings` are plain values. Raises `ConfigInvalid` where they do not fit.
        """
        from bkg_workbench.sdk.runner import Runner

        self.settings = convert(self.settings_type, dict(settings or {}), self.name)
        await Runner(self).serve(channel)

    def stop(self) -> None:
        """Stop: refuse new requests, finish those in flight, `on_stop`, close.

        A second call does not wait for requests any more.
        """
        if self.stopped.is_set():
            self.hurry.set()
        self.is_stopping = True
        self.stopped.set()

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The threads of handlers declared with `thread=True`."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix=self.name)
        return self._executor

    def registration(self) -> Register:
        """The `register` envelope."""
        meta: dict[str, Any] = {
            "version": self.version,
            "pid": os.getpid(),
            "protocol": PROTOCOL,
            "features": self.features,
            "schemas": {name: handler.schema for name, handler in self.handlers.items()},
        }
        if self.engine is not None:
            meta["engine"] = self.engine
        return Register(
            plugin=self.name,
            port="internal" if self.http_port is None else self.http_port,
            capabilities=list(self.handlers),
            config_schema=config_schema(self.settings_type) if self.settings_type else None,
            meta=meta,
        )

    def begin(self) -> None:
        """Forget an earlier life; asyncio's primitives belong to the loop that they wait in."""
        self.is_stopping = self._has_ended = False
        self._config_lock = asyncio.Lock()
        self.stopped = asyncio.Event()
        self.hurry = asyncio.Event()

    def rename(self, name: str) -> None:
        """Take the name of the definition; two definitions may share one program."""
        self.name = self.bus_log.plugin = name

    async def started(self) -> None:
        """Run the `on_start` hooks."""
        for hook in self._start_hooks:
            await _finished(hook())

    async def ended(self) -> None:
        """Run the `on_stop` hooks, all of them, and let the threads go; once."""
        if self._has_ended:
            return
        self._has_ended = True
        for hook in reversed(self._stop_hooks):
            try:
                await _finished(hook())
            except Exception:
                self.log.exception("A stop hook failed.")
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    async def reconfigure(self, values: dict[str, Any]) -> Literal["live", "restart"]:
        """Take new settings live if the plug-in can.

        Raises `ConfigInvalid` and what the hook raises; the old settings stay then.
        """
        async with self._config_lock:
            new = convert(self.settings_type, values, self.name)
            if new == self.settings:
                return "live"
            if self._config_hook is None:
                return "restart"
            if await _finished(self._config_hook(new, self.settings)) is False:
                return "restart"
            self.settings = new
            self.log.info("New settings are in force.")
            return "live"

    async def adopt(self, values: dict[str, Any]) -> None:
        """Take the settings of a `welcome`, which differ for a plug-in that was started by hand."""
        try:
            if await self.reconfigure(values) == "restart":
                self.log.warning("The Host has other settings; restart to take them.")
        except ConfigInvalid as error:
            self.log.error("The Host's settings were not taken. %s", error)
        except Exception:
            self.log.exception("The Host's settings could not be applied.")


async def _finished(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
