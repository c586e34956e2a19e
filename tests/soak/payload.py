"""The messages of a soak: whose each is, in which session and priority, its number there, and whether it is whole."""

from __future__ import annotations

import dataclasses
import random
import struct

HEADER = struct.Struct("!HHIBIH")
BIGGEST = 60_000  # bytes, without the header
_FILLING = random.Random(0).randbytes(BIGGEST + 1000)


@dataclasses.dataclass(frozen=True)
class Note:
    """What a message says of itself."""

    node: int
    process: int
    session: int
    priority: int
    sequence: int


def written(note: Note, size: int) -> bytes:
    """As bytes, `size` more than its header has."""
    head = HEADER.pack(note.node, note.process, note.session, note.priority, note.sequence, size)
    return head + _filling(note, size)


def read(data: bytes) -> Note | None:
    """None: nobody has sent that."""
    if len(data) < HEADER.size:
        return None
    *fields, size = HEADER.unpack_from(data)
    note = Note(*fields)
    return note if size <= BIGGEST and data[HEADER.size :] == _filling(note, size) else None


def _filling(note: Note, size: int) -> bytes:
    begins = note.sequence * 7 % 1000
    return _FILLING[begins : begins + size]
