"""
The file of nodes that were reached before. Several processes may share it: whoever writes has the lock beside it, and
has read what the others wrote.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence

from ... import limits
from ...runtime.shared_file import SharedFile
from ...wire.labelled import UnusableFile
from .core import Entry
from .form import build_cache, parse_cache_untrusted

__all__ = ["CacheFile"]


class CacheFile:
    """
    For one thread at a time. All of it waits for the disk.

    Args:
        path: Where; its folder is made when it is written.
        network: The id of the network whose nodes it has.
        warn: Told in a sentence of a file that cannot be used.
        pause: Waits so many seconds, for a lock that somebody else has.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        network: bytes,
        warn: Callable[[str], object],
        pause: Callable[[float], object],
    ) -> None:
        self.path = pathlib.Path(path)
        self._network = network
        self._warn = warn
        self._shared = SharedFile(path, limits.CACHE_FILE_MAX, pause)

    def read(self, wall: float) -> list[Entry] | None:
        """
        What it has; None if there is none. One that is something else is put aside, as ``.bad``, and ``warn`` told.

        Raises:
            OSError: It cannot be read.
        """
        try:
            return self._parsed(wall)
        except UnusableFile:
            with self._shared.locked():  # another program may have begun a new one by now, which must not be put aside
                return self._read_locked(wall)

    def _read_locked(self, wall: float) -> list[Entry] | None:
        try:
            return self._parsed(wall)
        except UnusableFile as error:
            aside = self.path.with_name(f"{self.path.name}.bad")
            os.replace(self.path, aside)
            self._warn(f"the bootstrap cache {self.path} {error}; it is kept as {aside.name}, and a new one is begun")
            return None

    def _parsed(self, wall: float) -> list[Entry] | None:
        try:
            data = self._bytes()
        except FileNotFoundError:
            return None
        entries, others = parse_cache_untrusted(data, self._network, wall)
        if others:
            self._warn(f"the bootstrap cache {self.path}: {others} entries that are no nodes are left out")
        return entries

    def _bytes(self) -> bytes:
        return self._shared.read()

    def update(self, change: Callable[[list[Entry] | None], Sequence[Entry]], wall: float) -> None:
        """
        Write what ``change`` makes of what is there, while nobody else writes.

        Raises:
            OSError: It cannot be written; what was there stays. TimeoutError: somebody else holds the lock for long.
        """
        self._shared.make_folder()
        with self._shared.locked():
            entries = change(self._read_locked(wall))
            self._shared.write(build_cache(entries, self._network, wall))
