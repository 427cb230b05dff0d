"""Trying a capability: form, code, runs, streams, errors, history."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from bkg_workbench.errors import InvalidParams, PluginFailure
from bkg_workbench.protocol.envelopes import Progress
from bkg_workbench.protocol.state import Port, Ported, Registered
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.runs import BLOCK, judge
from bkg_workbench.widgets.snippets import snippets
from bkg_workbench.widgets.tryit import AT_ONCE, REMEMBERED, TryIt, aligned, first_payload
from tests.helpers import eventually

SCHEMAS: dict[str, Any] = {
    "demo.greet": {
        "description": "Greets.",
        "input": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "password": {"type": "string", "format": "password"},
            },
            "required": ["name"],
        },
        "output": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
        "idempotent": True,
    },
    "demo.tell": {"stream": True, "chunk": {"type": "string"}},
    "demo.wipe": {"destructive": True},
}
NAMES = ("demo.greet", "demo.tell", "demo.wipe", "demo.plain")


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("demo", capabilities=[*NAMES, "demo.later"])
    bench.run("demo")
    bench.happen(
        Registered(plugin="demo", port="internal", capabilities=NAMES, meta={"schemas": SCHEMAS})
    )
    return bench


@pytest.fixture
def board(bench: ScriptedBench) -> Iterator[Board]:
    ticks = itertools.count()
    board = Board(bench, now_ms=lambda: NOW, autostart=False)
    board.lay(TryIt("demo", monotonic=lambda: next(ticks) * 0.5))
    board.step()
    yield board
    board.close()
    panel_of(board).settle()


def panel_of(board: Board) -> TryIt:
    (panel,) = board.panels
    assert isinstance(panel, TryIt)
    return panel


@pytest.fixture
def panel(board: Board) -> TryIt:
    return panel_of(board)


def press(panel: TryIt, verb: str, **fields: Any) -> None:
    panel.on_intent({"verb": verb, **fields})


numbers = itertools.count(1)


def edit(panel: TryIt, **change: Any) -> None:
    press(panel, "edit", edit={"op": "set", **change}, page="p", n=next(numbers))


def ended(board: Board) -> dict[str, Any]:
    """The newest run, when it has ended, as the page shows it."""
    panel = panel_of(board)
    panel.settle()
    board.step()
    run = panel.shown["runs"][str(panel.shown["history"][0])]
    assert run["state"] != "running"
    return dict(run)


def serve(bench: ScriptedBench, capability: str, answer: Any) -> None:
    async def handler(payload: Any, on_progress: Any) -> Any:
        return answer(payload) if callable(answer) else answer

    bench.serve(capability, handler)


# --- what there is -------------------------------------------------------------------------------


def test_capabilities_are_listed_with_what_their_schemas_say(panel: TryIt) -> None:
    shown = panel.shown
    assert shown["order"] == [*NAMES, "demo.later"]
    assert shown["capabilities"]["demo.greet"] == {
        "name": "demo.greet", "description": "Greets.", "scope": "demo.greet", "served": True,
        "stream": False, "idempotent": True, "destructive": False, "typed": True, "checked": True,
    }  # fmt: skip
    assert not shown["capabilities"]["demo.later"]["served"]
    assert shown["capabilities"]["demo.wipe"]["destructive"]


def test_the_first_one_is_chosen_and_its_schema_makes_the_form(panel: TryIt) -> None:
    assert panel.shown["chosen"] == "demo.greet"
    assert set(panel.shown["form"]["root"]["fields"]) == {"name", "password"}
    press(panel, "choose", capability="demo.plain")
    assert panel.shown["chosen"] == "demo.plain"
    press(panel, "choose", capability="host.stop")
    assert panel.shown["chosen"] == "demo.plain"


def test_what_was_typed_is_there_after_looking_at_another(panel: TryIt) -> None:
    edit(panel, at="/name", value="Ada")
    press(panel, "choose", capability="demo.tell")
    press(panel, "choose", capability="demo.greet")
    assert panel.form is not None
    assert panel.form.value == {"name": "Ada"}


def test_a_new_schema_keeps_what_was_typed(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    edit(panel, at="/name", value="Ada")
    changed = {"demo.greet": {"input": {"type": "object", "properties": {"name": {}, "age": {}}}}}
    bench.happen(
        Registered(plugin="demo", port="internal", capabilities=NAMES, meta={"schemas": changed})
    )
    board.step()
    assert panel.form is not None
    assert panel.form.value == {"name": "Ada"}
    assert "age" in panel.shown["form"]["root"]["fields"]


@pytest.mark.parametrize("schemas", [None, [], {"demo.greet": 7}, {"demo.greet": {"input": "x"}}])
def test_schemas_that_are_none_do_no_harm(
    bench: ScriptedBench, board: Board, panel: TryIt, schemas: Any
) -> None:
    bench.happen(
        Registered(plugin="demo", port="internal", capabilities=NAMES, meta={"schemas": schemas})
    )
    board.step()
    assert not panel.shown["capabilities"]["demo.greet"]["typed"]


def test_a_form_begins_with_the_schemas_example() -> None:
    assert first_payload({"examples": [{"query": "x"}]}) == {"query": "x"}
    assert first_payload({"examples": ["x"]}) == first_payload(None) == {}


# --- as code -------------------------------------------------------------------------------------


def test_the_request_as_code_hides_secrets(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    bench.happen(Ported(ports=(Port(name="api", port=4711, url="http://127.0.0.1:4711"),)))
    edit(panel, at="/name", value="O'Neil")
    edit(panel, at="/password", value="hunter2")
    board.step()
    code = panel.shown["code"]
    assert code["python"].startswith('bench.call("demo.greet", {\'name\': "O\'Neil"')
    assert "http://127.0.0.1:4711/api/capabilities/demo.greet" in code["curl"]
    assert code["bkg"].startswith("bkg call demo.greet '")
    assert "hunter2" not in json.dumps(panel.shown)


def test_a_stream_as_code() -> None:
    code = snippets("demo.tell", {}, stream=True, api_url="http://x")
    assert code["python"] == 'for piece in bench.stream("demo.tell"):\n    print(piece)'
    assert code["bkg"] == "bkg call demo.tell '{}' --stream"
    assert "text/event-stream" in code["curl"]


# --- runs ----------------------------------------------------------------------------------------


def test_a_run_asks_with_what_the_form_holds_and_shows_the_answer(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    serve(bench, "demo.greet", lambda payload: {"text": f"Hello {payload['name']}"})
    edit(panel, at="/name", value="Ada")
    press(panel, "run")
    run = ended(board)
    assert bench.requests == [("demo.greet", {"name": "Ada"})]
    assert run["state"] == "ok"
    assert json.loads(run["json"]) == {"text": "Hello Ada"}
    assert run["verdict"] == {"ok": True, "problems": {}}
    assert run["seconds"] > 0
    assert run["bytes"] == len(b'{"text":"Hello Ada"}')


def test_an_answer_that_is_not_as_its_schema_says_is_told(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    serve(bench, "demo.greet", {"text": 7})
    press(panel, "run")
    verdict = ended(board)["verdict"]
    assert not verdict["ok"]
    assert "/text" in verdict["problems"]


def test_null_in_an_answer_reaches_the_page(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    serve(bench, "demo.greet", {"text": None})
    press(panel, "run")
    assert json.loads(ended(board)["json"]) == {"text": None}


def test_errors_are_a_sentence_with_a_code_and_stand_at_their_fields(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    async def refuse(payload: Any, on_progress: Any) -> Any:
        raise InvalidParams(capability="demo.greet", errors={"/name": "is too short"})

    bench.serve("demo.greet", refuse)
    edit(panel, at="/name", value="A")
    press(panel, "run")
    run = ended(board)
    assert run["error"]["code"] == "invalid_params"
    assert "is too short" in run["error"]["text"]
    assert panel.shown["form"]["root"]["fields"]["name"]["error"] == "is too short"
    edit(panel, at="/name", value="Ada")
    assert "error" not in panel.shown["form"]["root"]["fields"]["name"]


def test_a_failure_of_the_plugin_is_a_sentence(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    async def fail(payload: Any, on_progress: Any) -> Any:
        raise PluginFailure(plugin="demo", capability="demo.greet")

    bench.serve("demo.greet", fail)
    press(panel, "run")
    assert ended(board)["error"]["code"] == "plugin_failure"


class Held:
    """A handler that reports progress and then waits until it is let go or cancelled."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def __call__(self, payload: Any, on_progress: Callable[[Progress], None]) -> Any:
        go = asyncio.Event()
        self.loops.append((asyncio.get_running_loop(), go))
        on_progress(Progress(request_id="c1", value=1, total=4, message="a quarter"))
        self.begun += 1
        try:
            await go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {"text": "done"}

    def let_go(self) -> None:
        for loop, go in self.loops:
            loop.call_soon_threadsafe(go.set)


