"""Proofs in files: what ``crust recv`` keeps beside a signed file, for ``crust verify`` to look at."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from .errors import CommandError

__all__ = ["SUFFIX", "keep", "read"]

SUFFIX = ".crust-proof"
_NAME_MAX = 255  # bytes, as most file systems
_NUMBERS_IN_ORDER = 1000
_NUMBERS_BEYOND = 10**12  # then a few by chance: nobody can use up the names, who sends files that are called so, say
_TRIES_BEYOND = 4
_SIZE_MAX = 256 * 1024 * 1024  # bytes: more than any message has


def keep(file: Path, proof: bytes) -> Path:
    """
    Write a proof beside its file: ``letter.txt.crust-proof``, or ``letter.txt (1).crust-proof`` and so on where that is
    taken. Nothing is overwritten.

    Raises:
        OSError: It cannot be written; then there is no part of it either.
    """
    beyond = (secrets.randbelow(_NUMBERS_BEYOND) for _ in range(_TRIES_BEYOND))
    for number in (*range(_NUMBERS_IN_ORDER), *beyond):
        end = (f" ({number})" if number else "") + SUFFIX
        stem = os.fsencode(file.name)[: _NAME_MAX - len(end)].decode("utf-8", "ignore")
        path = file.with_name(stem + end)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        for optional in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, optional, 0)
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            continue
        try:
            with open(descriptor, "wb") as target:
                target.write(proof)
                target.flush()
                os.fsync(target.fileno())
        except BaseException:
            path.unlink()  # half a proof is none
            raise
        return path
    raise FileExistsError(f"too many proofs beside {file} exist: move some away")


def read(path: Path) -> bytes:
    """
    The content of a file that may be a proof.

    Raises:
        OSError: It cannot be read.
        CommandError: It is too large to be one.
    """
    with path.open("rb") as file:
        proof = file.read(_SIZE_MAX + 1)
    if len(proof) > _SIZE_MAX:
        raise CommandError(f"{path} is no proof: it is too large; give the file first, and then its proof")
    return proof
