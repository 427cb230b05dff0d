"""Fixtures of the long tests."""

from __future__ import annotations

import os

import pytest

from tests.soak.budget import Budget


@pytest.fixture(scope="session")
def budget() -> Budget:
    """From SOAK_MINUTES, which `make soak` hands on."""
    return Budget(float(os.environ.get("SOAK_MINUTES") or 10))
