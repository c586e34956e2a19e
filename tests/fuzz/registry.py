"""
The targets: each file in ``targets/`` is one, and is made of

- a docstring: its first line says what is fed, the rest what must hold whatever comes;
- ``run(data)``, which feeds it, and raises if that does not hold. It reads no clock, no random number and no file, so
  that the same bytes do the same every time;
- ``seeds()``, inputs to begin from, built by the code that is tested, or by a script for a :class:`Source`;
- maybe ``accepts(data)``, where some inputs are taken and others refused: some of the seeds must be taken, since what
  is promised of those is else never looked at;
- maybe ``TOKENS``, byte strings that mean something in such an input, ``SIZE_MAX`` (bytes of an input, 4,096 by
  default) and ``ROUNDS`` (mutations in the short run, 200 by default).
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pathlib
from collections.abc import Callable, Iterable

__all__ = ["FOUND", "Target", "load", "names", "promise"]

_FOLDER = pathlib.Path(__file__).parent
FOUND = _FOLDER / "found"
"""A folder for each target with inputs that once broke it, in hexadecimal: they are seeds for good."""

_SIZE_MAX = 4096
_ROUNDS = 200


@dataclasses.dataclass(frozen=True)
class Target:
    """One thing that is fed."""

    name: str
    promise: str
    """Its docstring."""
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    """Those of the code, then those that were found."""
    found: dict[str, bytes]
    tokens: tuple[bytes, ...]
    size_max: int
    rounds: int
    accepts: Callable[[bytes], bool] | None


def names() -> list[str]:
    """All targets, sorted."""
    return sorted(each.stem for each in (_FOLDER / "targets").glob("*.py") if not each.stem.startswith("_"))


def promise(name: str) -> str:
    """The docstring of a target, which is not loaded for that."""
    source = (_FOLDER / "targets" / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def load(name: str) -> Target:
    """
    Raises:
        ModuleNotFoundError: There is no such target.
    """
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    seeds: Callable[[], Iterable[bytes]] = module.seeds
    found = {
        path.stem: bytes.fromhex(path.read_text(encoding="ascii"))
        for path in sorted((FOUND / name).glob("*.hex"))
    }
    size_max = getattr(module, "SIZE_MAX", _SIZE_MAX)
    return Target(
        name=name,
        promise=promise(name),
        run=module.run,
        seeds=(*(seed[:size_max] for seed in seeds()), *found.values()),
        found=found,
        tokens=tuple(getattr(module, "TOKENS", ())),
        size_max=size_max,
        rounds=getattr(module, "ROUNDS", _ROUNDS),
        accepts=getattr(module, "accepts", None),
    )
