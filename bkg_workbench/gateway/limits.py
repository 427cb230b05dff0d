"""The gateway's limits: how much, how many and how long.

Owns the numbers and why they are so; `gateway.framing`, `gateway.wire` and `gateway.app` keep them.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and counts; tests make them small."""

    head_seconds: float = 5.0
    body_seconds: float = 30.0
    keep_alive_seconds: float = 15.0
    write_seconds: float = 60.0
    """A client that reads nothing of its answer for so long is let go."""
    beat_seconds: float = 15.0
    """A silent stream says a comment so often, so that whatever stands between knows it lives."""
    linger_seconds: float = 1.0
    """After a refusal what the client still sends is read and dropped, so that it can read why."""
    auth_seconds: float = 5.0
    drain_seconds: float = 5.0
    head_bytes: int = 16 * KIB
    headers: int = 100
    body_bytes: int = 4 * MIB
    admin_body_bytes: int = 2 * MIB
    connections: int = 128
    connections_per_client: int = 32
    calls_per_capability: int = 64
    unread_bytes: int = MIB
    """What of a stream its client may leave unread before the stream ends."""
    off_loop_bytes: int = 64 * KIB
    """Bodies above this are parsed in a thread: 4 MiB would stall the bus for 40 ms and more."""
