"""What a check of the doctor says, and how checks are listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "info", "warn", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `mend` says what to do where something is not in order."""

    level: Level
    name: str
    text: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """`run` looks at `about`, given the workspace (None: there is none)."""

    about: str
    run: Callable[[Path | None], Iterable[Finding]]
