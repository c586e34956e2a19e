"""The plots of docs/utp.md are made by a command."""

from __future__ import annotations

import xml.dom.minidom

from tests.simulation.plots import FOLDER, PLOTS, draw
from tests.simulation.scenarios import share
from tests.simulation.svg import Line, Panel, chart
from tests.support.source import ROOT


def test_every_plot_is_there_and_in_the_page() -> None:
    """And none that is drawn no more."""
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(PLOTS)
    page = (ROOT / "docs" / "utp.md").read_text(encoding="utf-8")
    assert [name for name in PLOTS if f"utp-plots/{name}.svg" not in page] == []


def test_a_chart_is_well_formed_and_to_scale() -> None:
    """The highest value is at the top of the panel, 0 at the bottom; names are escaped."""
    text = chart("a < b", [Panel("x", [Line("one & two", [0.0, 10.0], [0.0, 20.0])], mark=10.0)], 10.0)
    document = xml.dom.minidom.parseString(text)
    (line,) = document.getElementsByTagName("polyline")
    assert line.getAttribute("points") == "48.0,190.0 628.0,40.0"
    assert "a &lt; b" in text and "one &amp; two" in text
    assert 'M48 115.0H628" stroke="#444" stroke-dasharray' in text


def test_the_same_run_draws_the_same() -> None:
    """So a plot changes only when what it shows does."""
    runs = [draw("title", ["fair"], share(["fair"], 2, 0.04, 5)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(xml.dom.minidom.parseString(runs[0]).getElementsByTagName("polyline")) == 2
