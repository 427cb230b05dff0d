"""A start script that cannot run is named, with what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bkg_workbench.supervisor.entrypoint import check_entrypoint


def write(path: Path, content: bytes, mode: int = 0o755) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"#!/bin/sh\n", 0o644, "is not executable; run: chmod +x"),
        (b"#!/bin/sh\r\nexit 0\r\n", 0o755, "Windows line ends"),
        (b"#!/bin/sh\nexit 0\r\n", 0o755, "Windows line ends"),
        (b"echo hello\n", 0o755, "no interpreter line"),
        (b"", 0o755, "no interpreter line"),
        (b"#!\n", 0o755, "names no interpreter"),
        (b"\xef\xbb\xbf#!/bin/sh\n", 0o755, "byte order mark"),
        (b"#!/no/such/shell -e\n", 0o755, "/no/such/shell, which is not there"),
    ],
)
@pytest.mark.row("S7")
def test_what_is_wrong_with_the_file_is_said(tmp_path: Path, content: bytes, mode: int, words: str):
    path = write(tmp_path / "start.sh", content, mode)
    problem = check_entrypoint(path, tmp_path)
    assert problem is not None
    assert words in problem
    assert str(path) in problem


@pytest.mark.row("S7")
def test_what_is_missing_is_said(tmp_path: Path):
    assert "is not there" in str(check_entrypoint(tmp_path / "start.sh", tmp_path))
    assert "its directory" in str(check_entrypoint(tmp_path / "start.sh", tmp_path / "gone"))
    assert "is not a file" in str(check_entrypoint(tmp_path, tmp_path))


@pytest.mark.row("S35")
def test_a_script_outside_is_refused_however_it_is_named(tmp_path: Path):
    inside = tmp_path / "plugins"
    inside.mkdir()
    outside = write(tmp_path / "start.sh", b"#!/bin/sh\n")
    (inside / "link.sh").symlink_to(outside)
    for path in (outside, inside / "link.sh", inside / ".." / "start.sh"):
        assert "lies outside" in str(check_entrypoint(path, inside, inside))
    good = write(inside / "start.sh", b"#!/bin/sh\n")
    assert check_entrypoint(good, inside, inside) is None


def test_scripts_and_programs_pass(tmp_path: Path):
    path = write(tmp_path / "start.sh", b"#!/usr/bin/env bash\nexit 0\n")
    assert check_entrypoint(path, tmp_path) is None
    assert check_entrypoint(Path(sys.executable), tmp_path) is None
