"""The session: each request gets exactly one answer, whatever the two sides and the line do."""

from __future__ import annotations

import tracemalloc
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from bkg_workbench.errors import (
    InvalidParams,
    Overloaded,
    PluginFailure,
    ProtocolError,
    RequestError,
)
from bkg_workbench.protocol.envelopes import (
    Cancel,
    Chunk,
    Health,
    Progress,
    Request,
    Response,
    decode,
    encode,
    raw,
    value,
)
from bkg_workbench.protocol.session import (
    MAX_DATA_BYTES,
    Answered,
    Arrived,
    Ignored,
    Progressed,
    Session,
    Streamed,
    Withdrawn,
    respond,
)


def opened(session: Session, request_id: str = "1", capability: str = "a.b") -> Request:
    """A request of the peer's, open in `session`."""
    request = Request(request_id=request_id, capability=capability)
    assert isinstance(session.receive(request, now=0.0), Arrived)
    return request


# -- asking ---------------------------------------------------------------------------------------
@pytest.mark.row("B13")
def test_a_request_is_answered_once_and_later_answers_are_counted() -> None:
    session = Session()
    request = session.ask("a.b", {"n": 1}, now=0.0, tag="mine")
    answer = Response(request_id=request.request_id, success=True, data=raw(7))
    outcome = session.receive(answer, now=1.0)
    assert isinstance(outcome, Answered)
    assert (outcome.asked.tag, value(outcome.data), outcome.error) == ("mine", 7, None)
    assert isinstance(session.receive(answer, now=1.0), Ignored)
    assert isinstance(session.receive(Response(request_id="x", success=True), now=1.0), Ignored)
    assert session.ignored == 2
    assert not session.asked


