"""
A program, run by ``test_service.py``: crust on what Python has on Windows, as far as that can be had elsewhere.

``os.name`` stays what it is: pathlib would refuse to work.
"""

import errno
import fcntl
import importlib
import os
import pathlib
import pkgutil
import subprocess
import sys
import tempfile
import types

# What is not ours, and chooses its ways by the system it is on: before anything is taken away.
import construct
import ifaddr
import nacl.bindings
import pytest
import yaml

IMPORTED_BEFORE = (construct, ifaddr, nacl.bindings, subprocess, tempfile, yaml)

POSIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty")
POSIX_NAMES = (
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fork", "geteuid", "getuid"),
    *("mkfifo", "posix_spawn", "pread", "register_at_fork", "uname"),
)
UNLOCK, LOCK, TRY = 0, 1, 2  # of msvcrt


def locking(descriptor: int, mode: int, count: int) -> None:
    """``msvcrt.locking``: it is refused with EACCES."""
    assert count == 1
    try:
        flock(descriptor, fcntl.LOCK_UN if mode == UNLOCK else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, "Permission denied") from error


def rename(source: str, target: str) -> None:
    """``os.rename``: it does not replace files."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", target)
    real_rename(source, target)


flock, real_rename = fcntl.flock, os.rename


def pretend() -> None:
    for name in POSIX_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    sys.modules["msvcrt"] = types.SimpleNamespace(  # type: ignore[assignment]
        locking=locking, LK_UNLCK=UNLOCK, LK_LOCK=LOCK, LK_NBLCK=TRY
    )
    for name in POSIX_NAMES:
        delattr(os, name)
    os.rename = rename  # type: ignore[assignment]
    sys.platform = "win32"
    assert not any(name.partition(".")[0] == "crust" for name in sys.modules)


def main(folder: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
    from tests.support import absences

    absences.windows(patch)

    import crust

    for module in pkgutil.walk_packages(crust.__path__, "crust."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    from crust.cli.book import Book
    from tests.support.nodes import Nodes
    from tests.support.plain_use import use

    with Nodes() as nodes:
        use(nodes, folder)
    Book(folder / "contacts").add("far", crust.Contact(crust.Identity.generate().peer_id, ()))
    assert Book(folder / "contacts").names() == ["far"]


pretend()
with pytest.MonkeyPatch.context() as patch:
    main(pathlib.Path(sys.argv[1]), patch)
print("done")
