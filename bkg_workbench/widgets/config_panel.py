"""A plug-in's settings on its page: form, difference, save, conflict, probation, versions.

Owns which settings are edited and what became of them. The form is `forms.Editing`'s, words and
data are `config_view`'s, how it is drawn lies in `static/config.js`. All that asks the Host runs on
the board's threads; what a page sends is taken at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

from bkg_workbench.errors import ConfigConflict, ConfigInvalid, WorkbenchError
from bkg_workbench.protocol.forms import Form
from bkg_workbench.protocol.schema import is_same
from bkg_workbench.protocol.state import PluginState
from bkg_workbench.widgets import config_view as words
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.config_view import Loaded, Outcome
from bkg_workbench.widgets.forms import FORM_SCRIPTS, FORM_STYLES, Editing
from bkg_workbench.widgets.live import Data, script, style
from bkg_workbench.widgets.panel import Moment, Panel

WITHOUT_SCHEMA: dict[str, Any] = {"type": "object"}
"""For a plug-in whose schema nobody knows: its settings as one JSON text."""


class ConfigPanel(Panel):
    """The settings of one plug-in. `plugin` is its name."""

    _esm = script(*FORM_SCRIPTS, "config.js")
    _css = style(*FORM_STYLES, "config.css")

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self._guard = threading.RLock()
        self._moment: Moment | None = None
        self._loaded: Loaded | None = None
        self._theirs: Loaded | None = None
        self._editing: Editing | None = None
        self._busy = ""
        self._seen: tuple[Any, ...] | None = None
        self._failure = ""
        self._outcome: Outcome | None = None
        self._refused: dict[str, str] = {}
        self._is_refused = False
        self._versions: Sequence[Mapping[str, Any]] | None = None
        self._is_history_open = False
        self._folded: tuple[Any, Any, Data] | None = None
        self._version: int | None = None
        self._verbs: dict[str, Callable[[Data], None]] = {
            "edit": self._edit, "save": self._save, "discard": self._discard,
            "reload": self._reload, "theirs": self._take_theirs, "merge": self._merge,
            "restart": self._restart, "start": self._start, "history": self._open_history,
            "version": self._open_version, "restore": self._restore, "dismiss": self._dismiss,
        }  # fmt: skip
        super().__init__({"plugin": plugin})

    @property
    def form(self) -> Form | None:
        """The form that is edited, once the settings are there."""
        return self._editing.form if self._editing else None

    @property
    def is_dirty(self) -> bool:
        """Whether the form holds something else than what is saved."""
        with self._guard:
            if self._editing is None or self._loaded is None:
                return False
            form = self._editing.form
            return form.is_dirty or not is_same(form.value, self._loaded.settings)

    # --- what is shown -------------------------------------------------------------------------

    def step(self, moment: Moment) -> None:
        """Redraw, and read the settings again where they are other ones by now."""
        with self._guard:
            self._moment = moment
            plugin = moment.state.plugins.get(self.plugin)
            if plugin is not None and not moment.stale:
                self._keep_up(moment.state.instance, plugin)
            self.show(self.fold(moment))

    def fold(self, moment: Moment) -> Data:
        """What the page shows. Pure: of `moment` and of what was loaded and edited so far."""
        plugin = moment.state.plugins.get(self.plugin)
        data: Data = {"plugin": self.plugin, "isStale": moment.stale}
        if plugin is None:
            return {**data, "isGone": True}
        data |= words.banners_of(moment.state, plugin)
        with self._guard:
            if self._failure:
                data["failure"] = self._failure
            if self._busy:
                data["busy"] = self._busy
            if self._outcome is not None:
                outcome = self._outcome
                data["outcome"] = {"text": outcome.text, "tone": outcome.tone}
                if outcome.restart and plugin.restart_needed:
                    data["outcome"]["restart"] = True
            if self._loaded is not None and self._editing is not None:
                data |= self._fold_form(plugin, self._loaded, self._editing)
                data |= self._fold_history(self._loaded)
        return data

    def _fold_form(self, plugin: PluginState, loaded: Loaded, editing: Editing) -> Data:
        """The form and what is made of it; kept until something of it is another thing."""
        notice = words.notice_without_schema(plugin) if loaded.schema is None else ""
        facts = (editing.revision, self._is_refused, notice)
        things = (loaded, self._theirs, self._refused, self._versions)
        kept = self._folded
        if kept is None or kept[0] != facts or not all(map(is_, kept[1], things)):
            kept = self._folded = (facts, things, self._make_form(plugin, loaded, editing))
        return kept[2]

    def _make_form(self, plugin: PluginState, loaded: Loaded, editing: Editing) -> Data:
        form = editing.form
        changes = words.changes_between(loaded.schema, loaded.settings, form.value)
        description = editing.describe(
            errors=self._refused, changed=[change["path"] for change in changes]
        )
        if loaded.schema is None:
            description["notice"] = words.notice_without_schema(plugin)
        data: Data = {
            "version": loaded.version,
            "form": description,
            "changes": changes,
            "isDirty": self.is_dirty,
            "isValid": form.is_valid and not self._is_refused,
            "hasSchema": loaded.schema is not None,
        }
        if self._theirs is not None:
            data["conflict"] = self._fold_conflict(loaded, self._theirs, form.value)
        return data

    def _fold_conflict(self, loaded: Loaded, theirs: Loaded, mine: Any) -> Data:
        _, clashes = words.combined(loaded.settings, mine, theirs.settings)
        who = next((v for v in self._versions or () if v["version"] == theirs.version), None)
        conflict: Data = {
            "version": theirs.version,
            "changes": words.changes_between(
                theirs.schema or loaded.schema, loaded.settings, theirs.settings
            ),
            "clashes": clashes,
        }
        if who is not None:
            conflict |= {"author": who["author"] or "unknown", "at": who["at"]}
        return conflict

    def _fold_history(self, loaded: Loaded) -> Data:
        if not self._is_history_open:
            return {}
        if self._versions is None:
            return {"history": {"isLoading": True}}
        history: Data = {"versions": words.versions_of(self._versions, loaded.version)}
        if self._version is not None:
            one = words.version_of(self._versions, self._version, loaded)
            if one is not None:
                history["open"] = one
        return {"history": history}

    def redraw(self) -> None:
        """Show at once what an intent changed."""
        with self._guard:
            if self._moment is not None:
                self.show(self.fold(self._moment))

    # --- keeping up with the Host --------------------------------------------------------------

    def _keep_up(self, instance: str, plugin: PluginState) -> None:
        key = (instance, plugin.config_version, plugin.config_schema)
        if self._busy or key == self._seen:
            return
        loaded = self._loaded
        is_new_host = self._seen is None or self._seen[0] != instance
        if loaded is not None and not is_new_host and plugin.config_version < loaded.version:
            return  # the state has not heard of our own save yet
        self._seen = key
        is_known = (
            loaded is not None
            and not is_new_host
            and plugin.config_version == loaded.version
            and is_same(plugin.config_schema, loaded.schema)
        )
        if not is_known:
            self._load()

    def _load(self) -> None:
        self._busy = "loading"
        self.work(self._read, f"Read the settings of {self.plugin}")

    def _read(self, bench: Bench) -> None:
        try:
            loaded = _loaded(bench.config(self.plugin))
            moved = self._loaded is not None and loaded.version != self._loaded.version
            versions = bench.config_history(self.plugin) if moved or self._is_history_open else None
        except WorkbenchError as error:
            with self._guard:
                self._busy, self._failure = "", str(error)
            raise
        with self._guard:
            self._busy = self._failure = ""
            if versions is not None:
                self._versions = versions
            self._arrived(loaded)

    def _arrived(self, new: Loaded) -> None:
        """Take settings over where nothing typed would be lost; else tell of them."""
        old = self._loaded
        if old is None or not self.is_dirty:
            self._adopt(new)
        elif is_same(new.settings, old.settings) or is_same(new.settings, self._value):
            self._adopt(new, self._value)
        else:
            self._theirs = new

    @property
    def _value(self) -> Any:
        return self._editing.form.value if self._editing is not None else None

    def _adopt(self, new: Loaded, mine: Any = None) -> None:
        """`new` is what is saved; `mine` what is edited, if it is something else."""
        old, self._loaded, self._theirs = self._loaded, new, None
        self._refused, self._is_refused = {}, False
        is_alike = old is not None and is_same(
            [old.schema, old.inherited], [new.schema, new.inherited]
        )
        if self._editing is None:
            self._editing = Editing(_form(new))
        elif not is_alike or not is_same(self._editing.form.value, new.settings):
            self._editing.replace(_form(new))
        else:
            self._editing.reset(new.settings)
        if mine is not None and not is_same(mine, new.settings):
            self._editing.put(mine)

    # --- what the page asks for ----------------------------------------------------------------

    def on_intent(self, intent: Data) -> None:
        """What the page asks for; see `static/config.js`."""
        verb = self._verbs.get(intent["verb"])
        if verb is None:
            return
        with self._guard:
            verb(intent)
            self.redraw()

    def _edit(self, intent: Data) -> None:
        if self._editing is None or not self._editing.take(intent):
            return
        at = intent["edit"].get("at")
        self._refused = {k: v for k, v in self._refused.items() if not _touches(at, k)}
        self._is_refused = False
        self._outcome = None

    def _save(self, intent: Data) -> None:
        loaded, form = self._loaded, self.form
        if loaded is None or form is None or self._busy or not form.is_valid or not self.is_dirty:
            return
        seconds = intent.get("canarySeconds")
        canary = float(seconds) if isinstance(seconds, (int, float)) and seconds > 0 else None
        reason = str(intent.get("reason") or "").strip() or None
        value = form.value
        self._busy, self._outcome = "saving", None
        self.work(
            lambda bench: self._submit(bench, loaded, value, reason, canary),
            f"Save the settings of {self.plugin}",
        )

    def _submit(
        self, bench: Bench, loaded: Loaded, value: Any, reason: str | None, canary: float | None
    ) -> None:
        try:
            done = bench.save_config(
                self.plugin, value, loaded.version, reason=reason, canary_seconds=canary
            )
        except ConfigConflict:
            with self._guard:
                self._outcome = Outcome("Somebody else saved these settings meanwhile.", "warn")
            self._read(bench)
            return
        except ConfigInvalid as error:
            with self._guard:
                self._busy, self._is_refused = "", True
                self._refused = {str(k): str(v) for k, v in _errors(error).items()}
                self._outcome = Outcome("The Host refused these settings; see the fields.", "bad")
            return
        except WorkbenchError as error:
            with self._guard:
                self._busy, self._outcome = "", Outcome(f"Not saved: {error}", "bad")
            return
        self._after(bench, done, value, canary is not None)

    def _after(self, bench: Bench, done: Mapping[str, Any], value: Any, canary: bool) -> None:
        """Read again what was saved, and keep what was typed meanwhile."""
        plugin = bench.state.plugins.get(self.plugin)
        outcome = words.saved_sentence(done["version"], done["applied"], plugin, canary)
        with self._guard:
            self._outcome = outcome
        try:
            new = _loaded(bench.config(self.plugin))
            versions = bench.config_history(self.plugin) if self._is_history_open else None
        except WorkbenchError:
            with self._guard:
                self._busy, self._seen = "", None  # saved; read again when there is a Host
            raise
        with self._guard:
            self._busy = ""
            self._versions = versions
            mine = self._value
            if is_same(mine, value):
                self._adopt(new)
            else:
                self._adopt(new, words.combined(value, mine, new.settings)[0])

    def _discard(self, _: Data) -> None:
        if self._loaded is not None and self._editing is not None:
            self._editing.replace(_form(self._loaded))
            self._refused, self._is_refused, self._outcome = {}, False, None

    def _reload(self, _: Data) -> None:
        if not self._busy:
            self._load()

    def _take_theirs(self, _: Data) -> None:
        if self._theirs is not None:
            self._adopt(self._theirs)
            self._outcome = None

    def _merge(self, _: Data) -> None:
        """Lay what was typed over what somebody else saved."""
        loaded, theirs = self._loaded, self._theirs
        if loaded is None or theirs is None:
            return
        mine, _clashes = words.combined(loaded.settings, self._value, theirs.settings)
        self._adopt(theirs, mine)
        self._outcome = None

    def _restart(self, _: Data) -> None:
        if self.board is not None:
            self.board.ask("restart", self.plugin)

    def _start(self, _: Data) -> None:
        if self.board is not None:
            self.board.ask("start", self.plugin)

    def _dismiss(self, _: Data) -> None:
        self._outcome = None

    # --- versions ------------------------------------------------------------------------------

    def _open_history(self, intent: Data) -> None:
        self._is_history_open = intent.get("open") is True
        if self._is_history_open:
            self._versions = None
            self.work(self._read_history, f"Read the versions of {self.plugin}")

    def _read_history(self, bench: Bench) -> None:
        versions = bench.config_history(self.plugin)
        with self._guard:
            self._versions = versions

    def _open_version(self, intent: Data) -> None:
        number = intent.get("version")
        self._version = number if isinstance(number, int) and number != self._version else None

    def _restore(self, intent: Data) -> None:
        number = intent.get("version")
        if not isinstance(number, int) or self._busy:
            return
        self._busy, self._outcome = "restoring", None
        self.work(lambda bench: self._bring_back(bench, number), f"Restore version {number}")

    def _bring_back(self, bench: Bench, number: int) -> None:
        value = self._value
        base = self._loaded.settings if self._loaded is not None else {}
        try:
            done = bench.restore_config(self.plugin, number)
        except WorkbenchError as error:
            with self._guard:
                self._busy, self._outcome = "", Outcome(f"Not restored: {error}", "bad")
            return
        # What was typed and not saved stays, on top of what was restored.
        self._after(bench, done, base if not is_same(value, base) else value, canary=False)


def _form(loaded: Loaded) -> Form:
    if loaded.schema is None:
        return Form(WITHOUT_SCHEMA, loaded.settings)
    return Form(loaded.schema, loaded.settings, inherited=loaded.inherited)


def _loaded(reply: Mapping[str, Any]) -> Loaded:
    return Loaded(
        dict(reply["settings"]),
        int(reply["version"]),
        reply.get("schema"),
        dict(reply.get("inherited") or {}),
    )


def _errors(error: WorkbenchError) -> dict[str, str]:
    found = error.facts.get("errors")
    return found if isinstance(found, dict) and found else {"": str(error)}


def _touches(at: Any, pointer: str) -> bool:
    """Whether an edit at `at` may have mended what is wrong at `pointer`."""
    return isinstance(at, str) and (
        pointer == at or pointer.startswith(f"{at}/") or at.startswith(f"{pointer}/")
    )
