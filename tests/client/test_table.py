"""The methods of `Workbench` are those of the capability table, in both their forms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bkg_workbench.client.workbench import Workbench
from bkg_workbench.protocol.capabilities import HOST, TABLE, Capability, covers, is_name

ROWS = [row for row in HOST if row.verb]
OF_THE_CALL = {"timeout"}
"""Parameters that are about the request, not in it."""


def parameters(method: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(method).parameters)
    del found["self"]
    return found


def fields(row: Capability) -> dict[str, msgspec.structs.FieldInfo]:
    assert row.params is not None
    return {field.name: field for field in msgspec.structs.fields(row.params)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_with_a_verb_has_its_method_and_async_twin(row: Capability) -> None:
    method, twin = getattr(Workbench, row.verb or ""), getattr(Workbench, f"a{row.verb}")
    assert not inspect.iscoroutinefunction(method)
    assert inspect.iscoroutinefunction(twin)
    assert list(parameters(method).values()) == list(parameters(twin).values())
    assert inspect.signature(method).return_annotation == inspect.signature(twin).return_annotation
    assert twin.__doc__ == f"Async twin of `{row.verb}`."


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_parameters_of_a_method_are_those_of_the_table(row: Capability) -> None:
    method = getattr(Workbench, row.verb or "")
    given, known = parameters(method), fields(row)
    is_open = any(p.kind is p.VAR_KEYWORD for p in given.values())
    named = {n for n, p in given.items() if p.kind is not p.VAR_KEYWORD}
    assert named - OF_THE_CALL <= set(known)
    if is_open:
        # The others pass as filters; the docstring is where they are named.
        filters = set(known) - named
        assert [f for f in filters if f not in (method.__doc__ or "").split("Filters:")[1]] == []
    else:
        assert set(known) <= named
    for name, field in known.items():
        if field.required:
            assert given[name].default is inspect.Parameter.empty
        elif name in named and name != "wait":
            assert given[name].default == field.default


def test_no_method_calls_a_capability_that_is_not_in_the_table() -> None:
    parts = [kind for kind in Workbench.__mro__ if kind.__module__.startswith("bkg_workbench.")]
    source = "".join(map(inspect.getsource, parts))
    verbs = {row.verb for row in ROWS}
    called = {f"host.plugin.{verb}" for verb in verbs if f'_wish("{verb}"' in source}
    called |= {name for name in TABLE if f'"{name}"' in source}
    assert {row.name for row in ROWS} == called


def test_every_name_in_the_table_is_one_and_stands_there_once() -> None:
    assert [name for name in TABLE if not is_name(name)] == []
    assert len(TABLE) == len({row.name for row in TABLE.values()})
    assert [row.name for row in HOST if not covers("host.*", row.name)] == []
