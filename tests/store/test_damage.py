"""Damage that SQLite's own check does not see."""

from __future__ import annotations

import pytest

from tests.store.conftest import Bench


@pytest.mark.row("D9")
async def test_a_text_that_is_none_counts_as_damage_and_the_mirror_mends_it(bench: Bench) -> None:
    bench.write_mirror({"name": "goose", "settings": {"n": 1}})
    await bench.open()
    await bench.configs.save("goose", {"n": 2, "fill": "a needle in it"}, 1)
    bench.close()
    file = bench.state / "bkg.db"
    content = file.read_bytes()
    assert b"a needle" in content
    file.write_bytes(content.replace(b"a needle", b"a \xff\xffedle"))
    loaded = await bench.open()
    assert any("was damaged" in notice for notice in loaded.notices)
    assert (await bench.configs.get("goose")).settings["fill"] == "a needle in it"
    assert len(list(bench.state.glob("bkg.db.corrupt-*"))) == 1
    bench.close()
