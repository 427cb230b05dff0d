"""Ties tests to the rows of the fault catalogue, and writes docs/reliability.md from a run.

Owns the mark `row`, the fixture `record` and the report; the rows are in catalogue.toml. Loaded by
the conftest.py at the root. Results and figures travel as user properties of a test's reports, so
this works below pytest-xdist too.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ROWS, FIGURE = "rows", "figure"
NAMES_SHOWN = 4


@dataclass(frozen=True)
class Catalogue:
    """The rows: titles by group and row, what the summary shows, notes by row."""

    groups: dict[str, dict[str, Any]]
    summary: list[dict[str, str]]
    notes: dict[str, str]

    @classmethod
    def read(cls) -> Catalogue:
        content = tomllib.loads((HERE / "catalogue.toml").read_text())
        return cls(content["groups"], content["summary"], content["notes"])

    @property
    def rows(self) -> dict[str, str]:
        return {
            row: title for group in self.groups.values() for row, title in group["rows"].items()
        }


@dataclass(frozen=True)
class Figure:
    """One figure that a test recorded."""

    what: str
    value: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {number(self.value)}{' ' if self.unit else ''}{self.unit}"


@dataclass
class Result:
    """How one test ended, and what it recorded."""

    test: str
    outcome: str = "passed"
    rows: tuple[str, ...] = ()
    figures: list[Figure] = field(default_factory=list)

    @property
    def name(self) -> str:
        """File and function, without parameters."""
        return self.test.partition("[")[0].removeprefix("tests/")


class Record:
    """Keeps figures of a test for the report."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def figure(self, what: str, value: float, unit: str = "") -> None:
        """Keep one; those that catalogue.toml names are joined into the summary."""
        self._item.user_properties.append((FIGURE, (what, value, unit)))


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """`record.figure("requests lost", 0)`: a figure for docs/reliability.md."""
    return Record(request.node)


# --- the plug-in of pytest -----------------------------------------------------------------------


class Collector:
    """Gathers what the tests of a run say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, Result] = {}
        self.begun = time.monotonic()
        self.overall: list[Figure] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        result = self.results.setdefault(report.nodeid, Result(report.nodeid))
        if report.outcome != "passed" and result.outcome != "failed":
            result.outcome = report.outcome
        if report.when == "teardown":
            kept = list(report.user_properties)
            result.rows = tuple(row for key, rows in kept if key == ROWS for row in rows)
            result.figures = [Figure(*parts) for key, parts in kept if key == FIGURE]

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return  # broken off: the report of the last whole run stays
        seconds = time.monotonic() - self.begun
        results = list(self.results.values())
        overall = [Figure(what, value) for what, value in session.config.stash.get(OVERALL, [])]
        text = report(Catalogue.read(), results, overall, seconds, machine())
        self.path.write_text(text)


OVERALL = pytest.StashKey[list[tuple[str, float]]]()
"""Figures of the whole run, which no single test can know (tests.leaks adds to them)."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reliability", type=Path, metavar="FILE", help="write the report of the rows to FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--reliability")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(path), "reliability-collector")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = Catalogue.read().rows
    for item in items:
        rows = list(dict.fromkeys(row for mark in item.iter_markers("row") for row in mark.args))
        unknown = [row for row in rows if row not in known]
        if unknown:
            raise pytest.UsageError(f"{item.nodeid}: catalogue.toml has no row {unknown[0]!r}")
        if rows:
            item.user_properties.append((ROWS, rows))


# --- the report ----------------------------------------------------------------------------------


def report(
    catalogue: Catalogue,
    results: list[Result],
    overall: list[Figure],
    seconds: float,
    facts: dict[str, str],
) -> str:
    """The whole of docs/reliability.md."""
    figures = [*overall, *(figure for result in results for figure in result.figures)]
    lines = [
        "# Reliability",
        "",
        "Written by `make soak` (tests/reliability.py); not edited by hand. The rows are those of",
        "`tests/catalogue.toml`: faults and attacks that this must survive. A figure is what was",
        "measured in this run on the machine below, not a promise for another.",
        "",
        *(f"- {name}: {fact}" for name, fact in facts.items()),
        f"- run: {len(results)} tests in {seconds / 60:.1f} minutes, {_count(results)}",
        "",
        "## Summary",
        "",
        "| what | figure |",
        "|---|---:|",
        *_summary(catalogue, results, figures),
        "",
    ]
    for letter, group in catalogue.groups.items():
        lines += [
            f"## {letter}: {group['title']}",
            "",
            "| row | what | figures | result | tests |",
            "|---|---|---|---|---|",
            *(_row(catalogue, row, title, results) for row, title in group["rows"].items()),
            "",
        ]
    return "\n".join(lines)


def _count(results: list[Result]) -> str:
    outcomes = [result.outcome for result in results]
    return ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes))) or "none run"


def _summary(catalogue: Catalogue, results: list[Result], figures: list[Figure]) -> Iterator[str]:
    tried = {row for result in results if result.outcome != "skipped" for row in result.rows}
    bad = {row for result in results if result.outcome == "failed" for row in result.rows}
    rows = len(catalogue.rows)
    yield f"| Faults tried, of {rows} rows | {len(tried)} |"
    yield f"| Faults survived | {len(tried - bad)} |"
    join = {"sum": sum, "max": max, "min": min}
    for line in catalogue.summary:
        values = [figure.value for figure in figures if figure.what == line["figure"]]
        shown = number(join[line["how"]](values)) if values else "not measured"
        yield f"| {line['title']} | {shown} |"


def _row(catalogue: Catalogue, row: str, title: str, results: list[Result]) -> str:
    own = [result for result in results if row in result.rows]
    figures = "; ".join(_joined(figure for result in own for figure in result.figures))
    note = catalogue.notes.get(row)
    names = list(dict.fromkeys(result.name for result in own))
    more = [f"and {len(names) - NAMES_SHOWN} more"] if len(names) > NAMES_SHOWN else []
    tests = "<br>".join([*(f"`{name}`" for name in names[:NAMES_SHOWN]), *more])
    cells = [row, title + (f" ({note})" if note else ""), figures, verdict(own), tests]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _joined(figures: Iterable[Figure]) -> list[str]:
    """Figures of one name as one text: parameters of a test give one each."""
    values: dict[tuple[str, str], list[float]] = {}
    for figure in figures:
        values.setdefault((figure.what, figure.unit), []).append(figure.value)
    return [
        str(Figure(what, least, unit))
        if (least := min(found)) == (most := max(found))
        else f"{what}: {number(least)} to {number(most)}{' ' if unit else ''}{unit}"
        for (what, unit), found in values.items()
    ]


def verdict(own: list[Result]) -> str:
    """One word, and how many of the row's tests passed where there are several."""
    if not own:
        return "not covered"
    ran = [result for result in own if result.outcome != "skipped"]
    if not ran:
        return "not run"
    passed = sum(result.outcome == "passed" for result in ran)
    word = "pass" if passed == len(ran) else "**FAIL**"
    return word if len(ran) == 1 else f"{word} {passed}/{len(ran)}"


def number(value: float) -> str:
    """With thousands apart, and no more digits than say something."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _git("rev-parse", "--short", "HEAD")
        + (" with local changes" if _git("status", "--porcelain", "-uno") else ""),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"{platform.machine()}",
        "python": platform.python_version(),
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