def test_a_run_shows_its_progress_and_can_be_cancelled(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    held = Held()
    bench.serve("demo.greet", held)
    press(panel, "run")
    eventually(lambda: held.begun)
    board.step()
    run = panel.shown["runs"]["1"]
    assert run["progress"] == {"value": 1, "total": 4, "message": "a quarter"}
    press(panel, "cancel", run=1)
    run = ended(board)
    assert run["state"] == "cancelled"
    assert run["error"]["code"] == "request_cancelled"
    assert held.cancelled == 1
    assert "progress" not in run


def test_several_runs_go_at_once_but_not_without_end(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    held = Held()
    bench.serve("demo.greet", held)
    for _ in range(AT_ONCE + 2):
        press(panel, "run")
    eventually(lambda: held.begun == AT_ONCE)
    assert len(panel.runs) == AT_ONCE
    held.let_go()
    panel.settle()
    assert {run.state for run in panel.runs} == {"ok"}


def test_closing_the_page_cancels_what_is_under_way(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    held = Held()
    bench.serve("demo.greet", held)
    press(panel, "run")
    eventually(lambda: held.begun)
    board.close()
    panel.settle()
    assert held.cancelled == 1


def test_a_destructive_one_runs_only_when_confirmed(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    serve(bench, "demo.wipe", {})
    press(panel, "choose", capability="demo.wipe")
    press(panel, "run")
    press(panel, "run", confirmed=False)
    assert panel.runs == ()
    press(panel, "run", confirmed=True)
    ended(board)
    press(panel, "again", run=1)
    assert len(bench.requests) == 1
    press(panel, "again", run=1, confirmed=True)
    ended(board)
    assert len(bench.requests) == 2


# --- streams -------------------------------------------------------------------------------------


def streams(bench: ScriptedBench, *pieces: Any) -> None:
    async def tell(payload: Any) -> AsyncIterator[Any]:
        for piece in pieces:
            yield piece

    bench.serve("demo.tell", tell)


def test_a_streams_text_is_joined_and_timed(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    streams(bench, "Once ", "upon ", "a time")
    press(panel, "choose", capability="demo.tell")
    assert panel.shown["streamed"] is True
    press(panel, "run")
    run = ended(board)
    assert run["text"] == {"0": "Once upon a time"}
    assert run["count"] == 3
    assert 0 < run["first"] < run["seconds"]
    assert run["verdict"]["ok"]
    assert json.loads(run["json"]) == ["Once ", "upon ", "a time"]
    assert run["views"] == []  # the text is shown once


def test_pieces_come_to_the_page_while_the_stream_runs(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    steps: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def tell(payload: Any) -> AsyncIterator[Any]:
        yield "first"
        event = asyncio.Event()
        steps.append((asyncio.get_running_loop(), event))
        await event.wait()
        yield " second"

    bench.serve("demo.tell", tell)
    press(panel, "choose", capability="demo.tell")
    press(panel, "run")
    (loop, event) = eventually(lambda: steps)[0]
    board.step()
    assert panel.shown["runs"]["1"]["text"] == {"0": "first"}
    assert panel.shown["runs"]["1"]["state"] == "running"
    loop.call_soon_threadsafe(event.set)
    assert ended(board)["text"] == {"0": "first second"}


def test_a_long_text_travels_in_blocks_of_which_only_the_last_changes(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    streams(bench, *["x" * 700] * 10)
    press(panel, "choose", capability="demo.tell")
    press(panel, "run")
    run = ended(board)
    assert run["blocks"] == 4
    assert [len(run["text"][str(n)]) for n in range(4)] == [BLOCK, BLOCK, BLOCK, 1_000]
    assert not run["textCut"]


def test_pieces_that_are_no_text_are_a_table(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    streams(bench, {"number": 0}, {"number": 1})
    press(panel, "choose", capability="demo.tell")
    press(panel, "run")
    run = ended(board)
    assert [(v["kind"], v["table"]) for v in run["views"]] == [("table", "demo.tell-1")]
    assert not run["verdict"]["ok"]  # its schema says text
    assert "text" not in run


def test_a_stream_can_be_asked_for_whole(bench: ScriptedBench, board: Board, panel: TryIt) -> None:
    serve(bench, "demo.tell", "all at once")
    press(panel, "choose", capability="demo.tell")
    press(panel, "stream", on=False)
    assert panel.shown["code"]["python"] == 'bench.call("demo.tell")'
    press(panel, "run")
    assert json.loads(ended(board)["json"]) == "all at once"


@pytest.mark.parametrize(
    ("payload", "stream", "asked"),
    [
        ({"model": "m"}, True, {"model": "m", "stream": True}),
        ({"model": "m"}, False, {"model": "m"}),
        ({"model": "m", "stream": True}, False, {"model": "m", "stream": False}),
        (["odd"], True, ["odd"]),
    ],
)
def test_a_payload_that_has_a_field_for_it_says_what_is_asked(
    payload: Any, stream: bool, asked: Any
) -> None:
    schema = {"type": "object", "properties": {"stream": {"type": "boolean"}}}
    assert aligned(payload, schema, stream=stream) == asked
    assert aligned(payload, {"type": "object"}, stream=stream) == payload


# --- history -------------------------------------------------------------------------------------


def test_earlier_runs_can_be_run_again_and_put_back_into_the_form(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    serve(bench, "demo.greet", {"text": "x"})
    edit(panel, at="/name", value="Ada")
    press(panel, "run")
    ended(board)
    edit(panel, at="/name", value="Grace")
    press(panel, "again", run=1)
    ended(board)
    assert bench.requests == [("demo.greet", {"name": "Ada"})] * 2
    assert panel.shown["history"] == [2, 1]
    press(panel, "load", run=1)
    assert panel.form is not None
    assert panel.form.value == {"name": "Ada"}
    press(panel, "forget")
    assert panel.shown["history"] == []
    press(panel, "load", run=1)
    press(panel, "again", run="1")


def test_only_so_many_runs_are_remembered(bench: ScriptedBench, board: Board, panel: TryIt) -> None:
    serve(bench, "demo.greet", {"text": "x"})
    for _ in range(REMEMBERED + 3):
        press(panel, "run")
        panel.settle()
    assert len(panel.runs) == REMEMBERED
    assert panel.runs[-1].number == REMEMBERED + 3


def test_large_answers_push_out_older_ones(
    bench: ScriptedBench, board: Board, panel: TryIt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bkg_workbench.widgets.tryit.HELD_BYTES", 100_000)
    serve(bench, "demo.greet", {"text": "x" * 40_000})
    for _ in range(6):
        press(panel, "run")
        panel.settle()
    assert [run.number for run in panel.runs] == [4, 5, 6]


def test_the_whole_answer_and_its_tables_can_be_had(
    bench: ScriptedBench, board: Board, panel: TryIt
) -> None:
    sent: list[tuple[dict[str, Any], Any]] = []
    panel.post = lambda content, buffers=None: sent.append((content, buffers))  # type: ignore[method-assign]
    rows = [{"n": n, "text": "x" * 50} for n in range(1_000)]
    serve(bench, "demo.greet", {"rows": rows})
    press(panel, "run")
    run = ended(board)
    assert run["cut"]
    press(panel, "whole", run=1, token="t")
    content, buffers = sent[-1]
    assert content == {"kind": "whole", "token": "t", "run": 1}
    assert json.loads(buffers[0]) == {"rows": rows}
    (table,) = [v["table"] for v in run["views"] if v["kind"] == "table"]
    press(panel, "export", table=table, format="csv", token="f")
    eventually(lambda: sent[-1][0].get("kind") == "file")
    assert sent[-1][0]["name"] == "demo.greet-1-rows.csv"
    assert sent[-1][1][0].count(b"\n") == 1_001


def test_a_timeout_is_taken_where_it_makes_sense(panel: TryIt) -> None:
    press(panel, "timeout", seconds=5)
    assert panel.shown["timeout"] == 5
    for wrong in (0, -1, "7", 1e9, None):
        press(panel, "timeout", seconds=wrong)
    assert panel.shown["timeout"] == 5


def test_a_schema_that_cannot_be_used_is_told_as_such() -> None:
    verdict = judge({"$ref": "http://elsewhere/x"}, [1])
    assert verdict is not None
    assert not verdict["ok"]
    assert judge(None, [1]) is None


def test_intents_that_mean_nothing_do_nothing(panel: TryIt) -> None:
    before = json.dumps(panel.shown)
    for intent in (
        {"verb": "fly"}, {"verb": "cancel", "run": 99}, {"verb": "whole"}, {"verb": "export"},
        {"verb": "edit"}, {"verb": "edit", "edit": 7, "page": "x", "n": 1},
    ):  # fmt: skip
        panel.on_intent(intent)
    assert json.dumps(panel.shown) == before
