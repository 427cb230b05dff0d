"""The owner goes while others are attached: they hear of it, and exactly one takes over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.takeover import race

pytestmark = pytest.mark.timeout(120)


@pytest.mark.row("K10")
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_of_two_that_want_to_take_over_exactly_one_does(workspace: Path, how: str) -> None:
    assert race(workspace, rounds=2, how=how) <= 20
