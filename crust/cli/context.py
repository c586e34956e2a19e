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

    def call(self, peer_id: crust.PeerId, *, whole: bool = False) -> str:
        """
        A peer as people should read it: the name of the book, else the first characters of the id.

        Args:
            whole: Else all of it. Ids that begin alike are quickly found: where people decide, they must see it all.
        """
        name = self.book.name_of(peer_id)
        if name is not None:
            return printable(name)
        return str(peer_id) if whole else f"{peer_id.short}…"
