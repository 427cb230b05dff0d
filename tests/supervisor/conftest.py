"""Fixtures of the supervisor's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import eventually, kill
from tests.supervisor.trees import Tree, living


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A process tree to be; fails where anything of it is left."""
    made = Tree(tmp_path)
    yield made
    try:
        eventually(lambda: not living(made.instance), timeout=2.0)
    except AssertionError:
        left = living(made.instance)
        kill(left)
        pytest.fail(f"processes are left: {left}", pytrace=False)
