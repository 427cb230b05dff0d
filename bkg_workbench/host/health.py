"""Asks the health path of plug-ins that have an HTTP port.

Owns the check that a definition's `healthcheck` wishes for: GET on loopback, with the spawn's own
token, 2xx is up. What a failed check means is the supervisor's to say.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable

from bkg_workbench.bus.clock import Clock
from bkg_workbench.protocol.definition import HealthCheck

CHECK_SECONDS = 5.0
FIRST_SECONDS = 0.2
"""Between the checks until the first one succeeds."""

Tell = Callable[[str, str], None]
"""Called with (status, detail) after each check."""


async def watch(check: HealthCheck, port: int, token: str, clock: Clock, tell: Tell) -> None:
    """Check until cancelled: quickly at first, each `intervalSeconds` once the path answers."""
    is_up = False
    while True:
        status, detail = await asyncio.to_thread(ask, port, check.path, token)
        is_up = is_up or status == "up"
        if is_up:
            tell(status, detail)
        await clock.sleep(check.interval_seconds if is_up else FIRST_SECONDS)


def ask(port: int, path: str, token: str) -> tuple[str, str]:
    """One check: ("up", "") for 2xx, else ("down", what came instead)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CHECK_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return "down", f"{path} of port {port} gave no answer ({error})"
    finally:
        connection.close()
    if 200 <= status < 300:
        return "up", ""
    return "down", f"{path} of port {port} answered {status}"
