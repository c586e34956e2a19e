"""Reads crust's own source for the tests of its layout: modules, what they import, and where."""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported module, as a dotted absolute name."""

    module: str
    line: int
    at_import: bool
    """True if the import runs when the importing module is imported: not in a function, not for type checkers only."""


@dataclasses.dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    """Dotted: ``crust.wire.frames``; a package is ``crust.wire``."""

    path: str
    """Relative to the repository."""

    text: str
    is_package: bool = False

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @functools.cached_property
    def imports(self) -> list[Import]:
        return list(self._imports(self.tree.body, at_import=True))

    def _imports(self, body: list[ast.stmt], at_import: bool) -> Iterator[Import]:
        for node in body:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, at_import)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                for alias in node.names:
                    yield Import(f"{base}.{alias.name}", node.lineno, at_import)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._imports(node.body, at_import=False)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                yield from self._imports(node.body, at_import=False)
                yield from self._imports(node.orelse, at_import)
            else:
                for _, value in ast.iter_fields(node):
                    if isinstance(value, list):
                        statements = [item for item in value if isinstance(item, ast.stmt)]
                        yield from self._imports(statements, at_import)
                        for item in value:
                            if isinstance(item, ast.ExceptHandler | ast.match_case):
                                yield from self._imports(item.body, at_import)

    def _base(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        parts = self.name.split(".")
        keep = len(parts) - node.level + (1 if self.is_package else 0)
        return ".".join(parts[:keep] + ([node.module] if node.module else []))

    def where(self, line: int) -> str:
        return f"{self.path}:{line}"


@functools.cache
def modules(package: str = "crust") -> tuple[Module, ...]:
    """Every module of a package of this repository, read once."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        relative = path.relative_to(ROOT)
        parts = list(relative.with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module(name, str(relative), path.read_text(encoding="utf-8"), is_package))
    return tuple(found)


def python_files() -> list[Module]:
    """Every Python file of the repository that people maintain."""
    found = (*modules("crust"), *modules("examples"), *modules("tests"), *modules("tools"))
    setup = ROOT / "setup.py"
    return [*found, Module("setup", "setup.py", setup.read_text(encoding="utf-8"))]
