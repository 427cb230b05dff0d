"""Tables as files: what an export holds, and who gets it."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest

from bkg_workbench.errors import StoreError
from bkg_workbench.protocol.state import Port, Ported
from bkg_workbench.testing import Pilot
from bkg_workbench.widgets import tables
from bkg_workbench.widgets.inventory import Inventory, Ports
from bkg_workbench.widgets.live import Data, Live, script
from tests.helpers import eventually

RECORDS: list[dict[str, Any]] = [
    {"plugin": "goose", "at": 1_790_000_000_000, "users": 3, "tags": ["a", "b"], "odd": "x"},
    {
        "plugin": "grey, goose",
        "at": 1_790_000_001_000,
        "users": None,
        "tags": None,
        "odd": {"n": 1},
    },
]


def read(content: bytes, format_: str) -> pd.DataFrame:
    """The file as its reader reads it."""
    buffer = io.BytesIO(content)
    return pd.read_csv(buffer) if format_ == "csv" else pd.read_parquet(buffer)


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_file_has_the_rows_and_says_nested_values_as_json(format_: str) -> None:
    table = read(tables.encode(RECORDS, format_), format_)
    assert list(table["plugin"]) == ["goose", "grey, goose"]
    assert table["users"].iloc[0] == 3
    assert pd.isna(table["users"].iloc[1])
    assert table["tags"].iloc[0] == '["a","b"]'
    assert list(table["odd"]) == ["x", '{"n":1}']
    assert pd.to_datetime(table["at"]).iloc[1].timestamp() == 1_790_000_001


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_an_empty_table_of_a_known_kind_has_its_columns(format_: str) -> None:
    table = read(tables.encode([], format_, "telemetry"), format_)
    assert len(table) == 0
    assert set(table.columns) >= {"plugin", "at", "cpu", "mem_bytes"}


class Page(Live):
    """Remembers what it sent."""

    _esm = script()

    def __init__(self) -> None:
        self.sent: list[tuple[Data, list[bytes]]] = []
        super().__init__()

    def post(self, content: Data, buffers: list[bytes] | None = None) -> None:
        self.sent.append((content, buffers or []))


INTENT = {"verb": "export", "table": "runs", "format": "csv", "token": "t1", "rows": ["a", 1]}


def test_the_file_goes_to_the_page_with_the_token_that_it_gave() -> None:
    page = Page()
    assert tables.wanted(INTENT, "runs")
    assert not tables.wanted(INTENT, "ports")
    assert tables.rows(INTENT) == ["a"]
    tables.export(page, INTENT, lambda: [{"a": 1}]).join(10)
    assert page.sent == [
        ({"kind": "file", "name": "runs.csv", "type": "text/csv", "token": "t1"}, [b"a\n1\n"])
    ]
    page.close()


@pytest.mark.parametrize("error", [StoreError("The log cannot be read."), KeyError("a bug")])
def test_a_table_that_cannot_be_read_is_told_and_the_page_waits_no_longer(
    error: Exception,
) -> None:
    def broken() -> list[dict[str, Any]]:
        raise error

    page = Page()
    tables.export(page, INTENT, broken).join(10)
    assert "a bug" not in page.sent[0][0]["text"]
    assert [content["kind"] for content, _ in page.sent] == ["toast", "file"]
    assert page.sent[1][0] == {"kind": "file", "token": "t1"}
    page.close()


def exported(pilot: Pilot, panel: Any, **intent: Any) -> pd.DataFrame:
    pilot.intent(panel, "export", format="csv", token="t", **intent)
    eventually(lambda: pilot.sent)
    return read(pilot.sent[-1][2][0], "csv")


def test_the_inventory_exports_the_rows_that_are_seen_in_their_order() -> None:
    with Pilot() as pilot:
        for name in ("apikeys", "candle", "goose"):
            pilot.bench.define(name, description=f"The {name}")
        pilot.bench.run("goose", "goose.run")
        pilot.bench.sample("goose", 12.5, 2**20)
        pilot.look()
        table = exported(pilot, Inventory, table="plugins", rows=["goose", "apikeys", "nobody"])
    assert list(table["plugin"]) == ["goose", "apikeys"]
    assert list(table["state"]) == ["running", "stopped"]
    assert table["cpu_percent"].iloc[0] == 12.5
    assert table["capabilities"].iloc[0] == "goose.run"


def test_the_port_table_is_exported_without_tokens() -> None:
    with Pilot() as pilot:
        port = Port(name="web", port=8866, url="http://127.0.0.1:8866/plugins?token=secret")
        pilot.bench.happen(Ported(ports=(port,)))
        table = exported(pilot, Ports, table="ports")
    assert list(table["address"]) == ["http://127.0.0.1:8866/plugins"]
