"""More than ten thousand hostile frames against a whole Host, over real WebSockets.

Every frame is followed by a request that has to be answered: so it is seen what became of the
frame before it, and that its reader lives.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bkg_workbench import Host
from bkg_workbench.bus import connection
from bkg_workbench.bus.channel import Channel, ChannelClosed
from bkg_workbench.bus.websocket import connect
from bkg_workbench.errors import ProtocolError, by_code
from bkg_workbench.protocol.envelopes import (
    Error,
    Register,
    Request,
    Response,
    UnknownType,
    Welcome,
    decode,
    encode,
)
from tests.hostile import corpus, damaged
from tests.plugins import write_plugin
from tests.reliability import Record
from tests.soak.budget import Budget

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

DOCUMENTED = {1003, 1007, 1009, 4400}
"""The codes that a connection may be closed with for what it sent, as docs/protocol.md has them."""


class Attacker:
    """One peer that sends anything; `outcomes` counts what came of it."""

    def __init__(self, host: Host, kind: str) -> None:
        engine = host._engine
        self._url = f"ws://127.0.0.1:{engine.port}/" + ("attach" if kind == "client" else "bus")
        self._token = engine.token if kind == "client" else engine.tokens.issue("demo", 1)
        self._kind = kind
        self._channel: Channel | None = None
        self._numbers = itertools.count()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.ended = 0

    async def _open(self) -> Channel:
        if self._channel is None:
            self._channel = await connect(self._url, token=self._token)
            if self._kind == "plugin":
                meta = {"protocol": 1}
                first = Register(plugin="demo", port=1, capabilities=["demo.work"], meta=meta)
                await self._channel.send(encode(first))
            assert isinstance(decode(await self._channel.receive()), Welcome)
        return self._channel

    async def send(self, frame: bytes) -> None:
        """Send it, and look what becomes of it."""
        try:
            async with asyncio.timeout(30):
                outcome = await self._outcome(frame)
        except ChannelClosed as closed:
            self._channel = None
            outcome = f"closed with {closed.code}"
            if closed.code not in DOCUMENTED:
                self.ended += 1
                self.wrong.append(f"{outcome}: {frame[:300]!r}")
        except TimeoutError:
            await self.close()
            self.ended += 1
            outcome = "not answered"
            self.wrong.append(f"{outcome}: {frame[:300]!r}")
        self.outcomes[outcome] += 1

    async def _outcome(self, frame: bytes) -> str:
        channel = await self._open()
        await channel.send(frame)
        mark = f"mark-{next(self._numbers)}"
        await channel.send(encode(Request(request_id=mark, capability="nobody.serves.this")))
        errors: list[Error] = []
        while True:
            answer = decode(await channel.receive())
            if isinstance(answer, Error):
                errors.append(answer)
            elif isinstance(answer, Response) and answer.request_id == mark:
                return self._judged(frame, errors)

    def _judged(self, frame: bytes, errors: list[Error]) -> str:
        """What the frame deserved against what it got."""
        try:
            deserved = decode(frame).kind
        except UnknownType:
            deserved = "unknown"
        except ProtocolError:
            deserved = "refused"
        codes = [error.code for error in errors]
        unknown = [code for code in codes if code not in by_code()]
        if len(codes) > 1 or unknown or (deserved == "refused") > len(codes):
            self.wrong.append(f"{deserved}, answered {codes}: {frame[:300]!r}")
        if deserved == "unknown" and codes:
            self.wrong.append(f"a type of a later version was answered {codes}: {frame[:300]!r}")
        if codes:
            return "answered by an error"
        return "ignored as of a later version" if deserved == "unknown" else "taken as valid"

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None


def shared(frames: Iterable[bytes], seed: int, count: int) -> Iterator[bytes]:
    """The whole corpus, then damage up to `count`."""
    return itertools.islice(itertools.chain(frames, damaged(seed)), count)


@pytest.mark.parametrize("kind", ["plugin", "client"])
@pytest.mark.row("J8")
async def test_no_frame_ends_a_reader_or_goes_unanswered(
    kind: str,
    workspace: Path,
    budget: Budget,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # That five bad messages in a minute end a connection is tried elsewhere.
    monkeypatch.setattr(connection, "STRIKES", 10**9)
    write_plugin(workspace, start="#!/bin/sh\nexit 78\n", capabilities=["demo.work"])
    least = sum(1 for _ in corpus())
    count = max(least + 1_000, budget.times(12_000))
    with Host(workspace) as host, caplog.at_level(logging.ERROR):
        attacker = Attacker(host, kind)
        for frame in shared(corpus(), seed=len(kind), count=count):
            await attacker.send(frame)
        await attacker.close()
        broken = host.logs("host", text="internal_error")
        # The Host is what it was.
        assert host.call("host.plugin.get", {"name": "demo"})["definition"]["name"] == "demo"
    record.figure("hostile frames", count)
    record.figure("readers ended", attacker.ended)
    for outcome, number in sorted(attacker.outcomes.items()):
        record.figure(outcome, number)
    assert attacker.wrong == []
    assert list(broken) == []
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert sum(attacker.outcomes.values()) == count
