"""Settings over HTTP: checked, versioned, applied; and nothing of them shown that is secret."""

from __future__ import annotations

import json
import stat
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Served
from tests.helpers import eventually
from tests.plugins import DEMO, write_plugin

PATH = "/admin/plugins/demo/config"


def save(client: httpx.Client, settings: dict[str, Any], version: int, **more: Any) -> Any:
    return client.post(PATH, json={"settings": settings, "version": version, **more})


@pytest.mark.row("G17")
def test_settings_are_checked_saved_mirrored_and_applied(own: Served) -> None:
    root = own.host.engine.workspace.root
    with own.client() as client:
        before = client.get(PATH).json()
        version = before["version"]

        reply = save(client, {"times": 99, "greeting": ""}, version)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (422, "config_invalid")
        assert set(error["detail"]["errors"]) == {"/times", "/greeting"}

        settings = {"greeting": "Ahoy", "password": "s3cret-of-demo"}
        reply = save(client, settings, version, author="somebody else", reason="to be friendly")
        assert reply.json() == {"version": version + 1, "applied": "live"}
        text = client.post("/api/capabilities/demo.greet", json={"name": "Ada"}).json()["text"]
        assert text == "Ahoy Ada"

        reply = save(client, {"greeting": "Late"}, version)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (409, "config_conflict")
        assert error["detail"]["current"] == version + 1

        shown = client.get(PATH)
        assert shown.json()["settings"] == {"greeting": "Ahoy", "password": "***"}
        # What is masked stays what it was.
        done = save(client, {"greeting": "Moin", "password": "***"}, version + 1).json()
        assert done == {"version": version + 2, "applied": "live"}
        runtime = own.host.engine.workspace.plugin_folder("demo") / "config.runtime.json"
        assert json.loads(runtime.read_text())["password"] == "s3cret-of-demo"
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o600

        mirror = (root / "plugins" / "plugins.json").read_text()
        assert '"Moin"' in mirror
        for page in ("/admin/plugins", "/admin/plugins/demo", "/api/plugins", PATH):
            assert "s3cret-of-demo" not in client.get(page).text + mirror
        history = client.post("/api/capabilities/host.config.history", json={"name": "demo"})
        latest = sorted(history.json()["versions"], key=lambda one: one["version"])[-2:]
        assert [one["author"] for one in latest] == ["admin", "admin"]
        assert latest[0]["reason"] == "to be friendly"


def test_a_plugin_that_takes_nothing_live_offers_the_restart(own: Served) -> None:
    code = DEMO.replace("@plugin.on_config\ndef apply", "def apply")
    write_plugin(own.host.engine.workspace.root, "demo", code)
    with own.client() as client:
        client.post("/admin/plugins/demo/restart", json={"wait": True})
        version = client.get(PATH).json()["version"]
        done = save(client, {"greeting": "Ahoy"}, version).json()
        assert done == {"version": version + 1, "applied": "restart"}
        status = client.get("/api/plugins/demo/status").json()
        assert (status["restartNeeded"], status["configVersion"]) == (True, version + 1)
        client.post("/api/plugins/demo/restart", json={"wait": True})
        text = client.post("/api/capabilities/demo.greet", json={"name": "Ada"}).json()["text"]
        assert text == "Ahoy Ada"


def test_the_values_of_an_environment_are_never_shown(own: Served) -> None:
    root = own.host.engine.workspace.root
    write_plugin(root, "other", DEMO.replace('"demo"', '"other"'), env={"API": "hunter2"})
    with own.client() as client:

        def environment() -> Any:
            reply = client.get("/admin/plugins/other")
            assert reply.status_code == 200
            return reply.json()["definition"]["env"]

        assert eventually(environment, timeout=20.0) == {"API": "***"}
        for page in ("/admin/plugins", "/api/plugins", "/api/plugins/other"):
            assert "hunter2" not in client.get(page).text


@pytest.mark.shared_host
def test_verbs_of_the_lifecycle_take_a_body_or_none(served: Served) -> None:
    with served.client() as client:
        assert client.post("/admin/plugins/demo/stop", json={"wait": True}).json()["state"] == (
            "stopped"
        )
        assert client.post("/api/plugins/demo/start").status_code == 200
        reply = client.post("/api/plugins/demo/start", json={"wait": True})
        assert reply.json()["state"] == "running"
        reply = client.post("/api/plugins/demo/start", json={"name": "other"})
        assert reply.json()["error"]["detail"]["errors"] == {
            "/name": "it stands in the path already"
        }
        reply = client.post("/api/plugins/demo/start", json={"nope": 1})
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_params")
        assert client.post("/api/plugins/nobody/start").status_code == 404


@pytest.mark.shared_host
@pytest.mark.parametrize(
    "body",
    ["[1]", "1", "null", '"x"', "{", '{"name": "a", "name": "b"}', '{"a": {"b": 1, "b": 2}}',
     '{"name": NaN}', '{"name": 1e400}', '{"name": "\\ud800"}', '{"name": ' + "[" * 40 + "]" * 40
     + "}", '{"name": "x"} y', '{"n": ' + "9" * 5000 + "}"],
)  # fmt: skip
def test_a_body_that_is_no_plain_object_is_400(served: Served, body: str) -> None:
    with served.client() as client:
        reply = client.post("/api/capabilities/demo.greet", content=body.encode(),
                            headers={"Content-Type": "application/json"})  # fmt: skip
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_json")
    assert len(reply.content) < 1000


@pytest.mark.shared_host
def test_the_summary_of_telemetry_has_each_plugin(served: Served) -> None:
    with served.client("reader") as client:
        found = client.get("/api/plugins/telemetry/summary").json()
        names = {row["plugin"] for row in found["plugins"]}
        assert names == {"apikeys", "demo", "llmserver"}
        assert set(found["total"]) == {"cpu", "mem_bytes"}
        assert client.get("/api/plugins/demo/telemetry?limit=5").json()["records"] is not None
        listed = client.get("/api/plugins/demo/capabilities").json()["capabilities"]
        assert {row["capability"]: row["stream"] for row in listed}["demo.count"] is True


@pytest.mark.shared_host
def test_health_tells_an_admin_more_and_a_wrong_token_nothing(served: Served) -> None:
    with served.client(None) as client:
        assert client.get("/health").json() == {"status": "up"}
        wrong = {"Authorization": "Bearer wrong"}
        assert client.get("/health", headers=wrong).json() == {"status": "up"}
    with served.client("reader") as client:
        assert client.get("/health").json() == {"status": "up"}
    with served.client() as client:
        shown = client.get("/health").json()
        assert shown["plugins"]["running"] >= 2
        assert shown["loopLagSeconds"]["latest"] >= 0
