"""What a plug-in can be asked for, and asking it from the page.

Owns the panel of a plug-in's capabilities: which one is chosen, its form, the runs made here. A
run's life is `runs`', how its answer reads `answers`', the form `forms`'. Runs go on threads of
their own, several at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bkg_workbench.protocol.forms import Form
from bkg_workbench.protocol.schema import mask
from bkg_workbench.protocol.state import PluginState, WorkbenchState
from bkg_workbench.widgets import tables
from bkg_workbench.widgets.forms import FORM_SCRIPTS, FORM_STYLES, Editing
from bkg_workbench.widgets.live import Data, script, style
from bkg_workbench.widgets.panel import Moment, Panel
from bkg_workbench.widgets.runs import Run
from bkg_workbench.widgets.snippets import api_url, snippets

AT_ONCE = 8
"""Runs that may be under way at the same time."""
REMEMBERED = 20
"""Runs that the page keeps."""
SHOWN_CHARACTERS = 4 * 1024 * 1024
"""What a page holds of the answers of all runs."""
HELD_BYTES = 64 * 1024 * 1024
"""What the kernel holds of them, to be copied and saved."""
TIMEOUT_SECONDS = 60.0
MOST_SECONDS = 86_400.0
WITHOUT_SCHEMA: dict[str, Any] = {"type": "object", "title": "Payload"}


def capabilities(plugin: PluginState) -> dict[str, Data]:
    """The capabilities of `plugin`, declared or registered, with what its schemas say of them."""
    names = dict.fromkeys((*plugin.definition.capabilities, *plugin.capabilities))
    served = set(plugin.capabilities)
    found = {}
    for name in names:
        schema = schema_of(plugin, name)
        found[name] = {
            "name": name,
            "description": str(schema.get("description") or "")[:2000],
            "scope": str(schema.get("scope") or name),
            "served": name in served,
            "stream": schema.get("stream") is True,
            "idempotent": schema.get("idempotent") is True,
            "destructive": schema.get("destructive") is True,
            "typed": isinstance(schema.get("input"), dict),
            "checked": isinstance(schema.get("output"), dict),
        }
    return found


def schema_of(plugin: PluginState, capability: str) -> Mapping[str, Any]:
    """What `meta.schemas` says of a capability; empty where it says nothing."""
    schemas = plugin.meta.get("schemas")
    found = schemas.get(capability) if isinstance(schemas, dict) else None
    return found if isinstance(found, dict) else {}


def first_payload(schema: Any) -> Any:
    """What a form begins with: the schema's first example, else an empty object."""
    examples = schema.get("examples") if isinstance(schema, dict) else None
    if isinstance(examples, list) and examples and isinstance(examples[0], dict):
        return examples[0]
    return {}


def aligned(payload: Any, schema: Any, *, stream: bool) -> Any:
    """`payload` with a field `stream` of its own, if its schema has one, saying what is asked.

    A chat's payload says itself whether it wants a stream, and must not say otherwise.
    """
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or "stream" not in properties:
        return payload
    if not isinstance(payload, dict) or (not stream and "stream" not in payload):
        return payload
    return {**payload, "stream": stream}


