"""The lifecycle machine: one example per transition, and what must never happen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.errors import InvalidTransition
from bkg_workbench.protocol.definition import Definition, HealthCheck
from bkg_workbench.protocol.lifecycle import Machine, handle
from bkg_workbench.protocol.lifecycle_events import (
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
    StopAsked,
    Terminate,
    TimerFired,
)

POLICY = Policy()
NEVER = Policy(restart="never")
ALWAYS = Policy(restart="always")


class Story:
    """A machine, its policy and the time, so that an example reads as a story."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.machine = Machine(plugin="goose")
        self.policy = policy
        self.at = 100.0

    def take(self, kind: type[Event], after: float = 0.0, **fields: object) -> list[Instruction]:
        self.at += after
        if "generation" in kind.__dataclass_fields__:
            fields.setdefault("generation", self.machine.generation)
        self.machine, instructions = handle(self.machine, kind(at=self.at, **fields), self.policy)
        return instructions

    @property
    def state(self) -> str:
        return self.machine.state

    def spawned(self) -> Story:
        self.take(StartAsked)
        self.take(Spawned, pid=4242)
        return self

    def running(self) -> Story:
        self.spawned()
        self.take(Registered)
        self.take(Beat, status="up")
        assert self.state == "running"
        return self

    def crash(self, after: float = 0.0, **fields: object) -> list[Instruction]:
        return self.take(Exited, after, **{"code": 1, **fields})


def timer(instructions: list[Instruction], name: str) -> float:
    """The seconds of the one timer of this name that is started."""
    [found] = [i.seconds for i in instructions if isinstance(i, StartTimer) and i.timer == name]
    return found


# --- starting ------------------------------------------------------------------------------------


def test_a_start_spawns_a_new_generation():
    story = Story()
    assert story.take(StartAsked) == [Spawn(1)]
    assert (story.state, story.machine.wanted) == ("starting", "up")


@pytest.mark.row("S13")
def test_a_second_start_changes_nothing():
    for story in (Story().spawned(), Story().running()):
        before = story.machine
        assert story.take(StartAsked) == []
        assert story.machine is before


def test_the_start_timeout_runs_from_the_spawn():
    story = Story(replace(POLICY, start_timeout=12.0))
    story.take(StartAsked)
    assert story.take(Spawned, pid=7) == [StartTimer("start", 12.0, 1)]
    assert story.machine.pid == 7


def test_registered_and_a_first_beat_up_make_it_running():
    story = Story().spawned()
    assert story.take(Registered) == []
    assert story.state == "starting"
    assert story.take(Beat, status="up") == [CancelTimer("start")]
    assert (story.state, story.machine.reason) == ("running", "")


def test_signs_that_come_before_the_spawn_is_reported_count():
    story = Story()
    story.take(StartAsked)
    story.take(Registered)
    story.take(Beat, status="up")
    assert story.state == "starting"
    story.take(Spawned, pid=1)
    assert story.state == "running"


@pytest.mark.row("S10")
def test_a_health_path_must_answer_too_where_there_is_one():
    story = Story(Policy.of(Definition(name="goose", healthcheck=HealthCheck("/health"))))
    story.spawned()
    story.take(Registered)
    story.take(Beat, status="up")
    assert story.state == "starting"
    story.take(Beat, status="up", sign="http")
    assert story.state == "running"
    story.take(Beat, status="down", sign="http")
    assert (story.state, story.machine.reason) == ("degraded", "its health path does not answer")


@pytest.mark.row("S9", "S10")
def test_the_start_timeout_ends_it_and_counts_as_a_failure():
    story = Story().spawned()
    story.take(Registered)
    ending = story.take(TimerFired, 30.0, timer="start")
    assert Terminate(1) in ending
    assert story.state == "stopping"
    assert "start timeout" in story.machine.reason
    assert timer(story.take(Exited, code=0), "backoff") == 1.0
    assert (story.state, story.machine.attempts) == ("backoff", 1)
    assert "start timeout" in story.machine.reason


