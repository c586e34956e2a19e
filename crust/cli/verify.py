"""``crust verify FILE PROOF``: whether somebody signed that file; needs no node and no network."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import crust

from .errors import CommandError
from .proofs import SUFFIX, read
from .terminal import printable

if TYPE_CHECKING:
    from .context import Context

__all__ = ["register"]

_PIECE = 1 << 20  # bytes of the file looked at in one go


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "verify",
        parents=[common],
        help="check who signed a file",
        description="Check the proof that `crust recv` keeps beside a file which was sent by `crust send --sign`: who "
        "signed it, for whom, and when by their clock. Anybody can do that, anywhere: it takes no node and no network. "
        "Exit code 0: all is right. 1: the file, the proof or who signed it is another.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the file, whatever it is called by now")
    parser.add_argument("proof", metavar="PROOF", type=Path, nargs="?", help=f"its proof (default: FILE{SUFFIX})")
    parser.add_argument(
        "--from", metavar="ID", dest="sender", help="it must be signed by this peer (id, contact or name)"
    )
    parser.add_argument("--for", metavar="ID", dest="receiver", help="and for this one")
    parser.add_argument("--json", action="store_true", help="show the result as a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Check one file."""
    file: Path = arguments.file
    sender, receiver = _peer(arguments.sender, context), _peer(arguments.receiver, context)
    size, digest = _looked_at(file)
    path: Path = arguments.proof or file.with_name(file.name + SUFFIX)  # a file has a name; "." and "/" have none
    try:
        proof = crust.verify_proof(read(path))
    except crust.ProofError as error:
        raise CommandError(f"{path}: {error}") from error
    if (proof.size, proof.digest) != (size, digest):
        raise CommandError(
            f"{file} is not what was signed: the proof is of {proof.size} bytes with the checksum {proof.digest}, "
            f"the file has {size} and {digest}"
        )
    if sender not in (None, proof.sender):
        raise CommandError(f"{file} is signed by {proof.sender}, not by {sender}")
    if receiver not in (None, proof.receiver):
        raise CommandError(f"{file} is signed for {proof.receiver}, not for {receiver}")
    if arguments.json:
        context.terminal.out(json.dumps(_as_json(proof, file, path)))
    else:
        _show(proof, context)
    if sender is None:
        context.terminal.say("compare the sender's id with one that you know to be theirs, or give that with --from")
    return 0


def _peer(text: str | None, context: Context) -> crust.PeerId | None:
    return None if text is None else context.book.resolve(text).peer_id


def _looked_at(file: Path) -> tuple[int, str]:
    """Size and checksum of a file."""
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        raise CommandError(f"{file} is {'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}")
    size, digest = 0, hashlib.blake2b(digest_size=32)
    with file.open("rb") as source:
        while data := source.read(_PIECE):
            size += len(data)
            digest.update(data)
    return size, digest.hexdigest()


def _show(proof: crust.Proof, context: Context) -> None:
    lines = {
        "signed by": _named(proof.sender, context),
        "for": _named(proof.receiver, context),
        "at": f"{_when(proof)}, by the sender's clock",
        "as": "a message" if proof.name is None else printable(proof.name, 1024),
        "BLAKE2b": f"{proof.digest}, {proof.size} bytes",
    }
    for name, text in lines.items():
        context.terminal.out(f"{name:<10} {text}")


def _named(peer_id: crust.PeerId, context: Context) -> str:
    name = context.book.name_of(peer_id)
    return str(peer_id) if name is None else f"{peer_id} ({name})"


def _when(proof: crust.Proof) -> str:
    try:
        return datetime.datetime.fromtimestamp(proof.time, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):  # a clock may say anything
        return f"{proof.time:.3f} s after 1970"


def _as_json(proof: crust.Proof, file: Path, path: Path) -> dict[str, object]:
    return {
        "file": str(file),
        "proof": str(path),
        "kind": proof.kind,
        "sender": str(proof.sender),
        "receiver": str(proof.receiver),
        "time": proof.time,
        "name": proof.name,
        "size": proof.size,
        "digest": proof.digest,
        "id": proof.id.hex(),
        "network_id": proof.network_id.hex(),
    }
