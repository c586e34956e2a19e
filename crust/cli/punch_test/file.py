"""The page in its file: looked at before anybody waits, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import CommandError

__all__ = ["check_writable", "save"]


def check_writable(path: Path) -> None:
    """Before anybody waits for a report that cannot be saved."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise CommandError(f"{path} is a directory: name a file for the page")
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise CommandError(f"{path} is not a regular file")
    if not target.parent.is_dir():
        raise CommandError(f"{path}: there is no directory {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise CommandError(f"{path}: no permission to write into {target.parent}")


def save(path: Path, text: str) -> None:
    """All of the file or nothing: a page that is sent on is never half of one."""
    target = Path(os.path.realpath(path))
    try:
        with _temporary(target) as temporary:
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except OSError as error:
        raise CommandError(f"{path}: the page could not be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    path = target.with_name(f".punch-test.{secrets.token_hex(8)}")  # however long the name of the file is
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
