"""`bkg status`, `start`, `stop` and `restart`."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from bkg_workbench.cli import codes
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.progress import Progress
from bkg_workbench.cli.tables import Cell
from bkg_workbench.cli.words import (
    DASH,
    STATE_STYLES,
    count,
    duration,
    moment,
    percent,
    size,
)
from bkg_workbench.client.attach import attach
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.state import PluginState

CHAPTERS = 12
"""How much of a plug-in's story `status NAME` shows."""
IS_UP = ("starting", "running", "degraded", "stopping")

Sample = dict[str, Any]


# -- status -------------------------------------------------------------------------------------
def status(arguments: argparse.Namespace, console: Console) -> int:
    """Print every plug-in in a table, or one with its story."""
    with attach(arguments.workspace) as bench:
        if arguments.name:
            plugin = bench.plugin(arguments.name)
            _show_one(console, plugin, _samples(bench, [plugin]).get(plugin.name, {}))
        else:
            _show_all(console, bench)
    return codes.OK


def _samples(bench: Workbench, plugins: list[PluginState]) -> dict[str, Sample]:
    """The newest telemetry of each plug-in that has a process."""
    found = {}
    for plugin in plugins:
        if plugin.state in IS_UP and (records := bench.telemetry(plugin.name, limit=1)):
            found[plugin.name] = records[-1]
    return found


def _show_all(console: Console, bench: Workbench) -> None:
    info, plugins, notices = bench.info(), bench.plugins(), bench.state.notices
    samples = _samples(bench, plugins)
    if console.is_json:
        shown = {"host": info, "plugins": plugins, "samples": samples, "notices": notices}
        console.data(shown)
        return
    up = duration(info.get("uptimeSeconds"))
    console.line(f"Host of {info.get('workspace')}: process {info.get('pid')}, up {up}")
    for notice in notices:
        console.line(
            f"{notice.level}: {notice.text}", "red" if notice.level == "error" else "yellow"
        )
    console.line()
    if not plugins:
        console.line("No plug-ins. Put one into plugins/ (docs/protocol.md says how).")
        return
    headers = ["NAME", "STATE", "SINCE", "RESTARTS", "PID", "CPU", "MEMORY", "CAPABILITIES", "NOTE"]
    now = time.time()
    rows = [_row(plugin, samples.get(plugin.name, {}), now) for plugin in plugins]
    console.table(
        headers,
        rows,
        whole=set(headers) - {"CAPABILITIES", "NOTE"},
        right={"RESTARTS", "PID", "CPU", "MEMORY"},
    )


def _row(plugin: PluginState, sample: Sample, now: float) -> list[str | Cell]:
    since = duration(max(0.0, now - plugin.since / 1000)) if plugin.since is not None else DASH
    return [
        plugin.name,
        Cell(plugin.state, STATE_STYLES.get(plugin.state)),
        since,
        str(plugin.restarts),
        str(plugin.pid or DASH),
        percent(sample.get("cpu")),
        size(sample.get("mem_bytes")),
        " ".join(plugin.capabilities or plugin.definition.capabilities) or DASH,
        _note(plugin),
    ]


def _note(plugin: PluginState) -> Cell | str:
    """The one thing about a plug-in that its operator should know first."""
    if plugin.state == "starting" and plugin.preparing:
        return Cell(plugin.preparing, "cyan")
    if plugin.state in ("failed", "backoff", "degraded"):
        return Cell(plugin.reason or plugin.last_exit or "", STATE_STYLES[plugin.state])
    if plugin.config_errors:
        return Cell(f"{count(len(plugin.config_errors), 'setting')} not valid", "yellow")
    if plugin.conflicts:
        return Cell(f"not declared: {' '.join(plugin.conflicts)}", "yellow")
    return Cell("restart it: settings changed", "yellow") if plugin.restart_needed else ""


