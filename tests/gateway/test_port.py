"""The gateway's port: the one that was asked for or a clear error, told everywhere, given back."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import httpx
import pytest

from bkg_workbench.client.attach import attach, read_connection_file
from bkg_workbench.host import ports
from bkg_workbench.host.host import Host
from bkg_workbench.host.ports import PortTaken

VARIABLE = "BKG_API_PORT"


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_it_is_the_one_asked_for_and_stands_in_the_table_and_the_connection_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free()
    monkeypatch.setenv(VARIABLE, str(port))
    with Host(workspace) as host:
        row = next(row for row in host.ports() if row["name"] == "gateway")
        assert (row["port"], row["url"]) == (port, f"http://127.0.0.1:{port}")
        assert row["owner"] == f"pid {os.getpid()}"
        assert read_connection_file(workspace).gateway == row["url"]
        # Asked at once: what comes before the server is ready waits for it.
        assert httpx.get(f"{row['url']}/health", trust_env=False, timeout=30).status_code == 200
        with attach(workspace) as other:
            assert [p.name for p in other.state.ports] == ["bus", "gateway"]
    with socket.create_server(("127.0.0.1", port)):
        pass  # it was given back


def test_a_port_that_is_held_is_told_with_its_holder_and_nothing_is_left(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        monkeypatch.setenv(VARIABLE, str(holder.getsockname()[1]))
        with pytest.raises(PortTaken, match=f"{VARIABLE}.*process {os.getpid()}"):
            Host(workspace)
    monkeypatch.setenv(VARIABLE, "0")
    with Host(workspace) as host:
        assert host.ports()


def test_unset_and_the_default_held_it_is_any_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        monkeypatch.setitem(ports.DEFAULTS, VARIABLE, taken)
        with ports.bind(VARIABLE) as listener:
            assert listener.getsockname()[0] == "127.0.0.1"
            assert listener.getsockname()[1] not in (0, taken)


def test_a_host_that_is_closed_at_once_leaves_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    for _ in range(5):
        Host(workspace).close()


@pytest.mark.row("G6")
def test_further_names_are_those_that_were_given(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    monkeypatch.setenv("BKG_ALLOWED_HOSTS", "bench.example:8443, Other.Example")
    with Host(workspace) as host:
        url = next(row["url"] for row in host.ports() if row["name"] == "gateway")
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            for name, status in {
                "bench.example:8443": 200, "BENCH.example:8443": 200, "other.example": 200,
                "bench.example": 421, "evil.example:8443": 421,
            }.items():  # fmt: skip
                assert client.get("/health", headers={"Host": name}).status_code == status
