"""bkg.toml says how much of logs and records is kept; what it gets wrong is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from bkg_workbench import Host
from bkg_workbench.errors import WorkspaceError
from bkg_workbench.host.settings import FILE, WorkspaceSettings, read
from bkg_workbench.store.logfiles import FILE_BYTES, FILES, LogFile
from bkg_workbench.store.samples import KEPT
from tests.helpers import eventually
from tests.plugins import write_plugin


def test_without_the_file_the_defaults_of_the_stores_count(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found == WorkspaceSettings()
    assert found.kept() == KEPT
    assert (found.logs.file_mb * 1024 * 1024, found.logs.files) == (FILE_BYTES, FILES)


def test_what_a_part_leaves_out_has_its_own_default(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[logs]\nfiles = 9\n[events]\nrows = 5000\n")
    found = read(tmp_path)
    assert (found.logs.files, found.logs.file_mb) == (9, 10.0)
    assert (found.events.rows, found.events.days) == (5000, 30.0)
    assert found.calls == WorkspaceSettings().calls


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("logs = 5", "logs"),
        ("[logs]\nfiles = 0", "logs.files"),
        ("[logs]\nfile_mb = 'much'", "logs.file_mb"),
        ("[logs]\nfile = 5", "file"),
        ("[calls]\ndays = -1", "calls.days"),
        ("[pages]\nspare_kernels = 17", "pages.spare_kernels"),
        ("[pages]\nlease_seconds = 0", "pages.lease_seconds"),
        ("[other]", "other"),
        ("[logs", "Expected"),
        ("\xff", "utf-8"),
    ],
)
def test_what_is_wrong_is_named_and_no_host_starts(workspace: Path, text: str, says: str) -> None:
    (workspace / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(WorkspaceError, match=rf"bkg\.toml cannot be used: .*{says}"):
        Host(workspace)
    (workspace / FILE).unlink()
    with Host(workspace) as host:
        assert host.plugins() == []


def test_fewer_files_than_before_are_given_up_in_files_and_index(workspace: Path) -> None:
    write_plugin(workspace, code="", start='#!/bin/sh\nseq -f "%0200g" 1500\nexec sleep 600\n')
    (workspace / FILE).write_text("[logs]\nfile_mb = 0.1\nfiles = 3\n")
    folder = workspace / ".bkg" / "logs"
    with Host(workspace) as host:
        host.start("demo", wait=False)
        eventually(lambda: host.logs("demo", text="1500"), timeout=20)
        eventually(lambda: len(list(folder.glob("demo.*jsonl"))) == 3)
        many = len(host.logs("demo", limit=10_000))
        host.stop("demo")
    (workspace / FILE).write_text("[logs]\nfile_mb = 0.1\nfiles = 1\n")
    with Host(workspace, autostart=False) as host:
        assert [p.name for p in folder.glob("demo.*jsonl")] == ["demo.jsonl"]
        eventually(lambda: len(host.logs("demo", limit=10_000)) < many / 2)
        left = host.logs("demo", limit=10_000)
        kept = LogFile(folder, "demo", files=1).segments()[0].path.read_text()
        assert len(left) == kept.count("\n")
