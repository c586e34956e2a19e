"""
The list on disk of the ports that a router may hold open for a node, so that somebody removes them if it crashes.

Each running node has a file of its own in the folder that all share, and the system's lock on another one beside it,
which ends with the process. Whoever starts takes over the lists whose locks are free. A list is written before its
ports are asked for, whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ... import limits
from ...runtime.files import write_atomic
from ...runtime.locks import try_lock, unlock
from ...runtime.state_folder import state_folder as user_folder
from ...values import dataclass
from .mapper import Leftover
from .ways import Ask, Wanted

__all__ = ["Entry", "Journal", "state_folder"]

_VERSION = 1
_NAME = re.compile(r"[0-9a-f]{16}\.lock")
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_SIZE_MAX = 65_536
_TRIES = 4  # new files that others may take before we have their lock
_WAYS = ("pcp", "natpmp", "igd")


def state_folder(environ: Mapping[str, str]) -> pathlib.Path:
    """Where the lists are: ``port-mappings`` in :func:`crust.runtime.state_folder.state_folder`."""
    return user_folder(environ) / "port-mappings"


@dataclass(frozen=True)
class Entry:
    """A mapping, and until when it matters."""

    leftover: Leftover
    until: float
    """Seconds since the epoch; then the router has forgotten it by itself."""


class Journal:
    """
    The list of one node. For one thread.

    Args:
        folder: For all nodes of this user; made if there is none.

    Raises:
        OSError: There is no place for it.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._saved: tuple[Entry, ...] = ()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            name = secrets.token_hex(8)
            self._path = folder / f"{name}.json"
            self._lock_path = folder / f"{name}.lock"
            self._lock: int | None = os.open(self._lock_path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            if self._has_locked():
                return
        raise OSError("no lock is to be had on a new file")

    def _has_locked(self) -> bool:
        """
        Lock our new file. False: somebody who starts at this moment took it for a dead node's, before we had its lock.
        """
        assert self._lock is not None
        try:
            if try_lock(self._lock) and self._lock_path.exists():
                return True
        except OSError:  # a file system without locks: nobody takes it for a dead one's either
            self._unlock()
            with contextlib.suppress(OSError):
                self._lock_path.unlink()
            raise
        self._unlock()
        return False

    def take_over(self, now: float) -> list[Entry]:
        """
        The entries of nodes that are gone; their files are removed, so :meth:`save` must follow.

        Args:
            now: Seconds since the epoch: what is older than its life is left out.
        """
        found: list[Entry] = []
        for lock in sorted(self._folder.iterdir()):
            if lock != self._lock_path and _NAME.fullmatch(lock.name):
                found += self._take(lock)
        return [entry for entry in found if entry.until > now]

    def _take(self, lock: pathlib.Path) -> list[Entry]:
        try:
            descriptor = os.open(lock, _FLAGS)
        except OSError:  # somebody else has just taken it
            return []
        try:
            if not try_lock(descriptor):
                return []
            data = lock.with_suffix(".json")
            entries = _read(data)
            with contextlib.suppress(OSError):  # not there, or not to be removed: the other lists are to be read
                data.unlink()
            with contextlib.suppress(OSError):  # Windows: not while it is open
                lock.unlink()
            return entries
        finally:
            os.close(descriptor)

    def save(self, entries: Sequence[Entry]) -> None:
        """
        Replace the list.

        Raises:
            OSError: It cannot be written.
        """
        kept = tuple(entries)
        if kept == self._saved:
            return
        text = json.dumps({"version": _VERSION, "mappings": [_as_json(entry) for entry in kept]}, indent=1)
        write_atomic(self._path, text.encode(), private=True)
        self._saved = kept

    def close(self) -> None:
        """Let go of it: an empty list is removed, another one is for whoever starts next."""
        if self._lock is None:
            return
        if not self._saved:
            with contextlib.suppress(OSError):
                self._path.unlink()
            with contextlib.suppress(OSError):
                self._lock_path.unlink()
        unlock(self._lock)
        self._unlock()

    def abandon(self) -> None:
        """In a forked child: the parent goes on with it."""
        self._unlock()

    def _unlock(self) -> None:
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)


def _as_json(entry: Entry) -> dict[str, Any]:
    leftover, ask = entry.leftover, entry.leftover.ask
    return {
        "gateway": leftover.gateway,
        "local": leftover.local,
        "by": leftover.protocol,
        "protocol": ask.wanted.protocol,
        "port": ask.wanted.port,
        "external": ask.external,
        "lifetime": ask.lifetime,
        "nonce": ask.nonce.hex(),
        "until": entry.until,
    }


def _read(path: pathlib.Path) -> list[Entry]:
    """The entries of a list; none if it is damaged or not ours."""
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read(_SIZE_MAX))
        if data["version"] != _VERSION:
            return []
        return list(_entries(data["mappings"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return []


def _entries(items: Iterable[Any]) -> Iterable[Entry]:
    for item in list(items)[: limits.MAPPING_LEFTOVERS_MAX]:
        wanted = Wanted(str(item["protocol"]), _number(item["port"]))
        lifetime, until = _number(item["lifetime"], 0, limits.MAPPING_LIFE_MAX), float(item["until"])
        ask = Ask(wanted, _number(item["external"]), lifetime, bytes.fromhex(item["nonce"]))
        by = str(item["by"])
        if by not in _WAYS or wanted.protocol not in ("tcp", "udp") or len(ask.nonce) not in (0, 12):
            raise ValueError("not what this version writes")
        yield Entry(Leftover(str(item["gateway"]), str(item["local"]), by, ask), until)


def _number(value: Any, low: int = 1, high: int = 65535) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError("not a port, or not a lifetime")
    return value
