"""
Files that are whole or not there: atomic writes, publishing without overwriting, harmless names.

All of it blocks on the disk and none of it takes a thread lock; two threads may call anything here at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re
import secrets
import sys
import unicodedata
from collections.abc import Callable, Iterator

from .. import limits

__all__ = ["link_new", "publish_new", "safe_name", "sync_folder", "write_atomic"]

_NUMBERS_MAX = 10_000  # "name (1)" to "name (10000)"
_NUMBERS_IN_ORDER = 8
_NUMBERS_BY_CHANCE = 32
_NUMBERS_BEYOND = 10**12  # where most of those are taken, a few tries in these: nobody can use them up
_TRIES_BEYOND = 4
_EXTENSION_MAX = 16  # bytes of a name's end that count as its extension; more is just a name with a dot
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL}

_SEPARATORS = re.compile(r"[/\\]")
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]')
_BLANKS = re.compile(r" {2,}")
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)


# --- writing ----------------------------------------------------------------------------------------------------------


def write_atomic(path: str | os.PathLike[str], data: bytes, *, private: bool = False) -> None:
    """
    Replace a file's content: after a crash at any moment it holds all of the old or all of the new.

    A symbolic link at ``path`` is replaced, not followed.

    Args:
        path: its folder must exist.
        data: the new content.
        private: only the owner may read it (0600); else as the umask says.

    Raises:
        OSError: nothing was changed, and no temporary file is left.
    """
    target = pathlib.Path(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    with _synced(target.parent) as sync:
        descriptor = os.open(temporary, _NEW | getattr(os, "O_BINARY", 0), 0o600 if private else 0o666)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync()


def publish_new(
    temporary: str | os.PathLike[str], directory: str | os.PathLike[str], name: str
) -> pathlib.Path:
    """
    Give a finished temporary file its final name, or ``name (1).ext``, ``name (2).ext``… if that is taken.

    Nothing is ever overwritten, whatever other processes do meanwhile, and the final name never shows half a file.
    Sync the temporary first; it must lie in the same file system, and is gone afterwards.

    Args:
        directory: where to.
        name: one that ``safe_name`` gave.

    Returns:
        The path it got.

    Raises:
        OSError: it could not be published, and nothing of it has a final name.
    """
    source, folder = pathlib.Path(temporary), pathlib.Path(directory)
    with _synced(folder) as sync:
        for target in _candidates(folder, name):
            try:
                _move_new(source, target)
            except FileExistsError:
                continue
            try:
                sync()
            except BaseException:
                target.unlink()
                raise
            return target
    raise FileExistsError(errno.EEXIST, "too many files of this name exist: move some away", str(folder / name))


def _candidates(folder: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """
    Names to try, best first. Who sends thousands of files of one name must not have each of them tried for each file:
    so after the first few numbers the next one is searched for, and if that has gaps, or others are quicker, chance
    decides. Nor must he use the name up, so that others can send none of that name any more: there are more numbers
    than anybody can send files.
    """
    yield folder / name
    taken = min(_NUMBERS_IN_ORDER, _NUMBERS_MAX)
    for number in range(1, taken + 1):
        yield folder / _numbered(name, number)
    free = taken + 1
    while free < _NUMBERS_MAX and os.path.lexists(folder / _numbered(name, free)):
        taken, free = free, min(2 * free, _NUMBERS_MAX)
    while free - taken > 1:
        middle = (taken + free) // 2
        if os.path.lexists(folder / _numbered(name, middle)):
            taken = middle
        else:
            free = middle
    for number in (free, *(secrets.randbelow(_NUMBERS_MAX) + 1 for _ in range(_NUMBERS_BY_CHANCE))):
        if number <= _NUMBERS_MAX:
            yield folder / _numbered(name, number)
    for _ in range(_TRIES_BEYOND):
        yield folder / _numbered(name, secrets.randbelow(_NUMBERS_BEYOND) + 1)


def _numbered(name: str, number: int) -> str:
    """``photo (2).jpg``, still short enough for a file system."""
    stem, extension = _split(name)
    mark = f" ({number})"
    room = limits.FILE_NAME_MAX - len(mark.encode()) - len(os.fsencode(extension))
    return _cut(stem, room) + mark + extension


def _move_new(source: pathlib.Path, target: pathlib.Path) -> None:
    """Rename, but raise ``FileExistsError`` instead of overwriting."""
    if sys.platform == "win32":
        os.rename(source, target)  # never overwrites there
        return
    if link_new(source, target):
        source.unlink(missing_ok=True)
        return
    # Take the name with an empty file, then replace that.
    os.close(os.open(target, _NEW, 0o600))
    try:
        os.replace(source, target)
    except BaseException:
        target.unlink()
        raise


def link_new(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    """
    Give a file another name, unless that is taken.

    Returns:
        False where there are no hard links (FAT, some network shares, some systems); then nothing has changed.

    Raises:
        FileExistsError: The name is taken.
        OSError: It cannot be done for another reason.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
        return False
    return True


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """
    Make what was made or renamed in it survive a power cut, where the system can do that.

    Raises:
        OSError: The disk is broken.
    """
    with _synced(folder) as sync:
        sync()


