"""
The report as one HTML file that can be sent to whoever helps: nothing in it is fetched from elsewhere, and it runs no
script. It can be printed, adapts to dark screens and narrow ones, and is read well by screen readers.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

import crust

from ..terminal import human_duration, printable
from .picture import as_svg
from .words import MEETING, PRIVACY, Group, answers, date_of, groups, remarks, stops

__all__ = ["MARKS", "as_page", "group_table", "hint_list", "safe", "verdict_box", "whole"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --paper: #fff; --faint: #57606a; --line: #d0d7de; --good: #116329;
  --bad: #a40e26; --unknown: #7d4e00; --good-bg: #e6f6ea; --bad-bg: #fdecec; --unknown-bg: #fff4da;
  --plain-bg: #f3f5f7 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9aa4af; --line: #3a424c;
  --good: #6fdd8b; --bad: #ff9b93; --unknown: #e9b64f; --good-bg: #12261a; --bad-bg: #2d1618; --unknown-bg: #2b2110;
  --plain-bg: #161b22 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 56rem; padding: 1.5rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); overflow-wrap: break-word }
header p, footer, .remark { color: var(--faint); font-size: .9rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
.verdict { display: flex; gap: 1rem; align-items: flex-start; border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem }
.verdict p { margin: 0 0 .4rem }
.grade { flex: none; font-size: 2.4rem; font-weight: 700; line-height: 1; padding: .5rem .8rem; border-radius: .5rem }
.grade.good, td.good { background: var(--good-bg); color: var(--good) }
.grade.bad, td.bad { background: var(--bad-bg); color: var(--bad) }
.grade.unknown, td.unknown { background: var(--unknown-bg); color: var(--unknown) }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border: 1px solid var(--line) }
th { font-weight: 600 } tbody th { font-weight: 400; width: 40% }
.found tbody th { width: 11rem; color: var(--faint) }
.found td.good, .found td.bad, .found td.unknown { background: none }
div.way { overflow-x: auto }
svg { width: 100%; min-width: 40rem; height: auto; margin: .5rem 0; font: 14px system-ui, sans-serif }
svg rect { fill: var(--plain-bg); stroke: var(--line); stroke-width: 1.5 }
svg text { fill: var(--ink); text-anchor: middle } svg .title { font-weight: 700; font-size: 16px }
svg .sign { font-weight: 700; font-size: 17px } svg .way { fill: none; stroke: var(--faint); stroke-width: 2 }
svg .good rect { fill: var(--good-bg); stroke: var(--good) } svg .good .sign { fill: var(--good) }
svg .bad rect { fill: var(--bad-bg); stroke: var(--bad) } svg .bad .sign { fill: var(--bad) }
svg .unknown rect { fill: var(--unknown-bg); stroke: var(--unknown); stroke-dasharray: 5 4 }
svg .unknown .sign { fill: var(--unknown) }
@media print { svg { min-width: 0 }
  body { max-width: none; padding: 0; font-size: .85rem } h2, h3 { break-after: avoid }
  tr, li, .verdict, svg { break-inside: avoid } }
"""
MARKS = {"A": "good", "B": "good", "E": "bad", "F": "bad"}


def as_page(survey: crust.NetworkSurvey, assessment: crust.Assessment) -> str:
    """The whole file as text."""
    return "\n".join(_page(survey, assessment)) + "\n"


def _page(survey: crust.NetworkSurvey, assessment: crust.Assessment) -> Iterator[str]:
    asked = f"It asked {', '.join(survey.contacted)}." if survey.contacted else "It asked nobody outside."
    made = f"Made by crust {crust.__version__} in {human_duration(survey.seconds)}. {asked}"
    yield from whole("Network report", date_of(survey), assessment.title, _body(survey, assessment), (PRIVACY, made))


def whole(kind: str, date: str, title: str, body: Iterable[str], footer: tuple[str, str]) -> Iterator[str]:
    """
    A page around what it has to say.

    Args:
        kind: What it is.
        date: When it was made.
        title: What came of it.
        body: Its lines, in HTML.
        footer: What is important about it, and who made it.
    """
    kind, date = safe(kind), safe(date)
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield '<head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">'
    yield f"<title>{kind}, {date}</title>"
    yield f"<style>{_STYLE}</style></head>"
    yield "<body>"
    yield f"<header><p>{kind}, {date}</p><h1>{safe(title)}</h1></header>"
    yield "<main>"
    yield from body
    yield "</main>"
    yield f"<footer><p><strong>{safe(footer[0])}</strong></p><p>{safe(footer[1])}</p></footer>"
    yield "</body></html>"


def _body(survey: crust.NetworkSurvey, assessment: crust.Assessment) -> Iterator[str]:
    yield from verdict_box(assessment.grade, assessment.text, f"{assessment.reason}.")
    yield "<h2>The way to the Internet</h2>"
    yield f'<div class="way">{as_svg(stops(survey, assessment))}</div>'
    yield from _forecasts(assessment)
    yield from hint_list(assessment.hints)
    yield "<h2>What was found</h2>"
    for group in groups(survey):
        yield from group_table(group)
    if assessment.gaps:
        yield "<h2>What was not found out</h2><ul>"
        yield from (f"<li>{safe(gap)}</li>" for gap in assessment.gaps)
        yield "</ul>"


def verdict_box(grade: str, text: str, reason: str) -> Iterator[str]:
    """The grade, what it is about, and why."""
    mark = MARKS.get(grade, "unknown")
    label = f"Grade {grade}" if grade else "No grade"
    yield '<section class="verdict" aria-label="Verdict">'
    yield f'<div class="grade {mark}" role="img" aria-label="{label}">{grade or "?"}</div>'
    yield f"<div><p>{safe(text)}</p><p><strong>{label}:</strong> {safe(reason)}</p></div>"
    yield "</section>"


def _forecasts(assessment: crust.Assessment) -> Iterator[str]:
    yield f"<h2>Whom you reach</h2><p>{safe(MEETING)}</p>"
    yield '<table><thead><tr><th scope="col">a peer in</th><th scope="col">you call them</th>'
    yield '<th scope="col">they call you</th></tr></thead><tbody>'
    for forecast in assessment.forecasts:
        cells = "".join(f'<td class="{mark}">{safe(text)}</td>' for text, mark in answers(forecast))
        yield f'<tr><th scope="row">{safe(forecast.title)}</th>{cells}</tr>'
    yield "</tbody></table>"
    yield from (f'<p class="remark">{safe(remark)}</p>' for remark in remarks(assessment))


def hint_list(hints: Sequence[crust.Hint]) -> Iterator[str]:
    """What would help; nothing if nothing would."""
    if hints:
        yield "<h2>What would help</h2><ol>"
        for hint in hints:
            yield f"<li><strong>{safe(hint.title)}.</strong> {safe(hint.text)}</li>"
        yield "</ol>"


def group_table(group: Group) -> Iterator[str]:
    """Findings on one subject."""
    yield f'<h3>{safe(group.title)}</h3><table class="found"><tbody>'
    for row in group.rows:
        yield f'<tr><th scope="row">{safe(row.label)}</th><td class="{row.mark}">{safe(row.text)}</td></tr>'
    yield "</tbody></table>"


def safe(text: str) -> str:
    """Routers and servers have said some of it."""
    return html.escape(printable(text, 4000))