def test_ids_are_unique_and_begin_with_the_prefix() -> None:
    session = Session(prefix="h7-")
    ids = [session.ask("a.b", now=0.0).request_id for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(one.startswith("h7-") for one in ids)


def test_a_failed_answer_is_the_error_that_was_raised() -> None:
    session = Session()
    request = session.ask("a.b", now=0.0)
    error = InvalidParams(capability="a.b", errors={"/n": "too big"})
    outcome = session.receive(respond(request.request_id, error=error), now=0.0)
    assert isinstance(outcome, Answered)
    assert type(outcome.error) is InvalidParams
    assert outcome.error.facts == error.facts


def test_a_failed_answer_of_the_seeds_contract_is_a_failure_with_its_sentence() -> None:
    session = Session()
    request = session.ask("a.b", now=0.0)
    plain = Response(request_id=request.request_id, success=False, error="no disk")
    outcome = session.receive(plain, now=0.0)
    assert isinstance(outcome, Answered)
    assert type(outcome.error) is PluginFailure
    assert str(outcome.error) == "no disk"


@pytest.mark.row("B15")
def test_beyond_the_limit_a_request_is_not_opened() -> None:
    session = Session(who="demo", limit=2)
    first = session.ask("a.b", now=0.0)
    session.ask("a.b", now=0.0)
    with pytest.raises(Overloaded, match="demo has 2"):
        session.ask("a.b", now=0.0)
    session.receive(Response(request_id=first.request_id, success=True), now=0.0)
    session.ask("a.b", now=0.0)
    assert len(session.asked) == 2


@pytest.mark.parametrize("bad", [object(), "\ud800", {(1,): 2}])
def test_a_payload_that_cannot_be_sent_opens_nothing(bad: Any) -> None:
    session = Session()
    with pytest.raises(ProtocolError):
        session.ask("a.b", bad, now=0.0)
    assert not session.asked


def test_what_is_larger_than_a_message_is_refused_here_and_costs_no_connection() -> None:
    session = Session()
    large = raw("x" * MAX_DATA_BYTES)
    with pytest.raises(ProtocolError, match="bus carries"):
        session.ask("a.b", large, now=0.0)
    assert not session.asked
    opened(session)
    with pytest.raises(ProtocolError, match="bus carries"):
        session.answer("1", large)
    with pytest.raises(ProtocolError, match="bus carries"):
        session.chunk("1", large)
    answer = session.answer("1", error=ProtocolError(reason="too large"))
    assert answer is not None
    assert not answer.success
    fits = session.ask("a.b", raw("x" * (MAX_DATA_BYTES - 2)), now=0.0)
    assert len(encode(fits)) <= 16 * 1024 * 1024


def test_the_deadline_is_the_askers_and_what_is_left_goes_with_the_request() -> None:
    session = Session()
    timely = session.ask("a.b", now=10.0, timeout=2.5)
    endless = session.ask("a.c", now=10.0)
    late = session.ask("a.d", now=10.0, timeout=-1.0)
    assert (timely.deadline_ms, endless.deadline_ms, late.deadline_ms) == (2500, None, 0)
    assert [a.capability for a in session.expired(12.4)] == ["a.d"]
    assert [a.capability for a in session.expired(12.5)] == ["a.b", "a.d"]
    # They stay open until cancelled: the answer may be on its way.
    assert len(session.asked) == 3
    session.cancel(timely.request_id)
    assert [a.capability for a in session.expired(1e9)] == ["a.d"]


def test_a_cancelled_request_is_told_once_and_its_answer_is_dropped() -> None:
    session = Session()
    request = session.ask("a.b", now=0.0)
    assert session.cancel(request.request_id) == Cancel(request_id=request.request_id)
    assert session.cancel(request.request_id) is None
    assert session.cancel("never") is None
    late = [
        Chunk(request_id=request.request_id, seq=0),
        Progress(request_id=request.request_id, value=1),
        Response(request_id=request.request_id, success=True),
    ]
    assert all(isinstance(session.receive(one, now=0.0), Ignored) for one in late)
    assert session.ignored == 3


# -- streams --------------------------------------------------------------------------------------
def test_chunks_come_in_order_and_a_gap_is_an_error() -> None:
    session = Session()
    request_id = session.ask("a.b", now=0.0, stream=True).request_id
    for seq in range(3):
        outcome = session.receive(Chunk(request_id=request_id, seq=seq, data=raw(seq)), now=0.0)
        assert isinstance(outcome, Streamed)
        assert value(outcome.data) == seq
    for wrong in (2, 4, 0):
        with pytest.raises(ProtocolError) as caught:
            session.receive(Chunk(request_id=request_id, seq=wrong), now=0.0)
        assert caught.value.facts["field"] == "seq"
    assert isinstance(session.receive(Chunk(request_id=request_id, seq=3), now=0.0), Streamed)
    assert isinstance(
        session.receive(Response(request_id=request_id, success=True), now=0.0), Answered
    )


def test_our_chunks_count_from_nought_and_end_with_the_answer() -> None:
    session = Session()
    opened(session)
    chunks = [session.chunk("1", n) for n in range(3)]
    assert [c.seq for c in chunks if c] == [0, 1, 2]
    assert session.answer("1", {"count": 3}) is not None
    assert session.chunk("1", 9) is None
    assert session.chunk("never", 9) is None


def test_a_chunk_that_cannot_be_sent_leaves_no_gap() -> None:
    session = Session()
    opened(session)
    with pytest.raises(ProtocolError):
        session.chunk("1", object())
    following = session.chunk("1", "fine")
    assert following is not None
    assert following.seq == 0


def test_progress_reaches_what_was_asked() -> None:
    session = Session()
    request = session.ask("a.b", now=0.0, tag="mine")
    outcome = session.receive(Progress(request_id=request.request_id, value=0.5), now=0.0)
    assert isinstance(outcome, Progressed)
    assert (outcome.asked.tag, outcome.progress.value) == ("mine", 0.5)


# -- answering ------------------------------------------------------------------------------------
def test_a_request_of_the_peer_gets_one_answer() -> None:
    session = Session()
    opened(session)
    answer = session.answer("1", {"a": 1})
    assert answer is not None
    assert (answer.success, value(answer.data)) == (True, {"a": 1})
    assert session.answer("1", 2) is None
    assert session.answer("never", 2) is None
    # Its id is free again.
    opened(session)


def test_an_answer_that_cannot_be_sent_is_still_owed() -> None:
    session = Session()
    opened(session)
    with pytest.raises(ProtocolError):
        session.answer("1", object())
    answer = session.answer("1", error=RequestError(capability="a.b"))
    assert answer is not None
    assert answer.code == "request_failed"


@pytest.mark.row("J10")
def test_a_request_id_that_is_open_already_is_refused_and_the_first_goes_on() -> None:
    session = Session()
    opened(session)
    with pytest.raises(ProtocolError) as caught:
        session.receive(Request(request_id="1", capability="other.x"), now=0.0)
    assert caught.value.facts["field"] == "requestId"
    assert session.served["1"].request.capability == "a.b"


def test_the_peers_limit_is_its_own() -> None:
    session = Session(limit=2)
    session.ask("a.b", now=0.0)
    opened(session, "1")
    opened(session, "2")
    with pytest.raises(Overloaded):
        session.receive(Request(request_id="3", capability="a.b"), now=0.0)
    assert set(session.served) == {"1", "2"}
    session.answer("1")
    opened(session, "3")


def test_a_cancelled_request_still_gets_its_one_answer_but_no_more_chunks() -> None:
    session = Session()
    opened(session)
    assert isinstance(session.receive(Cancel(request_id="1"), now=0.0), Withdrawn)
    assert isinstance(session.receive(Cancel(request_id="1"), now=0.0), Ignored)
    assert isinstance(session.receive(Cancel(request_id="9"), now=0.0), Ignored)
    assert session.chunk("1", "x") is None
    assert session.answer("1", "x") is not None
    assert session.answer("1", "x") is None


def test_what_is_no_part_of_a_request_is_not_for_the_session() -> None:
    with pytest.raises(ProtocolError, match="health is not expected"):
        Session().receive(Health(plugin="a", status="up"), now=0.0)


def test_closing_gives_back_what_is_pending_and_then_nothing() -> None:
    session = Session()
    mine = session.ask("a.b", now=0.0, tag="x")
    opened(session, "9")
    asked, served = session.close()
    assert [(a.request_id, a.tag) for a in asked] == [(mine.request_id, "x")]
    assert [s.request.request_id for s in served] == ["9"]
    assert session.close() == ([], [])
    assert session.answer("9") is None


def test_facts_that_have_no_json_form_do_not_keep_an_error_from_its_asker() -> None:
    answer = respond("1", error=RequestError("It broke.", what=object()))
    assert (answer.error, answer.code, answer.detail) == ("It broke.", "request_failed", None)
    encode(answer)


@pytest.mark.row("B13")
def test_late_answers_cost_no_memory() -> None:
    session = Session()

    def rounds(count: int) -> None:
        for _ in range(count):
            request_id = session.ask("a.b", now=0.0, timeout=1.0).request_id
            session.cancel(request_id)
            session.receive(Response(request_id=request_id, success=True), now=2.0)

    rounds(1_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        rounds(20_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    for number in range(100_000):
        session.receive(Response(request_id=f"late{number}", success=True), now=2.0)
    assert grown < 20_000
    assert session.ignored == 121_000
    assert not session.asked
    assert not session.served


# -- two of them ----------------------------------------------------------------------------------
class TwoSessions(RuleBasedStateMachine):
    """Two sessions on one line that may lose nothing but time; each also hears nonsense.

    Every message goes through the codec. What was asked is counted by its end: answered, given up
    or lost with the line, exactly one of them each.
    """

    open_ids = Bundle("open_ids")

    @initialize(limit=st.integers(1, 6))
    def connect(self, limit: int) -> None:
        self.limit = limit
        self.sides = (Session(prefix="x", limit=limit), Session(prefix="x", limit=limit))
        self.lines: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.now = 0.0
        self.ends: Counter[tuple[int, str]] = Counter()
        self.asked: set[tuple[int, str]] = set()
        self.given_up: set[tuple[int, str]] = set()
        self.chunks_read: Counter[tuple[int, str]] = Counter()

    def send(self, side: int, envelope: Any) -> None:
        self.lines[side].append(encode(envelope))

    @rule(target=open_ids, side=st.integers(0, 1), timeout=st.none() | st.floats(0, 3))
    def ask(self, side: int, timeout: float | None) -> tuple[int, str]:
        session = self.sides[side]
        full = len(session.asked) >= self.limit
        try:
            request = session.ask("a.b", {"n": 1}, now=self.now, timeout=timeout, stream=True)
        except Overloaded:
            assert full
            return side, "none"
        assert not full
        key = (side, request.request_id)
        assert key not in self.asked
        self.asked.add(key)
        self.send(side, request)
        return key

    @rule(side=st.integers(0, 1), count=st.integers(1, 5))
    def read(self, side: int, count: int) -> None:
        """`side` reads what the other has sent."""
        line = self.lines[1 - side]
        for _ in range(min(count, len(line))):
            envelope = decode(line.popleft())
            try:
                outcome = self.sides[side].receive(envelope, now=self.now)
            except Overloaded as error:
                assert isinstance(envelope, Request)
                self.send(side, respond(envelope.request_id, error=error))
                continue
            match outcome:
                case Answered(asked=asked):
                    key = (side, asked.request_id)
                    assert key not in self.given_up
                    self.ends[key] += 1
                case Streamed(asked=asked, data=data):
                    key = (side, asked.request_id)
                    assert value(data) == self.chunks_read[key]
                    self.chunks_read[key] += 1

    @rule(side=st.integers(0, 1), data=st.data(), fail=st.booleans())
    @precondition(lambda self: any(s.served for s in self.sides))
    def answer(self, side: int, data: Any, fail: bool) -> None:
        session = self.sides[side]
        if not session.served:
            return
        request_id = data.draw(st.sampled_from(sorted(session.served)))
        response = session.answer(request_id, 1, RequestError(capability="a.b") if fail else None)
        assert response is not None
        self.send(side, response)
        assert session.answer(request_id, 2) is None
        if data.draw(st.booleans()):  # a faulty peer answers twice
            self.send(side, response)

    @rule(side=st.integers(0, 1), data=st.data())
    @precondition(lambda self: any(s.served for s in self.sides))
    def stream(self, side: int, data: Any) -> None:
        session = self.sides[side]
        if not session.served:
            return
        request_id = data.draw(st.sampled_from(sorted(session.served)))
        chunk = session.chunk(request_id, session.served[request_id].chunks)
        if chunk is not None:
            self.send(side, chunk)
        else:
            assert session.served[request_id].cancelled

    @rule(key=consumes(open_ids))
    def give_up(self, key: tuple[int, str]) -> None:
        side, request_id = key
        cancel = self.sides[side].cancel(request_id)
        assert (cancel is None) == (key not in self.asked or bool(self.ends[key]))
        if cancel is not None:
            self.ends[key] += 1
            self.given_up.add(key)
            self.send(side, cancel)

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side, session in enumerate(self.sides):
            for asked in session.expired(self.now):
                assert asked.deadline is not None
                assert asked.deadline <= self.now
                assert not self.ends[side, asked.request_id]

    @rule(side=st.integers(0, 1), number=st.integers(1_000, 1_003))
    def nonsense(self, side: int, number: int) -> None:
        """Answers, chunks and cancels for what was never asked."""
        before = self.sides[side].ignored
        for envelope in (
            Response(request_id=f"x{number}", success=True),
            Chunk(request_id=f"x{number}", seq=0),
            Progress(request_id=f"x{number}", value=1),
            Cancel(request_id=f"x{number}"),
        ):
            assert isinstance(self.sides[side].receive(envelope, now=self.now), Ignored)
        assert self.sides[side].ignored == before + 4

    @invariant()
    def each_request_has_one_end_and_no_more(self) -> None:
        if not hasattr(self, "sides"):
            return
        assert all(count == 1 for count in self.ends.values())
        open_now = {(n, i) for n, session in enumerate(self.sides) for i in session.asked}
        assert open_now == self.asked - set(self.ends)
        assert all(len(s.asked) <= self.limit for s in self.sides)
        assert all(len(s.served) <= self.limit for s in self.sides)

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        while any(self.lines) or any(s.served for s in self.sides):
            for side, session in enumerate(self.sides):
                self.read(side, 1_000)
                for request_id in list(session.served):
                    response = session.answer(request_id)
                    assert response is not None
                    self.send(side, response)
        assert set(self.ends) == self.asked
        assert all(count == 1 for count in self.ends.values())
        assert all(s.close() == ([], []) for s in self.sides)


TestTwoSessions = TwoSessions.TestCase
TestTwoSessions.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
