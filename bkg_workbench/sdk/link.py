"""One connection to the Host: register, beats, samples, log lines, and requests both ways.

Owns everything that lives as long as the connection does. Does not own connecting again, signals
or the plug-in's own start and stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from bkg_workbench.bus.channel import REGISTERED_LIMIT, Channel, ChannelClosed
from bkg_workbench.errors import (
    CapabilityNotFound,
    CapabilityUnavailable,
    Overloaded,
    PluginFailure,
    ProtocolError,
    WorkbenchError,
)
from bkg_workbench.protocol.envelopes import (
    MAX_DEPTH,
    AnyEnvelope,
    Config,
    Error,
    Progress,
    Request,
    UnknownType,
    Welcome,
    decode,
    encode,
)
from bkg_workbench.protocol.session import (
    Arrived,
    Session,
    Withdrawn,
    respond,
)
from bkg_workbench.sdk import vitals
from bkg_workbench.sdk.asking import Asker, lost
from bkg_workbench.sdk.serving import Serving

if TYPE_CHECKING:
    from bkg_workbench.sdk.plugin import Plugin

HEARTBEAT_SECONDS = 10.0
SWEEP_SECONDS = 0.05
"""How late a deadline may be noticed."""


class Link:
    """One connection. `is_welcome` once the Host has accepted the registration."""

    def __init__(self, plugin: Plugin, channel: Channel) -> None:
        self.plugin, self.clock, self.channel = plugin, plugin.clock, channel
        self.is_welcome = False
        self.refusal: Error | None = None
        self.session = Session(prefix="p", who="the Host")
        self.asker = Asker(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._heartbeat_seconds = HEARTBEAT_SECONDS
        self._beats: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._has_beaten = False
        self.is_closed = False

    async def run(self) -> ChannelClosed:
        """Register and serve until the channel closes; how it closed."""
        self.channel.limit = REGISTERED_LIMIT
        try:
            await self.send(self.plugin.registration())
            self._beats = self.spawn(self._beat(at_once=True))
            self.spawn(self._measure())
            self.spawn(self.plugin.bus_log.pump(self.send))
            while True:
                self._receive(await self.channel.receive())
        except ChannelClosed as closed:
            return closed
        finally:
            await self._end()

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Wait for the requests in flight, at most `seconds` or until `hurry`; end the rest."""
        limit = asyncio.create_task(self.clock.sleep(seconds))
        rush = asyncio.create_task(hurry.wait())
        try:
            while self._servings() and not (limit.done() or rush.done()):
                tasks = {serving.task for serving in self._servings()}
                await asyncio.wait({*tasks, limit, rush}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
            rush.cancel()
        left = self._servings()
        for serving in left:
            serving.end(self._stopping(serving))
        if left:
            await asyncio.wait({serving.task for serving in left}, timeout=0.5)

    async def close(self) -> None:
        """Send the log lines that are left (at most a second), then close."""
        try:
            async with asyncio.timeout(1.0):
                await self.plugin.bus_log.drain(self.send)
        except (ChannelClosed, TimeoutError):
            pass
        await self.channel.close(1000, "the plug-in stops")

    # -- sending --------------------------------------------------------------------------------
    async def send(self, envelope: AnyEnvelope) -> None:
        """Send one envelope. Raises `ChannelClosed`, and `ProtocolError` for what cannot go."""
        frame = encode(envelope)
        if len(frame) > REGISTERED_LIMIT:
            raise ProtocolError(
                reason=f"it has {len(frame)} bytes and the bus carries {REGISTERED_LIMIT}"
            )
        if frame.count(b"{") + frame.count(b"[") > MAX_DEPTH:
            decode(frame)
        await self.channel.send(frame)

    async def chunk(self, request: Request, data: Any) -> None:
        """Send the next piece of a streamed reply; waits while the way is full."""
        chunk = self.session.chunk(request.request_id, data)
        if chunk is not None:
            await self.send(chunk)

    async def progress(
        self, request_id: str, value: float, total: float | None, message: str | None
    ) -> None:
        """Send progress of a request that is still open."""
        served = self.session.served.get(request_id)
        if served is not None and not served.cancelled:
            await self.send(
                Progress(request_id=request_id, value=value, total=total, message=message)
            )

    async def answer(self, request: Request, data: Any, error: WorkbenchError | None) -> None:
        """Send a request's one response; what cannot go is answered with why."""
        try:
            await self._respond(request.request_id, data, error)
        except ProtocolError as failure:
            self.plugin.log.error("%s: the answer cannot be sent: %s", request.capability, failure)
            text = f"{self.plugin.name} answered {request.capability} with what cannot be sent"
            refused = PluginFailure(f"{text}; its log has the details.")
            await self._respond(request.request_id, None, refused)

    async def _respond(self, request_id: str, data: Any, error: WorkbenchError | None) -> None:
        if request_id not in self.session.served:
            return
        try:
            await self.send(respond(request_id, data, error))
        except ChannelClosed:
            pass
        self.session.served.pop(request_id, None)

    # -- receiving ------------------------------------------------------------------------------
    def _receive(self, frame: bytes) -> None:
        try:
            envelope = decode(frame)
            match envelope:
                case Welcome():
                    self._welcomed(envelope)
                case Config():
                    self.spawn(self._configure(envelope))
                case Error(error=text):
                    self.refusal = envelope
                    self.plugin.log.error("The Host says: %s", text)
                case Request():
                    self._requested(envelope)
                case _:
                    self._answered(envelope)
        except UnknownType as unknown:
            self.plugin.log.debug("%s It was ignored.", unknown)
        except ProtocolError as error:
            self.plugin.log.warning("A message of the Host's was ignored: %s", error)
        except Exception:
            # Whatever one message brings about, the next one is read.
            self.plugin.log.exception("A message of the Host's could not be served.")

    def _requested(self, request: Request) -> None:
        name, plugin = request.capability, self.plugin
        handler = plugin.handlers.get(name)
        error: WorkbenchError | None = None
        if handler is None:
            error = CapabilityNotFound(
                f"{plugin.name} does not serve {name}; it serves: "
                f"{', '.join(sorted(plugin.handlers)) or 'nothing'}.",
                capability=name,
            )
        elif plugin.is_stopping:
            error = CapabilityUnavailable(capability=name, plugins=[plugin.name])
        else:
            try:
                outcome = self.session.receive(request, now=self.clock.monotonic())
            except Overloaded:
                error = Overloaded(who=plugin.name, limit=self.session.limit)
            else:
                assert isinstance(outcome, Arrived)
                served = outcome.served
                served.tag = serving = Serving(self, handler, served)
                self._track(serving.task)
                self.watch(request.deadline_ms and request.deadline_ms / 1000)
        if error is not None:
            self.spawn(self.send(respond(request.request_id, error=error)))

    def _answered(self, envelope: AnyEnvelope) -> None:
        outcome = self.session.receive(envelope, now=self.clock.monotonic())
        if isinstance(outcome, Withdrawn):
            outcome.served.tag.cancel()
        else:
            self.asker.deliver(outcome)

    def _welcomed(self, welcome: Welcome) -> None:
        self.is_welcome = True
        if welcome.heartbeat_seconds > 0 and welcome.heartbeat_seconds != self._heartbeat_seconds:
            self._heartbeat_seconds = welcome.heartbeat_seconds
            if self._beats is not None:
                self._beats.cancel()
            self._beats = self.spawn(self._beat(at_once=not self._has_beaten))
        if welcome.settings is not None:
            self.spawn(self.plugin.adopt(welcome.settings))

    async def _configure(self, config: Config) -> None:
        data: dict[str, str] | None = None
        error: WorkbenchError | None = None
        try:
            data = {"applied": await self.plugin.reconfigure(config.settings)}
        except WorkbenchError as failure:
            error = failure
        except Exception:
            self.plugin.log.exception("The new settings could not be applied.")
            error = PluginFailure(
                f"{self.plugin.name} could not apply the new settings; its log has the details.",
                plugin=self.plugin.name,
            )
        await self.send(respond(config.request_id, data, error))

    # -- by themselves --------------------------------------------------------------------------
    async def _beat(self, *, at_once: bool) -> None:
        plugin = self.plugin
        while True:
            if at_once:
                await self.send(await vitals.health(plugin.name, plugin.check, plugin.log))
                self._has_beaten = True
            at_once = True
            await self.clock.sleep(self._heartbeat_seconds)

    async def _measure(self) -> None:
        plugin = self.plugin
        if plugin.telemetry_seconds <= 0:
            return
        meter = vitals.Meter(plugin.name, plugin.gauges, plugin.log)
        while True:
            await self.clock.sleep(plugin.telemetry_seconds)
            await self.send(meter.sample())

    def watch(self, seconds: float | None) -> None:
        """See to it that a deadline in `seconds` from now is noticed."""
        if seconds is not None and (self._sweeper is None or self._sweeper.done()):
            self._sweeper = self.spawn(self._sweep(seconds))

    async def _sweep(self, seconds: float) -> None:
        """One task for all deadlines, both ways; it ends when none is open."""
        while True:
            await self.clock.sleep(min(SWEEP_SECONDS, max(0.001, seconds)))
            now = self.clock.monotonic()
            self.asker.sweep(now)
            deadlines = [a.deadline for a in self.session.asked.values() if a.deadline is not None]
            for serving in self._servings():
                if serving.deadline is not None:
                    deadlines.append(serving.deadline)
                    if serving.deadline <= now:
                        serving.expire()
            if not deadlines:
                return
            seconds = min((d - now for d in deadlines if d > now), default=SWEEP_SECONDS)

    def _servings(self) -> list[Serving]:
        return [s.tag for s in self.session.served.values() if s.tag is not None]

    def _stopping(self, serving: Serving) -> WorkbenchError:
        return CapabilityUnavailable(
            f"{self.plugin.name} was stopped before it had answered; ask again once it is back."
        )

    # -- tasks ----------------------------------------------------------------------------------
    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        task = asyncio.create_task(_until_closed(work))
        task.add_done_callback(lambda _: work.close())  # where it was cancelled before it began
        return self._track(task)

    def _track(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end(self) -> None:
        self.is_closed = True
        servings = self._servings()
        asked, _ = self.session.close()
        for open_ in asked:
            open_.tag.fail(lost(open_.capability))
        for serving in servings:
            serving.end(None)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=1.0)
        await self.channel.close()


async def _until_closed(work: Coroutine[Any, Any, Any]) -> None:
    """Run `work`; that the channel closes meanwhile is the reader's business, not an error."""
    try:
        await work
    except ChannelClosed:
        pass