def _show_one(console: Console, plugin: PluginState, sample: Sample) -> None:
    if console.is_json:
        console.data({"plugin": plugin, "sample": sample or None})
        return
    definition, health = plugin.definition, plugin.health
    rows: list[tuple[str, str | Cell]] = [
        ("name", Cell(plugin.name, "bold")),
        ("state", Cell(plugin.state, STATE_STYLES.get(plugin.state))),
        ("since", moment(plugin.since)),
        ("wanted", plugin.wanted),
        ("why", plugin.reason or DASH),
        ("process", str(plugin.pid or DASH)),
        ("restarts", str(plugin.restarts)),
        ("last exit", plugin.last_exit or DASH),
        ("health", _health(health.status, health.detail) if health else DASH),
        ("CPU", percent(sample.get("cpu"))),
        ("memory", size(sample.get("mem_bytes"))),
        ("port", str(plugin.port or DASH)),
        ("version", str(plugin.meta.get("version") or definition.version or DASH)),
        ("autostart", "yes" if definition.autostart else "no"),
        ("settings", f"version {plugin.config_version}"),
        ("about", definition.description or DASH),
    ]
    note = _note(plugin)
    if note and isinstance(note, Cell):
        rows.insert(2, ("note", note))
    console.pairs(rows)
    for where, what in plugin.config_errors.items():
        console.line(f"setting {where or '/'}: {what}", "yellow")
    _show_capabilities(console, plugin)
    if plugin.story:
        console.line()
        console.line("story", "bold")
        chapters: list[list[str | Cell]] = [
            [moment(c.at), c.event, Cell(c.state, STATE_STYLES.get(c.state)), c.why]
            for c in plugin.story[-CHAPTERS:]
        ]
        console.table(["TIME", "EVENT", "STATE", "WHY"], chapters, whole={"TIME", "EVENT", "STATE"})


def _health(word: str, detail: str | None) -> str:
    return f"{word} ({detail})" if detail else word


def _show_capabilities(console: Console, plugin: PluginState) -> None:
    names = plugin.capabilities or tuple(plugin.definition.capabilities)
    if not names:
        return
    schemas = plugin.meta.get("schemas")
    known: dict[str, Any] = schemas if isinstance(schemas, dict) else {}
    rows = []
    for name in names:
        schema = known.get(name)
        about = schema.get("description") if isinstance(schema, dict) else None
        rows.append([name, str(about or "")])
    console.line()
    console.table(["CAPABILITY", "ABOUT"], rows, whole={"CAPABILITY"})


# -- start, stop, restart -----------------------------------------------------------------------
def wish(arguments: argparse.Namespace, console: Console) -> int:
    """Start, stop or restart plug-ins, all at once, and show how it goes."""
    names = list(dict.fromkeys(arguments.names))
    with attach(arguments.workspace) as bench:
        return asyncio.run(_wish(bench, arguments, names, console))


async def _wish(
    bench: Workbench, arguments: argparse.Namespace, names: list[str], console: Console
) -> int:
    verb = {"start": bench.astart, "stop": bench.astop, "restart": bench.arestart}[arguments.verb]
    wait, began = not arguments.no_wait, time.monotonic()
    results: list[PluginState | BaseException]
    async with Progress(bench, names, console):
        results = await asyncio.gather(
            *(verb(name, wait=wait, timeout=arguments.timeout) for name in names),
            return_exceptions=True,
        )
    taken = time.monotonic() - began
    worst = codes.OK
    done = []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, WorkbenchError):
            code = codes.exit_code(result)
            console.error(result, code)
            worst = worst or code
        elif isinstance(result, BaseException):
            raise result
        else:
            done.append(result)
            if not console.is_json:
                _say(console, name, result, taken if wait else None)
    if console.is_json:
        console.data({"plugins": done})
    return worst


def _say(console: Console, name: str, plugin: PluginState, taken: float | None) -> None:
    if taken is None:
        console.line(f"{name}: asked to be {plugin.wanted}, {plugin.state} now")
        return
    pid = f", process {plugin.pid}" if plugin.pid else ""
    console.line(f"{name}: {plugin.state}{pid} ({duration(taken)})")
