"""
A line of real nodes, each of which knows the one before it alone: how long it takes until the first one has reached the
last one by its key.

    python -m tests.natlab.line [LENGTH]

It needs what the laboratory needs (docs/laboratory.md).
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
import tempfile
import time

from tests.natlab import needs
from tests.natlab.lab import Lab
from tests.natlab.nodes import Node

__all__ = ["Figures", "run"]

LENGTH = 30
SECONDS = 35.0  # for both together, from the last link on


class Figures:
    """Seconds that the two steps took."""

    def __init__(self, found: float, connected: float, path_class: str) -> None:
        self.found, self.connected, self.path_class = found, connected, path_class

    def __str__(self) -> str:
        return f"found after {self.found:.1f} s, connected after {self.connected:.1f} s ({self.path_class})"


def run(lab: Lab, home: pathlib.Path, length: int, delay: float = 0.01) -> Figures:
    """One line, and what it came to; raises AssertionError if the last one is not reached in time."""
    with contextlib.ExitStack() as stack:
        nodes: list[Node] = []
        for number in range(length):
            folder = home / str(number)
            folder.mkdir()
            host = lab.host(f"node{number}", delay=delay)
            nodes.append(stack.enter_context(Node(host, folder, listen=("tcp://{host.ipv4}:0", "utp://{host.ipv4}:0"))))
        for one, other in zip(nodes[1:], nodes, strict=False):
            reply = one.process.ask("connect", peer=other.contact, timeout=SECONDS)
            assert reply["ok"], reply
        began = time.monotonic()
        first, last = nodes[0].process, nodes[-1]
        while not (reply := first.ask("find", peer=last.peer, timeout=SECONDS))["ok"]:
            assert time.monotonic() - began < SECONDS, reply
        found = time.monotonic() - began
        reply = first.ask("connect", peer=last.peer, timeout=SECONDS)
        assert reply["ok"], reply
        figures = Figures(found, time.monotonic() - began, reply["path"]["class"])
        assert figures.connected <= SECONDS, str(figures)
        return figures


def main() -> None:
    """The command."""
    length = int(sys.argv[1]) if len(sys.argv) > 1 else LENGTH
    needs.require()
    with tempfile.TemporaryDirectory() as home, Lab() as lab:
        sys.stdout.write(f"a line of {length} nodes: {run(lab, pathlib.Path(home), length)}\n")


if __name__ == "__main__":
    main()