@contextlib.contextmanager
def _synced(folder: str | os.PathLike[str]) -> Iterator[Callable[[], None]]:
    """
    What does so, to be had before anything is renamed: a folder that is no more there, or no descriptor for it, must
    not make a failure of what is done already.

    Raises:
        OSError: The folder cannot be had; from the function: the disk is broken.
    """
    if sys.platform == "win32":  # cannot open folders
        yield lambda: None
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    except PermissionError:  # one that we may write to, but not list: a drop box
        yield lambda: None
        return

    def sync() -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # what a network file system says that cannot
                raise

    try:
        yield sync
    finally:
        os.close(descriptor)


# --- names ------------------------------------------------------------------------------------------------------------


def safe_name(hostile: str, limit: int = limits.FILE_NAME_MAX) -> str:
    """
    Make a file name that came from somebody else harmless in any folder, shell and terminal.

    Of a path only the last part is kept. Gone are control, format and direction characters, what Windows does not
    allow, dots, dashes and tildes in front, dots and blanks at the end; blanks in a row become one; names that Windows
    reserves get a ``_``. A long name is cut but keeps its extension. A name of which nothing is left becomes ``file``.
    Applying it twice changes nothing more.

    Args:
        hostile: any text.
        limit: bytes the result may have, encoded as UTF-8; at least 32.
    """
    if limit < 32:
        raise ValueError(f"limit: expected at least 32 bytes, found {limit}")
    name = hostile
    for part in reversed(_SEPARATORS.split(hostile)):
        name = _harmless(part)
        if name:
            break
    name = _unreserved(name)
    if len(name.encode()) > limit:
        stem, extension = _split(name)
        name = _harmless(_cut(stem, limit - len(extension.encode())) + extension)
    return name or "file"


def _unreserved(name: str) -> str:
    """Windows reserves some names, whatever extension and blanks follow."""
    return f"_{name}" if _RESERVED.fullmatch(name.partition(".")[0].rstrip()) else name


def _harmless(text: str) -> str:
    """``text`` without the characters that do harm; may be empty."""
    shown = (" " if unicodedata.category(c) == "Zs" else c for c in text)
    kept = "".join(c for c in shown if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
    name = unicodedata.normalize("NFC", _NOT_ON_WINDOWS.sub("_", kept))
    name = _BLANKS.sub(" ", name)  # many of them push the true extension out of sight
    return name.lstrip(" .-~").rstrip(" .")


def _split(name: str) -> tuple[str, str]:
    """Stem and extension; ``.tar.gz`` and its like stay together, and a long "extension" is none."""
    stem, extension = os.path.splitext(name)
    inner, tar = os.path.splitext(stem)
    if tar.lower() == ".tar":
        stem, extension = inner, tar + extension
    if len(os.fsencode(extension)) > _EXTENSION_MAX or not stem:
        return name, ""
    return stem, extension


def _cut(text: str, size: int) -> str:
    """The beginning of ``text`` that takes at most ``size`` bytes of UTF-8, without half a character."""
    return text.encode()[: max(size, 0)].decode(errors="ignore")
