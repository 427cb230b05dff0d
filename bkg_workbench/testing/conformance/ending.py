"""Checks of how a plug-in ends, and of what it does when the Host goes."""

from __future__ import annotations

import time

from bkg_workbench.testing.conformance.stage import GRACE_SECONDS, Life
from bkg_workbench.testing.conformance.trial import Check, Skipped, Trial, check, told

CHECKS: list[Check] = []
RETURN_SECONDS = 15.0
"""After how long one that lost its Host has to be back, or gone."""


@check(CHECKS, "bus.gone", "when the Host closes the bus, it connects again or ends by itself")
async def bus_gone(trial: Trial) -> str | None:
    life = await trial.life()
    wire = life.wire
    assert wire is not None
    began = time.monotonic()
    await wire.channel.close(1001, "the Host stops")
    count = len(life.wires)
    back = await trial.stage.until(
        lambda: len(life.wires) > count and life.is_usable, RETURN_SECONDS
    )
    taken = time.monotonic() - began
    if back:
        return f"registered again after {taken:.1f} s"
    if life.exit is not None:
        return f"ended after {taken:.1f} s with {life.exit}"
    last = life.wires[-1]
    came = "a process that does neither"
    if len(life.wires) > count:
        came = f"a new connection, but {last.first_problem or 'no register'}"
    raise told(
        sent="close 1001",
        came=f"{came} for {RETURN_SECONDS:g} s",
        expected="a new connection that registers, or the process's end",
    )


@check(CHECKS, "stop.exits", f"SIGTERM ends it within {GRACE_SECONDS:g} s, without SIGKILL")
async def stop_exits(trial: Trial) -> str | None:
    life = await trial.life()
    began = time.monotonic()
    await trial.finish(life)
    taken = time.monotonic() - began
    ended = life.exit
    assert ended is not None
    if ended.escalated or ended.lost:
        raise told(
            sent="SIGTERM to its process tree",
            came=f"a process that was still there after {GRACE_SECONDS:g} s and was killed",
            expected="that it finishes and ends by itself (does start.sh run it with exec?)",
        )
    return f"after {taken:.1f} s"


@check(CHECKS, "stop.status", "asked to end, it exits with 0")
async def stop_status(trial: Trial) -> str | None:
    ended = _stopped(trial).exit
    assert ended is not None
    if ended.escalated or ended.lost:
        raise Skipped("it did not end by itself")
    if ended.code != 0:
        raise told(sent="SIGTERM to its process tree", came=str(ended), expected="exit 0")
    return None


@check(CHECKS, "stop.tree", "nothing of its process tree is left")
async def stop_tree(trial: Trial) -> str | None:
    left = _stopped(trial).left
    if left:
        raise told(
            sent="SIGTERM to its process tree, and SIGKILL",
            came=f"{len(left)} processes that were still there: {', '.join(map(str, left))}",
            expected="that every process that it started ends with it",
        )
    return None


def _stopped(trial: Trial) -> Life:
    if not trial.ended:
        raise Skipped("it was never up")
    return trial.ended[-1]
