"""
Which tests `make check` leaves out: those that take long, in ``tests/slow.txt``. `make timings` measures all but the
laboratory's, and writes that file anew::

    python -m tests.support.slow
"""

from __future__ import annotations

import collections
import os
import pathlib
import sys
import time
from collections.abc import Generator, Iterable

import pytest

__all__ = ["listed"]

_LIST = pathlib.Path(__file__).parents[1] / "slow.txt"
_PROCESSOR = 0.08  # seconds, children's included
_ALL = 0.15
_MOST = 0.5  # of a file's tests: the whole of it then


def listed() -> tuple[str, ...]:
    """Beginnings of the names of such tests."""
    return tuple(_LIST.read_text("utf-8").split())


class _Timings:
    """A plugin of pytest that measures each test, what it sets up included."""

    def __init__(self) -> None:
        self.slow: dict[str, set[str]] = collections.defaultdict(set)  # functions, by file
        self.all: dict[str, set[str]] = collections.defaultdict(set)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        processor, began = sum(os.times()[:4]), time.monotonic()
        try:
            return (yield)
        finally:
            file, function = item.nodeid.split("::")[0], item.nodeid.split("[")[0]
            self.all[file].add(function)
            if sum(os.times()[:4]) - processor > _PROCESSOR or time.monotonic() - began > _ALL:
                self.slow[file].add(function)


def _lines(timings: _Timings) -> Iterable[str]:
    for file, slow in sorted(timings.slow.items()):
        if len(slow) > 2 and len(slow) >= _MOST * len(timings.all[file]):
            yield file
        else:
            yield from sorted(slow)


def main() -> int:
    """Measure and write; pytest's exit code."""
    timings = _Timings()
    options = ["-q", "-p", "tests.support.few_examples", "-m", "not packaging", "--ignore=tests/natlab"]
    code = pytest.main([*options, *sys.argv[1:]], plugins=[timings])
    if code == pytest.ExitCode.OK:
        _LIST.write_text("".join(f"{line}\n" for line in _lines(timings)), "utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
