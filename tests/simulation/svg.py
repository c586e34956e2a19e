"""Small line charts as SVG, one above the other with a common time axis; the same input makes the same file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Line", "Panel", "chart"]

WIDTH, HEIGHT = 640, 150
LEFT, RIGHT, TOP, GAP = 48, 12, 40, 34
COLOURS = ("#1f6fb2", "#d1752b", "#3b8f4d", "#8a52a8")
INK, FAINT = "#444", "#ddd"


@dataclass
class Line:
    """Points in the order of time."""

    name: str
    times: Sequence[float]
    values: Sequence[float]


@dataclass
class Panel:
    """A chart with its own vertical axis, which begins at 0."""

    label: str
    lines: list[Line] = field(default_factory=list)
    top: float = 0.0
    """The axis reaches at least so far."""
    mark: float | None = None
    """A dashed line."""


def chart(title: str, panels: Sequence[Panel], seconds: float) -> str:
    """The text of an SVG file."""
    height = TOP + len(panels) * (HEIGHT + GAP) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{_escaped(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (HEIGHT + GAP), seconds)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, at: float, seconds: float) -> list[str]:
    highest = max([panel.top, *(max(line.values) for line in panel.lines if line.values)])
    step = _step(highest)
    highest = max(step, math.ceil(highest / step) * step)

    def place(time: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * time / seconds
        return f"{x:.1f},{at + HEIGHT * (1 - value / highest):.1f}"

    parts = []
    for tick in range(round(highest / step) + 1):
        y = at + HEIGHT * (1 - tick * step / highest)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick * step:g}</text>')
    apart = _step(seconds)
    for number in range(int(seconds / apart) + 1):
        x = LEFT + (WIDTH - LEFT - RIGHT) * number * apart / seconds
        parts.append(f'<text x="{x:.1f}" y="{at + HEIGHT + 14}" text-anchor="middle">{number * apart:g} s</text>')
    if panel.mark is not None:
        y = at + HEIGHT * (1 - panel.mark / highest)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="4 3"/>')
    x = WIDTH - RIGHT
    for number, line in reversed(list(enumerate(panel.lines))):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(place(time, value) for time, value in zip(line.times, line.values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        parts.append(
            f'<text x="{x}" y="{at - 5}" text-anchor="end" fill="{colour}">{_escaped(line.name)}</text>'
        )
        x -= 8 + 6 * len(line.name)
    parts.append(f'<text x="{LEFT}" y="{at - 5}">{_escaped(panel.label)}</text>')
    return parts


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten: four to eight of them reach the top."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(power * part for part in (0.2, 0.5, 1.0, 2.0) if highest / (power * part) <= 6)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
