"""The report of the fault rows: what a run found stands in it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import Catalogue, Figure, Result, number, report, verdict

pytest_plugins = ["pytester"]

CATALOGUE = Catalogue(
    groups={"S": {"title": "Supervision", "rows": {"S1": "no exec", "S2": "nasty", "S3": "zero"}}},
    summary=[
        {"title": "Lost", "figure": "lost", "how": "sum"},
        {"title": "Rate", "figure": "rate", "how": "max"},
        {"title": "Torn", "figure": "torn", "how": "sum"},
    ],
    notes={"S3": "tried with a mock only"},
)


def lines_of(results: list[Result]) -> list[str]:
    return report(CATALOGUE, results, [Figure("torn", 2)], 90, {"commit": "abc"}).splitlines()


def test_a_row_shows_its_figures_its_verdict_and_its_tests() -> None:
    lines = lines_of(
        [
            Result("tests/a.py::test_one[x]", "passed", ("S1",), [Figure("lost", 0)]),
            Result("tests/a.py::test_one[y]", "passed", ("S1", "S2"), [Figure("lost", 3)]),
            Result("tests/b.py::test_two", "failed", ("S2",), [Figure("rate", 1234.5, "/s")]),
            Result("tests/b.py::test_three"),
        ]
    )
    assert "| S1 | no exec | lost: 0 to 3 | pass 2/2 | `a.py::test_one` |" in lines
    row = "| S2 | nasty | lost: 3; rate: 1,234 /s | **FAIL** 1/2 | `a.py::test_one`<br>"
    assert any(line.startswith(row) for line in lines)
    assert "| S3 | zero (tried with a mock only) |  | not covered |  |" in lines
    assert "- run: 4 tests in 1.5 minutes, 1 failed, 3 passed" in lines


def test_the_summary_joins_figures_of_all_tests() -> None:
    lines = lines_of(
        [
            Result("a", "passed", ("S1",), [Figure("lost", 1), Figure("rate", 5)]),
            Result("b", "failed", ("S2",), [Figure("lost", 2), Figure("rate", 4)]),
            Result("c", "skipped", ("S3",)),
        ]
    )
    start = lines.index("| what | figure |") + 2
    assert lines[start : start + 5] == [
        "| Faults tried, of 3 rows | 2 |",
        "| Faults survived | 1 |",
        "| Lost | 3 |",
        "| Rate | 5 |",
        "| Torn | 2 |",
    ]


def test_a_row_that_was_only_skipped_is_not_called_passed() -> None:
    assert verdict([Result("a", "skipped")]) == "not run"
    assert verdict([Result("a", "skipped"), Result("b")]) == "pass"


def test_numbers_are_as_long_as_they_need_to_be() -> None:
    assert [number(n) for n in (0, 0.0, 12_000, 0.12345, 12_345.678)] == [
        "0", "0", "12,000", "0.123", "12,346",
    ]  # fmt: skip


def test_every_title_fits_into_a_table() -> None:
    for row, title in Catalogue.read().rows.items():
        assert row
        assert 5 < len(title) < 80, row
        assert "|" not in title


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-ins of pytest that are installed here take long to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_what_a_run_records_reaches_the_report(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.row("S1", "K2")
        def test_it(record):
            record.figure("requests lost", 7)
        """
    )
    arguments = ["-p", "tests.reliability", "--reliability", "out.md", "-p", "no:cacheprovider"]
    done = pytester.runpytest_subprocess(*arguments, "-o", "markers=row")
    done.assert_outcomes(passed=1)
    said = Path(pytester.path, "out.md").read_text()
    assert "| Requests lost | 7 |" in said
    assert "requests lost: 7 | pass | `test_what_a_run_records_reaches_the_report.py::" in said


def test_a_row_that_the_catalogue_does_not_have_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.row('S99')\ndef test_it():\n    pass\n")
    done = pytester.runpytest_subprocess("-p", "tests.reliability", "-o", "markers=row")
    done.stderr.fnmatch_lines(["*catalogue.toml has no row 'S99'*"])