def test_one_that_says_degraded_at_the_start_timeout_is_kept():
    story = Story().spawned()
    story.take(Registered)
    story.take(Beat, status="degraded")
    assert story.take(TimerFired, 30.0, timer="start") == []
    assert story.state == "degraded"


def test_preparing_lines_hold_the_start_timeout_for_ten_minutes():
    story = Story().spawned()
    assert story.take(PreparedLine, 29.0) == [StartTimer("start", 30.0, 1)]
    assert story.take(PreparedLine, 570.0) == [StartTimer("start", 30.0, 1)]
    assert story.take(PreparedLine, 10.0) == []


def test_preparing_lines_of_a_registered_plugin_hold_nothing():
    story = Story().spawned()
    story.take(Registered)
    assert story.take(PreparedLine) == []


def test_a_spawn_that_failed_for_good_is_not_tried_again():
    story = Story()
    story.take(StartAsked)
    assert story.take(SpawnFailed, message="start.sh is not there", retry=False) == [
        CancelTimer("start")
    ]
    assert (story.state, story.machine.reason) == ("failed", "start.sh is not there")


def test_a_spawn_that_failed_for_now_backs_off():
    story = Story()
    story.take(StartAsked)
    assert timer(story.take(SpawnFailed, message="no memory", retry=True), "backoff") == 1.0


# --- exits ---------------------------------------------------------------------------------------


@pytest.mark.row("S3")
def test_an_exit_with_zero_is_an_end_under_on_failure():
    story = Story().running()
    story.take(Exited, code=0)
    assert (story.state, story.machine.wanted) == ("stopped", "down")


@pytest.mark.row("S3")
def test_an_exit_with_zero_backs_off_under_always():
    story = Story(ALWAYS).running()
    assert timer(story.take(Exited, code=0), "backoff") == 1.0


def test_a_crash_is_final_under_never():
    story = Story(NEVER).running()
    assert story.crash() == []
    assert (story.state, story.machine.wanted) == ("failed", "up")


@pytest.mark.parametrize("code", [78, 126, 127])
@pytest.mark.row("S7")
def test_exit_codes_that_no_retry_mends_fail_at_once(code: int):
    for story in (Story().spawned(), Story().running(), Story(ALWAYS).running()):
        story.crash(code=code)
        assert story.state == "failed"
        assert str(code) in story.machine.reason


def test_a_signal_is_a_crash():
    story = Story().running()
    story.crash(code=None, signal=9, text="signal 9 (KILL)")
    assert story.state == "backoff"
    assert story.machine.last_exit == "signal 9 (KILL)"


@pytest.mark.row("S4")
def test_delays_double_and_the_fifth_failure_in_five_minutes_gives_up():
    story = Story()
    story.take(StartAsked)
    delays = []
    for attempt in range(5):
        story.take(Spawned, pid=attempt)
        instructions = story.crash(0.1)
        if story.state == "failed":
            break
        delays.append(timer(instructions, "backoff"))
        assert story.take(TimerFired, delays[-1], timer="backoff")[-1] == Spawn(attempt + 2)
    assert delays == [1.0, 2.0, 4.0, 8.0]
    assert (story.state, story.machine.generation, story.machine.restarts) == ("failed", 5, 4)
    assert timer(instructions, "retry") == 600.0


@pytest.mark.row("S8")
def test_a_plugin_that_was_given_up_is_tried_each_ten_minutes_once():
    story = Story()
    story.machine = replace(story.machine, slow=True)
    story.take(StartAsked)  # clears it
    story.machine = replace(story.machine, slow=True)
    for _ in range(3):
        story.take(Spawned, pid=1)
        assert timer(story.crash(0.1), "retry") == 600.0
        assert story.state == "failed"
        story.take(TimerFired, 600.0, timer="retry")
        assert story.state == "starting"


def test_failures_that_lie_far_apart_never_give_up():
    story = Story().running()
    for _ in range(12):
        assert timer(story.crash(40.0), "backoff") <= 60.0
        story.take(TimerFired, 60.0, timer="backoff")
        story.take(Spawned, pid=1)
    assert story.state == "starting"


