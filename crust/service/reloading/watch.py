"""
When a file says something else than before.

Whoever writes a file may be seen at it: an editor empties it first, or moves it away for a moment. So what is seen
counts when it is seen twice, a moment apart; and what has counted once does not again. ``Watch`` is sans-IO;
:func:`look_at` is the look itself.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from ...config.loader import read_file
from ...config.source import digest_of
from ...exceptions import ConfigError

__all__ = ["Mark", "Sight", "Verdict", "Watch", "look_at", "mark_of", "read_regular"]

Mark = tuple[int, int, int, int]
"""By which a file is taken for the same: device, inode, size, and when it was changed."""


class Sight(NamedTuple):
    """What a look has shown."""

    content: bytes
    problem: ConfigError | None
    """Why it cannot be read; None if it can."""

    @property
    def token(self) -> bytes | str:
        """Equal for two that say the same."""
        return digest_of(self.content) if self.problem is None else str(self.problem)


class Verdict(enum.Enum):
    """What is to be done about it."""

    NOTHING = "nothing"
    LOOK_AGAIN = "look again"
    """In a moment: it may be half written."""
    ACT = "act"


class Watch:
    """
    One file. Not thread-safe.

    Args:
        counted: The token of what counts now.
    """

    def __init__(self, counted: bytes | str) -> None:
        self._counted = counted
        self._candidate: bytes | str | None = None  # seen once
        self._mark: Mark | None = None
        self._is_settled = False  # a further look has found under this mark what counts

    def is_unchanged(self, mark: Mark | None) -> bool:
        """
        Whether a look at its content can be saved. A file may be changed twice in one tick of its system's clock (2
        seconds on some), so the mark alone does not count until a look after the last change has found it the same.
        """
        return mark is not None and self._is_settled and mark == self._mark and self._candidate is None

    def judge(self, mark: Mark | None, token: bytes | str) -> Verdict:
        """
        It has been looked at.

        Args:
            mark: As it was before its content was read; None: there is none.
        """
        self._is_settled = mark is not None and mark == self._mark and token == self._counted
        self._mark = mark
        if token == self._counted:
            self._candidate = None
            return Verdict.NOTHING
        if token != self._candidate:
            self._candidate = token
            return Verdict.LOOK_AGAIN
        self.count(token)
        return Verdict.ACT

    def count(self, token: bytes | str) -> None:
        """This counts from now on."""
        self._counted, self._candidate = token, None


def mark_of(path: str) -> Mark | None:
    """That of the file behind the name, symbolic links followed; None if there is none to be seen."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_regular(path: str) -> bytes:
    """
    The content of a configuration file, never waiting for anybody to write it.

    Raises:
        ConfigError: It cannot be read, is no plain file, or is empty: such a one is left behind by a full disk, and
            would undo all lists of who may connect.
    """
    try:
        is_regular = stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        is_regular = True  # what reading says about it is clearer
    if not is_regular:
        raise ConfigError(f"{path}: cannot be read again: it is no plain file")
    content = read_file(path, waits=False)  # it may be another one by now
    if not content.strip():
        raise ConfigError(f"{path}: is empty; for a configuration with nothing but defaults write: version: 1")
    return content


def look_at(path: str, read: Callable[[str], bytes] = read_regular) -> Sight:
    """What the file says now."""
    try:
        return Sight(read(path), None)
    except ConfigError as error:
        return Sight(b"", error)
