"""The control centre's views as HTML text.

Owns markup only: every text that comes from outside is escaped here, at the one place where text
becomes HTML. Pure functions; the stylesheet is `static/panels.css`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bkg_workbench.widgets.view import Badge, Banner, Gauge, Header, PortRow, Row

MAX_TEXT = 400
"""Characters of a foreign sentence that a page shows; the rest is in the log."""

FIGURES = ("Uptime", "Restarts", "CPU", "Memory", "Last beat")


def text(value: str, limit: int = MAX_TEXT) -> str:
    """`value` as harmless HTML text, cut at `limit` characters."""
    return escape(value if len(value) <= limit else value[: limit - 1] + "…", quote=True)


def _hint(value: str | None) -> str:
    return f' title="{text(value)}"' if value else ""


def badge(item: Badge) -> str:
    """A pill with a dot, a colour and a word."""
    return f'<span class="bkg-badge bkg-{item.tone}"{_hint(item.hint)}>{text(item.text)}</span>'


def header(item: Header) -> str:
    """The page's first line."""
    facts = "".join(
        f'<span class="bkg-fact"><i>{text(label)}</i> {text(value)}</span>'
        for label, value in item.facts
    )
    return (
        f'<div class="bkg-header"><span class="bkg-brand">BKG Workbench</span>'
        f'<span class="bkg-workspace"{_hint(item.path)}>{text(item.workspace)}</span>'
        f'<span class="bkg-facts">{facts}</span>{badge(item.status)}</div>'
    )


def banners(items: Sequence[Banner]) -> str:
    """The banners, one below the other; empty without any."""
    return "".join(
        f'<div class="bkg-banner bkg-{b.tone}" role="status">{text(b.text, 1000)}</div>'
        for b in items
    )


def column_heads() -> str:
    """The inventory's head line, on the same grid as its rows."""
    figures = "".join(f"<span>{name}</span>" for name in FIGURES)
    return (
        '<div class="bkg-row bkg-head">'
        '<div class="bkg-id"><span>Plug-in</span><span>State</span></div>'
        f'<div class="bkg-figures">{figures}</div><span>Capabilities</span><span></span></div>'
    )


def identity(row: Row) -> str:
    """Name, description and state of a plug-in, and its note."""
    description = text(row.description, 160)
    name, state = text(row.name), text(row.badge.text)
    return (
        f'<div class="bkg-id"><div class="bkg-names">'
        f'<b class="bkg-name">{name}</b>'
        f'<span class="bkg-sub"{_hint(row.description)}>{description}</span></div>'
        f'<div class="bkg-state" data-plugin="{name}" data-state="{state}">'
        f"{badge(row.badge)}</div></div>"
    )


def note(row: Row) -> str:
    """The line below a plug-in: what it prepares, why it failed, what was asked of it."""
    if row.asked is not None:
        return f'<div class="bkg-note bkg-busy">asked to {row.asked} …</div>'
    if row.note is None:
        return ""
    return (
        f'<div class="bkg-note bkg-{row.note.tone}"{_hint(row.note.text)}>'
        f"{text(row.note.text)}</div>"
    )


def figures(row: Row) -> str:
    """The numbers of a plug-in that change by the second."""
    last_exit = text(row.last_exit, 60) if row.last_exit else ""
    cells = (
        f'<span class="bkg-num">{text(row.uptime)}</span>',
        f'<span class="bkg-num">{text(row.restarts)}'
        f"<small{_hint(row.last_exit)}>{last_exit}</small></span>",
        _gauge(row.cpu, 100.0),
        _gauge(row.memory, 0.0),
        f'<span class="bkg-beat bkg-{row.beat.tone}"{_hint(row.beat.hint)}>'
        f"{text(row.beat.text)}</span>",
    )
    labelled = (
        f'<div data-label="{label}">{cell}</div>'
        for label, cell in zip(FIGURES, cells, strict=True)
    )
    return f'<div class="bkg-figures">{"".join(labelled)}</div>'


def capabilities(row: Row) -> str:
    """The capability badges of a plug-in."""
    chips = "".join(
        f'<span class="bkg-chip bkg-{c.tone}"{_hint(c.hint)}>{text(c.text)}</span>'
        for c in row.capabilities
    )
    return f'<div class="bkg-chips">{chips}</div>'


def ports(items: Sequence[PortRow]) -> str:
    """The port table."""
    lines = "".join(
        f"<tr><td>{text(p.name)}</td><td class='bkg-num'>{text(p.port)}</td>"
        f"<td>{_link(p.url)}</td><td>{text(p.owner)}</td></tr>"
        for p in items
    )
    if not lines:
        lines = '<tr><td colspan="4" class="bkg-sub">no ports are open</td></tr>'
    return (
        '<table class="bkg-ports"><thead><tr><th>Port of</th><th>Port</th><th>URL</th>'
        f"<th>Owner</th></tr></thead><tbody>{lines}</tbody></table>"
    )


def _link(url: str) -> str:
    shown = text(url.partition("?")[0])  # a token is followed, not shown
    if url.startswith(("http://", "https://")):
        return f'<a href="{text(url)}" target="_blank" rel="noopener noreferrer">{shown}</a>'
    return shown


def _gauge(gauge: Gauge, least: float) -> str:
    number = f'<span class="bkg-num">{text(gauge.text)}</span>'
    line = sparkline(gauge.points, least)
    return f'<span class="bkg-gauge"{_hint(gauge.hint)}>{number}{line}</span>'


def sparkline(
    points: Sequence[float], least: float = 0.0, width: int = 64, height: int = 18
) -> str:
    """An SVG line through `points`, oldest first, on a scale from 0 to their maximum.

    `least` is the smallest maximum, so that idle noise is not drawn as a mountain range. Fewer than
    two points give no line, and an empty text.
    """
    if len(points) < 2:
        return ""
    top = max(max(points) * 1.1, least, 1e-9)
    step = width / (len(points) - 1)
    line = " ".join(
        f"{n * step:.1f},{height - 1 - (height - 2) * max(0.0, p) / top:.1f}"
        for n, p in enumerate(points)
    )
    return (
        f'<svg class="bkg-spark" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="0,{height} {line} {width},{height}"></polygon>'
        f'<polyline points="{line}"></polyline></svg>'
    )