@pytest.mark.row("S6")
def test_a_stable_minute_resets_the_delay():
    story = Story().running()
    assert timer(story.crash(10.0), "backoff") == 1.0
    story.take(TimerFired, timer="backoff")
    story.take(Spawned, pid=1)
    story.take(Registered)
    story.take(Beat, status="up")
    assert timer(story.crash(59.0), "backoff") == 2.0
    story.take(TimerFired, timer="backoff")
    story.take(Spawned, pid=1)
    story.take(Registered)
    story.take(Beat, status="up")
    assert timer(story.crash(60.0), "backoff") == 1.0


def test_a_manual_start_forgives_failures():
    story = Story().spawned()
    story.crash()
    assert story.state == "backoff"
    assert story.take(StartAsked) == [CancelTimer("backoff"), Spawn(2)]
    assert (story.machine.attempts, story.machine.failures) == (0, ())
    story.take(Spawned, pid=1)
    assert timer(story.crash(), "backoff") == 1.0


# --- stopping ------------------------------------------------------------------------------------


def test_a_stop_drains_then_ends_then_is_stopped():
    story = Story().running()
    assert story.take(StopAsked) == [Drain(1)]
    assert story.state == "stopping"
    assert story.take(Drained) == [Terminate(1), StartTimer("stop", 10.0, 1)]
    assert story.take(Exited, code=None, signal=15) == [CancelTimer("stop")]
    assert (story.state, story.machine.reason) == ("stopped", "stop asked")


@pytest.mark.row("S13")
def test_a_second_stop_changes_nothing():
    for story in (Story(), Story().running()):
        story.take(StopAsked)
        before = story.machine
        assert story.take(StopAsked) == []
        assert story.machine is before


@pytest.mark.row("S11")
def test_a_stop_during_start_wins_at_once():
    story = Story().spawned()
    assert story.take(StopAsked)[:2] == [CancelTimer("start"), Terminate(1)]
    story.take(Registered)
    story.take(Beat, status="up")
    assert story.state == "stopping"
    story.take(Exited, code=1)
    assert story.state == "stopped"


@pytest.mark.row("S11")
def test_a_stop_before_the_spawn_needs_no_process():
    story = Story()
    story.take(StartAsked)
    assert Terminate(1) in story.take(StopAsked)
    story.take(SpawnFailed, message="stopped before it was spawned", retry=True)
    assert (story.state, story.machine.reason) == ("stopped", "stop asked")


@pytest.mark.row("S11")
def test_a_spawn_that_comes_after_the_stop_is_ended():
    story = Story()
    story.take(StartAsked)
    story.take(StopAsked)
    assert Terminate(1) in story.take(Spawned, pid=1)
    story.take(Exited, code=0)
    assert story.state == "stopped"


@pytest.mark.row("S12")
def test_a_stop_during_backoff_wins_at_once():
    story = Story().spawned()
    story.crash()
    assert story.take(StopAsked) == [CancelTimer("backoff")]
    assert story.state == "stopped"
    assert story.take(TimerFired, timer="backoff") == []
    assert story.state == "stopped"


def test_a_stop_clears_a_failure():
    story = Story(NEVER).running()
    story.crash()
    assert story.take(StopAsked) == [CancelTimer("retry")]
    assert (story.state, story.machine.wanted) == ("stopped", "down")


def test_a_stop_takes_back_a_restart():
    story = Story().running()
    story.take(RestartAsked)
    story.take(StopAsked)
    story.take(Drained)
    story.take(Exited, code=0)
    assert story.state == "stopped"


def test_a_start_while_stopping_starts_again_after_the_end():
    story = Story().running()
    story.take(StopAsked)
    assert story.take(StartAsked) == []
    story.take(Drained)
    assert story.take(Exited, code=0) == [CancelTimer("stop"), Spawn(2)]
    assert story.state == "starting"


