"""What a run of the conformance kit found: results, and their forms as JSON and JUnit.

Owns the forms alone; tables for people are the command's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.etree import ElementTree

Verdict = Literal["pass", "fail", "skip"]
Requirement = Literal["MUST", "SHOULD"]

# What XML 1.0 cannot hold, not even as a reference.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Result:
    """One check: `reason` says for a failure what was sent, what came and what was expected."""

    id: str
    title: str
    requirement: Requirement
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether it fails the whole run."""
        return self.verdict == "fail" and self.requirement == "MUST"


@dataclass(frozen=True)
class Report:
    """All results for one plug-in. `log` are its last lines of output."""

    plugin: str
    command: tuple[str, ...]
    results: Sequence[Result]
    log: Sequence[str] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Whether no required check failed."""
        return not any(result.is_fault for result in self.results)

    def count(self, verdict: Verdict) -> int:
        """How many checks ended so."""
        return sum(1 for result in self.results if result.verdict == verdict)

    def of(self, id: str) -> Result:
        """The result of one check. Raises `KeyError` where there is none of this id."""
        for result in self.results:
            if result.id == id:
                return result
        raise KeyError(id)

    def require(self) -> None:
        """Raise `AssertionError` that tells each fault; for a plug-in's own tests."""
        faults = [f"{r.id} ({r.title}): {r.reason}" for r in self.results if r.is_fault]
        if faults:
            lines = [f"{self.plugin} does not keep to the protocol:", *faults]
            if self.log:
                lines += ["its last lines:", *(f"  | {line}" for line in self.log)]
            raise AssertionError("\n".join(lines))

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        rows = [
            {
                "id": r.id, "title": r.title, "requirement": r.requirement, "verdict": r.verdict,
                "reason": r.reason, "seconds": round(r.seconds, 3),
            }
            for r in self.results
        ]  # fmt: skip
        return {
            "plugin": self.plugin,
            "command": list(self.command),
            "passed": self.passed,
            "checks": rows,
            "log": list(self.log),
        }

    def as_junit(self) -> bytes:
        """The report as JUnit XML, one test case for each check.

        A SHOULD that fails stands as skipped, so that the file and the exit code say the same.
        """
        suite = ElementTree.Element(
            "testsuite",
            name=_clean(f"conformance of {self.plugin}"),
            tests=str(len(self.results)),
            failures=str(sum(1 for r in self.results if r.is_fault)),
            errors="0",
            skipped=str(sum(1 for r in self.results if r.verdict != "pass" and not r.is_fault)),
            time=f"{sum(r.seconds for r in self.results):.3f}",
        )
        for result in self.results:
            suite.append(_case(result, self.plugin))
        if self.log:
            ElementTree.SubElement(suite, "system-out").text = _clean("\n".join(self.log))
        suites = ElementTree.Element("testsuites")
        suites.append(suite)
        ElementTree.indent(suites)
        return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(result: Result, plugin: str) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        classname=_clean(f"conformance.{plugin}"),
        name=f"{result.id}: {result.title}",
        time=f"{result.seconds:.3f}",
    )
    reason = _clean(result.reason)
    if result.is_fault:
        first = reason.partition("\n")[0]
        found = ElementTree.SubElement(case, "failure", message=first, type=result.requirement)
        found.text = reason
    elif result.verdict == "fail":
        ElementTree.SubElement(case, "skipped", message=f"SHOULD, and does not: {reason}")
    elif result.verdict == "skip":
        ElementTree.SubElement(case, "skipped", message=reason)
    return case


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
