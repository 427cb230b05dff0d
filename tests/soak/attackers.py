"""Attackers in a process of their own, so that their work is not measured as the Host's.

`python -m tests.soak.attackers KIND PORT TOKEN`: prints one JSON object for each step.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from typing import Any

from bkg_workbench.protocol.envelopes import Log, Register, encode
from tests.bus.raw import Raw, frame, handshake

CONNECTIONS = 1_000
WRONG_PER_SECOND, WRONG_SECONDS = 500, 10
LINES_PER_SECOND, FLOOD_SECONDS = 50_000, 10


def say(**facts: Any) -> None:
    """One step, for the test to read."""
    print(json.dumps(facts), flush=True)


async def idle(port: int, _: str) -> None:
    """A thousand TCP connections that never say a byte."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))
    started = time.monotonic()
    peers = [await Raw.dial(port) for _ in range(CONNECTIONS)]
    say(open=len(peers), seconds=time.monotonic() - started)
    await asyncio.gather(*(peer.ended(60) for peer in peers))
    say(closed=len(peers), seconds=time.monotonic() - started)
    for peer in peers:
        await peer.close()


async def wrong(port: int, _: str) -> None:
    """Handshakes with wrong tokens, evenly, many a second."""
    answers: Counter[int] = Counter()

    async def one() -> None:
        try:
            peer = await Raw.dial(port)
            peer.writer.write(handshake(port, "wrong"))
            answers[await peer.status()] += 1
            await peer.close()
        except OSError:
            answers[0] += 1

    started, tasks = time.monotonic(), []
    for n in range(WRONG_PER_SECOND * WRONG_SECONDS):
        await asyncio.sleep(max(0.0, started + n / WRONG_PER_SECOND - time.monotonic()))
        tasks.append(asyncio.create_task(one()))
    seconds = time.monotonic() - started
    await asyncio.gather(*tasks)
    say(answers=answers, per_second=len(tasks) / seconds)


async def flood(port: int, token: str) -> None:
    """A plug-in that logs many times more than anybody reads."""
    peer = await Raw.open(port, token)
    await peer.send(frame(encode(Register(plugin="flood", port="internal", capabilities=[]))))
    sent, started = 0, time.monotonic()
    many = LINES_PER_SECOND // 50
    while time.monotonic() - started < FLOOD_SECONDS:
        lines = (Log(plugin="flood", level="info", message=f"line {sent + n}") for n in range(many))
        await peer.send(b"".join(frame(encode(line)) for line in lines))
        sent += many
        await asyncio.sleep(max(0.0, started + sent / LINES_PER_SECOND - time.monotonic()))
    say(sent=sent, per_second=sent / (time.monotonic() - started))
    await asyncio.to_thread(sys.stdin.read)
    await peer.close()


if __name__ == "__main__":
    asyncio.run({"idle": idle, "wrong": wrong, "flood": flood}[sys.argv[1]](
        int(sys.argv[2]), sys.argv[3]
    ))  # fmt: skip
