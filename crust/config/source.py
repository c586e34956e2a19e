"""Where a configuration comes from: a file, and what a program has set on top of it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..values import dataclass
from .sections import Section, values

__all__ = ["Source", "digest_of", "overridden"]


@dataclass(frozen=True, slots=True)
class Source:
    """The file of a :class:`crust.Config`, for those who read it again."""

    path: str
    """Its name, absolute."""

    digest: bytes
    """Of its content as it was read: see :func:`digest_of`."""

    overrides: tuple[tuple[str, Any], ...] = ()
    """Keys that ``Config.replace`` has set since, with their values: they stay above whatever the file says."""

    @classmethod
    def of(cls, path: str, content: bytes) -> Source:
        """A file that was read, as ``path`` from the present folder."""
        return cls(os.path.abspath(path), digest_of(content))

    def with_overrides(self, more: Mapping[str, Any]) -> Source:
        """The same with more keys set."""
        return dataclasses.replace(self, overrides=tuple({**dict(self.overrides), **more}.items()))


def digest_of(content: bytes) -> bytes:
    """What is compared to see if a file says something else than before."""
    return hashlib.blake2b(content, digest_size=16).digest()


def overridden(result: Section, changes: Mapping[str, Any]) -> dict[str, Any]:
    """
    The keys that ``changes``, the arguments of ``Config.replace``, have set, with the values that they have now.

    Args:
        result: The whole, changed.
    """
    named = [name for key, value in changes.items() for name in _named(key, value)]
    return {
        key: value
        for key, value in values(result)
        if any(key == name or key.startswith(f"{name}.") for name in named)
    }


def _named(key: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named(f"{key}.{name}", inner)
    else:
        yield key
