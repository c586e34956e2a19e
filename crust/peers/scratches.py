"""
Buffers for whoever seals records or opens one. Memory used again is in the cache, and needs no page of the system: a
third of the time that a large record takes.
"""

from __future__ import annotations

import collections

from .. import limits
from ..crypto.records import RECORD_MAX

__all__ = ["SCRATCH_FROM", "give_back", "scratches", "take_scratch"]

SCRATCH_FROM = 4096
"""Bytes of a record, or of what was read, that are worth such a buffer; less is opened as quickly without.

When a thousand peers join, each of their threads that has its turn would else need a quarter of a MiB, in a heap of its
own.
"""

scratches: collections.deque[bytearray] = collections.deque(maxlen=limits.BURST_POOL)


def take_scratch() -> bytearray:
    """One, for :data:`crust.limits.RECORDS_AT_ONCE` records."""
    try:
        return scratches.pop()
    except IndexError:
        return bytearray(limits.RECORDS_AT_ONCE * RECORD_MAX)


def give_back(scratch: bytearray) -> None:
    """For the next one."""
    scratches.append(scratch)
