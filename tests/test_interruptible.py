"""
A lock is let go whatever strikes while it is held: no loop in a ``with`` block goes round outside of it.

CPython looks for signals when a loop goes round. Where the end of a loop is a condition (``while x:``, an ``if`` at the
end of the body, a comprehension's filter), the compilers of 3.12 and 3.13 make the jump back a block of its own and
forget that it belongs to the ``with`` statement: an interrupt there leaves the lock taken, for ever. What to do: move
the loop into a function, or end its body with another statement.
"""

from __future__ import annotations

import ast
import dis
import sys
import types
from collections.abc import Iterator

import pytest

from tests.support.source import ROOT

# Nothing strikes there: threads of programs that are not the main one, and adapters for tests. Both use conditions,
# which no interrupt may strike anyway.
NEVER_STRUCK = ("crust/cli/", "crust/testing/", "crust/transports/blocking.py")


def functions(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from functions(constant)


def escapes(code: types.CodeType) -> list[int]:
    """The lines where a loop that began inside a ``with`` block goes round outside of it."""
    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    instructions = list(dis.get_instructions(code))
    position = {each.offset: number for number, each in enumerate(instructions)}

    def is_guarded(offset: int, seen: tuple[int, ...] = ()) -> bool:
        """Whether an exception here makes a ``with`` statement leave, at once or after other handlers."""
        target = next((each.target for each in table if each.start <= offset < each.end), None)
        if target is None or target in seen:
            return False
        first = position[target]
        if any(each.opname == "WITH_EXCEPT_START" for each in instructions[first : first + 3]):
            return True
        return is_guarded(target, (*seen, target))

    return [
        each.positions.lineno
        for each in instructions
        if each.opname.startswith("JUMP_BACKWARD") and is_guarded(each.argval) and not is_guarded(each.offset)
    ]


def escapes_from_locks(text: str, name: str = "example") -> list[int]:
    """Those of a file whose innermost ``with`` statement is about a lock."""
    blocks = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.With)]

    def is_lock(line: int) -> bool:
        around = [node for node in blocks if node.lineno <= line <= (node.end_lineno or 0)]
        innermost = max(around, key=lambda node: node.lineno)
        return any("lock" in ast.unparse(item.context_expr).lower() for item in innermost.items)

    lines = {line for code in functions(compile(text, name, "exec")) for line in escapes(code)}
    return sorted(line for line in lines if is_lock(line))


needs_fault = pytest.mark.skipif(sys.version_info < (3, 12), reason="the compilers before 3.12 do not make this fault")


@needs_fault
def test_no_loop_leaves_its_lock() -> None:
    """In all that an application's thread, or a greenlet, may come through."""
    bad = []
    for path in sorted((ROOT / "crust").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(NEVER_STRUCK):
            bad += [f"{name}:{line}" for line in escapes_from_locks(path.read_text(encoding="utf-8"), name)]
    assert bad == []


@pytest.mark.skipif(sys.version_info[:2] not in ((3, 12), (3, 13)), reason="only their compilers make this fault")
@pytest.mark.parametrize(
    "loop",
    [
        "while self.ready():\n            self.work()",
        "for each in self.all:\n            if each:\n                self.work()",
        "found = [each for each in self.all if each]",
    ],
)
def test_the_fault_is_seen(loop: str) -> None:
    """The shapes that it takes."""
    assert escapes_from_locks(f"def function(self):\n    with self.lock:\n        {loop}\n")


@needs_fault
@pytest.mark.parametrize(
    "loop",
    [
        "while True:\n            if not self.ready():\n                return\n            self.work()",
        "for each in self.all:\n            if not each:\n                continue\n            self.work()",
        "for each in self.all:\n            self.work()",
    ],
)
def test_what_to_write_instead(loop: str) -> None:
    """The shapes that are safe."""
    assert escapes_from_locks(f"def function(self):\n    with self.lock:\n        {loop}\n") == []
