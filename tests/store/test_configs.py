"""store.configs: saving, versions, secrets, effective settings and what a start finds."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bkg_workbench.errors import ConfigConflict, ConfigInvalid, PluginNotFound, StoreError
from bkg_workbench.protocol.definition import Definition
from tests.store.conftest import Bench

SCHEMA = {
    "type": "object",
    "properties": {
        "users": {"type": "integer", "minimum": 1, "default": 10},
        "target": {"type": "string"},
        "token": {"type": "string", "writeOnly": True},
        "deep": {"type": "object", "properties": {"a": {"default": 1}, "list": {"default": [1]}}},
    },
    "required": ["target"],
    "additionalProperties": False,
}


@pytest.fixture
async def goose(bench: Bench) -> Bench:
    """A workspace with one plug-in, goose, at version 1."""
    bench.write_mirror({"name": "goose", "settings": {"target": "http://a"}})
    await bench.open()
    return bench


async def test_saving_makes_a_version_with_author_time_reason_and_difference(goose: Bench) -> None:
    settings = {"target": "http://b", "users": 20}
    assert await goose.configs.save("goose", settings, 1, author="ann", reason="more") == 2
    newest, first = await goose.configs.history("goose")
    assert (newest.version, newest.author, newest.reason) == (2, "ann", "more")
    assert newest.at == goose.clock.now_ms()
    assert [(c.op, c.path, c.before, c.after) for c in newest.diff] == [
        ("replace", "/settings/target", "http://a", "http://b"),
        ("add", "/settings/users", None, 20),
    ]
    assert newest.settings == settings
    assert (first.version, first.author) == (1, "plugins.json")


async def test_the_table_has_the_columns_that_its_readers_know(goose: Bench) -> None:
    goose.close()
    with sqlite3.connect(goose.state / "bkg.db") as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(plugins)")]
        row = connection.execute("SELECT name, config, autostart, version FROM plugins").fetchone()
    connection.close()
    assert columns == [
        "name", "description", "capabilities", "autostart", "config", "definition", "version",
        "updated_at", "updated_by",
    ]  # fmt: skip
    assert row == ("goose", '{"target":"http://a"}', 0, 1)


async def test_a_stale_version_is_refused_and_changes_nothing(goose: Bench) -> None:
    await goose.configs.save("goose", {"target": "b"}, 1)
    with pytest.raises(ConfigConflict) as caught:
        await goose.configs.save("goose", {"target": "c"}, 1)
    assert caught.value.facts == {"plugin": "goose", "version": 1, "current": 2}
    assert (await goose.configs.get("goose")).settings == {"target": "b"}


async def test_equal_settings_make_no_version(goose: Bench) -> None:
    assert await goose.configs.save("goose", {"target": "http://a"}, 1) == 1
    assert len(await goose.configs.history("goose")) == 1


async def test_invalid_settings_are_refused_with_pointers(goose: Bench) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        await goose.configs.save("goose", {"users": 0, "user": 1}, 1, SCHEMA)
    assert caught.value.facts["errors"] == {
        "/target": "is required",
        "/users": "must be at least 1",
        "/user": "is not known",
    }
    assert (await goose.configs.get("goose")).version == 1


async def test_the_schema_seen_last_checks_before_the_next_register(goose: Bench) -> None:
    await goose.configs.remember_schema("goose", SCHEMA)
    loaded = await goose.reopen()
    assert loaded.schemas == {"goose": SCHEMA}
    with pytest.raises(ConfigInvalid):
        await goose.configs.save("goose", {"users": 0}, 1)


async def test_a_schema_not_fit_for_use_is_told_at_saving(goose: Bench) -> None:
    with pytest.raises(ConfigInvalid, match="not inside the schema"):
        await goose.configs.save("goose", {"a": 1}, 1, {"$ref": "http://x/"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800"])
async def test_what_has_no_json_form_is_refused(goose: Bench, value: object) -> None:
    with pytest.raises(ConfigInvalid, match="JSON"):
        await goose.configs.save("goose", {"a": value}, 1)


async def test_a_plug_in_that_is_not_there_is_told_with_those_that_are(goose: Bench) -> None:
    for ask in (
        goose.configs.get("duck"),
        goose.configs.history("duck"),
        goose.configs.save("duck", {}, 1),
        goose.configs.restore("duck", 1),
        goose.configs.remove("duck", "ann"),
    ):
        with pytest.raises(PluginNotFound, match="goose"):
            await ask


# Versions


@pytest.mark.row("D16")
async def test_any_of_the_last_versions_can_be_restored(goose: Bench) -> None:
    for users in range(1, 25):
        await goose.configs.save("goose", {"target": "t", "users": users}, users)
    for version in range(6, 26):
        await goose.configs.restore("goose", version, author="bob")
        assert (await goose.configs.get("goose")).settings["users"] == version - 1
    newest = (await goose.configs.history("goose"))[0]
    assert (newest.version, newest.author, newest.reason) == (45, "bob", "version 25 restored")


async def test_restoring_checks_against_the_schema_of_today(goose: Bench) -> None:
    await goose.configs.save("goose", {"target": "t", "old": True}, 1)
    await goose.configs.save("goose", {"target": "t"}, 2)
    with pytest.raises(ConfigInvalid, match="/old"):
        await goose.configs.restore("goose", 2, SCHEMA)


async def test_a_version_that_is_not_there_is_told(goose: Bench) -> None:
    with pytest.raises(ConfigInvalid, match="no version 9; kept are 1 to 1"):
        await goose.configs.restore("goose", 9)


async def test_a_removed_plug_in_keeps_its_history_for_when_it_comes_back(goose: Bench) -> None:
    definition = (await goose.configs.get("goose")).definition
    await goose.configs.remove("goose", "ann")
    assert goose.read_mirror() == []
    assert await goose.configs.set_definition(definition, "bob") == 3
    assert [v.author for v in await goose.configs.history("goose")] == [
        "bob",
        "ann",
        "plugins.json",
    ]


async def test_setting_a_definition_keeps_secrets_and_fields_that_are_not_known(
    bench: Bench,
) -> None:
    bench.write_mirror({"name": "goose", "settings": {"token": "T"}, "team": "blue"})
    loaded = await bench.open()
    assert "team" in loaded.notices[0]
    await bench.configs.remember_schema("goose", SCHEMA)
    shown = (await bench.configs.load()).definitions[0]
    assert shown.settings == {"token": "***"}
    await bench.configs.set_definition(msgspec.structs.replace(shown, autostart=True), "ann")
    stored = await bench.configs.get("goose")
    assert stored.definition.autostart
    assert stored.settings == {"token": "T"}
    assert bench.read_mirror()[0]["team"] == "blue"


# Secrets


@pytest.mark.row("D13")
async def test_secrets_lie_in_the_database_and_the_runtime_file_only(goose: Bench) -> None:
    await goose.configs.remember_schema("goose", SCHEMA)
    await goose.configs.save("goose", {"target": "t", "token": "s3cr3t"}, 1, author="ann")
    await goose.configs.save("goose", {"target": "t", "token": "0ther-s3cr3t"}, 2, author="ann")
    runtime = goose.state / "plugins" / "goose" / "config.runtime.json"
    stored = await goose.configs.get("goose")
    await goose.configs.write_runtime("goose", stored.settings, runtime)
    assert json.loads(runtime.read_bytes()) == {"target": "t", "token": "0ther-s3cr3t"}
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o600
    assert stat.S_IMODE(runtime.parent.stat().st_mode) == 0o700
    assert b"s3cr3t" not in goose.mirror.read_bytes()
    shown = msgspec.json.encode([await goose.configs.history("goose"), await goose.configs.load()])
    assert b"s3cr3t" not in shown
    assert b"s3cr3t" not in repr(await goose.configs.history("goose")).encode()


async def test_a_mask_written_back_keeps_the_secret(goose: Bench) -> None:
    await goose.configs.remember_schema("goose", SCHEMA)
    await goose.configs.save("goose", {"target": "t", "token": "T"}, 1)
    await goose.configs.save("goose", {"target": "u", "token": "***"}, 2)
    assert (await goose.configs.get("goose")).settings == {"target": "u", "token": "T"}


async def test_a_secret_leaves_the_mirror_as_soon_as_the_schema_tells_of_it(bench: Bench) -> None:
    bench.write_mirror({"name": "goose", "settings": {"token": "T"}})
    await bench.open()
    await bench.configs.remember_schema("goose", SCHEMA)
    assert bench.read_mirror()[0]["settings"] == {"token": "***"}
    assert (await bench.configs.get("goose")).settings == {"token": "T"}
    assert await bench.poll(3) is None


# Effective settings


async def test_settings_lie_over_the_plug_ins_file_and_that_over_the_schema(
    goose: Bench, plugin_folder: Callable[..., Path]
) -> None:
    plugin_folder("goose", {"users": 5, "deep": {"list": [2, 3], "b": 2}})
    definition = Definition(name="goose")
    effective = goose.configs.effective(definition, {"deep": {"b": 3}}, SCHEMA)
    assert effective == {"users": 5, "deep": {"a": 1, "list": [2, 3], "b": 3}}
    assert goose.configs.effective(Definition(name="duck"), {}, None) == {}


async def test_two_definitions_may_share_a_folder_and_its_file(
    goose: Bench, plugin_folder: Callable[..., Path]
) -> None:
    plugin_folder("llmserver", {"port": 1})
    second = Definition(name="llm-large", entrypoint="llmserver/start.sh")
    assert goose.configs.effective(second, {}) == {"port": 1}


@pytest.mark.parametrize("content", ["[1]", "{", "\xff"])
async def test_a_plug_ins_file_that_cannot_be_read_is_told(
    goose: Bench, plugin_folder: Callable[..., Path], content: str
) -> None:
    (plugin_folder("goose") / "config.json").write_text(content, encoding="latin-1")
    definition = Definition(name="goose")
    with pytest.raises(ConfigInvalid, match=r"config\.json of goose"):
        goose.configs.effective(definition, {})
    assert set(goose.configs.problems(definition, {}, SCHEMA)) == {""}


async def test_problems_are_those_of_the_effective_settings(goose: Bench) -> None:
    definition = Definition(name="goose")
    assert goose.configs.problems(definition, {"target": "x"}, SCHEMA) == {}
    assert goose.configs.problems(definition, {}, SCHEMA) == {"/target": "is required"}
    assert goose.configs.problems(definition, {}, None) == {}


# Failing


async def test_a_failed_save_leaves_table_mirror_and_answers_as_they_were(
    goose: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = goose.mirror.read_bytes()

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("bkg_workbench.store.table._add_version", fail)
    with pytest.raises(StoreError, match="full"):
        await goose.configs.save("goose", {"target": "new"}, 1)
    stored = await goose.configs.get("goose")
    assert (stored.version, stored.settings) == (1, {"target": "http://a"})
    assert goose.mirror.read_bytes() == before


@pytest.mark.row("D9")
async def test_a_lost_database_is_rebuilt_from_the_mirror(goose: Bench) -> None:
    await goose.configs.remember_schema("goose", SCHEMA)
    await goose.configs.save("goose", {"target": "t", "token": "T"}, 1)
    goose.close()
    (goose.state / "bkg.db").write_bytes(b"not a database " * 500)
    loaded = await goose.open()
    assert (await goose.configs.get("goose")).settings == {"target": "t"}
    assert [text.split()[0] for text in loaded.notices] == ["bkg.db", "goose:"]
    assert "/token" in loaded.notices[1]
    assert goose.read_mirror()[0]["settings"] == {"target": "t", "token": "***"}
    await goose.configs.save("goose", {"target": "t", "token": "again"}, 1)
    assert (await goose.configs.get("goose")).settings["token"] == "again"


async def test_a_row_that_cannot_be_read_counts_as_damage(goose: Bench) -> None:
    goose.close()
    with sqlite3.connect(goose.state / "bkg.db") as connection:
        connection.execute("UPDATE plugins SET config = '{'")
    connection.close()
    loaded = await goose.open()
    assert "damaged" in loaded.notices[0]
    assert (await goose.configs.get("goose")).settings == {"target": "http://a"}


async def test_settings_that_no_frame_could_carry_are_refused(goose: Bench) -> None:
    deep: dict[str, object] = {}
    for _ in range(25):
        deep = {"deeper": deep}
    stored = await goose.configs.get("goose")
    with pytest.raises(ConfigInvalid, match="20 levels"):
        await goose.configs.save("goose", deep, stored.version)
