"""The colours that all panels share: text can be read on each ground that it stands on."""

from __future__ import annotations

import itertools
import re

import pytest

from bkg_workbench.widgets.live import text

Rgb = tuple[float, float, float]

GROUNDS = ("page", "card", "tint", "hover")
TONES = ("ok", "warn", "bad", "busy", "idle")
LEAST = 4.5
"""WCAG 2.2, 1.4.3 (AA), text of normal size."""


def tokens(theme: str) -> dict[str, str]:
    """The custom properties of a theme; what dark does not set is as in light."""
    css = text("panels.css")
    blocks = {
        "light": re.search(r"^\.bkg \{(.*?)\n\}", css, re.DOTALL | re.MULTILINE),
        "dark": re.search(
            r'^\[data-jp-theme-light="false"\] \.bkg \{(.*?)\n\}', css, re.DOTALL | re.MULTILINE
        ),
    }
    found: dict[str, str] = {}
    for name in ("light", "dark") if theme == "dark" else ("light",):
        block = blocks[name]
        assert block is not None
        found |= dict(re.findall(r"--([a-z-]+):\s*([^;]+);", block[1]))
    return found


def rgb(value: str) -> Rgb:
    found = re.fullmatch(r"#([0-9a-f]{6})", value)
    assert found, f"not a plain colour: {value}"
    n = int(found[1], 16)
    return n >> 16, n >> 8 & 255, n & 255


def luminance(colour: Rgb) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Rgb, other: Rgb) -> float:
    """Contrast ratio, WCAG 2.2: from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mixed(colour: Rgb, share: float, ground: Rgb) -> Rgb:
    """`colour` at an opacity of `share`, on `ground`."""
    red, green, blue = (share * c + (1 - share) * g for c, g in zip(colour, ground, strict=True))
    return red, green, blue


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)
    assert contrast(rgb("#777777"), rgb("#ffffff")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ink", ["text", "dim", *TONES])
def test_text_can_be_read_on_every_ground(theme: str, ink: str) -> None:
    colours = tokens(theme)
    for ground in GROUNDS:
        assert contrast(rgb(colours[ink]), rgb(colours[ground])) >= LEAST, ground


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tone", TONES)
def test_text_can_be_read_on_the_wash_of_a_tone(theme: str, tone: str) -> None:
    colours = tokens(theme)
    share = float(colours["wash"].removesuffix("%")) / 100
    for ground, ink in itertools.product(GROUNDS, (tone, "text")):
        wash = mixed(rgb(colours[tone]), share, rgb(colours[ground]))
        assert contrast(rgb(colours[ink]), wash) >= LEAST, (ground, ink)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("solid", ["busy", "bad"])
def test_text_can_be_read_on_a_solid_button(theme: str, solid: str) -> None:
    colours = tokens(theme)
    assert contrast(rgb(colours["on-solid"]), rgb(colours[solid])) >= LEAST


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ring_of_the_focus_can_be_seen(theme: str) -> None:
    colours = tokens(theme)
    for ground in GROUNDS:
        assert contrast(rgb(colours["busy"]), rgb(colours[ground])) >= 3.0
    assert ":focus-visible { outline: 2px solid var(--busy)" in text("panels.css")
