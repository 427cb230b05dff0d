"""What IPython does better with a workbench: errors as a sentence, and names that it can complete.

Owns the two hooks into a running IPython (terminal or kernel), installed once a shell when the
first workbench is asked for. Imports no notebook library: where IPython is not loaded there is
nothing to do. A handler for exceptions that somebody installed before stays.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.state import WorkbenchState

_RED, _DIM, _PLAIN = "\x1b[31m", "\x1b[2m", "\x1b[0m"
_INSTALLED = "_bkg_workbench_manners"

_OF_PLUGINS = (
    "start", "stop", "restart", "plugin", "config", "save_config", "config_history",
    "restore_config", "rebuild", "remove_plugin", "logs", "follow_logs", "telemetry", "events",
)  # fmt: skip
_OF_CAPABILITIES = ("call", "calls", "stream")
_ARGUMENT = re.compile(
    rf"""(?P<name>[A-Za-z_]\w*)\.a?(?P<verb>{"|".join((*_OF_PLUGINS, *_OF_CAPABILITIES))})"""
    r"""\(\s*(?P<quote>["']?)[\w.-]*$"""
)
"""The first argument of a verb, as far as it is typed."""


def install() -> None:
    """Teach the running IPython, if there is one. A second call does nothing."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, _INSTALLED, False):
        return
    setattr(shell, _INSTALLED, True)
    if not shell.custom_exceptions:
        shell.set_custom_exc((WorkbenchError,), show_sentence)
    shell.set_hook("complete_command", complete, re_key=f".*{_ARGUMENT.pattern}")


def show_sentence(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType,
    tb_offset: int | None = None,
) -> list[str]:
    """IPython's handler of a `WorkbenchError`: its sentence. `%tb` shows the whole traceback."""
    # What %tb and debuggers look at; IPython sets them only on its own way.
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, traceback
    lines = [
        f"{_RED}{kind.__name__}{_PLAIN}: {error}",
        f"{_DIM}%tb shows where it came from.{_PLAIN}",
    ]
    shell._showtraceback(kind, error, lines)
    return lines


def complete(shell: Any, event: Any) -> list[str]:
    """IPython's completer of a verb's first argument: plug-ins or capabilities."""
    found = _ARGUMENT.search(event.text_until_cursor)
    if found is None:
        return []
    state = getattr(shell.user_ns.get(found["name"]), "state", None)
    if not isinstance(state, WorkbenchState):
        return []
    names = _capabilities(state) if found["verb"] in _OF_CAPABILITIES else state.plugins
    return sorted(names) if found["quote"] else [f'"{name}"' for name in sorted(names)]


def _capabilities(state: WorkbenchState) -> Iterable[str]:
    """What the plug-ins declare or serve."""
    return {
        name
        for plugin in state.plugins.values()
        for name in (*plugin.definition.capabilities, *plugin.capabilities)
    }
