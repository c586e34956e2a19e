"""``crust keygen``: a new identity, or the secret of a closed network."""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import crust

from .errors import CommandError, UsageError
from .options import user_directory

if TYPE_CHECKING:
    from .context import Context

__all__ = ["register"]

_SECRET_SIZE = 32  # bytes, docs/wire-format.md "Closed networks"


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "keygen",
        parents=[common],
        help="make an identity, or a network secret",
        description="Make a new identity and show its peer id; with --network, the secret of a closed network. "
        "A file that exists is never overwritten.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="where to (default: the user's ~/.config/crust/identity)"
    )
    parser.add_argument(
        "--network", action="store_true", help="make a network secret for --network-secret-file instead"
    )
    parser.add_argument("--json", action="store_true", help="show the result as a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Make one file."""
    if arguments.network and arguments.file is None:
        raise UsageError("keygen --network needs a FILE to write the secret to")
    path = (
        Path(arguments.file) if arguments.file is not None else user_directory(context.environ) / "identity"
    )
    if os.path.lexists(path):
        raise CommandError(_exists(path, arguments.network))
    if arguments.network:
        _write_secret(path)
        context.terminal.say("a network secret: give this file to every node of the network, over a safe way")
        context.terminal.out(json.dumps({"file": str(path)}) if arguments.json else str(path))
        return 0
    identity = crust.Identity.load_or_create(path)
    context.terminal.say(f"a new identity in {path}; its peer id, for others to reach it by:")
    peer = str(identity.peer_id)
    context.terminal.out(json.dumps({"file": str(path), "peer": peer}) if arguments.json else peer)
    return 0


def _exists(path: Path, is_secret: bool) -> str:
    if not is_secret:
        try:
            return f"{path} exists already: it is the identity {crust.Identity.load(path).peer_id}"
        except crust.IdentityError as error:
            return f"{path} exists already, and is not a usable identity: {error}"
    return f"{path} exists already: remove it first if its secret is no longer needed"


def _write_secret(path: Path) -> None:
    text = base64.b32encode(secrets.token_bytes(_SECRET_SIZE)).decode("ascii").rstrip("=").lower()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()  # half a secret is worse than none
        raise
