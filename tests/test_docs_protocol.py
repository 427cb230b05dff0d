"""docs/protocol.md against the code: every example, both plug-ins, and the tables."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import textwrap
from pathlib import Path

import pytest

import bkg_workbench.bus.hub as hub
import bkg_workbench.sdk as sdk
from bkg_workbench.bus.channel import Channel
from bkg_workbench.bus.websocket import serve
from bkg_workbench.errors import by_code
from bkg_workbench.protocol import envelopes
from bkg_workbench.protocol.envelopes import Health, Log, Register, decode, encode
from tests.sdk.fake_host import FakeHost

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "tests" / "node"
TEXT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("json"))
def test_each_example_is_an_envelope_whose_every_field_is_known(block: str) -> None:
    envelope = decode(block.encode())
    assert json.loads(encode(envelope)) == json.loads(block)


def test_each_envelope_has_an_example() -> None:
    shown = {type(decode(block.encode())) for block in blocks("json")}
    assert shown == set(envelopes.AnyEnvelope.__args__)


def test_the_table_of_errors_is_the_tree_of_errors() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (.+) \|$", TEXT, re.MULTILINE)
    expected = [
        (code, str(kind.status), (kind.__doc__ or "").strip().splitlines()[0])
        for code, kind in sorted(by_code().items())
    ]
    assert rows == expected


def test_the_close_codes_are_the_hubs() -> None:
    shown = {int(code) for code in re.findall(r"^\| (44\d\d) \|", TEXT, re.MULTILINE)}
    codes = (hub.BAD_ENVELOPE, hub.NO_TOKEN, hub.WRONG_NAME, hub.NO_REGISTER, hub.NAME_LIVE)
    assert shown == set(codes)


def test_the_python_plugin_is_the_sdks_own_example() -> None:
    example = textwrap.dedent((sdk.__doc__ or "")[(sdk.__doc__ or "").index("    from ") :])
    assert blocks("python") == [example.rstrip() + "\n"]


def test_the_node_plugin_is_the_one_that_is_tested() -> None:
    assert blocks("js") == [(NODE / "seed_plugin.mjs").read_text(encoding="utf-8")]


async def test_the_node_plugin_registers_beats_logs_answers_and_ends(
    tmp_path: Path, node_modules: Path
) -> None:
    for name in ("seed_plugin.mjs", "start.sh"):
        shutil.copy(NODE / name, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(node_modules)
    hosts: asyncio.Queue[FakeHost] = asyncio.Queue()
    over = asyncio.Event()

    async def accept(channel: Channel) -> None:
        hosts.put_nowait(FakeHost(channel))  # type: ignore[arg-type]
        await over.wait()

    server = await serve(accept, admit=lambda peer: None)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BKG_")}
    environ |= {"BKG_PLUGIN_BUS_PORT": str(server.port), "BKG_PLUGIN_NAME": "demo"}
    running = await asyncio.create_subprocess_exec(str(tmp_path / "start.sh"), env=environ)
    try:
        async with asyncio.timeout(20):
            host = await hosts.get()
            register = await host.next(Register)
            assert (register.capabilities, register.protocol) == (["demo.echo"], 0)
            assert (await host.next(Health)).status == "up"
            assert (await host.next(Log)).message == "demo is up"
            assert await host.ask("demo.echo", {"a": [1]}) == {"a": [1]}
            assert (await host.fail("demo.other")).error == "no demo.other here"
            running.terminate()
            assert await host.end() == 1000
            assert await running.wait() == 0
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()
        over.set()
        await server.close()
