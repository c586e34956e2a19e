"""The way from this machine to the Internet as a picture: an SVG that stands inside the page."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Sequence

from ..terminal import printable
from .words import Stop

__all__ = ["as_svg"]

_WIDTH, _HEIGHT, _GAP = 168, 132, 36  # of a stop, and between two
_LINE = 18
_COLUMNS = 21  # characters that fit into a stop
_ROOM = 4  # and lines
_SIGNS = {"good": "✓", "bad": "✗", "unknown": "?", "plain": "–"}
_SPOKEN = {"good": "fine", "bad": "in the way", "unknown": "not known", "plain": "so so"}


def as_svg(stops: Sequence[Stop], title: str = "The way to the Internet") -> str:
    """The picture; its colours come from classes of the page, its meaning also from signs and a description."""
    width = len(stops) * (_WIDTH + _GAP) - _GAP + 4
    told = "; ".join(f"{stop.title}: {', '.join(stop.lines)} ({_SPOKEN[stop.mark]})" for stop in stops)
    return "\n".join(
        [
            f'<svg viewBox="0 0 {width} {_HEIGHT + 4}" role="img" aria-labelledby="way-title way-text">',
            f'<title id="way-title">{_safe(title)}</title>',
            f'<desc id="way-text">{_safe(told)}</desc>',
            *(line for number, stop in enumerate(stops) for line in _stop(stop, number, number + 1 == len(stops))),
            "</svg>",
        ]
    )


def _stop(stop: Stop, number: int, is_last: bool) -> Iterator[str]:
    left = 2 + number * (_WIDTH + _GAP)
    middle = left + _WIDTH // 2
    yield f'<g class="{stop.mark}">'
    yield f'<rect x="{left}" y="2" width="{_WIDTH}" height="{_HEIGHT}" rx="10"/>'
    yield f'<text class="title" x="{middle}" y="28">{_safe(stop.title)}</text>'
    for at, line in enumerate(_lines(stop)):
        yield f'<text x="{middle}" y="{50 + at * _LINE}">{_safe(line)}</text>'
    yield f'<text class="sign" x="{middle}" y="{_HEIGHT - 4}">{_SIGNS[stop.mark]}</text>'
    yield "</g>"
    if not is_last:
        y = _HEIGHT // 2 + 2
        right = left + _WIDTH
        yield f'<path class="way" d="M{right + 4} {y}h{_GAP - 14}m-6 -6l7 6l-7 6"/>'


def _lines(stop: Stop) -> list[str]:
    """What fits; a long name gives way to what was found, which stands last."""
    *names, found = [textwrap.wrap(printable(line), _COLUMNS) for line in stop.lines]
    named = [part for name in names for part in name]
    room = max(_ROOM - len(found), 0)
    if len(named) > room:
        named = [*named[: room - 1], f"{named[room - 1][: _COLUMNS - 1]}…"] if room else []
    return [*named, *found[:_ROOM]]


def _safe(text: str) -> str:
    return html.escape(printable(text))
