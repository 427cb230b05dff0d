"""Hooks: reached by name, imported when used, and clear about what is missing."""

from __future__ import annotations

import sys

import pytest

from bkg_workbench.client import hooks
from bkg_workbench.errors import WorkbenchError


@pytest.fixture(autouse=True)
def _own_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_hooks", dict(hooks._hooks))


def test_a_hook_is_imported_when_it_is_called_and_not_before() -> None:
    sys.modules.pop("this_is_no_module", None)
    hooks.register("join", "posixpath:join")
    hooks.register("later", "this_is_no_module:show")
    assert hooks.call("join", "a", "b") == "a/b"
    with pytest.raises(WorkbenchError, match="needs the library this_is_no_module") as caught:
        hooks.call("later")
    assert caught.value.facts == {"library": "this_is_no_module"}


def test_a_hook_that_nobody_registered_says_what_to_import() -> None:
    with pytest.raises(WorkbenchError, match="no nothing hook; import bkg_workbench"):
        hooks.call("nothing")


def test_a_hook_without_its_function_is_named() -> None:
    hooks.register("broken", "json:nothing")
    with pytest.raises(WorkbenchError, match="broken hook json:nothing does not exist"):
        hooks.call("broken")


def test_what_a_hook_raises_is_its_own() -> None:
    hooks.register("int", "builtins:int")
    with pytest.raises(ValueError, match="invalid literal"):
        hooks.call("int", "x")


def test_the_packages_entry_registers_display_and_frame() -> None:
    import bkg_workbench

    assert bkg_workbench.Workbench.__name__ == "Workbench"
    assert {"display", "frame"} <= set(hooks._hooks)
