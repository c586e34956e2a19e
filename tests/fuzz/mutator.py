"""Mutations that need nothing but Python and repeat exactly: for the short run, in which no fuzzer guides."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence

__all__ = ["mutations"]

_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
_WIDTHS = (1, 2, 4, 8)


def mutations(
    name: str, seeds: Sequence[bytes], tokens: Sequence[bytes], count: int, size_max: int
) -> Iterator[bytes]:
    """So many inputs made of the seeds, the same ones for the same arguments."""
    chance = random.Random(zlib.crc32(name.encode()))
    for _ in range(count):
        data = bytearray(chance.choice(seeds)) if seeds else bytearray()
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            _mutate(data, seeds, tokens, chance)
        yield bytes(data[:size_max])


def _mutate(data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 1, 2, 4, 8, 32, 200)))
    how = chance.randrange(9)
    if how == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif how == 1 and at < len(data):
        data[at] = chance.choice(_EDGES)
    elif how == 2:
        width = chance.choice(_WIDTHS)
        data[at : at + width] = (chance.choice(_EDGES) % (1 << 8 * width)).to_bytes(width, "big")
    elif how == 3:
        data[at : at + chance.choice(_WIDTHS)] = chance.choice((b"\xff" * 8, b"\x7f" + b"\xff" * 7, bytes(8)))
    elif how == 4:
        data[at:at] = chance.randbytes(end - at + 1)
    elif how == 5:
        del data[at:end]
    elif how == 6:
        data[at:at] = data[at:end] * chance.choice((1, 2, 20))
    elif how == 7 and tokens:
        data[at : chance.choice((at, end))] = chance.choice(tokens)
    elif seeds:
        other = chance.choice(seeds)
        data[at:] = other[chance.randrange(len(other) + 1) :]
