"""A Unix socket for the programs of one user on this machine: who may use it, and what becomes of its path."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from types import TracebackType

from ..exceptions import ListenError
from .locks import try_lock, unlock
from .threads import abandon_socket

__all__ = ["PATH_MAX", "LocalSocket", "owner_of", "process_of", "sweep"]

PATH_MAX = 103  # bytes: the least that a system allows (macOS; Linux takes 107)
_TRIES = 20  # to get the lock of a folder, which nodes hold for a moment,
_PAUSE = 0.05  # seconds apart


class LocalSocket:
    """
    A listening Unix socket that only its owner may use. A context manager: on entry it takes the path, on exit it
    removes it.

    Args:
        path: Where.
        backlog: Programs that may wait to be taken in.
        makes_folder: Make the folder, for the owner alone, if it is missing.

    Raises:
        ListenError: Somebody listens there already, there is something else at that path, it is too long, or somebody
            holds the folder's lock for long.
        OSError: The folder cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], *, backlog: int = 16, makes_folder: bool = False) -> None:
        self.path = pathlib.Path(path)
        self._backlog = backlog
        self._makes_folder = makes_folder
        self._socket: socket.socket | None = None
        self._inode: tuple[int, int] | None = None

    def __enter__(self) -> socket.socket:
        if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
            raise ListenError("this system has no Unix sockets for Python")
        if len(os.fsencode(self.path)) > PATH_MAX:
            raise ListenError(
                f"{self.path}: too long for the path of a Unix socket ({PATH_MAX} bytes): choose a shorter one"
            )
        folder = self.path.parent
        if self._makes_folder:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a dead process left is removed. The lock keeps two that start at once from removing each other's.
        with _locked(folder):
            self._remove_stale()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.bind(os.fspath(self.path))
                os.chmod(self.path, 0o600)  # in time: nobody can connect before listen()
                sock.listen(self._backlog)
                sock.setblocking(False)
            except BaseException:
                sock.close()
                raise
            found = os.stat(self.path)
        self._socket, self._inode = sock, (found.st_dev, found.st_ino)
        return sock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._socket is not None
        try:
            with _locked(self.path.parent, insists=False):
                found = os.stat(self.path, follow_symlinks=False)
                if (found.st_dev, found.st_ino) == self._inode:  # else it is somebody else's by now
                    os.unlink(self.path)
        except FileNotFoundError:
            pass  # somebody has removed it, or the whole folder
        finally:
            self._socket.close()

    def abandon(self) -> None:
        """In a forked child: the path is the parent's."""
        if self._socket is not None:
            abandon_socket(self._socket)

    def _remove_stale(self) -> None:
        try:
            mode = os.stat(self.path, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ListenError(f"{self.path}: there is something that is not a socket; it is left alone")
        code, who = _probe(self.path)
        if code == errno.ECONNREFUSED:
            os.unlink(self.path)
        elif code in (0, errno.EAGAIN):
            by = "another process" if who is None else f"process {who}"
            raise ListenError(f"{self.path}: in use by {by}: stop it, or choose another path")
        elif code != errno.ENOENT:
            raise OSError(code, os.strerror(code), os.fspath(self.path))


def sweep(folder: pathlib.Path, suffix: str) -> None:
    """
    Remove the sockets that dead processes left in that folder, of those whose names end so.

    Raises:
        ListenError: Somebody holds the folder's lock for long.
        OSError: The folder cannot be used.
    """
    with _locked(folder):  # so that nobody is between bind() and listen() just now
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.name.endswith(suffix) and stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
                    if _probe(path)[0] == errno.ECONNREFUSED:
                        os.unlink(path)


def _probe(path: pathlib.Path) -> tuple[int, int | None]:
    """What comes of a call there, as a number of ``errno``, and the process that listens, where the system tells."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(os.fspath(path))
        return code, process_of(probe) if code == 0 else None


@contextlib.contextmanager
def _locked(folder: pathlib.Path, *, insists: bool = True) -> Iterator[None]:
    """
    While this lasts no other node takes or removes a socket in that folder.

    Args:
        insists: Whether it is an error that somebody holds the lock for long, as whoever may read the folder can.

    Raises:
        ListenError: It is so.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(_TRIES):
            if held := try_lock(descriptor):
                break
            time.sleep(_PAUSE)
        if insists and not held:
            raise ListenError(f"{folder}: another program holds the lock of this folder for long: choose another one")
        try:
            yield
        finally:
            if held:
                unlock(descriptor)  # not left to close(), which greenlets may put off
    finally:
        os.close(descriptor)


def process_of(sock: socket.socket) -> int | None:
    """The process at the other end, where the system tells."""
    found = _credentials(sock)
    return None if found is None else found[0]


def owner_of(sock: socket.socket) -> int | None:
    """The user at the other end, where the system tells."""
    found = _credentials(sock)
    return None if found is None else found[1]


def _credentials(sock: socket.socket) -> tuple[int, int] | None:
    if sys.platform != "linux":  # elsewhere the option is missing, or has another form
        return None
    process, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(process), int(user)
