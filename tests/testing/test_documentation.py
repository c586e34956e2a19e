"""The page for those who test their programs: its examples are tests, and they pass."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import crust.testing
from tests.support.documents import blocks
from tests.support.modes import on_greenlets
from tests.support.source import ROOT

PAGE = ROOT / "docs" / "testing.md"


def test_the_examples_are_tests_that_pass(tmp_path: pathlib.Path) -> None:
    """As a file of their own, under pytest as anybody runs it, on threads or greenlets as we run here."""
    text = "".join(block.text + "\n\n" for block in blocks(PAGE, "python"))
    (tmp_path / "test_example.py").write_text(text, encoding="utf-8")
    runner = ["-m", "gevent.monkey", "--module", "pytest"] if on_greenlets() else ["-m", "pytest"]
    done = subprocess.run(
        [sys.executable, *runner, "-q", "-W", "error", "-p", "no:cacheprovider", "test_example.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{text.count('def test_')} passed" in done.stdout


def test_the_page_names_everything() -> None:
    """Every public method of a network."""
    words = set(re.findall(r"net\.(\w+)|`network\((\w+)", PAGE.read_text(encoding="utf-8")))
    found = {word for pair in words for word in pair if word}
    public = {name for name in vars(crust.testing.Network) if not name.startswith("_")}
    assert public - {"close"} <= found
    assert {"grace", "patience"} <= found
