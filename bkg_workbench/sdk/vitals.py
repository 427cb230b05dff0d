"""How the plug-in is: its health check and its telemetry sample.

Owns what a check or a gauge may answer and what happens when one fails. Does not own when they run.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, get_args

from bkg_workbench.protocol.envelopes import Health, HealthStatus, Telemetry

Verdict = HealthStatus | tuple[HealthStatus, str] | None
Check = Callable[[], Verdict | Awaitable[Verdict]]
Gauge = Callable[[], float]

CHECK_SECONDS = 5.0
"""How long a health check may take before the plug-in counts as degraded."""

_STATUSES = get_args(HealthStatus)
_RESERVED = ("cpu", "mem_bytes", "type", "plugin", "numbers")


async def health(plugin: str, check: Check | None, log: logging.Logger) -> Health:
    """The beat that the check stands for; a plug-in without a check is up."""
    try:
        verdict = check() if check else None
        if inspect.isawaitable(verdict):
            async with asyncio.timeout(CHECK_SECONDS):
                verdict = await verdict
        status, detail = verdict if isinstance(verdict, tuple) else (verdict or "up", None)
        if status not in _STATUSES:
            raise ValueError(f"a health check answers one of {_STATUSES}, not {status!r}")
    except TimeoutError:
        detail = f"its health check took longer than {CHECK_SECONDS:g} s"
        return Health(plugin=plugin, status="degraded", detail=detail)
    except Exception:
        log.exception("The health check failed.")
        detail = "its health check failed; the log has the details"
        return Health(plugin=plugin, status="down", detail=detail)
    return Health(plugin=plugin, status=status, detail=None if detail is None else str(detail))


class Meter:
    """Samples of this process (`cpu` in percent of one core, resident bytes) and of gauges."""

    def __init__(self, plugin: str, gauges: dict[str, Gauge], log: logging.Logger) -> None:
        import psutil

        self._plugin, self._gauges, self._log = plugin, gauges, log
        self._process = psutil.Process()
        self._process.cpu_percent(None)  # the first call only sets the mark
        self._complained: set[str] = set()

    def sample(self) -> Telemetry:
        """One sample. A gauge that fails or is no finite number is left out, and said once."""
        numbers = {}
        for name, gauge in self._gauges.items():
            number = self._read(name, gauge)
            if number is not None:
                numbers[name] = number
        return Telemetry(
            plugin=self._plugin,
            cpu=float(self._process.cpu_percent(None)),
            mem_bytes=float(self._process.memory_info().rss),
            numbers=numbers,
        )

    def _read(self, name: str, gauge: Gauge) -> float | None:
        failure: BaseException | None = None
        number: Any = None
        try:
            number = gauge()
            if isinstance(number, (int, float)) and math.isfinite(number):
                return number if not isinstance(number, bool) else int(number)
        except Exception as error:
            failure = error
        if name not in self._complained:
            self._complained.add(name)
            self._log.warning(
                "The gauge %s gave no finite number (%r).", name, number, exc_info=failure
            )
        return None


def check_gauge_name(name: str) -> None:
    """Raise `ValueError` for a name that the envelope has taken."""
    if name in _RESERVED or not name.isidentifier():
        raise ValueError(f"{name!r} cannot name a gauge; use an identifier that is not {_RESERVED}")
