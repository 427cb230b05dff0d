"""Rich display and DataFrames, reached without importing the notebook libraries.

Owns a registry of lazy import strings ("module:function"). The package's entry module fills it;
`client` calls through it, so that it never imports pandas or widgets itself.
"""

from __future__ import annotations

import importlib
from typing import Any

from bkg_workbench.errors import WorkbenchError

_hooks: dict[str, str] = {}


def register(name: str, target: str) -> None:
    """Register `target` ("module:function") under a name; it is imported on first use."""
    _hooks[name] = target


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a hook. Raises `WorkbenchError` where it is not registered or cannot be imported."""
    target = _hooks.get(name)
    if target is None:
        raise WorkbenchError(f"There is no {name} hook; import bkg_workbench itself.")
    module, _, function = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise WorkbenchError(
            f"{name} needs the library {error.name}, which is not installed here; "
            "install bkg-workbench in full.",
            library=error.name,
        ) from None
    except AttributeError:
        raise WorkbenchError(f"The {name} hook {target} does not exist.") from None
    return found(*args, **kwargs)
