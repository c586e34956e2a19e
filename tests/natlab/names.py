"""
Namespaces are named after the process that made them, so that runs do not meet, and who left something is known.

``crust-lab-PID-START-NUMBER-HOST``: the owner is the process with that id that began at that time (in the system's
ticks since it booted, since ids are used again).
"""

from __future__ import annotations

import itertools
import os
import re

FOLDER = "/run/netns"
FILES = "/run"
"""Where a laboratory's folder is, for files of the programs in it."""

_PATTERN = re.compile(r"crust-lab-(\d+)-(\d+)-\d+-\w+")
_numbers = itertools.count(1)


def _start_of(process: int) -> str | None:
    """When a process began; None if there is none with this id, or it has ended and waits to be buried."""
    try:
        with open(f"/proc/{process}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def alive(process: int) -> bool:
    """Whether a process with this id runs."""
    return _start_of(process) is not None


def fresh(host: str) -> str:
    """A name for a namespace of this process, used once."""
    return f"crust-lab-{os.getpid()}-{_start_of(os.getpid())}-{next(_numbers)}-{host}"


def _named(place: str = FOLDER) -> list[tuple[str, int, str]]:
    """The namespaces or folders of laboratories that are there: name, and the owner's id and start."""
    try:
        found = map(_PATTERN.fullmatch, os.listdir(place))
    except FileNotFoundError:  # no namespace was ever named here
        return []
    return [(each[0], int(each[1]), each[2]) for each in found if each is not None]


def spaces() -> list[str]:
    """The namespaces of all laboratories."""
    return [name for name, _, _ in _named()]


def own() -> list[str]:
    """The namespaces that this process has now."""
    return [name for name, process, _ in _named() if process == os.getpid()]


def orphans() -> list[str]:
    """Those whose owner is dead."""
    return [name for name, process, start in _named() if _start_of(process) != start]


def folders() -> list[str]:
    """The folders of all laboratories."""
    return [f"{FILES}/{name}" for name, _, _ in _named(FILES)]


def orphaned_folders() -> list[str]:
    """The folders of laboratories whose owner is dead."""
    return [f"{FILES}/{name}" for name, process, start in _named(FILES) if _start_of(process) != start]
