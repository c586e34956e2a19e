"""docs/security.md names a test for each promise: every one of them is there, and no file of attacks is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.source import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def functions_of(path: Path) -> set[str]:
    """The names of the functions of a file that are tests, also of such in classes."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {each.name for each in found if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")}


def has_tests(path: Path) -> bool:
    """A file of tests, or a stateful model, which hypothesis makes into one."""
    return bool(functions_of(path)) or "RuleBasedStateMachine" in path.read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    """File and function."""
    wrong = []
    for name, function in NAMED:
        path = ROOT / name
        if not path.is_file() or not has_tests(path) or (function and function not in functions_of(path)):
            wrong.append(f"{name}::{function}" if function else name)
    assert wrong == []
    assert len(NAMED) > 30


def test_every_promise_has_a_test() -> None:
    """Each row of that table."""
    table = PAGE.split("| promise | tests |")[1].split("\n\n")[0]
    rows = table.strip().splitlines()[1:]
    assert len(rows) > 15
    assert [row for row in rows if not re.search(r"`tests/", row.split(" | ")[-1])] == []


def test_every_file_of_attacks_is_on_the_page() -> None:
    """So the page is also the index of the folder."""
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "adversary").glob("test_*.py")}
    assert files - {name for name, _ in NAMED} == {"tests/adversary/test_security_page.py"}


def test_the_policy_leads_there() -> None:
    """SECURITY.md is short, and names the page."""
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "](docs/security.md)" in policy
