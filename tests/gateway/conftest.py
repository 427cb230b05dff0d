"""A Host with a gateway, a plug-in that answers `auth.validate`, and one to be asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from bkg_workbench.gateway.server import Gateway
from bkg_workbench.host.host import Host
from tests.gateway.plugins import APIKEYS, APIKEYS_CAPABILITIES, LLM, LLM_CAPABILITIES, TOKENS
from tests.helpers import eventually
from tests.plugins import write_plugin


@dataclass
class Served:
    """A Host, and how to ask it over HTTP."""

    host: Host
    url: str
    port: int

    @property
    def gateway(self) -> Gateway:
        gateway = self.host.engine.api.gateway
        assert gateway is not None
        return gateway

    def client(self, who: str | None = "admin", **options: Any) -> httpx.Client:
        """A client with one of the tokens."""
        headers = {} if who is None else {"Authorization": f"Bearer {TOKENS[who]}"}
        options.setdefault("timeout", 60.0)
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, **options)


def lay_out(place: Path) -> None:
    """The workspace's plug-ins."""
    write_plugin(place, autostart=True)
    write_plugin(place, "apikeys", APIKEYS, autostart=True, capabilities=APIKEYS_CAPABILITIES)
    write_plugin(place, "llmserver", LLM, autostart=True, capabilities=LLM_CAPABILITIES)


def serve(place: Path) -> Iterator[Served]:
    """The Host of a workspace with its gateway, all plug-ins up."""
    with Host(place) as host:
        eventually(
            lambda: all(p.state == "running" for p in host.state.plugins.values()), timeout=60.0
        )
        eventually(lambda: host.engine.api.gateway, timeout=30.0)
        port = next(p for p in host.state.ports if p.name == "gateway")
        served = Served(host, port.url, port.port)
        yield served
        if host.connected:
            # Whoever asked has gone: nothing may be at work for them, and nobody followed.
            gateway = served.gateway
            eventually(lambda: not gateway.crowd.connections, timeout=20.0)
            eventually(lambda: not (gateway._state.tasks or gateway.app.answers.in_flight))
            eventually(lambda: not host.engine.subscriptions.wanted("logs", "logs.demo"))
            assert gateway.crowd.lingering == 0


@pytest.fixture
def own(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A Host of this test's own."""
    monkeypatch.setenv("BKG_API_PORT", "0")
    monkeypatch.setenv("ADMIN_PASSWORD", "open sesame, please")
    lay_out(workspace)
    yield from serve(workspace)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A Host that the tests of a module share."""
    place = tmp_path_factory.mktemp("gateway") / "workspace"
    (place / "plugins").mkdir(parents=True)
    (place / "plugins" / "plugins.json").write_text("[]\n")
    lay_out(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BKG_API_PORT", "0")
        patch.setenv("ADMIN_PASSWORD", "open sesame, please")
        yield from serve(place)
