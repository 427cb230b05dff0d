"""store.reconcile and store.mirror: what becomes of edits by hand, folders, and crashes."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.protocol.schema import Change
from tests.store.conftest import Bench

GOOSE = {"name": "goose", "autostart": True, "settings": {"users": 3}}
DUCK = {"name": "duck", "capabilities": ["pond.swim"], "settings": {}}
SECRETIVE = {"properties": {"token": {"type": "string", "format": "password"}}}


@pytest.fixture
async def pond(bench: Bench) -> Bench:
    """A workspace in sync, with goose and duck."""
    bench.write_mirror(GOOSE, DUCK)
    await bench.open()
    return bench


# Nothing to do


async def test_a_first_start_in_a_fresh_checkout_changes_no_byte(bench: Bench) -> None:
    bench.write_mirror(DUCK, {**GOOSE, "args": [], "settings": {"token": "***"}}, indent=7)
    before, stamp = bench.mirror.read_bytes(), bench.mirror.stat().st_mtime_ns
    loaded = await bench.open()
    assert [d.name for d in loaded.definitions] == ["duck", "goose"]
    assert bench.mirror.read_bytes() == before
    assert bench.mirror.stat().st_mtime_ns == stamp
    await bench.configs.remember_schema("goose", SECRETIVE)
    assert bench.mirror.read_bytes() == before


async def test_a_second_start_changes_nothing(pond: Bench) -> None:
    before, stamp = pond.mirror.read_bytes(), pond.mirror.stat().st_mtime_ns
    loaded = await pond.reopen()
    assert loaded.versions == {"goose": 1, "duck": 1}
    assert loaded.notices == []
    assert (pond.mirror.read_bytes(), pond.mirror.stat().st_mtime_ns) == (before, stamp)
    assert await pond.poll(3) is None


async def test_a_file_that_was_only_touched_or_reformatted_is_left_alone(pond: Bench) -> None:
    pond.write_mirror(DUCK, GOOSE, indent=3)
    before = pond.mirror.read_bytes()
    assert await pond.poll(4) is None
    os.utime(pond.mirror, (1, 1))
    assert await pond.poll(4) is None
    assert pond.mirror.read_bytes() == before
    assert (await pond.configs.load()).versions == {"goose": 1, "duck": 1}


# D4: what an edit may be


def edited(**changes: Any) -> bytes:
    return json.dumps([{**GOOSE, **changes}, DUCK], indent=2).encode()


VALID = edited(settings={"users": 4})


@pytest.mark.parametrize("when", ["while it runs", "while it is stopped"])
@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (VALID, "imported"),
        (b"\xef\xbb\xbf" + VALID, "imported"),
        (VALID.replace(b"\n", b"\r\n"), "imported"),
        (VALID[:-20], "aside"),
        (b"{}", "aside"),
        (b"\xff\xfe", "aside"),
        (edited(autostart="yes"), "aside"),
        (edited(name="Not A Name"), "aside"),
        (edited(name="duck"), "aside"),
        (b"[" * 100_000, "aside"),
        (b"", "rewritten"),
        (b" \n", "rewritten"),
        (b"[]", "rewritten"),
        (None, "rewritten"),
    ],
)
@pytest.mark.row("D4")
async def test_every_edit_is_taken_or_kept_beside_and_none_removes_all(
    pond: Bench, content: bytes | None, outcome: str, when: str
) -> None:
    if when == "while it is stopped":
        pond.close()
    if content is None:
        pond.mirror.unlink()
    else:
        pond.mirror.write_bytes(content)
    told = await (pond.poll(4) if when == "while it runs" else pond.open())
    assert told is not None
    assert len(told.notices) == 1
    users = (await pond.configs.get("goose")).settings["users"]
    assert users == (4 if outcome == "imported" else 3)
    assert {d.name for d in told.definitions} == {"goose", "duck"}
    asides = pond.asides()
    assert [a.read_bytes() for a in asides] == ([content] if outcome == "aside" else [])
    if outcome == "aside":
        assert asides[0].name.startswith("plugins.json.invalid-")
        assert asides[0].name in told.notices[0]
        assert stat.S_IMODE(asides[0].stat().st_mode) == 0o600
    assert {item["name"] for item in json.loads(pond.mirror.read_text("utf-8-sig"))} == {
        "goose",
        "duck",
    }
    if outcome == "imported":
        assert pond.mirror.read_bytes() == content
    assert await pond.poll(3) is None


async def test_an_imported_edit_is_a_version_with_its_difference(pond: Bench) -> None:
    pond.mirror.write_bytes(VALID)
    told = await pond.poll(2)
    assert told is not None
    assert "goose (/settings/users)" in told.notices[0]
    newest = (await pond.configs.history("goose"))[0]
    assert (newest.version, newest.author) == (2, "plugins.json")
    assert newest.diff == [Change("replace", "/settings/users", 3, 4)]
    assert told.versions == {"goose": 2, "duck": 1}


async def test_an_error_names_the_item_and_the_field(pond: Bench) -> None:
    pond.mirror.write_bytes(edited(drainSeconds=-1))
    told = await pond.poll(4)
    assert told is not None
    assert "item 1 (goose)" in told.notices[0]
    assert "drainSeconds" in told.notices[0]


async def test_a_definition_taken_out_by_hand_is_removed_and_one_put_in_is_added(
    pond: Bench, plugin_folder: Callable[..., Path]
) -> None:
    plugin_folder("goose")
    pond.write_mirror(DUCK, {"name": "swan"})
    told = await pond.poll(2)
    assert told is not None
    assert {d.name for d in told.definitions} == {"duck", "swan"}
    assert "goose (removed)" in told.notices[0]
    assert await pond.poll(3) is None  # its folder does not bring it back
    loaded = await pond.reopen()
    assert {d.name for d in loaded.definitions} == {"duck", "swan"}


async def test_a_hand_edit_keeps_secrets_and_a_new_one_in_clear_is_masked(pond: Bench) -> None:
    await pond.configs.remember_schema("goose", SECRETIVE)
    await pond.configs.save("goose", {"token": "T"}, 1)
    pond.write_mirror({**GOOSE, "settings": {"token": "***", "users": 9}}, DUCK)
    await pond.poll(2)
    assert (await pond.configs.get("goose")).settings == {"token": "T", "users": 9}
    pond.write_mirror({**GOOSE, "settings": {"token": "NEW-SECRET"}}, DUCK)
    told = await pond.poll(2)
    assert told is not None
    assert (await pond.configs.get("goose")).settings == {"token": "NEW-SECRET"}
    assert b"NEW-SECRET" not in pond.mirror.read_bytes()
    assert "NEW-SECRET" not in " ".join(told.notices)
    assert pond.asides() == []


# D5: both changed


@pytest.mark.row("D5")
async def test_when_both_changed_the_table_wins_and_the_edit_lies_beside(pond: Bench) -> None:
    pond.mirror.write_bytes(VALID)
    await pond.configs.save("goose", {"users": 5}, 1)
    assert pond.mirror.read_bytes() == VALID  # not overwritten before it is looked at
    told = await pond.poll(3)
    assert told is not None
    assert (await pond.configs.get("goose")).settings == {"users": 5}
    assert pond.read_mirror()[0]["settings"] == {"users": 5}
    assert [aside.read_bytes() for aside in pond.asides("conflict")] == [VALID]
    assert pond.asides("conflict")[0].name in told.notices[0]
    assert await pond.poll(3) is None


# D6: torn files


@pytest.mark.row("D6")
async def test_a_file_that_is_still_being_written_is_not_read(pond: Bench) -> None:
    for end in range(10, len(VALID), 25):
        pond.mirror.write_bytes(VALID[:end])
        assert await pond.poll() is None
    pond.mirror.write_bytes(b"")
    assert await pond.poll() is None
    pond.mirror.write_bytes(VALID)
    assert await pond.poll() is None
    told = await pond.poll()
    assert told is not None
    assert (await pond.configs.get("goose")).settings == {"users": 4}
    assert pond.asides() == []


async def test_two_looks_too_close_together_do_not_count_as_settled(pond: Bench) -> None:
    pond.mirror.write_bytes(VALID)
    for _ in range(4):
        await pond.clock.advance(0.1)
        assert await pond.configs.rescan() is None
    await pond.clock.advance(0.3)
    assert await pond.configs.rescan() is not None


@pytest.mark.row("D6")
async def test_an_editor_that_saves_by_renaming_is_seen(pond: Bench) -> None:
    other = pond.plugins / "plugins.json~"
    other.write_bytes(VALID)
    os.replace(other, pond.mirror)
    await pond.poll(2)
    assert (await pond.configs.get("goose")).settings == {"users": 4}


# D7: files that are none


@pytest.mark.row("D7")
async def test_a_link_is_neither_read_nor_written_nor_replaced(bench: Bench) -> None:
    elsewhere = bench.plugins.parent / "elsewhere.json"
    elsewhere.write_text(json.dumps([GOOSE]))
    bench.mirror.symlink_to(elsewhere)
    loaded = await bench.open()
    assert loaded.definitions == []
    assert "it is a link" in loaded.notices[0]
    assert await bench.poll(4) is None
    before = elsewhere.read_bytes()
    definition = (await bench.configs.load()).definitions
    assert definition == []
    bench.mirror.unlink()
    bench.write_mirror(GOOSE)
    assert await bench.poll(2) is not None
    assert elsewhere.read_bytes() == before


async def test_a_mirror_that_became_a_link_keeps_the_settings_in_the_table(pond: Bench) -> None:
    elsewhere = pond.plugins.parent / "elsewhere.json"
    elsewhere.write_bytes(VALID)
    pond.mirror.unlink()
    pond.mirror.symlink_to(elsewhere)
    await pond.configs.save("goose", {"users": 8}, 1)
    told = await pond.poll(3)
    assert told is not None
    assert len(told.notices) == 1
    assert elsewhere.read_bytes() == VALID
    assert (await pond.configs.get("goose")).settings == {"users": 8}
    pond.mirror.unlink()
    await pond.poll(3)
    assert pond.read_mirror()[0]["settings"] == {"users": 8}


@pytest.mark.row("D7")
async def test_a_directory_in_its_place_is_told_and_the_host_goes_on(bench: Bench) -> None:
    bench.mirror.mkdir()
    loaded = await bench.open()
    assert "not a regular file" in loaded.notices[0]
    assert await bench.poll(4) is None


async def test_a_pipe_in_its_place_does_not_hang_the_start(bench: Bench) -> None:
    os.mkfifo(bench.mirror)
    assert "not a regular file" in (await bench.open()).notices[0]


@pytest.mark.row("D7")
async def test_a_mirror_that_cannot_be_written_is_told_once_and_written_later(
    pond: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("bkg_workbench.store.mirror.os.replace", refuse)
        assert await pond.configs.save("goose", {"users": 6}, 1) == 2
        told = await pond.poll(5)
        assert told is not None
        assert len(told.notices) == 1
        assert "permission denied" in told.notices[0]
        assert list(pond.plugins.glob(".plugins.*")) == []
    await pond.poll(2)
    assert pond.read_mirror()[0]["settings"] == {"users": 6}


# D3, D14: crashes


@pytest.mark.row("D3")
async def test_a_crash_between_table_and_mirror_is_made_good_at_the_next_start(
    pond: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bkg_workbench.store.reconcile.Reconciler.publish", lambda self: None)
    await pond.configs.save("goose", {"users": 7}, 1)
    assert pond.read_mirror()[0]["settings"] == {"users": 3}
    loaded = await pond.reopen()
    assert pond.read_mirror()[0]["settings"] == {"users": 7}
    assert loaded.notices == []


async def test_a_crash_after_the_mirror_was_written_is_no_conflict(
    pond: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bkg_workbench.store.table.set_mirrored", lambda *_, **__: None)
        await pond.configs.save("goose", {"users": 7}, 1)
    loaded = await pond.reopen()
    assert loaded.notices == []
    assert pond.asides() == []
    assert loaded.versions["goose"] == 2


@pytest.mark.row("D14")
async def test_what_a_killed_writer_left_is_removed(bench: Bench) -> None:
    left = bench.plugins / ".plugins.plugins.json.123-abc.tmp"
    left.write_text("half")
    kept = bench.plugins / ".gitignore"
    kept.write_text("")
    await bench.open()
    assert not left.exists()
    assert kept.exists()


async def test_the_mirror_keeps_its_mode_and_its_order(pond: Bench) -> None:
    pond.mirror.chmod(0o640)
    await pond.configs.save("goose", {"users": 4}, 1)
    await pond.configs.save("duck", {"depth": 2}, 1)
    assert stat.S_IMODE(pond.mirror.stat().st_mode) == 0o640
    assert [item["name"] for item in pond.read_mirror()] == ["goose", "duck"]


# Folders


async def test_a_plug_ins_folder_without_a_definition_gets_one(
    pond: Bench, plugin_folder: Callable[..., Path]
) -> None:
    plugin_folder("swan", {"wings": 2})
    told = await pond.poll(2)
    assert told is not None
    swan = next(d for d in told.definitions if d.name == "swan")
    assert (swan.entrypoint, swan.autostart, swan.settings) == ("start.sh", False, {})
    assert pond.configs.effective(swan, swan.settings) == {"wings": 2}
    assert "swan" in told.notices[0]
    assert "swan" in [item["name"] for item in pond.read_mirror()]


async def test_folders_are_found_at_the_start_too(
    bench: Bench, plugin_folder: Callable[..., Path]
) -> None:
    plugin_folder("swan")
    (bench.plugins / "Not-A-Plug-in").mkdir()
    (bench.plugins / "no-script").mkdir()
    (bench.plugins / "linked").symlink_to(bench.plugins / "swan")
    loaded = await bench.open()
    assert [d.name for d in loaded.definitions] == ["swan"]


async def test_a_folder_that_other_definitions_use_is_no_plug_in_of_its_own(
    bench: Bench, plugin_folder: Callable[..., Path]
) -> None:
    plugin_folder("llmserver")
    bench.write_mirror(
        {"name": "llm-a", "entrypoint": "llmserver/start.sh"},
        {"name": "llm-b", "entrypoint": "llmserver/start.sh"},
    )
    before = bench.mirror.read_bytes()
    loaded = await bench.open()
    assert [d.name for d in loaded.definitions] == ["llm-a", "llm-b"]
    assert bench.mirror.read_bytes() == before


async def test_a_removed_plug_in_comes_back_when_its_folder_comes_anew(
    pond: Bench, plugin_folder: Callable[..., Path]
) -> None:
    folder = plugin_folder("goose")
    await pond.configs.remove("goose", "ann")
    assert await pond.poll(3) is None
    (folder / "start.sh").unlink()
    folder.rmdir()
    await pond.poll(3)
    plugin_folder("goose")
    told = await pond.poll(3)
    assert told is not None
    assert "goose" in {d.name for d in told.definitions}
