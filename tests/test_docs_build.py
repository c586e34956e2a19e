"""The pages as HTML: Sphinx builds them without a warning, and the reference has every public name."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

import crust
import crust.testing
import crust.traversal
from tests.support.source import ROOT

REFERENCE = ROOT / "docs" / "reference"

PUBLIC = {f"crust.{name}" for name in crust.__all__}
PUBLIC |= {f"{package.__name__}.{name}" for package in (crust.testing, crust.traversal) for name in package.__all__}


def test_the_reference_names_what_is_public() -> None:
    """Every public name stands in one page of docs/reference, once, and nothing else does."""
    named = []
    for page in REFERENCE.glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        module = re.search(r"^\.\. currentmodule:: (\S+)$", text, re.MULTILINE)
        assert module is not None, page
        entries = re.findall(r"^\.\. (?:auto\w+|data):: ([\w.]+)", text, re.MULTILINE)
        named += [name if "." in name else f"{module[1]}.{name}" for name in entries]
    assert sorted(named) == sorted(PUBLIC | COUNTERS)


COUNTERS = {"crust.peers.gate.GateCounters", "crust.peers.circuits.introducing.CircuitCounters"}
"""What ``Stats`` has."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The pages, built as ``make docs`` does it: a warning is an error."""
    (command,) = re.findall(r"^\t\$\(BIN\)/python -m (sphinx .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    directory = tmp_path_factory.mktemp("docs")
    elsewhere = {"build/doctrees": str(directory / "trees"), "build/docs": str(directory)}
    words = [elsewhere.get(word, word) for word in command.split()]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return directory


@pytest.mark.packaging
def test_the_pages_are_built_without_a_warning(built: pathlib.Path) -> None:
    """Each page of docs/ is there, and a start page for web servers."""
    for source in [*(ROOT / "docs").glob("*.md"), *REFERENCE.glob("*.rst")]:
        assert (built / source.relative_to(ROOT / "docs").with_suffix(".html")).exists()
    assert (built / "index.html").read_text() == (built / "README.html").read_text()


@pytest.mark.packaging
def test_the_reference_is_made_from_the_docstrings(built: pathlib.Path) -> None:
    """Each public class, and each public method and property of it, has its entry."""
    text = "".join(page.read_text(encoding="utf-8") for page in (built / "reference").glob("*.html"))
    entries = set(re.findall(r'id="(crust\.[\w.]+)"', text))
    assert entries >= PUBLIC
    for kind in (crust.Service, crust.Peer, crust.EventStream, crust.Config, crust.testing.Network):
        module = "crust.testing" if kind is crust.testing.Network else "crust"
        members = {name for name, value in vars(kind).items() if callable(value) or isinstance(value, property)}
        internal = {"abandon", "end", "put"} if kind is crust.EventStream else set()
        missing = {name for name in members if name[0] != "_"} - internal - {"problems", "with_source"}
        assert {f"{module}.{kind.__name__}.{name}" for name in missing} - entries == set()


@pytest.mark.packaging
def test_every_page_is_in_the_navigation(built: pathlib.Path) -> None:
    """What README.md lists is what the start page leads to."""
    start = (built / "index.html").read_text(encoding="utf-8")
    side = start.split('class="sidebar-tree"', 1)[1].split("</aside>", 1)[0]
    linked = set(re.findall(r'href="([\w/-]+)\.html"', side))
    pages = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in REFERENCE.glob("*.rst")}
    pages |= {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"}
    assert pages - linked == set()