class TryIt(Panel):
    """The capabilities of `plugin`.

    Intents: `choose {capability}`, `edit` (of the form), `stream {on}`, `timeout {seconds}`, `run
    {confirmed}`, `cancel {run}`, `again {run}`, `load {run}`, `forget`, `whole {run, token}`,
    `export {table}`.
    """

    _esm = script(*FORM_SCRIPTS, "answer.js", "tryit.js")
    _css = style(*FORM_STYLES, "tryit.css")

    def __init__(
        self, plugin: str, *, monotonic: Callable[[], float] = time.monotonic, **traits: Any
    ) -> None:
        self.plugin = plugin
        self._monotonic = monotonic
        self._guard = threading.RLock()
        self._moment: Moment | None = None
        self._chosen: str | None = None
        self._editings: dict[str, tuple[Any, Editing]] = {}
        self._streamed: dict[str, bool] = {}
        self._refused: dict[str, dict[str, str]] = {}
        self._timeout = TIMEOUT_SECONDS
        self._runs: dict[int, Run] = {}
        self._latest = 0
        self._verbs: dict[str, Callable[[Data], None]] = {
            "choose": self._choose, "edit": self._edit, "stream": self._stream,
            "timeout": self._set_timeout, "run": self._run, "cancel": self._cancel,
            "again": self._again, "load": self._load, "forget": self._forget,
            "whole": self._whole, "export": self._export,
        }  # fmt: skip
        super().__init__(**traits)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that the page knows, oldest first."""
        with self._guard:
            return tuple(self._runs.values())

    @property
    def form(self) -> Form | None:
        """The form of the capability that is chosen."""
        with self._guard:
            return self._editings[self._chosen][1].form if self._chosen in self._editings else None

    # --- what is shown -------------------------------------------------------------------------

    def step(self, moment: Moment) -> None:
        """Redraw."""
        with self._guard:
            self._moment = moment
            self.show(self.fold(moment))

    def fold(self, moment: Moment) -> Data:
        """Capabilities, the chosen one's form, and the runs so far."""
        with self._guard:
            plugin = moment.state.plugins.get(self.plugin)
            if plugin is None:
                return {}
            found = capabilities(plugin)
            if self._chosen not in found:
                self._chosen = next(iter(found), None)
            data: Data = {
                "plugin": self.plugin,
                "state": plugin.state,
                "stale": moment.stale,
                "capabilities": found,
                "order": list(found),
                "timeout": self._timeout,
                "runs": {str(run.number): run.describe() for run in self._runs.values()},
                "history": [run.number for run in reversed(self._runs.values())],
            }
            if self._chosen is not None:
                data |= self._fold_chosen(self._chosen, plugin, moment.state)
            return data

    def _fold_chosen(self, name: str, plugin: PluginState, state: WorkbenchState) -> Data:
        schema = schema_of(plugin, name)
        editing = self._editing(name, schema)
        stream = self._is_streamed(name, schema)
        asked = aligned(editing.form.value, schema.get("input"), stream=stream)
        shown = mask(schema.get("input"), asked)
        return {
            "chosen": name,
            "form": editing.describe(errors=self._refused.get(name)),
            "streamed": stream,
            "code": snippets(name, shown, stream=stream, api_url=api_url(state)),
        }

    def _editing(self, name: str, schema: Mapping[str, Any]) -> Editing:
        """The form of a capability; made anew, with what was typed, when its schema changes."""
        wanted = schema.get("input")
        kept = self._editings.get(name)
        if kept is not None and kept[0] == wanted:
            return kept[1]
        typed = isinstance(wanted, dict)
        value = first_payload(wanted) if kept is None else kept[1].form.value
        form = Form(wanted if typed else WITHOUT_SCHEMA, value)
        if kept is None:
            editing = Editing(form)
        else:
            editing = kept[1]
            editing.replace(form)
        self._editings[name] = (wanted, editing)
        return editing

    def _is_streamed(self, name: str, schema: Mapping[str, Any]) -> bool:
        return schema.get("stream") is True and self._streamed.get(name, True)

    def _redraw(self) -> None:
        with self._guard:
            if self._moment is not None:
                self.show(self.fold(self._moment))

    # --- what the page asks for ----------------------------------------------------------------

    def on_intent(self, intent: Data) -> None:
        """Take it at once; requests go on threads of their own."""
        act = self._verbs.get(intent["verb"])
        if act is not None:
            act(intent)

    def _choose(self, intent: Data) -> None:
        with self._guard:
            plugin = self._plugin()
            if plugin is not None and intent.get("capability") in capabilities(plugin):
                self._chosen = intent["capability"]
        self._redraw()

    def _edit(self, intent: Data) -> None:
        with self._guard:
            if self._chosen in self._editings:
                self._refused.pop(self._chosen, None)
                self._editings[self._chosen][1].take(intent)
        self._redraw()

    def _stream(self, intent: Data) -> None:
        with self._guard:
            if self._chosen is not None:
                self._streamed[self._chosen] = intent.get("on") is True
        self._redraw()

    def _set_timeout(self, intent: Data) -> None:
        seconds = intent.get("seconds")
        if isinstance(seconds, (int, float)) and 0 < seconds <= MOST_SECONDS:
            self._timeout = float(seconds)
        self._redraw()

    def _run(self, intent: Data) -> None:
        form, name, plugin = self.form, self._chosen, self._plugin()
        if form is None or name is None or plugin is None:
            return
        if schema_of(plugin, name).get("destructive") is True and not intent.get("confirmed"):
            return
        schema = schema_of(plugin, name)
        stream = self._is_streamed(name, schema)
        self._begin(name, aligned(form.value, schema.get("input"), stream=stream), stream)

    def _again(self, intent: Data) -> None:
        run = self._known(intent)
        plugin = self._plugin()
        if run is None or plugin is None:
            return
        if schema_of(plugin, run.capability).get("destructive") is True and not intent.get(
            "confirmed"
        ):
            return
        self._begin(run.capability, run.payload, run.stream)

    def _begin(self, name: str, payload: Any, stream: bool) -> None:
        plugin, board = self._plugin(), self.board
        if board is None or plugin is None:
            return
        with self._guard:
            if sum(run.is_running for run in self._runs.values()) >= AT_ONCE:
                self.toast(f"{AT_ONCE} runs are under way; wait for one, or cancel one.", "warn")
                return
            self._refused.pop(name, None)
            self._latest += 1
            run = Run(
                self._latest, name, payload, schema_of(plugin, name),
                stream=stream, timeout=self._timeout, monotonic=self._monotonic,
                now_ms=lambda: board.moment().now_ms,
                changed=lambda: self._on_run(run),
            )  # fmt: skip
            self._runs[run.number] = run
            self._drop_old()
        run.start(board.bench)
        self._redraw()

    def _on_run(self, run: Run) -> None:
        """Something is new about a run; called on its thread."""
        if run.pointers and not run.is_running:
            with self._guard:
                self._refused[run.capability] = run.pointers
        if self.board is not None:
            self.board.mark()

    def _drop_old(self) -> None:
        """Forget the oldest that have ended, until what is left is within bounds."""
        for number, run in list(self._runs.items())[:-1]:
            shown, held = (sum(part) for part in zip(*self._weights(), strict=True))
            is_much = shown > SHOWN_CHARACTERS or held > HELD_BYTES
            if not run.is_running and (is_much or len(self._runs) > REMEMBERED):
                del self._runs[number]

    def _weights(self) -> list[tuple[int, int]]:
        return [run.weight for run in self._runs.values()]

    def _cancel(self, intent: Data) -> None:
        if (run := self._known(intent)) is not None:
            run.cancel()

    def _load(self, intent: Data) -> None:
        """Put a run's payload back into the form."""
        run = self._known(intent)
        with self._guard:
            if run is not None and run.capability in self._editings:
                self._chosen = run.capability
                self._streamed[run.capability] = run.stream
                self._refused.pop(run.capability, None)
                wanted, editing = self._editings[run.capability]
                editing.replace(
                    Form(wanted if isinstance(wanted, dict) else WITHOUT_SCHEMA, run.payload)
                )
        self._redraw()

    def _forget(self, _: Data) -> None:
        with self._guard:
            self._runs = {n: run for n, run in self._runs.items() if run.is_running}
        self._redraw()

    def _whole(self, intent: Data) -> None:
        """Send a run's whole answer, to be copied or saved."""
        run = self._known(intent)
        if run is not None and not run.is_running:
            text = msgspec.json.format(msgspec.json.encode(run.whole), indent=2)
            head = {"kind": "whole", "token": intent.get("token"), "run": run.number}
            self.post(head, [text])

    def _export(self, intent: Data) -> None:
        for run in self.runs:
            name = str(intent.get("table"))
            if (rows := run.table(name)) is not None and tables.wanted(intent, name):
                tables.export(self, intent, lambda rows=rows: rows)  # type: ignore[misc]
                return

    def _known(self, intent: Data) -> Run | None:
        number = intent.get("run")
        with self._guard:
            return self._runs.get(number) if isinstance(number, int) else None

    def _plugin(self) -> PluginState | None:
        return None if self._moment is None else self._moment.state.plugins.get(self.plugin)

    # --- its end -------------------------------------------------------------------------------

    def settle(self, timeout: float = 5.0) -> None:
        """Wait, at most `timeout` seconds each, for the runs under way (for tests)."""
        for run in self.runs:
            run.join(timeout)

    def end(self) -> None:
        """Cancel what is under way."""
        for run in self.runs:
            run.cancel()
