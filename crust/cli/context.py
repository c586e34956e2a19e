"""What every command is given besides its arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import crust

from .book import Book
from .terminal import Terminal, printable

__all__ = ["Context"]


@dataclasses.dataclass(frozen=True)
class Context:
    """The surroundings of one run of one command."""

    terminal: Terminal
    """Where it shows and asks."""

    book: Book
    """The user's names for peers."""

    environ: Mapping[str, str]
    """The environment variables."""

    def call(self, peer_id: crust.PeerId) -> str:
        """A peer as people should read it: the name of the book, else the first characters of the id."""
        name = self.book.name_of(peer_id)
        return printable(name) if name is not None else f"{peer_id.short}…"
