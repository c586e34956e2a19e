"""
Identities and network secrets in files: private, whole or not there at all, and locked while a node runs.

A key file belongs to the user who runs the node and is readable by nobody else; anything else is an error that names
the command to run. It comes into being by ``link()``: of two processes that make it at once the loser reads the
winner's.
On Windows, where files have access lists instead of these bits, owner and bits are not checked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import stat
import sys
from types import TracebackType

from ..crypto.identity import TEXT_MAX, KeyPair, decode_network_secrets
from ..exceptions import IdentityError, IdentityInUse
from .files import link_new, sync_folder
from .locks import try_lock, unlock

__all__ = ["Identity", "IdentityLock", "load_network_secrets", "save_private_text"]

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class Identity(KeyPair):
    """
    A node's identity: an Ed25519 key pair that knows its file.

    Make one with ``generate`` (lives as long as the object), ``load`` or ``load_or_create``. Not picklable.
    """

    __slots__ = ("path",)

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self.path: str | None = None
        """The file it was read from or saved to, absolute; None if there is none."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Identity:
        """
        Read an identity file.

        Raises:
            IdentityError: It is missing, damaged, or not private; the text says what to do.
        """
        name = _absolute(path)
        try:
            identity = cls.decode(_read_private_text(name, "identity file"))
        except FileNotFoundError as error:
            raise IdentityError(
                f"identity file {name}: there is none; make one with: crust keygen"
            ) from error
        except IdentityError as error:
            raise _named("identity file", name, error) from error
        identity.path = name
        return identity

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> Identity:
        """
        Read an identity file, or make a new identity and the file (and its directory, 0700) if there is none.

        Several processes may do this at once: all get the same identity.

        Raises:
            IdentityError: The file is damaged or not private, or cannot be made.
        """
        name = _absolute(path)
        if not os.path.lexists(name):
            with contextlib.suppress(FileExistsError):
                return cls.generate().save(name)
        return cls.load(name)

    def save(self, path: str | os.PathLike[str]) -> Identity:
        """
        Write this identity to a new file, and return the identity. The directory is made (0700) if it is missing.

        Raises:
            FileExistsError: There is a file already; identities are never overwritten.
            IdentityError: The file cannot be written.
        """
        name = _absolute(path)
        save_private_text(name, self.encode())
        self.path = name
        return self


def load_network_secrets(path: str | os.PathLike[str]) -> tuple[bytes, ...]:
    """
    The one or two secrets of a closed network, newest first, 32 bytes each (``network.secret_file``).

    Raises:
        IdentityError: The file is missing, damaged or not private; the text says what to do.
    """
    name = _absolute(path)
    try:
        return decode_network_secrets(_read_private_text(name, "network secret file"))
    except FileNotFoundError as error:
        raise IdentityError(
            f"network secret file {name}: there is none; copy it from another node of this network, or start a "
            "network with: crust keygen --network"
        ) from error
    except IdentityError as error:
        raise _named("network secret file", name, error) from error


def save_private_text(path: str | os.PathLike[str], text: str) -> None:
    """
    Make a file that only its owner can read, whole or not at all.

    Raises:
        FileExistsError: There is one already; it is left alone.
        IdentityError: It cannot be written; names the cause.
    """
    name = _absolute(path)
    directory = os.path.dirname(name)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        temporary = os.path.join(directory, f".{os.path.basename(name)}.{secrets.token_hex(8)}.tmp")
        try:
            _write_new(temporary, text)
            _link(temporary, name, text)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_folder(directory)
    except FileExistsError as error:
        raise FileExistsError(
            error.errno, "there is a file already, and keys are never overwritten", name
        ) from error
    except OSError as error:
        raise IdentityError(
            f"{name}: cannot be written: {error.strerror}; choose another place for it"
        ) from error


def _write_new(name: str, text: str) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, 0o600)
    with open(descriptor, "wb") as file:
        file.write(text.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())


def _link(temporary: str, name: str, text: str) -> None:
    """Give a finished file its name, unless the name is taken."""
    if not link_new(temporary, name):
        # A reader may find the file half-written for a moment, and says so; nothing is ever overwritten.
        _write_new(name, text)


