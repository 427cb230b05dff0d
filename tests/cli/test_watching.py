"""What counts as a change of a plug-in's folder, and when it is told."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import pytest

from bkg_workbench.cli import watching
from bkg_workbench.cli.watching import Marks, changes, difference, scan


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(watching, name, 0.001)


def write(folder: Path, name: str, text: str = "") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_caches_data_and_an_editors_own_files_do_not_count(tmp_path: Path) -> None:
    for name in (
        "__pycache__/a.pyc", "pkg/__pycache__/a.pyc", "data/x", "node_modules/ws/index.js",
        "venv/bin/python", ".git/HEAD", ".plugin.py.swp", "plugin.py~", "#plugin.py#", "4913",
        "out.log", "x.tmp",
    ):  # fmt: skip
        write(tmp_path, name)
    assert scan(tmp_path) == {}
    for name in ("plugin.py", "pkg/data/table.json", "start.sh", "config.json", "a b/ü.py"):
        write(tmp_path, name)
    assert set(scan(tmp_path)) == {
        "plugin.py", "pkg/data/table.json", "start.sh", "config.json", "a b/ü.py"
    }  # fmt: skip


def test_content_time_mode_coming_and_going_are_changes(tmp_path: Path) -> None:
    for name in ("content", "time", "mode", "goes", "stays"):
        write(tmp_path, name)
    before = scan(tmp_path)
    write(tmp_path, "content", "longer")
    os.utime(tmp_path / "time", ns=(1, 1))
    (tmp_path / "mode").chmod(0o700)
    (tmp_path / "goes").unlink()
    write(tmp_path, "comes")
    assert difference(before, scan(tmp_path)) == ["comes", "content", "goes", "mode", "time"]


def test_a_folder_that_goes_or_leads_in_a_circle_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    write(tmp_path, "file")
    assert set(scan(tmp_path)) <= {"file", "circle"}
    assert scan(tmp_path / "none") == {}


async def told(states: list[Marks], *, busy: bool = False) -> list[list[str]]:
    """What is told when these are seen one after the other, the last for ever."""
    seen: list[list[str]] = []
    done = asyncio.Event()

    def look(_: Path) -> Marks:
        state = states.pop(0) if len(states) > 1 else states[0]
        if len(states) == 1:
            loop.call_soon_threadsafe(done.set)
        return state

    async def follow() -> None:
        async with aclosing(changes(Path("x"), scan=look)) as found:
            async for changed in found:
                seen.append(changed)
                if busy:
                    await asyncio.sleep(0.02)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(follow())
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return seen


A, B, C = ({"f": (number, 0, 0)} for number in range(3))


async def test_a_burst_is_told_once_when_it_is_over() -> None:
    more = {**B, "g": (0, 0, 0)}
    assert await told([A, B, more, {**C, "g": (0, 0, 0)}]) == [["f", "g"]]


async def test_what_is_undone_in_the_same_moment_is_not_told() -> None:
    assert await told([A, B, A]) == []


async def test_what_changes_while_one_is_busy_is_told_next() -> None:
    assert await told([A, B, B, C], busy=True) == [["f"], ["f"]]


async def test_a_file_that_never_rests_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "LONGEST_SECONDS", 0.05)
    states: list[Marks] = [{"f": (number, 0, 0)} for number in range(500)]
    assert len(await told(states)) > 1
