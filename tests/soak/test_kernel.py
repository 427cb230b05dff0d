"""Kernels under interrupts, computing cells and visitors, for longer than `make test` has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.kernels import interrupt_starts
from tests.reliability import Record
from tests.soak.budget import Budget

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.mark.row("K2")
def test_twenty_interrupts_at_twenty_moments_of_a_start(
    workspace: Path, budget: Budget, record: Record
) -> None:
    ended = interrupt_starts(workspace, budget.times(20))
    record.figure("starts that an interrupt ended", ended["interrupted"])
    record.figure("starts that went on", ended["up"])
