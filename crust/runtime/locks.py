"""Locks of the operating system on open files: they end with the process that has them, however it dies."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["try_lock", "unlock"]

# Windows locks bytes, and bytes that are locked cannot be read: so one far behind whatever the file has to say.
_OFFSET = 1 << 30

if sys.platform == "win32":

    def try_lock(descriptor: int) -> bool:
        """Take the lock of an open file, without waiting; False if somebody else has it."""
        os.lseek(descriptor, _OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def unlock(descriptor: int) -> None:
        """Give it back."""
        os.lseek(descriptor, _OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def try_lock(descriptor: int) -> bool:
        """Take the lock of an open file, without waiting; False if somebody else has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give it back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)
