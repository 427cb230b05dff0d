"""A plug-in as a process: environment, signals, connecting again, exit status.

Owns `run_process` and the loop around connections. Does not own what happens on one of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from bkg_workbench.bus.channel import Channel, ChannelClosed
from bkg_workbench.errors import ConfigInvalid, Unauthenticated, WorkbenchError
from bkg_workbench.sdk.link import Link
from bkg_workbench.sdk.settings import convert, find_config, read_config

if TYPE_CHECKING:
    from bkg_workbench.sdk.plugin import Plugin

EXIT_CONFIG = 78
"""`EX_CONFIG`: another try without a change would end the same way."""
FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 1.0, 30.0

Connect = Callable[[], Awaitable[Channel]]


class WrongSetup(Exception):
    """The environment, the settings or the token are wrong: say so and exit with 78."""


@dataclass(frozen=True)
class Environment:
    """What a plug-in reads from its environment variables."""

    url: str
    token: str | None
    name: str | None
    config_path: str | None
    is_spawned: bool

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Environment:
        """Raises `WrongSetup` that names the variable and the remedy."""
        port = variables.get("BKG_PLUGIN_BUS_PORT", "")
        if not port.isdigit() or not 0 < int(port) < 65_536:
            found = f"is {port!r}, not a port number" if port else "is not set"
            raise WrongSetup(
                f"BKG_PLUGIN_BUS_PORT {found}. The Host sets it when it starts a plug-in; by hand, "
                "take the bus port from `bkg ports`."
            )
        host = variables.get("BKG_PLUGIN_BUS_HOST") or "127.0.0.1"
        return cls(
            url=f"ws://{f'[{host}]' if ':' in host else host}:{int(port)}/bus",
            token=variables.get("BKG_PLUGIN_BUS_TOKEN") or None,
            name=variables.get("BKG_PLUGIN_NAME") or None,
            config_path=variables.get("BKG_PLUGIN_CONFIG_PATH") or None,
            is_spawned=bool(variables.get("BKG_INSTANCE")),
        )


class Runner:
    """The life of a plug-in from its start hooks to its stop hooks."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._failures = 0

    async def serve(self, channel: Channel) -> None:
        """One life over one channel."""
        plugin = self._plugin
        plugin.begin()
        plugin.log.addHandler(plugin.bus_log)
        try:
            await plugin.started()
            await self._serve(Link(plugin, channel))
        finally:
            await plugin.ended()
            await channel.close()
            plugin.log.removeHandler(plugin.bus_log)

    async def run(self, connect: Connect) -> None:
        """Connect, serve, and connect again until `stop()`. Raises `WrongSetup`."""
        plugin = self._plugin
        await plugin.started()
        try:
            while not plugin.is_stopping:
                await self._once(connect)
                if not plugin.is_stopping:
                    await self._pause()
        finally:
            if not plugin.is_stopping:
                plugin.stop()
            await plugin.ended()

    async def _once(self, connect: Connect) -> None:
        plugin = self._plugin
        try:
            channel = await connect()
        except Unauthenticated as error:
            raise WrongSetup(f"{error} Take a fresh one from the Host.") from None
        except (WorkbenchError, OSError) as error:
            plugin.log.warning("%s", error)
            return
        link = Link(plugin, channel)
        closed = await self._serve(link)
        if link.is_welcome:
            self._failures = 0
        if closed is None:
            return
        reason = link.refusal.error if link.refusal else closed.reason
        if closed.code in (4401, 4403):
            raise WrongSetup(f"The Host refused {plugin.name}: {reason or closed.code}")
        plugin.log.warning("The connection to the Host has gone (%s).", closed)

    async def _serve(self, link: Link) -> ChannelClosed | None:
        """Serve until the link closes (how it did), or until `stop()` (None)."""
        plugin = self._plugin
        plugin.link = link
        serving = asyncio.create_task(link.run())
        stopped = asyncio.create_task(plugin.stopped.wait())
        try:
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                return await serving
            await link.drain(plugin.grace_seconds, plugin.hurry)
            await plugin.ended()
            await link.close()
            await serving
            return None
        finally:
            plugin.link = None
            stopped.cancel()
            serving.cancel()
            await asyncio.gather(serving, stopped, return_exceptions=True)

    async def _pause(self) -> None:
        """Back-off: 1, 2, 4 … 30 s, each shortened by up to a half at random, never below 1 s."""
        plugin = self._plugin
        longest = min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        seconds = max(FIRST_DELAY_SECONDS, longest * (1.0 - 0.5 * plugin.jitter()))
        sleeping = asyncio.ensure_future(plugin.clock.sleep(seconds))
        stopped = asyncio.create_task(plugin.stopped.wait())
        await asyncio.wait({sleeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sleeping, stopped):
            task.cancel()
        await asyncio.gather(sleeping, stopped, return_exceptions=True)


def run_process(plugin: Plugin) -> NoReturn:
    """Run the plug-in as this process and exit."""
    code = _run(plugin)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if plugin.busy_threads:
        # Python would wait for a blocked handler thread for ever.
        os._exit(code)
    sys.exit(code)


def _run(plugin: Plugin) -> int:
    stderr = logging.StreamHandler()
    stderr.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)
    try:
        environment = Environment.read(os.environ)
        if environment.name:
            plugin.rename(environment.name)
        root.addHandler(plugin.bus_log)
        if not environment.is_spawned:
            root.addHandler(stderr)
        main_file = getattr(sys.modules.get("__main__"), "__file__", None)
        path = find_config(environment.config_path, main_file)
        values = read_config(path, plugin.name)
        plugin.settings = convert(plugin.settings_type, values, plugin.name)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_live(plugin, environment))
    except (WrongSetup, ConfigInvalid) as error:
        sys.stderr.write(f"{plugin.name}: {error}\n")
        return EXIT_CONFIG
    except Exception:
        logging.getLogger(plugin.name).exception("%s could not go on.", plugin.name)
        return 1
    finally:
        root.removeHandler(plugin.bus_log)
        if stderr not in root.handlers:
            plugin.bus_log.spill(sys.stderr)
    return 0


async def _live(plugin: Plugin, environment: Environment) -> None:
    from bkg_workbench.bus.websocket import connect

    plugin.begin()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, plugin.stop)
    await Runner(plugin).run(lambda: connect(environment.url, token=environment.token))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
