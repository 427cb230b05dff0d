"""Runs every check in order and makes the report.

Owns the order and the boundary at which a check's end becomes a result.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bkg_workbench.bus.channel import ChannelClosed
from bkg_workbench.errors import InvalidParams
from bkg_workbench.testing.conformance import additions, answers, ending, handshake
from bkg_workbench.testing.conformance.report import Report, Result, Verdict
from bkg_workbench.testing.conformance.stage import Options, Stage, place
from bkg_workbench.testing.conformance.trial import Check, Failed, Skipped, Trial

_BEATS = [check for check in handshake.CHECKS if check.id == "beat.interval"]
CHECKS: tuple[Check, ...] = (
    *(check for check in handshake.CHECKS if check not in _BEATS),
    *answers.CHECKS,
    *additions.CHECKS,
    *_BEATS,
    *ending.CHECKS,
    *answers.VERDICTS,
)
"""All checks, in the order in which they run."""

OnResult = Callable[[Result], None]


def check_conformance(
    command: str | Path | Sequence[str],
    *,
    name: str | None = None,
    timeout: float = 10.0,
    samples: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
    on_result: OnResult | None = None,
) -> Report:
    """Check a plug-in against docs/protocol.md.

    Parameters: `command` starts it (a path, or words); `name` is by default that of its start
    script's folder; `timeout` in seconds for each answer; `samples` are payloads by capability;
    `settings` lie over its config.json; `only` are the ids, or their first words (`answer`), of
    the checks to run beside those of the start; `on_result` hears of each result at once. Not to
    be called inside a running event loop; there, use `check_plugin`. Raises `InvalidParams` for a
    command or an id that is none.
    """
    words = (str(command),) if isinstance(command, (str, Path)) else tuple(command)
    program, folder = place(words)
    options = Options(
        command=(str(program), *words[1:]),
        name=name or folder.name,
        timeout=timeout,
        samples=dict(samples or {}),
        settings=dict(settings or {}),
    )
    return asyncio.run(check_plugin(options, chosen(only), on_result))


def chosen(only: Collection[str] | None) -> Sequence[Check]:
    """The checks of these ids, or areas of ids, with those of the start; all for None.

    Raises `InvalidParams` for one that there is not.
    """
    if only is None:
        return CHECKS
    known = {check.id for check in CHECKS} | {check.area for check in CHECKS}
    for one in only:
        if one not in known:
            raise InvalidParams(f"{one} is no check; there are: {', '.join(c.id for c in CHECKS)}.")
    wanted = {"start", *only}
    return [check for check in CHECKS if check.id in wanted or check.area in wanted]


async def check_plugin(
    options: Options, checks: Sequence[Check] = CHECKS, on_result: OnResult | None = None
) -> Report:
    """The same, in an event loop."""
    results: list[Result] = []
    async with Stage(options) as stage:
        trial = Trial(stage)
        for check in checks:
            result = await _one(check, trial)
            results.append(result)
            if on_result is not None:
                on_result(result)
    return Report(options.name, options.command, tuple(results), tuple(stage.log))


async def _one(check: Check, trial: Trial) -> Result:
    began = time.monotonic()
    verdict: Verdict
    try:
        verdict, reason = "pass", await check.function(trial) or ""
    except Failed as failed:
        verdict, reason = "fail", str(failed)
    except Skipped as skipped:
        verdict, reason = "skip", str(skipped)
    except ChannelClosed as closed:
        wire = trial.stage.life.wire if trial.stage.life else None
        verdict = "fail"
        reason = f"came: {await trial.gone(wire) if wire else closed}; expected: that it stays"
    seconds = time.monotonic() - began
    return Result(check.id, check.title, check.requirement, verdict, reason, seconds)
