"""The settings of apikeys; their schema is the `configSchema` that the form is made from."""

from __future__ import annotations

from typing import Annotated

from apikeys.registry import Rules
from bkg_workbench.sdk import Meta, Settings


class ApikeysSettings(Settings):
    """How long who may stay, and what a password must be."""

    session_hours: Annotated[
        float,
        Meta(
            title="Session",
            description="Hours after which a session ends, counted from the login.",
            ge=0.1,
            le=24,
        ),
    ] = 24
    sessions_per_user: Annotated[
        int,
        Meta(
            title="Sessions of a user",
            description="How many sessions a user may have; the oldest ends when one more begins.",
            ge=1,
            le=100,
        ),
    ] = 10
    shortest_password: Annotated[
        int,
        Meta(
            title="Shortest password",
            description="Characters that a new password needs at least.",
            ge=8,
            le=64,
        ),
    ] = 12
    bcrypt_cost: Annotated[
        int,
        Meta(
            title="Cost of a password's hash",
            description="bcrypt's cost: one more doubles the work of a login, and of a guess. "
            "Present hashes are brought to it at their user's next login.",
            ge=10,
            le=16,
        ),
    ] = 12
    overlap_hours: Annotated[
        float,
        Meta(
            title="Overlap of a rotation",
            description="Hours for which the old secret of a key stays valid beside the new one, "
            "where the request does not say.",
            ge=0,
            le=720,
        ),
    ] = 24
    telemetry_seconds: Annotated[
        int,
        Meta(
            title="Sample interval",
            description="Seconds between two samples of processor time, memory and counts.",
            ge=1,
            le=3600,
        ),
    ] = 5

    def rules(self) -> Rules:
        """The settings in the units of the domain."""
        return Rules(
            session_ms=int(self.session_hours * 3_600_000),
            sessions_per_user=self.sessions_per_user,
            cost=self.bcrypt_cost,
            shortest_password=self.shortest_password,
            overlap_ms=int(self.overlap_hours * 3_600_000),
        )
