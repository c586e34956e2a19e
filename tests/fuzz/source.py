"""
Decisions out of bytes, for targets that are fed a sequence of things rather than one. Written here rather than taken
from a fuzzer, so that an input does the same with one and without, and seeds can be written by hand.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Source", "noise"]

T = TypeVar("T")


class Source:
    """Reads an input from its beginning; where it has ended, everything is 0 or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._data)

    def bytes(self, size: int) -> bytes:
        """So many bytes, or what is left of them."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def number(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``, both included, of as many bytes as that takes."""
        span = high - low
        width = max((span.bit_length() + 7) // 8, 1)
        return low + int.from_bytes(self.bytes(width), "big") % (span + 1)

    def chance(self) -> bool:
        """Yes or no."""
        return bool(self.number(0, 1))

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self.number(0, len(choices) - 1)]

    def near(self, value: int, bits: int = 64) -> int:
        """
        A number of so many bits, mostly near ``value``: what is wrong by one breaks more than what is wrong by far.
        """
        away = self.number(-120, 135)
        if away > 120:
            return self.number(0, (1 << bits) - 1)
        return (value + away) % (1 << bits)

    def some(self, most: int) -> bytes:
        """Bytes behind their length, ``most`` at the most."""
        return self.bytes(self.number(0, most))

    def rest(self) -> bytes:
        """All that is left."""
        return self.bytes(len(self._data))

    def damaged(self, data: bytes) -> bytes:
        """These bytes with at most a few changes."""
        result = bytearray(data)
        for _ in range(self.number(0, 3)):
            at = self.number(0, max(len(result) - 1, 0))
            how = self.number(0, 4)
            if how == 0 and result:
                result[at] ^= 1 << self.number(0, 7)
            elif how == 1 and result:
                result[at] = self.number(0, 255)
            elif how == 2:
                del result[at:]
            elif how == 3:
                result[at:at] = self.some(16)
            else:
                del result[at : at + self.number(1, 8)]
        return bytes(result)


def noise(count: int, size: int) -> list[bytes]:
    """Seeds that are random, and the same in every run."""
    return [random.Random(f"{number} {size}").randbytes(size) for number in range(count)]
