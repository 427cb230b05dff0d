"""Every `host.*` capability answers in the form that the table gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from bkg_workbench import Host
from bkg_workbench.protocol.capabilities import HOST
from tests.helpers import eventually
from tests.plugins import write_plugin

RESULTS = {row.name: row.result for row in HOST}

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("host.info", {}),
    ("host.ports", {}),
    ("host.plugins.list", {}),
    ("host.plugin.get", {"name": "demo"}),
    ("host.plugin.start", {"name": "demo"}),
    ("host.plugin.restart", {"name": "demo", "wait": True}),
    ("host.config.get", {"name": "demo"}),
    ("host.config.save", {"name": "demo", "settings": {}, "version": 1}),
    ("host.config.history", {"name": "demo"}),
    ("host.logs.query", {}),
    ("host.telemetry.query", {}),
    ("host.events.query", {}),
    ("host.calls.query", {}),
    ("host.metrics", {}),
    ("host.plugin.stop", {"name": "demo", "wait": True}),
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    place = tmp_path_factory.mktemp("results")
    (place / "plugins").mkdir()
    (place / "plugins" / "plugins.json").write_text("[]\n")
    write_plugin(place)
    with Host(place) as host:
        host.start("demo")
        host.call("demo.greet", {"name": "Ada"})
        eventually(lambda: host.logs("demo"))
        eventually(lambda: host.calls("demo.greet"))
        yield host


def test_the_table_says_what_each_of_them_answers():
    assert [name for name, result in RESULTS.items() if result is None] == []


@pytest.mark.shared_host
@pytest.mark.parametrize(("capability", "payload"), ASKED, ids=[name for name, _ in ASKED])
def test_an_answer_has_the_form_of_the_table(host: Host, capability: str, payload: dict[str, Any]):
    if capability == "host.config.save":
        payload = {**payload, "version": host.config("demo")["version"]}
    answer = host.call(capability, payload, timeout=60)
    msgspec.convert(answer, RESULTS[capability])
