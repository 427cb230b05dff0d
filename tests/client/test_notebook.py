"""`run`: a coroutine to its end from a script, from a cell, from a callback.

What it does to a running loop stays for that process, so each of these has one of its own.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from bkg_workbench import run


async def double(number: int) -> int:
    return 2 * number


def test_without_a_loop_it_makes_one() -> None:
    assert run(double(4)) == 8

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(fail())


IN_A_CELL = """
import asyncio
from bkg_workbench import run

async def double(number):
    await asyncio.sleep(0)
    return 2 * number

async def fail():
    raise ZeroDivisionError

async def cell():
    results = [run(double(1)), run(double(2))]
    called = []
    asyncio.get_running_loop().call_soon(lambda: called.append(run(double(3))))
    while not called:
        await asyncio.sleep(0)
    try:
        run(fail())
    except ZeroDivisionError:
        results.append("failed")
    background = asyncio.create_task(double(8))
    return [*results, *called, run(double(run(double(2)))), await background]

print(asyncio.run(cell()))
"""


def test_within_a_running_loop_it_runs_to_the_end_and_the_loop_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CELL], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[2, 4, 'failed', 6, 8, 16]"


def test_importing_the_package_applies_nothing_to_asyncio() -> None:
    code = (
        "import asyncio, sys; before = asyncio.run; import bkg_workbench; bkg_workbench.run;"
        "assert asyncio.run is before; assert 'nest_asyncio' not in sys.modules;"
        "assert 'nest_asyncio2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