def test_a_keeper_that_hangs_is_killed():
    story = Story().running()
    story.take(StopAsked)
    story.take(Drained)
    assert story.take(TimerFired, 10.0, timer="stop") == [Kill(1)]


# --- restart -------------------------------------------------------------------------------------


@pytest.mark.row("S15")
def test_a_restart_drains_and_spawns_only_after_the_exit():
    story = Story().running()
    assert story.take(RestartAsked, why="settings changed") == [Drain(1)]
    assert Terminate(1) in story.take(Drained)
    assert story.take(RestartAsked) == []
    assert story.take(Exited, code=1) == [CancelTimer("stop"), Spawn(2)]
    assert (story.state, story.machine.reason) == ("starting", "settings changed")


def test_a_restart_of_a_stopped_plugin_is_a_start():
    story = Story()
    assert story.take(RestartAsked) == [Spawn(1)]


def test_a_restart_during_start_takes_a_fresh_process():
    story = Story().spawned()
    assert Terminate(1) in story.take(RestartAsked)
    assert Spawn(2) in story.take(Exited, code=0)


# --- health --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["degraded", "down"])
def test_what_a_beat_says_counts_and_is_taken_back(status: str):
    story = Story().running()
    story.take(Beat, status=status, detail="no model")
    assert story.state == "degraded"
    assert story.machine.reason == f"it says that it is {status}: no model"
    story.take(Beat, status="up")
    assert (story.state, story.machine.reason) == ("running", "")


@pytest.mark.row("S25")
def test_silence_degrades_then_loses_then_restarts():
    story = Story().running()
    story.take(Silent, seconds=24.0, quiet=24.0)
    assert story.state == "running"
    story.take(Silent, seconds=25.0, quiet=25.0)
    assert (story.state, story.machine.reason) == ("degraded", "no beat for 25 s")
    story.take(Silent, seconds=35.0, quiet=35.0)
    assert story.machine.reason == "lost: no beat for 35 s"
    assert Terminate(1) in story.take(Silent, seconds=60.0, quiet=60.0)
    assert timer(story.take(Exited, code=None, signal=9), "backoff") == 1.0
    assert "lost" in story.machine.reason


def test_one_that_still_prints_or_may_not_restart_is_only_lost():
    for story, quiet in ((Story().running(), 1.0), (Story(NEVER).running(), 90.0)):
        assert story.take(Silent, seconds=90.0, quiet=quiet) == []
        assert story.state == "degraded"
        assert story.machine.lost
        before = story.machine
        story.take(Silent, seconds=91.0, quiet=quiet)
        assert story.machine is before


def test_a_beat_ends_a_silence_but_nothing_less_does():
    story = Story(Policy(healthcheck=True)).spawned()
    story.take(Registered)
    story.take(Beat, status="up", sign="http")
    story.take(Beat, status="up")
    story.take(Silent, seconds=30.0, quiet=30.0)
    story.take(Beat, status="up", sign="http")
    assert story.state == "degraded"
    story.take(Beat, status="up")
    assert story.state == "running"


def test_a_lost_connection_degrades_until_it_is_back_and_beats():
    story = Story().running()
    story.take(Disconnected)
    assert (story.state, story.machine.reason) == ("degraded", "it has lost its connection")
    story.take(Registered)
    assert story.state == "degraded"
    story.take(Beat, status="up")
    assert story.state == "running"


@pytest.mark.row("S29")
def test_too_much_memory_restarts_with_its_own_reason():
    story = Story().running()
    assert Terminate(1) in story.take(MemoryExceeded, detail="300 MB of 256 MB")
    story.take(Exited, code=None, signal=15)
    assert story.state == "backoff"
    assert story.machine.reason.startswith("memory-limit: 300 MB")


# --- what cannot be ------------------------------------------------------------------------------


@pytest.mark.row("S14")
def test_events_of_an_older_generation_change_nothing():
    story = Story().running()
    story.take(RestartAsked)
    story.take(Drained)
    story.take(Exited, code=0)
    before = story.machine
    assert story.take(Exited, code=1, generation=1) == []
    assert story.take(Beat, status="down", generation=1) == []
    assert story.machine is before


