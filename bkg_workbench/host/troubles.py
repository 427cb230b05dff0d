"""Banners for what the stores suffer from, for as long as they do.

Owns which trouble has which banner. The stores go on by themselves: nothing here mends anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine


def tell(engine: Engine) -> None:
    """Put up the banners that are due, and take down those that are over."""
    samples = engine.samples
    found = {
        "trouble:logs": engine.logs.trouble,
        "trouble:samples": samples.trouble and f"Telemetry is not kept: {samples.trouble}",
        "journal:config": engine.database.journal_trouble(),
        "journal:samples": samples.journal_trouble(),
        "journal:logs": engine.logs.journal_trouble(),
    }
    standing = {notice.key: notice.text for notice in engine.state.notices}
    for key, text in found.items():
        if text is None:
            engine.clear(key)
        elif standing.get(key) != text:
            engine.notice(key, text)
