"""Passwords: their bounds, how they are hashed, and the few threads that do it.

Owns bcrypt. The work is slow on purpose (0.2 s at cost 12), so it runs beside the loop, and no more
than `QUEUE` of it waits: whoever comes then is asked to come again. Passwords are never kept,
logged or part of an error.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from apikeys.faults import invalid
from bkg_workbench.sdk import Overloaded

T = TypeVar("T")

LONGEST = 1024
"""Characters; a longer text is refused before anything is computed from it."""
QUEUE = 8
COST = 12
# Binds the hashes to this program: the hash of another program's leak is of no use here.
_PURPOSE = b"bkg-workbench apikeys password v1"


def normal(password: str) -> bytes:
    """What is hashed: 44 bytes whatever the length, so that bcrypt's limit of 72 is never met.

    Composed and decomposed forms of one text (NFC) are one password. Raises `InvalidParams`
    beyond `LONGEST`.
    """
    if len(password) > LONGEST:
        raise invalid("/password", f"it has more than {LONGEST} characters")
    # A lone surrogate has no UTF-8 form, yet two different ones must stay different.
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(_PURPOSE, text, "sha256"))


def make_hash(password: str, cost: int = COST) -> str:
    """The hash to keep."""
    return bcrypt.hashpw(normal(password), bcrypt.gensalt(cost)).decode()


def check(password: str, kept: str) -> bool:
    """Whether it is the password of the kept hash: one bcrypt computation of its cost."""
    return bcrypt.checkpw(normal(password), kept.encode())


def cost_of(kept: str) -> int:
    """The cost of a kept hash."""
    return int(kept.split("$")[2])


def decoy(cost: int) -> str:
    """A hash of the cost that no password has: what an unknown user's is checked against."""
    salt = base64.b64encode(hashlib.sha256(_PURPOSE).digest()[:16]).decode()
    letters = "".join(c if c.isalnum() else "." for c in salt)[:21]
    return f"$2b${cost:02d}${letters}O" + "." * 31


def require_strength(password: str, shortest: int) -> None:
    """Raise `InvalidParams` for a password that is too short or too long."""
    if len(unicodedata.normalize("NFC", password[: LONGEST + 1])) < shortest:
        raise invalid("/password", f"it needs at least {shortest} characters")
    normal(password)


class Bench:
    """The threads that hash. Its methods belong to the event loop."""

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(
            threads or (1 if (os.cpu_count() or 1) <= 2 else 2), thread_name_prefix="passwords"
        )
        self.waiting = 0

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """The result of `work` in a thread. Raises `Overloaded` where the queue is full."""
        if self.waiting >= QUEUE:
            raise Overloaded(
                "Too many passwords are being checked already; try again in a few seconds.",
                limit=QUEUE,
                retryAfterSeconds=2,
            )
        loop = asyncio.get_running_loop()
        self.waiting += 1
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(lambda _: _on_loop(loop, self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self.waiting -= 1

    def close(self) -> None:
        """Let the threads go; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return  # the loop has ended, and its counting with it
