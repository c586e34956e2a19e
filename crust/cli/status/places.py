"""Where ``crust node`` puts its status socket, and ``crust status`` looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...runtime.local_socket import PATH_MAX, sweep
from ..errors import CommandError

__all__ = ["SUFFIX", "made_folder", "sockets", "status_folder"]

SUFFIX = ".sock"
_NAME_LENGTH = 8 + len(SUFFIX)  # the first characters of a peer id


def status_folder(environ: Mapping[str, str]) -> Path:
    """``$XDG_RUNTIME_DIR/crust``, which goes when the user logs out; else ``crust/run`` in the user's state folder."""
    runtime, state = environ.get("XDG_RUNTIME_DIR", ""), environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(runtime):  # the XDG base directory specification: relative ones are to be ignored
        return Path(runtime) / "crust"
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    return (Path(state) if os.path.isabs(state) else home / ".local" / "state") / "crust" / "run"


def made_folder(environ: Mapping[str, str]) -> Path:
    """
    That folder, made if need be, for this user alone, and without what dead nodes left there.

    Raises:
        CommandError: It cannot be used for that; the text says why.
    """
    folder = status_folder(environ)
    if len(os.fsencode(folder)) + 1 + _NAME_LENGTH > PATH_MAX:
        raise CommandError(f"{folder}: too long for the path of a Unix socket")
    if not hasattr(os, "geteuid"):
        raise CommandError("this system has no Unix sockets for Python")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise CommandError(f"{error.filename or folder}: {error.strerror}") from error
    if found.st_uid != os.geteuid():
        raise CommandError(f"{folder}: it belongs to another user")
    if found.st_mode & 0o022:
        raise CommandError(f"{folder}: others may write there")
    try:
        sweep(folder, SUFFIX)  # each run of a node with a fresh identity has another name
    except OSError as error:
        raise CommandError(f"{error.filename or folder}: {error.strerror}") from error
    return folder


def sockets(environ: Mapping[str, str]) -> list[Path]:
    """
    The sockets in that folder, of nodes that run and of some that may have died.

    Raises:
        CommandError: The folder cannot be read.
    """
    folder = status_folder(environ)
    try:
        return sorted(each for each in folder.iterdir() if each.suffix == SUFFIX)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from error
