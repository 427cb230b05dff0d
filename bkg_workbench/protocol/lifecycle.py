"""The lifecycle of a plug-in as a pure machine: an event comes in, instructions come out.

Owns states, the restart policy with its back-off, readiness and the judgement of health. Does not
own time, chance or processes: events carry `at` (monotonic seconds) and `jitter`, and the shell
(`supervisor.Supervisor`) carries out the instructions. Each spawn has a generation; what stems from
an older one changes nothing.

    stopped → starting → running ⇄ degraded → stopping → stopped, with backoff and failed
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from bkg_workbench.errors import InvalidTransition
from bkg_workbench.protocol.lifecycle_events import (
    PERMANENT_CODES,
    Beat,
    CancelTimer,
    Disconnected,
    Drain,
    Drained,
    Event,
    Exited,
    Instruction,
    Kill,
    MemoryExceeded,
    OfProcess,
    Policy,
    PreparedLine,
    Registered,
    RestartAsked,
    Silent,
    Spawn,
    Spawned,
    SpawnFailed,
    StartAsked,
    StartTimer,
    Status,
    StopAsked,
    Terminate,
    TimerFired,
    TimerName,
)
from bkg_workbench.protocol.state import StateName, Wanted

STORY_LENGTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One plug-in's lifecycle. `reason` is why it is in its state, in words."""

    plugin: str
    state: StateName = "stopped"
    wanted: Wanted = "down"
    reason: str = ""
    generation: int = 0
    pid: int | None = None
    restarts: int = 0
    """Spawns that nobody asked for, so far."""
    last_exit: str | None = None
    spawned: bool = False
    """Whether `Spawned` came and `Exited` has not."""
    spawned_at: float = 0.0
    registered: bool = False
    beat: Status | None = None
    http: Status | None = None
    lost: bool = False
    ready_since: float | None = None
    ending: Literal["asked", "again", "failure"] | None = None
    """While stopping: what comes after. "again" is a restart, "failure" may back off."""
    draining: bool = False
    attempts: int = 0
    """Failures in a row without a stable minute between."""
    failures: tuple[float, ...] = ()
    """When they were, of late."""
    slow: bool = False
    """Given up on fast retries."""
    story: tuple[str, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether it serves requests."""
        return self.state in ("running", "degraded")

    @property
    def is_served(self) -> bool:
        """Whether requests may be in flight: they come from the moment that it registers."""
        return self.is_up or self.registered

    @property
    def may_spawn(self) -> bool:
        """Whether nothing of an earlier spawn is left."""
        return self.state in ("stopped", "backoff", "failed")


Step = tuple[Machine, list[Instruction]]


def event_name(event: Event) -> str:
    """The event in words: "start asked"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(event).__name__).lower()


def handle(machine: Machine, event: Event, policy: Policy) -> Step:
    """The machine after `event`, and what the shell has to do.

    An event of an older generation changes nothing. Raises InvalidTransition, with the story, for
    one that cannot be: of a generation that was never spawned, or of a process that is not there.
    """
    if isinstance(event, OfProcess):
        if event.generation < machine.generation:
            return machine, []
        if event.generation > machine.generation:
            raise _invalid(machine, event)
    after, instructions = _take(machine, event, policy)
    if after is not machine:
        line = f"{event_name(event)} → {after.state}"
        line += f": {after.reason}" if after.reason else ""
        after = replace(after, story=(*machine.story, line)[-STORY_LENGTH:])
    return after, instructions


def _take(m: Machine, event: Event, policy: Policy) -> Step:
    match event:
        case StartAsked():
            return _start_asked(m, event)
        case StopAsked():
            return _stop_asked(m, event, policy)
        case RestartAsked():
            return _restart_asked(m, event, policy)
        case Spawned():
            return _spawned(m, event, policy)
        case PreparedLine():
            return _prepared(m, event, policy)
        case Registered():
            return _judge(replace(m, registered=True, lost=False), event, policy, since=m)
        case Beat(sign="beat"):
            return _judge(replace(m, beat=event.status, lost=False), event, policy, since=m)
        case Beat():
            return _judge(replace(m, http=event.status), event, policy, since=m)
        case Disconnected():
            return _judge(replace(m, registered=False, beat=None), event, policy, since=m)
        case Silent():
            return _silent(m, event, policy)
        case MemoryExceeded():
            if not m.is_up and m.state != "starting":
                return m, []
            return _end(m, "failure", f"memory-limit: {event.detail}", policy)
        case Drained():
            if m.state != "stopping" or not m.draining:
                return m, []
            return _terminate(replace(m, draining=False), policy)
        case TimerFired():
            return _timer_fired(m, event, policy)
        case SpawnFailed():
            return _spawn_failed(m, event, policy)
        case Exited():
            return _exited(m, event, policy)
        case _:
            raise _invalid(m, event)


