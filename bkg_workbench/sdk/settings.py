"""A plug-in's settings: the base class, its configSchema, and where the values come from.

Owns the conversion of plain JSON to a typed `Settings` with errors that carry JSON pointers. Does
not own saving, versions or the merge with defaults of the schema: the Host does that and writes the
result to the file that `BKG_PLUGIN_CONFIG_PATH` names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform

import msgspec

from bkg_workbench.errors import ConfigInvalid

T = TypeVar("T")

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_CONFIG_BYTES = 16 * 1024 * 1024

Secret = Annotated[str, msgspec.Meta(extra_json_schema={"writeOnly": True, "format": "password"})]
"""A text that the workbench masks wherever it shows settings."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class _KeywordOnly(msgspec.StructMeta):
    """Subclasses do not inherit `kw_only` by themselves; with it fields may come in any order."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> _KeywordOnly:
        options.setdefault("kw_only", True)
        return super().__new__(mcs, name, bases, namespace, **options)


class Settings(
    msgspec.Struct,
    frozen=True,
    rename="camel",
    forbid_unknown_fields=True,
    metaclass=_KeywordOnly,
):
    """Base of a plug-in's settings. Fields are camelCase in JSON; unknown ones are refused.

    Bounds and descriptions come from `Annotated[int, Meta(ge=1, description="…")]`.
    """


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type, with the type itself at the top and the rest in $defs.

    Raises `TypeError` for a type that has no JSON form.
    """
    schema = msgspec.json.schema(kind)
    definitions = schema.get("$defs", {})
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    if name in definitions and f'"#/$defs/{name}"' not in json.dumps(definitions):
        top = {**definitions.pop(name)}
        return {**top, "$defs": definitions} if definitions else top
    return schema


def config_schema(kind: type[Settings]) -> dict[str, Any]:
    """The `configSchema` of a settings class."""
    return {"$schema": DIALECT, **schema_of(kind)}


_FIELD = re.compile(r"field `([^`]*)`")
_STEP = re.compile(r"\.([^.\[\]`]+)|\[([^\]]*)\]")


def problem(error: msgspec.ValidationError) -> dict[str, str]:
    """{JSON pointer: what is wrong} of a msgspec validation error.

    The key of a mapping is not known to msgspec; it stands as `*` in the pointer.
    """
    text, _, place = str(error).partition(" - at `")
    pointer = ""
    for match in _STEP.finditer(place.removeprefix("key in `").strip("`")):
        step = match[1] or ("*" if match[2] == "..." else match[2])
        pointer += "/" + step.replace("~", "~0").replace("/", "~1")
    field = _FIELD.search(text)
    if field and text.startswith("Object "):
        pointer += "/" + field[1].replace("~", "~0").replace("/", "~1")
    return {pointer: text.replace("`", "")}


def convert(kind: type[T] | None, values: dict[str, Any], plugin: str) -> T | dict[str, Any]:
    """Plain `values` as settings; a plug-in without a settings class gets them as they are.

    Raises `ConfigInvalid` with {pointer: message} as fact `errors`.
    """
    if kind is None:
        return values
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigInvalid(plugin=plugin, errors=problem(error)) from None


def find_config(named: str | None, main_file: str | None) -> Path | None:
    """The config file: the one `named`, else config.json beside the main module or one above."""
    if named:
        return Path(named)
    if main_file:
        folder = Path(main_file).resolve().parent
        for candidate in (folder / "config.json", folder.parent / "config.json"):
            if candidate.is_file():
                return candidate
    return None


def read_config(path: Path | None, plugin: str) -> dict[str, Any]:
    """The JSON object in `path`; none is `{}`. Raises `ConfigInvalid` that names the file."""
    if path is None:
        return {}
    return _object(path, plugin, _read(path, plugin, Path.read_bytes))


def _read(path: Path, plugin: str, read: Callable[[Path], bytes]) -> bytes:
    try:
        return read(path)
    except OSError as error:
        message = f"The settings of {plugin} could not be read from {path}: {error.strerror}."
        raise ConfigInvalid(message, plugin=plugin) from None


def _object(path: Path, plugin: str, text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"The settings of {plugin} in {path} are not a JSON object: {error}."
        raise ConfigInvalid(message, plugin=plugin) from None
