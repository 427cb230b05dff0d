"""What the bus tells the Host: plug-ins that register, beat, log, measure and go.

Owns the hub's `Listener`: each message becomes an event that everybody sees, a record, or word to
the supervisor; and the measuring of plug-ins that send no telemetry of their own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bkg_workbench.bus.calls import Finished
from bkg_workbench.bus.connection import Connection
from bkg_workbench.host import health
from bkg_workbench.protocol.envelopes import Health, Log, Register, Telemetry
from bkg_workbench.protocol.state import Beat, Beaten, Disconnected, Registered

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine

SAMPLE_SECONDS = 5.0


class Ear:
    """One Host's listener. Its methods belong to the Host's event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sampled: dict[str, float] = {}

    def registered(
        self,
        connection: Connection,
        register: Register,
        routed: tuple[str, ...],
        refused: tuple[str, ...],
    ) -> None:
        """A plug-in is connected."""
        name = connection.name
        self._engine.emit(
            Registered(
                plugin=name,
                port=register.port,
                capabilities=routed,
                conflicts=refused,
                meta=register.meta or {},
                config_schema=register.config_schema,
            )
        )
        self._engine.supervisor.registered(name, connection.generation)
        if refused:
            listed = ", ".join(refused)
            self._engine.notice(
                f"conflict:{name}",
                f"{name} registered capabilities that its definition does not declare: {listed}. "
                "They are not routed.",
            )
        else:
            self._engine.clear(f"conflict:{name}")
        self._engine.spawn(self._remember(name, register.config_schema), f"host-schema-{name}")
        self._watch(connection, register.port)

    def _watch(self, connection: Connection, port: int | str) -> None:
        """Ask the health path for as long as the connection lasts."""
        name, generation = connection.name, connection.generation
        check = self._engine.state.plugins[name].definition.healthcheck
        if check is None or not isinstance(port, int):
            return

        def tell(status: Any, detail: str) -> None:
            self._engine.supervisor.beat(name, generation, status, sign="http", detail=detail)

        token = self._engine.spawn_tokens.get(name, "")
        task = self._engine.spawn(
            health.watch(check, port, token, self._engine.clock, tell), f"host-health-{name}"
        )
        connection.closing.append(lambda: _cancel(task))

    async def _remember(self, name: str, schema: dict[str, Any] | None) -> None:
        if schema is not None:
            await self._engine.configs.remember_schema(name, schema)
        await self._engine.configurator.judge(name, restart_needed=False)

    def disconnected(self, connection: Connection, why: str) -> None:
        """A plug-in's connection has gone."""
        self._engine.emit(Disconnected(plugin=connection.name))
        self._engine.supervisor.disconnected(connection.name, connection.generation)

    def beat(self, connection: Connection, beat: Health) -> None:
        """A health beat."""
        status, detail = beat.status, beat.detail
        shown = Beat(at=self._engine.clock.now_ms(), status=status, detail=detail)
        self._engine.emit(Beaten(plugin=connection.name, beat=shown))
        self._engine.supervisor.beat(
            connection.name, connection.generation, status, detail=detail or ""
        )

    def logged(self, connection: Connection, log: Log) -> None:
        """A log line."""
        stamp = log.timestamp
        self._engine.logs.append(connection.name, "log", log.level, log.message, timestamp=stamp)

    def sampled(self, connection: Connection, telemetry: Telemetry) -> None:
        """A telemetry sample of a plug-in's own."""
        self._sampled[connection.name] = self._engine.clock.monotonic()
        self._add_sample(
            connection.name, telemetry.cpu, telemetry.mem_bytes, dict(telemetry.numbers)
        )

    def flooded(self, connection: Connection, lines: int) -> None:
        """Log lines were dropped before they became any."""
        self._engine.logs.miss(connection.name, lines)

    def finished(self, record: Finished) -> None:
        """A request has its answer."""
        self._engine.meter.finished(record)
        if self._engine.tracer is not None:
            self._engine.tracer.finished(record)
        if not record.capability.startswith("host."):
            self._engine.samples.add_call(record)
            self._engine.canaries.observe(record)

    def refused(self, code: str, text: str) -> None:
        """A peer was turned away or struck."""
        self._engine.logs.append("host", "host", "warn", f"{code}: {text}")

    def settings(self, plugin: str) -> dict[str, Any] | None:
        """The effective settings, for `welcome`."""
        return self._engine.configurator.last(plugin)

    # -- telemetry ------------------------------------------------------------------------------
    async def sample(self) -> None:
        """Measure the process trees of plug-ins that send no telemetry of their own."""
        while True:
            await self._engine.clock.sleep(SAMPLE_SECONDS)
            now = self._engine.clock.monotonic()
            for name, sample in self._engine.supervisor.samples().items():
                if now - self._sampled.get(name, -1e9) > 3 * SAMPLE_SECONDS:
                    self._add_sample(name, sample.cpu, sample.mem_bytes, {})

    def _add_sample(
        self, name: str, cpu: float | None, mem_bytes: float | None, numbers: dict[str, float]
    ) -> None:
        at = self._engine.clock.now_ms()
        self._engine.samples.add_sample(name, at, cpu, mem_bytes, numbers)
        data = {**numbers, "plugin": name, "at": at, "cpu": cpu, "mem_bytes": mem_bytes}
        self._engine.subscriptions.publish("telemetry", data)


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
