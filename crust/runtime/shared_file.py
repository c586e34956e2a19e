"""
A file that several processes read and write: whoever writes has the lock beside it, and has read what others wrote.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Callable, Iterator

from .. import limits
from .files import write_atomic
from .locks import try_lock, unlock

__all__ = ["SharedFile"]

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_LOCK = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class SharedFile:
    """
    For one thread at a time. All of it waits for the disk.

    Args:
        path: Where; its folder is made when it is written.
        most: Bytes of it that are read, and one more to show that there are more.
        pause: Waits so many seconds, for a lock that somebody else has.
    """

    def __init__(self, path: str | os.PathLike[str], most: int, pause: Callable[[float], object]) -> None:
        self.path = pathlib.Path(path)
        self._most = most
        self._pause = pause

    def read(self) -> bytes:
        """
        What it has.

        Raises:
            FileNotFoundError: There is none. OSError: It is no file, or cannot be read.
        """
        descriptor = os.open(self.path, _READ)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is not a file", str(self.path))
            chunks, size = [], 0
            while size <= self._most:
                chunk = os.read(descriptor, 65_536)
                if not chunk:
                    break
                chunks.append(chunk)
                size += len(chunk)
            return b"".join(chunks)
        finally:
            os.close(descriptor)

    def write(self, data: bytes) -> None:
        """
        Replace it, readable by its owner only; the caller has the lock.

        Raises:
            OSError: It cannot be written; what was there stays.
        """
        write_atomic(self.path, data, private=True)

    def make_folder(self) -> None:
        """
        Make the folder that it is in, private, if there is none.

        Raises:
            OSError: It cannot be made.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """
        While nobody else writes it.

        Raises:
            TimeoutError: Somebody else holds the lock for long. OSError: It cannot be taken.
        """
        descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), _LOCK, 0o600)
        try:
            held = self._take(descriptor)
            try:
                yield
            finally:
                if held:
                    unlock(descriptor)
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> bool:
        """False where the file system has no locks: then the last writer wins."""
        try:
            for _ in range(limits.FILE_LOCK_TRIES):
                if try_lock(descriptor):
                    return True
                self._pause(limits.FILE_LOCK_PAUSE)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise
        raise TimeoutError(errno.ETIMEDOUT, "another program holds its lock for long", str(self.path))
