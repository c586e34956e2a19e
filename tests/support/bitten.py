"""Who hears of limits that bite, in place of a node."""

from __future__ import annotations

import collections

__all__ = ["Bitten"]


class Bitten(collections.Counter[str]):
    """How often each has, by its name: pass it as ``bites``."""

    def __call__(self, limit: str, times: int = 1) -> None:
        self[limit] += times
