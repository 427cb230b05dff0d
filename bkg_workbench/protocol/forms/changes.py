"""What would change by saving, told before it is saved."""

from __future__ import annotations

from typing import Any

from bkg_workbench.protocol.forms.keywords import compact
from bkg_workbench.protocol.masks import masked_diff
from bkg_workbench.protocol.references import Schema

_KINDS = {"add": "added", "remove": "removed", "replace": "changed"}


def changes(schema: Schema | None, before: Any, after: Any) -> list[dict[str, str]]:
    """The differences between two settings values, as `{at, kind, before, after}`.

    `at` is a JSON pointer, `kind` one of added, removed, changed; `before` and `after` are JSON,
    absent where there is nothing. Secrets are shown as masks.
    """
    found = []
    for change in masked_diff(schema, before, after):
        line = {"at": change.path, "kind": _KINDS[change.op]}
        if change.op != "add":
            line["before"] = compact(change.before)
        if change.op != "remove":
            line["after"] = compact(change.after)
        found.append(line)
    return found