def _start_asked(m: Machine, event: StartAsked) -> Step:
    if m.may_spawn:
        return _spawn(_forgiven(m), event.why or "start asked")
    if m.state == "stopping" and m.ending != "again":
        after = _forgiven(replace(m, wanted="up", ending="again"))
        return replace(after, reason="start asked while stopping"), []
    return m, []


def _stop_asked(m: Machine, event: StopAsked, policy: Policy) -> Step:
    why = event.why or "stop asked"
    if m.may_spawn:
        if m.state == "stopped" and m.wanted == "down":
            return m, []
        stopped = replace(_forgiven(m), state="stopped", wanted="down", reason=why)
        return stopped, _timers(m)
    if m.wanted == "down":
        return m, []
    m = replace(m, wanted="down")
    if m.state == "stopping":
        return replace(m, ending="asked", reason=why), []
    return _end(m, "asked", why, policy, drain=m.is_served)


def _restart_asked(m: Machine, event: RestartAsked, policy: Policy) -> Step:
    why = event.why or "restart asked"
    if m.may_spawn:
        return _spawn(_forgiven(m), why)
    if m.state == "stopping":
        if m.ending == "again" and m.wanted == "up":
            return m, []
        return replace(_forgiven(m), wanted="up", ending="again", reason=why), []
    return _end(_forgiven(m), "again", why, policy, drain=m.is_served)


def _spawned(m: Machine, event: Spawned, policy: Policy) -> Step:
    if m.spawned or m.state not in ("starting", "stopping"):
        raise _invalid(m, event)
    m = replace(m, spawned=True, pid=event.pid, spawned_at=event.at)
    if m.state == "stopping":
        return (m, []) if m.draining else _terminate(m, policy)
    after, instructions = _judge(m, event, policy, since=m)
    if after.state == "running":
        return after, instructions
    return m, [StartTimer("start", policy.start_timeout, m.generation)]


def _prepared(m: Machine, event: PreparedLine, policy: Policy) -> Step:
    if m.state != "starting" or not m.spawned or m.registered:
        return m, []
    if event.at - m.spawned_at > policy.preparing_seconds:
        return m, []
    seconds = max(policy.start_timeout, policy.preparing_idle)
    return m, [StartTimer("start", seconds, m.generation)]


def _judge(m: Machine, event: Event, policy: Policy, *, since: Machine) -> Step:
    """The state that all signs together give; of several the worst counts."""
    if not (m.is_up or m.state == "starting"):
        return since, []
    trouble = _trouble(m, event, policy)
    if m.state == "starting":
        # Under load it may register before the shell has said that it was spawned.
        if trouble is None and m.spawned:
            ready = replace(m, state="running", reason="", ready_since=event.at)
            return ready, [CancelTimer("start")]
        return (m if m != since else since), []
    if m.lost and trouble is not None:
        return m, []
    state: StateName = "running" if trouble is None else "degraded"
    after = replace(m, state=state, reason=trouble or "")
    return (after if after != since else since), []


def _trouble(m: Machine, event: Event, policy: Policy) -> str | None:
    if not m.registered:
        return "it has lost its connection" if m.is_up else "it has not registered yet"
    if m.beat != "up":
        if m.beat is None:
            return m.reason if m.state == "degraded" else "its health is not known yet"
        detail = f": {event.detail}" if isinstance(event, Beat) and event.detail else ""
        return f"it says that it is {m.beat}{detail}"
    if policy.healthcheck and m.http != "up":
        return "its health path does not answer" if m.http else "its health path is not known yet"
    return None


def _silent(m: Machine, event: Silent, policy: Policy) -> Step:
    if not m.is_up or event.seconds < policy.silent_degraded:
        return m, []
    if event.seconds < policy.silent_lost:
        if m.state == "degraded":
            return m, []
        reason = f"no beat for {event.seconds:.0f} s"
        return replace(m, state="degraded", beat=None, reason=reason), []
    silent = min(event.seconds, event.quiet) >= policy.silent_restart
    if silent and policy.restart != "never":
        return _end(m, "failure", f"lost: silent for {event.seconds:.0f} s", policy)
    if m.lost:
        return m, []
    reason = f"lost: no beat for {event.seconds:.0f} s"
    return replace(m, state="degraded", beat=None, lost=True, reason=reason), []


def _timer_fired(m: Machine, event: TimerFired, policy: Policy) -> Step:
    match event.timer, m.state:
        case "start", "starting":
            if m.registered and m.beat == "degraded":
                # It is there and says what is wrong with it: ending it would help nobody.
                late = replace(m, state="degraded", ready_since=event.at)
                return replace(late, reason="it says that it is degraded"), []
            why = f"start timeout: not ready {event.at - m.spawned_at:.0f} s after its start"
            return _end(m, "failure", f"{why}, {_trouble(m, event, policy)}", policy)
        case "backoff", "backoff":
            return _spawn(replace(m, restarts=m.restarts + 1), "tried again")
        case "retry", "failed":
            return _spawn(replace(m, restarts=m.restarts + 1), "tried again")
        case "stop", "stopping":
            return replace(m, reason=f"{m.reason} (by force)"), [Kill(m.generation)]
        case _:
            return m, []


