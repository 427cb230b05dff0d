"""What goes into the lifecycle machine and what comes out: policy, events, instructions.

Owns these types only; `protocol.lifecycle` says what they lead to, `supervisor.supervisor` makes
the events and carries out the instructions. All durations are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bkg_workbench.protocol.definition import Definition

Status = Literal["up", "degraded", "down"]
Sign = Literal["beat", "http"]
TimerName = Literal["start", "backoff", "retry", "stop"]

PERMANENT_CODES = {78: "its configuration is not usable", 126: "it cannot be run",
                   127: "something that it runs was not found"}  # fmt: skip
"""Exit codes after which another try is pointless (sysexits' EX_CONFIG, the shell's 126, 127)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a definition says about the lifecycle, and the bounds; all durations in seconds."""

    restart: Literal["never", "on-failure", "always"] = "on-failure"
    start_timeout: float = 30.0
    healthcheck: bool = False
    """Whether readiness also asks for the health path (`Beat` with the sign "http")."""
    stop_timeout: float = 10.0
    """After how long a keeper that should have ended its tree is killed itself."""
    preparing_seconds: float = 600.0
    """How long `preparing:` lines hold the start timeout, and at least how long each does."""
    preparing_idle: float = 30.0
    backoff_first: float = 1.0
    backoff_cap: float = 60.0
    stable: float = 60.0
    tries: int = 5
    tries_window: float = 300.0
    retry: float = 600.0
    silent_degraded: float = 25.0
    silent_lost: float = 35.0
    silent_restart: float = 60.0

    @classmethod
    def of(cls, definition: Definition, grace_seconds: float = 5.0) -> Policy:
        """The policy of a plug-in's definition."""
        return cls(
            restart=definition.restart,
            start_timeout=definition.start_timeout_seconds,
            healthcheck=definition.healthcheck is not None,
            stop_timeout=grace_seconds + 5.0,
        )


# --- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, at a monotonic time in seconds."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAsked(Event):
    """Somebody wants it up."""

    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked(Event):
    """Somebody wants it down."""

    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartAsked(Event):
    """Somebody wants it up, in a fresh process."""

    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfProcess(Event):
    """Base of the events that stem from one spawn."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned(OfProcess):
    """The process runs."""

    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnFailed(OfProcess):
    """There is no process. `retry`: whether another try might succeed."""

    message: str
    retry: bool
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedLine(OfProcess):
    """It printed a `preparing:` line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered(OfProcess):
    """It registered on the bus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat(OfProcess):
    """A sign of its health: its own beat, or the answer of its health path."""

    status: Status
    sign: Sign = "beat"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent(OfProcess):
    """No beat for `seconds`; nothing at all, output included, for `quiet` seconds."""

    seconds: float
    quiet: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected(OfProcess):
    """Its connection has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryExceeded(OfProcess):
    """Its tree holds more memory than its limit. `detail` says how much."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(OfProcess):
    """Its requests in flight have ended, or the time for that has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited(OfProcess):
    """Its whole tree has gone. `jitter` (0.8 to 1.2) scales the back-off that may follow."""

    code: int | None
    signal: int | None = None
    text: str = ""
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(OfProcess):
    """A timer that was started for this generation is due."""

    timer: TimerName


# --- instructions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process; answer with `Spawned` or `SpawnFailed`, then `Exited`."""

    generation: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop routing to it and wait for its requests in flight; answer with `Drained`."""

    generation: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """End its tree; if nothing was spawned yet, see that it never is (`SpawnFailed`)."""

    generation: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The keeper did not end in time: end it by force."""

    generation: int


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Answer with `TimerFired` after `seconds`; replaces a timer of the same name."""

    timer: TimerName
    seconds: float
    generation: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """The timer is of no interest any more; it may not run."""

    timer: TimerName


Instruction = Spawn | Drain | Terminate | Kill | StartTimer | CancelTimer