def _read_private_text(name: str, what: str) -> str:
    """
    The text of a small file that is ours alone. Symbolic links are followed (secret managers mount them); what counts
    is the file at their end, looked at through the descriptor that is read.
    """
    try:
        # Non-blocking, so that a fifo in its place is an error and not a wait.
        descriptor = os.open(name, os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IdentityError(f"{what} {name}: cannot be opened: {error.strerror}") from error
    try:
        _check_private(os.fstat(descriptor), name, what)
        data = os.read(descriptor, TEXT_MAX + 1)
    except OSError as error:
        raise IdentityError(f"{what} {name}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise IdentityError(f"{what} {name}: is not text; is it another file?") from error


def _check_private(found: os.stat_result, name: str, what: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise IdentityError(f"{what} {name}: is not a file")
    if sys.platform == "win32":
        return
    quoted = shlex.quote(name)
    user = os.geteuid()
    if found.st_uid != user:
        raise IdentityError(
            f"{what} {name}: belongs to user {found.st_uid}, and this process runs as user {user}; "
            f"if it should be yours: sudo chown {user} {quoted}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise IdentityError(
            f"{what} {name}: other users can get at it (mode {mode:04o}); if they have not: chmod 600 {quoted}"
        )


def _named(what: str, name: str, error: IdentityError) -> IdentityError:
    text = str(error)
    return error if text.startswith(what) else IdentityError(f"{what} {name}: {text}")


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


class IdentityLock:
    """
    Keeps other processes (and other nodes of this one) from running under the same identity.

    The lock is the operating system's, on ``<identity file>.lock``, which also holds our process id for the message of
    whoever comes second; it ends with the process, however that dies, and a lock file left behind is no obstacle. Where
    no file can be made beside the identity (a read-only mount) the identity file itself is locked, without the id.

    Use as a context manager, or ``acquire`` and ``release``. Not thread-safe.

    Args:
        path: The identity file, which must exist. Symbolic links are followed to it.
    """

    __slots__ = ("_descriptor", "_owner", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(_absolute(path))
        """The identity file."""

        self._descriptor: int | None = None
        self._owner = 0

    @property
    def held(self) -> bool:
        """True between ``acquire`` and ``release``."""
        return self._descriptor is not None

    def acquire(self) -> IdentityLock:
        """
        Take the lock, without waiting; no effect if held.

        Raises:
            IdentityInUse: Another node has it; the text names its process.
            IdentityError: The lock cannot be made.
        """
        if self._descriptor is not None:
            return self
        descriptor, with_id = self._open()
        try:
            if not try_lock(descriptor):
                raise IdentityInUse(self._in_use(descriptor if with_id else None))
            if with_id:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                text = f"identity file {self.path}: cannot be locked: {error.strerror}"
                raise IdentityError(text) from error
            raise
        self._descriptor = descriptor
        self._owner = os.getpid()
        return self

    def release(self) -> None:
        """
        Give the lock back; no effect if not held. In a forked child this only closes the child's descriptor: the parent
        keeps the lock.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if self._owner == os.getpid():
                unlock(descriptor)
        finally:
            os.close(descriptor)

    def __enter__(self) -> IdentityLock:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _open(self) -> tuple[int, bool]:
        """A descriptor to lock, and whether our process id may be written there."""
        name = self.path + ".lock"
        try:
            return os.open(name, os.O_RDWR | os.O_CREAT | _NOFOLLOW | _BINARY, 0o600), True
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise IdentityError(f"lock file {name}: cannot be opened: {error.strerror}") from error
        try:
            return os.open(self.path, os.O_RDONLY | _BINARY), False
        except OSError as error:
            raise IdentityError(f"identity file {self.path}: cannot be locked: {error.strerror}") from error

    def _in_use(self, descriptor: int | None) -> str:
        text = os.read(descriptor, 32) if descriptor is not None else b""
        holder = text.decode("ascii", "replace").strip()
        if not holder.isdigit():
            who = "another process"
        elif int(holder) == os.getpid():
            who = "another node of this process"
        else:
            who = f"process {holder}"
        return (
            f"identity file {self.path} is in use by {who}; close that node first, or give this one an identity of "
            "its own"
        )
