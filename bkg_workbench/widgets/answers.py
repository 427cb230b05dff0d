"""How an answer is shown: as JSON within bounds, and what in it reads better as something else.

Owns finding tables, texts, images and vectors in any JSON value, and cutting a large one to what a
page should hold. Pure; how they are drawn lies in `static/answer.js`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bkg_workbench.protocol.values import pointer
from bkg_workbench.widgets.live import Data

MAX_STRING = 8_000
MAX_ITEMS = 300
MAX_FIELDS = 300
MAX_NODES = 6_000
MAX_CHARACTERS = 400_000
"""Of all strings together; beyond, each is cut to `SHORT`."""
SHORT = 100
MAX_DEPTH = 40
MAX_IMAGE_BYTES = 1024 * 1024
MAX_COLUMNS = 12
MAX_VIEWS = 6
LONG_TEXT = 80
VECTOR = 8
"""A list of so many numbers and nothing else is a vector."""
PREVIEW = 8

_IMAGES = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
_PIECE_KEYS = ("text", "content", "token", "delta")


def answer(value: Any) -> Data:
    """`value` for the page: `json` (text, within bounds), `cut`, `bytes`, and `views`."""
    shown, is_cut = pruned(value)
    return {
        "json": msgspec.json.encode(shown).decode(),
        "cut": is_cut,
        "bytes": size(value),
        "views": views(value),
    }


def size(value: Any) -> int:
    """How many bytes `value` takes as JSON."""
    return len(msgspec.json.encode(value))


def pruned(value: Any) -> tuple[Any, bool]:
    """`value` with what is too much for a page cut away, and whether anything was."""
    budget, characters = [MAX_NODES], [MAX_CHARACTERS]
    is_cut = False

    def go(node: Any, depth: int) -> Any:
        nonlocal is_cut
        budget[0] -= 1
        if isinstance(node, str):
            most = MAX_STRING if characters[0] > 0 else SHORT
            characters[0] -= min(len(node), most)
            if len(node) <= most:
                return node
            is_cut = True
            return f"{node[:most]}… ({len(node):,} characters)"
        if not isinstance(node, (dict, list)):
            return node
        if depth > MAX_DEPTH or budget[0] <= 0:
            is_cut = True
            return "…"
        if isinstance(node, dict):
            kept: dict[str, Any] = {}
            for key, item in node.items():
                if len(kept) >= MAX_FIELDS or budget[0] <= 0:
                    is_cut = True
                    break
                kept[key] = go(item, depth + 1)
            return kept
        most = PREVIEW if is_vector(node) else MAX_ITEMS
        items = []
        for item in node[:most]:
            if budget[0] <= 0:
                break
            items.append(go(item, depth + 1))
        if len(items) < len(node):
            is_cut = True
            items.append(f"… {len(node) - len(items):,} more")
        return items

    return go(value, 0), is_cut


def views(value: Any) -> list[Data]:
    """What in `value` is a table, an image, a vector or a text; the most telling first."""
    found: dict[str, list[Data]] = {"image": [], "table": [], "text": [], "vectors": []}
    vectors: list[tuple[str, list[float]]] = []
    for at, node in _places(value):
        if isinstance(node, str):
            if image := _image(node):
                found["image"].append({"kind": "image", "at": at, "src": image})
            elif at == "" or len(node) > LONG_TEXT or "\n" in node:
                found["text"].append({"kind": "text", "at": at, "text": node[:MAX_STRING]})
        elif is_vector(node):
            vectors.append((at, node))
        elif is_table(node):
            found["table"].append(_table(at, node))
    if vectors:
        found["vectors"].append(_vectors(vectors))
    order = ("image", "vectors", "table", "text")
    return [view for kind in order for view in found[kind]][:MAX_VIEWS]


def is_vector(node: Any) -> bool:
    """Whether `node` is a list of numbers long enough to be read as one thing."""
    return (
        isinstance(node, list)
        and len(node) >= VECTOR
        and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in node)
    )


def is_table(node: Any) -> bool:
    """Whether `node` is a list of objects, and of nothing else."""
    return isinstance(node, list) and bool(node) and all(isinstance(row, dict) for row in node)


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of a table, in the order in which its rows first have them."""
    seen: dict[str, None] = {}
    for row in rows[:200]:
        for key in row:
            seen.setdefault(str(key))
    return list(seen)


