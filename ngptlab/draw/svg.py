"""A drawing as an element of a page: no prolog, ids of its own, colours by the page's CSS."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from ngptlab.draw import style as figures

SHADE = "#000000"
"""Colour of text and axes in drawings that name no other."""
PIXELS_OF_A_POINT = (0.9, 1.6)
"""Least and greatest width of a figure in pixels, per point of its own width, so that its text stays readable."""

POINTS_OF_AN_INCH = 72

ROUNDED = re.compile(r'(?<= )(?:(?:d|x|y)="[^"]*"|transform="(?:rotate|translate)\([^)"]*\)")')
"""Attributes that hold places and nothing else. Text, such as a tick's number, is none of them."""
DIGITS = 2
"""Digits of a place in points that are kept: a hundredth of a point is a fortieth of a pixel, and matplotlib writes six."""


def inline(svg: bytes, label: str) -> Markup:
    """A study's drawing as an element of the page, as wide as its text needs. `label` must be our own text."""
    text = svg.decode("utf-8")
    size = re.search(r'viewBox="\S+ \S+ (\S+) [^"]*"', text)
    assert size, "matplotlib writes a viewBox"
    points = float(size[1])
    least, most = (points * each for each in PIXELS_OF_A_POINT)
    style = f"max-width: {most:.0f}px"
    if points > POINTS_OF_AN_INCH * figures.PAGE_INCHES:  # one drawn for a page fits a phone
        style += f"; min-width: {least:.0f}px"
    return Markup(element(text, label, inks=(figures.INK, SHADE), style=style))


def element(svg: str, label: str, *, inks: Sequence[str] = (figures.INK,), style: str = "") -> str:
    """An SVG file as an element: no prolog, no addresses, ids of its own, colours by CSS.

    `label` makes the ids unique. `label` and `style` must be our own texts. `inks` are the colours of text and axes.
    What the page does not need is left out, because it makes up half of what matplotlib writes: ids that nothing refers to,
    fonts that the page sets, digits that no screen shows.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size, "matplotlib writes a viewBox"
    own = f'class="plot" role="img" aria-label="{label}"' + (f' style="{style}"' if style else "")
    svg = re.sub(r"<svg[^>]*>", f"<svg {own} {size[0]}>", svg, count=1)
    svg = ROUNDED.sub(lambda found: re.sub(r"\d+\.\d{3,}", _rounded, found[0]), svg)
    svg = re.sub(r"(?<=[ \"])font-family: [^;\"]*; ?", "", svg)
    meant = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in meant else "", svg)
    prefix = re.sub(r"\W+", "-", label.lower())
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)
    for ink in inks:
        svg = svg.replace(ink, "currentColor")
    svg = svg.replace(figures.GRID, "var(--grid)")
    for index, colour in enumerate(figures.SERIES):
        svg = svg.replace(colour, f"var(--series-{index})")
    return re.sub(r"\n\s*", "\n", svg).strip()


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.{DIGITS}f}".rstrip("0").rstrip(".")