def test_what_cannot_be_is_refused_with_the_story():
    story = Story().running()
    with pytest.raises(InvalidTransition) as refused:
        story.take(Spawned, pid=1)
    assert refused.value.facts["story"] == [
        "start asked → starting: start asked",
        "spawned → starting: start asked",
        "registered → starting: start asked",
        "beat → running",
    ]
    with pytest.raises(InvalidTransition):
        story.take(Exited, code=0, generation=2)
    story.take(Exited, code=0)
    with pytest.raises(InvalidTransition):
        story.take(Exited, code=0)


# --- properties ----------------------------------------------------------------------------------

policies = st.builds(
    Policy,
    restart=st.sampled_from(["never", "on-failure", "always"]),
    healthcheck=st.booleans(),
)
wishes = st.sampled_from([StartAsked, StopAsked, RestartAsked])
statuses = st.sampled_from(["up", "up", "degraded", "down"])


class World:
    """A shell that answers instructions as a real one may: whenever it likes, in any order."""

    def __init__(self, policy: Policy, data: st.DataObject) -> None:
        self.story = Story(policy)
        self.data = data
        self.pending: set[int] = set()
        self.alive: set[int] = set()
        self.ending: set[int] = set()
        self.draining: set[int] = set()
        self.timers: dict[str, tuple[float, int]] = {}

    def take(self, kind: type[Event], **fields: object) -> None:
        self.story.at += self.data.draw(st.sampled_from([0.0, 0.1, 1.0, 20.0, 100.0]))
        before = self.story.machine
        for instruction in self.story.take(kind, **fields):
            self.carry_out(instruction)
        after = self.story.machine
        assert after.generation in (before.generation, before.generation + 1)
        assert bool(self.alive) == after.spawned
        if after.may_spawn:
            assert not self.pending
            assert not self.alive
        if after.state in ("stopped",):
            assert after.wanted == "down"
            assert not self.timers

    def carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Spawn(generation):
                assert not self.pending, "two spawns without an end between"
                assert not self.alive, "two spawns without an end between"
                self.pending.add(generation)
            case Terminate(generation) | Kill(generation):
                self.ending.add(generation)
            case Drain(generation):
                self.draining.add(generation)
            case StartTimer(name, seconds, generation):
                bound = {"start": 30.0, "stop": 10.0, "retry": 600.0, "backoff": 72.0}[name]
                assert 0.8 <= seconds <= bound
                self.timers[name] = (seconds, generation)
            case CancelTimer(name):
                self.timers.pop(name, None)

    def possible(self) -> list[tuple[type[Event], dict[str, object]]]:
        """What the world may answer now."""
        jitter = self.data.draw(st.floats(0.8, 1.2))
        found: list[tuple[type[Event], dict[str, object]]] = []
        for generation in self.pending:
            found.append((Spawned, {"generation": generation, "pid": 1}))
            failed = {"message": "no", "retry": self.data.draw(st.booleans()), "jitter": jitter}
            found.append((SpawnFailed, {"generation": generation, **failed}))
        for generation in self.alive:
            code = self.data.draw(st.sampled_from([0, 1, 78, None]))
            signal = 9 if code is None else None
            end = {"code": code, "signal": signal, "jitter": jitter}
            found.append((Exited, {"generation": generation, **end}))
        for generation in self.draining:
            found.append((Drained, {"generation": generation}))
        for name, (_, generation) in self.timers.items():
            found.append((TimerFired, {"generation": generation, "timer": name}))
        return found

    def answer(self, kind: type[Event], fields: dict[str, object]) -> None:
        generation = fields["generation"]
        assert isinstance(generation, int)
        if kind is Spawned:
            self.alive.add(generation)
        if kind in (Spawned, SpawnFailed):
            self.pending.discard(generation)
        if kind is Exited:
            self.alive.discard(generation)
        if kind is Drained:
            self.draining.discard(generation)
        if kind is TimerFired:
            self.timers.pop(str(fields["timer"]))
        self.take(kind, **fields)

    def signs(self) -> None:
        """Something that the plug-in says or does not say, of this generation or an older one."""
        latest = self.story.machine.generation
        generation = self.data.draw(st.integers(max(latest - 2, 0), latest))
        kind, fields = self.data.draw(
            st.sampled_from(
                [
                    (Registered, {}),
                    (Disconnected, {}),
                    (PreparedLine, {}),
                    (MemoryExceeded, {"detail": "much"}),
                    (Silent, {"seconds": 30.0, "quiet": 30.0}),
                    (Silent, {"seconds": 70.0, "quiet": 70.0}),
                    (Beat, {"status": self.data.draw(statuses)}),
                    (Beat, {"status": self.data.draw(statuses), "sign": "http"}),
                ]
            )
        )
        before = self.story.machine
        self.take(kind, generation=generation, **fields)
        if generation < latest:
            assert self.story.machine is before, "an old generation changed something"

    def live(self, steps: int) -> None:
        for _ in range(steps):
            what = self.data.draw(st.sampled_from(["wish", "answer", "answer", "sign"]))
            answers = self.possible()
            if what == "wish":
                self.take(self.data.draw(wishes))
            elif what == "answer" and answers:
                self.answer(*self.data.draw(st.sampled_from(answers)))
            else:
                self.signs()


