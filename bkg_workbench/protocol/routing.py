"""Who serves a capability.

Owns the choice among providers, and the difference between "nobody declares it" and "it is
declared, but nobody is up". Pure: the hub gives it what it knows of each plug-in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bkg_workbench.errors import CapabilityNotFound, CapabilityUnavailable


@dataclass(frozen=True, slots=True)
class Provider:
    """A plug-in that declares the capability.

    `live`: connected, registered for it and not draining. `coming`: expected to be so by itself
    (starting, or between stop and start of a restart).
    """

    plugin: str
    live: bool
    coming: bool = False
    healthy: bool = True
    in_flight: int = 0


def choose(capability: str, providers: Iterable[Provider]) -> Provider | None:
    """The provider to ask: a healthy one before others, then the one with the fewest in flight.

    None means: wait, one is coming. Raises `CapabilityNotFound` where nobody declares the
    capability, `CapabilityUnavailable` where nobody is up or coming.
    """
    declared = list(providers)
    if not declared:
        raise CapabilityNotFound(capability=capability)
    live = [p for p in declared if p.live]
    if live:
        return min(live, key=lambda p: (not p.healthy, p.in_flight, p.plugin))
    if any(p.coming for p in declared):
        return None
    raise CapabilityUnavailable(capability=capability, plugins=sorted(p.plugin for p in declared))


def conflicts(
    plugin: str, registered: Iterable[str], declared: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split what a plug-in registers into (routed, conflicts).

    Undeclared capabilities are not routed, nor are `host.*` from anybody or `auth.*` from any
    plug-in but apikeys.
    """
    allowed = set(declared)
    routed: list[str] = []
    refused: list[str] = []
    for name in dict.fromkeys(registered):
        reserved = name.startswith("host.") or (name.startswith("auth.") and plugin != "apikeys")
        (routed if name in allowed and not reserved else refused).append(name)
    return tuple(routed), tuple(refused)