def text_of(piece: Any) -> str | None:
    """The text that a piece of a stream adds, or None where it is no text.

    A string is one; so are OpenAI's chunks of a chat, and an object with one such field.
    """
    if isinstance(piece, str):
        return piece
    if not isinstance(piece, dict):
        return None
    choices = piece.get("choices")
    if isinstance(choices, list):
        deltas = [c.get("delta") for c in choices if isinstance(c, dict)]
        texts = [d.get("content") for d in deltas if isinstance(d, dict)]
        return "".join(t for t in texts if isinstance(t, str))
    texts = [piece[key] for key in _PIECE_KEYS if isinstance(piece.get(key), str)]
    return texts[0] if len(texts) == 1 and len(piece) <= 3 else None


def at_pointer(value: Any, at: str) -> Any:
    """What stands at a JSON pointer that `views` gave."""
    for step in at.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _places(value: Any) -> Iterator[tuple[str, Any]]:
    """The strings and lists of `value` with their pointers; not what lies inside of a table."""
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    looked = 0
    while waiting and looked < MAX_NODES:
        at, node, depth = waiting.pop(0)
        looked += 1
        yield at, node
        if depth >= 6 or is_vector(node):
            continue
        if isinstance(node, dict):
            waiting += [(at + pointer(key), item, depth + 1) for key, item in node.items()]
        elif isinstance(node, list):
            inside = node[:50] if is_table(node) else node[:200]
            waiting += [
                (f"{at}/{n}{pointer(key)}", item, depth + 2)
                for n, row in enumerate(inside)
                if isinstance(row, dict)
                for key, item in row.items()
                if is_vector(item) or _image(item) or isinstance(item, dict)
            ]
            waiting += [
                (f"{at}/{n}", item, depth + 1)
                for n, item in enumerate(inside)
                if not isinstance(item, dict)
            ]


def _table(at: str, rows: list[dict[str, Any]]) -> Data:
    names = columns(rows)
    return {
        "kind": "table",
        "at": at,
        "rows": len(rows),
        "columns": names[:MAX_COLUMNS],
        "more": max(0, len(names) - MAX_COLUMNS),
    }


def _vectors(found: list[tuple[str, list[float]]]) -> Data:
    first = found[0][1]
    lengths = [math.sqrt(math.fsum(float(n) * float(n) for n in vector)) for _, vector in found]
    sizes = sorted({len(vector) for _, vector in found})
    return {
        "kind": "vectors",
        "at": found[0][0],
        "count": len(found),
        "dimensions": sizes,
        "norm": [min(lengths), max(lengths)],
        "preview": [float(n) for n in first[:PREVIEW]],
        "shape": [float(n) for n in first[:256]],
    }


def _image(text: Any) -> str | None:
    """A `src` for an image of the four plain formats, or None; never SVG, which can run scripts."""
    if not isinstance(text, str) or not 64 <= len(text) <= MAX_IMAGE_BYTES:
        return None
    if text.startswith("data:"):
        head, _, body = text.partition(";base64,")
        return text if head[5:] in _IMAGES.values() and _is_base64(body) else None
    for magic, kind in _IMAGES.items():
        if text.startswith(magic) and _is_base64(text):
            return f"data:{kind};base64,{text}"
    return None


def _is_base64(text: str) -> bool:
    return text.isascii() and text[:200].rstrip("=").replace("+", "").replace("/", "").isalnum()
