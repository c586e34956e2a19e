"""What docs/laboratory.md says is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from tests.natlab.lab import Lab
from tests.natlab.pipes import Settings
from tests.support.documents import blocks
from tests.support.source import ROOT

PAGE = ROOT / "docs" / "laboratory.md"


def test_the_example_runs(lab: Lab, tmp_path: Path) -> None:
    """The test that the page shows passes."""
    (example,) = blocks(PAGE, "python")
    names: dict[str, Any] = {}
    exec(compile("\n" * (example.line - 1) + example.text, str(PAGE), "exec"), names)
    names["test_a_message_through_a_poor_link"](lab, tmp_path)


def test_the_settings_of_a_link_are_in_the_table() -> None:
    """Each with its default."""
    told = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", PAGE.read_text(), re.MULTILINE)
    assert told == [(each.name, repr(each.default)) for each in dataclasses.fields(Settings)]
