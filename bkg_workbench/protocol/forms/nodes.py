"""The neutral description of a form: plain nodes, equal for equal input, without null or false.

Owns the walk over a value that makes the nodes. What does not depend on the value is `shapes`'s;
values are changed by `edits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bkg_workbench.protocol.forms.keywords import UNSET, compact, is_plain
from bkg_workbench.protocol.forms.outline import NEVER, Outline, Place
from bkg_workbench.protocol.forms.reading import Chosen, Look, look, steps
from bkg_workbench.protocol.forms.shapes import Shape
from bkg_workbench.protocol.masks import MASK, mask
from bkg_workbench.protocol.references import MAX_DEPTH
from bkg_workbench.protocol.values import is_same

Node = dict[str, Any]

MAX_NODES = 5_000
"""How many nodes a form shows; a larger value is edited as JSON."""

_OF_ANY_KIND = ("at", "title", "description", "required", "nullable", "readOnly", "deprecated",
                "isSet", "error")  # fmt: skip


class TooLarge(Exception):
    """The value has more parts than a form can show."""


class Description:
    """One walk over a value.

    After `root`, `picks` holds which branch tells its mistakes, as {(JSON pointer of the value, of
    the selector in the schema): index}, and `secrets` the JSON pointers of the secrets.
    """

    def __init__(
        self,
        outline: Outline,
        value: Any,
        chosen: Chosen,
        drafts: Mapping[str, str],
        errors: Mapping[str, str],
    ) -> None:
        self._outline = outline
        self._value = value
        self._chosen = chosen
        self._drafts = drafts
        self._errors = errors
        self._masked: Any = UNSET
        self._count = 0
        self._locks = 0
        self.picks: dict[tuple[str, str], int] = {}
        self.secrets: set[str] = set()

    def root(self) -> Node:
        """The node of the whole value. Raises `TooLarge`."""
        return self._node(self._outline.root, self._value, "", "", True, (), UNSET)

    def _node(
        self,
        place: Place,
        value: Any,
        at: str,
        title: str,
        required: bool,
        above: tuple[Place, ...],
        inherited: Any,
    ) -> Node:
        """The node at `at`. `above` are the places around it, `inherited` their defaults for it."""
        self._count += 1
        if self._count > MAX_NODES:
            raise TooLarge(f"The value has more than {MAX_NODES} parts.")
        plan = self._outline.plan(place)
        if plan.always is not None:
            shape = plan.always
        else:
            seen = look(self._outline, place, value, self._chosen.get(at))
            if seen.variant is not None:
                return self._variant(seen, value, at, title, required, above, inherited)
            shape = seen.shape
        node = self._head(shape, value, at, title, required, inherited)
        if shape.is_secret:
            self._secret(node, value, at)
        elif value is not None and shape.kind in ("group", "list", "map"):
            self._branch(node, shape, place, value, at, above, inherited)
        elif shape.kind == "json":
            self._json(node, value, at)
        elif value is not None and value is not UNSET:
            self._leaf(node, shape, value, at)
        return node

    def _head(
        self, shape: Shape, value: Any, at: str, title: str, required: bool, inherited: Any
    ) -> Node:
        """What nodes of all kinds have."""
        node = shape.fixed.copy()
        node["at"] = at
        if title and "title" not in node:
            node["title"] = title
        if required:
            node["required"] = True
        if self._locks:
            node["readOnly"] = True
        if value is not UNSET:
            node["isSet"] = True
            if value is None:
                node["isNull"] = True
        if inherited is not UNSET and not shape.is_secret and is_plain(inherited):
            node["default"] = inherited
        if at in self._errors:
            node["error"] = self._errors[at]
        return node

    def _secret(self, node: Node, value: Any, at: str) -> None:
        self.secrets.add(at)
        if value is UNSET or value is None:
            return
        node["value"] = "" if value == "" else MASK
        if value not in ("", MASK):
            node["dirty"] = True

    def _leaf(self, node: Node, shape: Shape, value: Any, at: str) -> None:
        if shape.kind == "choice":
            for index, choice in enumerate(c for c in shape.choices if c is not None):
                if is_same(choice, value):
                    node["chosen"] = index
                    break
        if not isinstance(value, (dict, list)):
            node["value"] = value
        elif "chosen" in node or shape.kind == "constant":
            node["text"] = compact(value)
        else:
            self._as_json(node, value, at)

    def _json(self, node: Node, value: Any, at: str) -> None:
        if at in self._drafts:
            node["text"] = self._drafts[at]
        elif value is not UNSET:
            node["text"] = pretty(self._hidden(value, at))
        if self._errors and "error" not in node and value is not UNSET:
            below = next((p for p in self._errors if p.startswith(at + "/")), None)
            if below is not None:
                node["error"] = f"{below[len(at) :]} {self._errors[below]}"

    def _as_json(self, node: Node, value: Any, at: str) -> None:
        """Turn a node whose kind cannot show the value into one of JSON."""
        kept = {key: node[key] for key in _OF_ANY_KIND if key in node}
        node.clear()
        node.update(kept, kind="json")
        self._json(node, value, at)

    def _hidden(self, value: Any, at: str) -> Any:
        """The value at `at` with secrets masked."""
        if not isinstance(value, (dict, list)):
            return value
        if self._masked is UNSET:
            self._masked = mask(self._outline.schema, self._value)
        here = self._masked
        for step in steps(at):
            here = here[int(step)] if isinstance(here, list) else here[step]
        return here

    def _branch(
        self,
        node: Node,
        shape: Shape,
        place: Place,
        value: Any,
        at: str,
        above: tuple[Place, ...],
        inherited: Any,
    ) -> None:
        """What a group, list or map has below it."""
        is_set = value is not UNSET
        if is_set and (not shape.fits(value) or len(above) >= MAX_DEPTH or at in self._drafts):
            self._as_json(node, value, at)
            return
        is_locked = "readOnly" in node
        self._locks += is_locked
        inside = (*above, place)
        if shape.kind == "list":
            self._list(node, shape, value if is_set else [], inside)
        elif shape.kind == "map":
            self._map(node, shape, value if is_set else {}, inside)
        elif not is_set and (place in above or len(above) >= MAX_DEPTH):
            node.update(fields={}, order=[], unknown={}, isFolded=True)
        else:
            default = shape.default if inherited is UNSET else inherited
            self._group(node, shape, value if is_set else {}, inside, default)
        self._locks -= is_locked

    def _group(
        self, node: Node, shape: Shape, value: Node, inside: tuple[Place, ...], default: Any
    ) -> None:
        at, required = node["at"], shape.required_by(value)
        defaults = default if isinstance(default, dict) else {}
        fields: dict[str, Node] = {}
        for key, place in shape.fields.items():
            below = value.get(key, UNSET)
            if below is not UNSET or NEVER not in place.raws:
                fields[key] = self._node(
                    place, below, f"{at}/{escape(key)}", key, key in required, inside,
                    defaults.get(key, UNSET),
                )  # fmt: skip
        for key in sorted(required.difference(shape.fields, value)):
            place = shape.further(key) or self._outline.place(True)
            here = f"{at}/{escape(key)}"
            fields[key] = self._node(place, UNSET, here, key, True, inside, UNSET)
        unknown: dict[str, Node] = {}
        for key, below in value.items():
            if key in shape.fields:
                continue
            further = shape.further(key)
            here = f"{at}/{escape(key)}"
            if further is not None:
                fields[key] = self._node(further, below, here, key, False, inside, UNSET)
                fields[key]["isExtra"] = True
            else:
                unknown[key] = self._unknown(key, below, here)
        node.update(fields=fields, order=list(fields), unknown=unknown)
        if not self._locks and shape.has_room(len(value)):
            node["canAdd"] = True

    def _unknown(self, key: str, value: Any, at: str) -> Node:
        node: Node = {"kind": "json", "at": at, "title": key, "isSet": True}
        if value is None:
            node["isNull"] = True
        if at in self._errors:
            node["error"] = self._errors[at]
        self._json(node, value, at)
        return node

    def _map(self, node: Node, shape: Shape, value: Node, inside: tuple[Place, ...]) -> None:
        at = node["at"]
        anything = self._outline.place(True)
        entries = {
            key: self._node(
                shape.further(key) or anything, below, f"{at}/{escape(key)}", key, False, inside,
                UNSET,
            )
            for key, below in value.items()
        }  # fmt: skip
        node.update(entries=entries, order=list(entries))
        if not self._locks and shape.has_room(len(value)):
            node["canAdd"] = True

    def _list(self, node: Node, shape: Shape, value: Any, inside: tuple[Place, ...]) -> None:
        at, count = node["at"], len(value)
        node["items"] = {
            str(index): self._node(
                shape.item(index), below, f"{at}/{index}", "", False, inside, UNSET
            )
            for index, below in enumerate(value)
        }
        node["count"] = count
        if self._locks:
            return
        if shape.has_room(count):
            node["canAdd"] = True
        if count > shape.least:
            node["canRemove"] = True
        if count > 1 and not shape.items:
            node["canMove"] = True

    def _variant(
        self,
        seen: Look,
        value: Any,
        at: str,
        title: str,
        required: bool,
        above: tuple[Place, ...],
        inherited: Any,
    ) -> Node:
        assert seen.variant is not None
        node = self._head(seen.variant, value, at, title, required, inherited)
        if seen.chosen is None:
            return node
        option = seen.variant.options[seen.chosen]
        for selector, index in option.picks:
            self.picks[at, selector] = index
        node["chosen"] = seen.chosen
        body = self._body(seen, option.place, value, at, above, inherited)
        if "error" in body:  # told by the variant already, or a summary of what lies below
            node["error"] = body.pop("error")
        for word in ("title", "description"):
            if body.get(word) == node.get(word):
                body.pop(word, None)
        node["body"] = body
        return node

    def _body(
        self,
        seen: Look,
        place: Place,
        value: Any,
        at: str,
        above: tuple[Place, ...],
        inherited: Any,
    ) -> Node:
        shape = seen.shape
        body = self._head(shape, value, at, "", False, inherited)
        if shape.is_secret:
            self._secret(body, value, at)
        elif shape.kind in ("group", "list", "map"):
            self._branch(body, shape, place, value, at, above, inherited)
        elif shape.kind in ("json", "variant"):
            self._as_json(body, value, at)
        else:
            self._leaf(body, shape, value, at)
        return body


def escape(key: str) -> str:
    """One key as a step of a JSON pointer."""
    if "~" in key or "/" in key:
        return key.replace("~", "~0").replace("/", "~1")
    return key


def pretty(value: Any) -> str:
    """A JSON value as JSON to be read and edited."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
