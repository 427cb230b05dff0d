"""`bkg call`: any capability, from a shell."""

from __future__ import annotations

import argparse

from bkg_workbench.cli.console import Console
from bkg_workbench.cli.payload import read_json
from bkg_workbench.client.attach import attach
from bkg_workbench.client.workbench import DEFAULT_TIMEOUT
from bkg_workbench.errors import InvalidParams
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.protocol.envelopes import Progress


def call(arguments: argparse.Namespace, console: Console) -> int:
    """Ask, show progress, print the result; with `--stream` piece by piece."""
    capability = arguments.capability
    if not is_name(capability):
        raise InvalidParams(
            f"{capability!r} is no capability; they read like repo.search. "
            "`bkg status` lists what there is.",
            capability=capability,
        )
    payload = read_json(arguments.payload)
    with attach(arguments.workspace) as bench:
        if arguments.stream:
            for piece in bench.stream(capability, payload, timeout=arguments.timeout):
                console.data(piece, compact=True)
            return 0
        result = bench.call(
            capability,
            payload,
            timeout=arguments.timeout or DEFAULT_TIMEOUT,
            on_progress=lambda progress: console.live(_shown(progress)),
        )
    console.data(result)
    return 0


def _shown(progress: Progress) -> str:
    done = f"{progress.value:g}"
    if progress.total:
        done = f"{100 * progress.value / progress.total:.0f} %"
    return f"{done}  {progress.message}" if progress.message else done
