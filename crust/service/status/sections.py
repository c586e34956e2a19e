"""What parts of a node add to its status, each in a section of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

__all__ = ["Look", "Sections"]

Look = Callable[[], "Mapping[str, object] | None"]
"""
What a part says of itself now: values that `json.dumps` takes, by names such as ``records``; None: nothing, and the
section is left out. Called on any thread, also after the end; must be quick, and must not wait for a lock under which
somebody waits.

A number becomes a metric, ``crust_<section>_<name>``: a counter if the name ends in ``_total``, else a gauge (true is
1). A list becomes one with its length; for people, a list of mappings is a table. Everything else is a line.
"""


class Sections:
    """
    The registry. Thread-safe. A part adds itself with ``node.sections.add("cache", self.look)``.

    Sections stand in the order in which they were added.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _looks
        self._looks: dict[str, Look] = {}

    def add(self, name: str, look: Look) -> None:
        """Show this from now on; ``name`` is a word in small letters. In place of an earlier one of that name."""
        with self._lock:
            self._looks[name] = look

    def all(self) -> dict[str, dict[str, object]]:
        """What all say now."""
        with self._lock:
            looks = dict(self._looks)
        found = {name: look() for name, look in looks.items()}
        return {name: dict(said) for name, said in found.items() if said is not None}
