"""Finding a workspace and joining its Host; whatever is wrong, the error says what to do."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.bus.channel import ChannelClosed
from bkg_workbench.bus.websocket import serve
from bkg_workbench.client.attach import (
    CONNECTION_FILE,
    ConnectionFile,
    attach,
    find_workspace,
    read_connection_file,
)
from bkg_workbench.client.portal import Portal
from bkg_workbench.errors import HostNotFound, WorkspaceError
from bkg_workbench.protocol.envelopes import Error, encode


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with no workspace above it and none named."""
    monkeypatch.delenv("BKG_WORKSPACE", raising=False)
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def make_workspace(root: Path) -> Path:
    (root / "plugins").mkdir(parents=True)
    (root / "plugins" / "plugins.json").write_text("[]")
    return root


def write_connection_file(root: Path, **changes: Any) -> Path:
    file = root / CONNECTION_FILE
    file.parent.mkdir(exist_ok=True)
    content = {
        "bus": "ws://127.0.0.1:1",
        "pid": os.getpid(),
        "started_at": 1,
        "instance": "i",
        "token": "secret-token",
        **changes,
    }
    file.write_text(json.dumps(content))
    return file


# -- which workspace ------------------------------------------------------------------------------
def test_the_argument_comes_before_the_variable_and_that_before_the_folder(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable, above = (make_workspace(tmp_path / n) for n in ("named", "variable", "above"))
    (above / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(above / "notebooks" / "deep")
    assert find_workspace() == above
    monkeypatch.setenv("BKG_WORKSPACE", str(variable))
    assert find_workspace() == variable
    assert find_workspace(named) == find_workspace(str(named)) == named
    monkeypatch.setenv("BKG_WORKSPACE", "")
    assert find_workspace() == above


def test_the_nearest_folder_above_counts(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = make_workspace(tmp_path / "outer")
    inner = make_workspace(outer / "inner")
    monkeypatch.chdir(inner / "plugins")
    assert find_workspace() == inner
    monkeypatch.chdir(outer / "plugins")
    assert find_workspace() == outer


def test_a_named_workspace_may_be_new_relative_or_a_link(tmp_path: Path, elsewhere: Path) -> None:
    (elsewhere / "w" / "plugins").mkdir(parents=True)
    assert find_workspace("w") == elsewhere / "w"
    (tmp_path / "link").symlink_to(elsewhere / "w")
    assert find_workspace(tmp_path / "link") == elsewhere / "w"


def test_no_workspace_says_how_to_make_one(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorkspaceError, match="bkg init DIR"):
        find_workspace()
    with pytest.raises(WorkspaceError, match=f"bkg init {tmp_path / 'nothing'}"):
        find_workspace(tmp_path / "nothing")
    monkeypatch.setenv("BKG_WORKSPACE", str(tmp_path / "gone"))
    with pytest.raises(WorkspaceError, match="gone is no workspace"):
        attach()


def test_a_current_folder_that_is_gone_is_told(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = elsewhere / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(WorkspaceError, match="does not exist any more"):
        find_workspace()


# -- the connection file --------------------------------------------------------------------------
def test_without_a_connection_file_no_host_runs(workspace: Path) -> None:
    with pytest.raises(HostNotFound, match="bkg host") as caught:
        attach(workspace)
    assert str(workspace) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        *[b"", b"{", b"[]", b"null", b'{"bus": 5}', b"\xff\xfe", b'{"bus":"\xff"}', b"\x00" * 100],
        b'{"bus":"ws://127.0.0.1:1","pid":"x","started_at":1,"instance":"i","token":"t"}',
    ],
)
def test_a_damaged_connection_file_is_named(workspace: Path, content: bytes) -> None:
    file = workspace / CONNECTION_FILE
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(HostNotFound, match="cannot be read") as caught:
        attach(workspace)
    assert str(file) in str(caught.value)
    assert "bkg host" in str(caught.value)


def test_a_connection_file_that_is_a_folder_is_named(workspace: Path) -> None:
    (workspace / CONNECTION_FILE).mkdir(parents=True)
    with pytest.raises(HostNotFound, match="cannot be read"):
        attach(workspace)


def test_a_connection_file_of_another_user_is_told(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_connection_file(workspace)

    def refuse(_: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(HostNotFound, match="another user"):
        read_connection_file(workspace)


def test_the_token_is_shown_nowhere(workspace: Path) -> None:
    write_connection_file(workspace, later_field="ignored")
    connection = read_connection_file(workspace)
    assert connection.token == "secret-token"
    assert "secret" not in repr(connection)
    assert "secret" not in f"{connection}"
    assert isinstance(connection, ConnectionFile)
    with pytest.raises(HostNotFound) as caught:
        attach(workspace)
    assert "secret" not in str(caught.value) + repr(caught.value.facts)


# -- who listens there ----------------------------------------------------------------------------
def test_nobody_listens_there_any_more(workspace: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    write_connection_file(workspace, bus=f"ws://127.0.0.1:{port}")
    with pytest.raises(HostNotFound, match="bkg host"):
        attach(workspace)


@pytest.mark.parametrize(
    "bus",
    ["", "nonsense", "http://127.0.0.1:1", "ws://127.0.0.1:99999", "ws://127.0.0.1:x", "ws://"],
)
def test_an_address_that_is_none_is_no_host(workspace: Path, bus: str) -> None:
    write_connection_file(workspace, bus=bus)
    with pytest.raises(HostNotFound):
        attach(workspace)


@contextmanager
def listener(greeting: bytes) -> Iterator[int]:
    """Somebody else on the port: takes each connection, says `greeting`, hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(greeting)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"\x00\xff" * 100,
    ],
    ids=["silent", "ssh", "http 200", "http 404", "redirect", "noise"],
)
def test_a_listener_of_another_kind_is_no_host(workspace: Path, greeting: bytes) -> None:
    with listener(greeting) as port:
        write_connection_file(workspace, bus=f"ws://127.0.0.1:{port}")
        with pytest.raises(HostNotFound):
            attach(workspace)


@pytest.mark.parametrize("kind", ["other token", "says error", "says nothing known"])
def test_another_websocket_on_the_port_is_no_host(workspace: Path, kind: str) -> None:
    """The port was taken over after the Host went; the token means nothing there."""
    from http import HTTPStatus

    async def on_channel(channel: Any) -> None:
        first = Error(code="x", error="Who are you?") if kind == "says error" else None
        await channel.send(encode(first) if first else b'{"type":"hello"}')
        with suppress(ChannelClosed):
            await channel.receive()

    async def listen() -> Any:
        status = HTTPStatus.UNAUTHORIZED if kind == "other token" else None
        return await serve(on_channel, admit=lambda _: status)

    portal = Portal("test-server")
    try:
        server = portal.run(listen())
        write_connection_file(workspace, bus=f"ws://127.0.0.1:{server.port}")
        with pytest.raises(HostNotFound):
            attach(workspace)
        portal.run(server.close())
    finally:
        portal.close()