def _spawn_failed(m: Machine, event: SpawnFailed, policy: Policy) -> Step:
    if m.spawned or m.state not in ("starting", "stopping"):
        raise _invalid(m, event)
    if m.state == "stopping":
        return _after_end(m, None, event.at, event.jitter, policy)
    return _fail(_gone(m), event.message, event.at, event.jitter, policy, permanent=not event.retry)


def _exited(m: Machine, event: Exited, policy: Policy) -> Step:
    if not m.spawned:
        raise _invalid(m, event)
    signalled = f"signal {event.signal}" if event.signal is not None else f"exit {event.code}"
    text = event.text or signalled
    m = replace(m, last_exit=text)
    if m.state == "stopping":
        return _after_end(m, event.code, event.at, event.jitter, policy)
    before = "" if m.is_up else " before it was ready"
    if event.code == 0 and policy.restart != "always":
        reason = f"it ended by itself{before} (exit 0)"
        return replace(_gone(m), state="stopped", wanted="down", reason=reason), _timers(m)
    permanent = event.code in PERMANENT_CODES
    hint = f": {PERMANENT_CODES[event.code]}" if event.code in PERMANENT_CODES else ""
    why = f"it ended{before} ({text}){hint}"
    return _fail(m, why, event.at, event.jitter, policy, permanent=permanent)


def _after_end(m: Machine, code: int | None, at: float, jitter: float, policy: Policy) -> Step:
    """What comes after a stop that the machine itself began."""
    if m.wanted == "down":
        return replace(_gone(m), state="stopped"), _timers(m)
    if m.ending == "again":
        return _spawn(m, m.reason)
    return _fail(m, m.reason, at, jitter, policy, permanent=False)


def _fail(
    m: Machine, why: str, at: float, jitter: float, policy: Policy, *, permanent: bool
) -> Step:
    """A try has failed: back off, or give up."""
    if m.ready_since is not None and at - m.ready_since >= policy.stable:
        m = _forgiven(m)
    timers = _timers(m)
    recent = tuple(t for t in m.failures if t > at - policy.tries_window)
    failures = (*recent, at)[-policy.tries :]
    m = replace(_gone(m), attempts=m.attempts + 1, failures=failures)
    if permanent or policy.restart == "never":
        return replace(m, state="failed", reason=why), timers
    if m.slow or len(failures) >= policy.tries:
        reason = f"{why}; tried {len(failures)} times, next try in {policy.retry / 60:g} min"
        if m.slow:
            reason = f"{why}; next try in {policy.retry / 60:g} min"
        retry = StartTimer("retry", policy.retry, m.generation)
        return replace(m, state="failed", slow=True, reason=reason), [*timers, retry]
    # The exponent is bounded so that a long row of failures cannot overflow.
    power = min(m.attempts - 1, 30)
    seconds = min(policy.backoff_cap, policy.backoff_first * 2.0**power) * jitter
    reason = f"{why}; next try in {seconds:.1f} s"
    backoff = StartTimer("backoff", seconds, m.generation)
    return replace(m, state="backoff", reason=reason), [*timers, backoff]


def _spawn(m: Machine, why: str) -> Step:
    timers = _timers(m)
    m = replace(_gone(m), state="starting", wanted="up", generation=m.generation + 1, reason=why)
    return m, [*timers, Spawn(m.generation)]


def _end(
    m: Machine,
    ending: Literal["asked", "again", "failure"],
    why: str,
    policy: Policy,
    *,
    drain: bool = False,
) -> Step:
    timers = _timers(m)
    m = replace(m, state="stopping", ending=ending, reason=why, draining=drain)
    if drain:
        return m, [*timers, Drain(m.generation)]
    m, instructions = _terminate(m, policy)
    return m, [*timers, *instructions]


def _terminate(m: Machine, policy: Policy) -> Step:
    stop = StartTimer("stop", policy.stop_timeout, m.generation)
    return m, [Terminate(m.generation), stop]


def _timers(m: Machine) -> list[Instruction]:
    """Cancels the timers that may run in this state."""
    names: dict[StateName, TimerName] = {
        "starting": "start", "backoff": "backoff", "failed": "retry", "stopping": "stop",
    }  # fmt: skip
    name = names.get(m.state)
    return [CancelTimer(name)] if name else []


def _gone(m: Machine) -> Machine:
    """Without a process."""
    return replace(
        m, pid=None, spawned=False, registered=False, beat=None, http=None, lost=False,
        ready_since=None, ending=None, draining=False,
    )  # fmt: skip


def _forgiven(m: Machine) -> Machine:
    """Without a record of failures: somebody asked, or it ran well for long enough."""
    return replace(m, attempts=0, failures=(), slow=False)


def _invalid(m: Machine, event: Event) -> InvalidTransition:
    return InvalidTransition(
        plugin=m.plugin, state=m.state, event=event_name(event), story=list(m.story)
    )
