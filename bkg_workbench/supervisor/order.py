"""In which order plug-ins start and stop: those that others call start first and stop last.

Owns the order only; nothing starts or stops here.
"""

from __future__ import annotations

from collections.abc import Iterable

from bkg_workbench.protocol.capabilities import covers
from bkg_workbench.protocol.definition import Definition

LAST_TO_STOP = "apikeys"


def stop_waves(definitions: Iterable[Definition]) -> list[list[str]]:
    """Names in waves: each may stop once the one before has; within a wave all at once.

    A plug-in stops after those that may call it (`calls` against `capabilities`), apikeys after
    all. Plug-ins that call each other in a circle stop together.
    """
    known = list(definitions)
    callers = {
        provider.name: {
            caller.name
            for caller in known
            if caller.name != provider.name and _calls(caller, provider)
        }
        for provider in known
    }
    waves: list[list[str]] = []
    left = [d.name for d in known if d.name != LAST_TO_STOP]
    while left:
        free = [name for name in left if not callers[name] & set(left)]
        # A circle: nobody in it can wait for the others.
        wave = free or left
        waves.append(wave)
        left = [name for name in left if name not in wave]
    if len(left) < len(known) and any(d.name == LAST_TO_STOP for d in known):
        waves.append([LAST_TO_STOP])
    return waves


def start_order(definitions: Iterable[Definition]) -> list[str]:
    """Names in the order of starting: the reverse of stopping, else as given."""
    return [name for wave in reversed(stop_waves(definitions)) for name in wave]


def _calls(caller: Definition, provider: Definition) -> bool:
    return any(covers(grant, name) for grant in caller.calls for name in provider.capabilities)