@settings(deadline=None, max_examples=60)
@given(policies, st.data())
def test_wanted_down_always_reaches_stopped(policy: Policy, data: st.DataObject):
    world = World(policy, data)
    world.live(25)
    world.take(StopAsked)
    for _ in range(10):
        machine = world.story.machine
        assert machine.wanted == "down"
        if machine.state == "stopped":
            break
        # A fair world: what was told to end ends, what drains is drained.
        assert world.ending & (world.pending | world.alive) or world.draining
        answers = [a for a in world.possible() if a[0] is not TimerFired]
        world.answer(*data.draw(st.sampled_from(answers)))
    assert world.story.state == "stopped"
    assert not world.alive
    assert not world.pending


@settings(deadline=None, max_examples=40)
@given(policies, st.data())
@pytest.mark.row("S14")
def test_an_old_exit_is_never_mistaken_for_a_new_one(policy: Policy, data: st.DataObject):
    world = World(policy, data)
    world.live(25)
    before = world.story.machine
    for generation in range(before.generation):
        assert world.story.take(Exited, code=1, generation=generation) == []
    assert world.story.machine is before


@given(st.lists(st.floats(0.8, 1.2), min_size=1, max_size=12))
@pytest.mark.row("S4", "S5")
def test_every_delay_lies_within_its_bounds(jitters: list[float]):
    story = Story(replace(POLICY, tries=100)).spawned()
    for number, jitter in enumerate(jitters):
        seconds = timer(story.crash(jitter=jitter), "backoff")
        expected = min(60.0, 2.0**number)
        assert 0.8 * expected <= seconds <= 1.2 * expected
        story.take(TimerFired, seconds, timer="backoff")
        story.take(Spawned, pid=1)


@pytest.mark.parametrize("wish", [StopAsked, RestartAsked])
def test_one_that_registered_but_is_not_ready_is_drained_too(wish: type[Event]) -> None:
    story = Story()
    story.take(StartAsked)
    story.take(Spawned, pid=1)
    story.take(Registered)
    assert story.machine.state == "starting"
    assert any(isinstance(i, Drain) for i in story.take(wish))
    assert any(isinstance(i, Terminate) for i in story.take(Drained))


def test_a_drain_that_began_before_the_spawn_was_told_is_kept() -> None:
    story = Story()
    story.take(StartAsked)
    story.take(Registered)
    assert any(isinstance(i, Drain) for i in story.take(StopAsked))
    assert story.take(Spawned, pid=1) == []
    assert any(isinstance(i, Terminate) for i in story.take(Drained))
