"""``crust send CONTACT FILE…``: stream files to a peer that runs ``crust recv``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import crust

from .errors import CommandError
from .options import add_common, parse_seconds, restricted, start_node
from .rendezvous import PATIENCE, PATIENCE_WITH_ADDRESS, Links, contact_of, rendezvous_of
from .terminal import Progress, human_duration, human_size, printable

if TYPE_CHECKING:
    from .context import Context

__all__ = ["register"]


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "send",
        parents=[common],
        help="send files to a peer",
        description="Send files of any size to a peer that runs `crust recv`. A lost link is taken up again where it "
        "broke. For each file that arrived, stdout gets its BLAKE2b-256 checksum and its name, as `b2sum -l 256` "
        "writes them. With --contact RENDEZVOUS the peer's id is enough, if `crust recv` there has the same one.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "to", metavar="CONTACT", help="what `crust recv` shows there, or a name from `crust contacts`"
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=parse_seconds, help="how long to try to reach the peer"
    )
    parser.add_argument(
        "--sign", action="store_true", help="sign each file: the other side gets a proof of it that convinces others"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object for each file instead")
    add_common(parser, identity="the user's, ~/.config/crust/identity")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Send all files over one connection; a file that the other side refuses does not stop the next one."""
    for path in arguments.files:
        _check_readable(path)
    to = restricted(context.book.resolve(arguments.to), arguments.only)
    links = Links(rendezvous_of(arguments, context), context, people=[to.peer_id])
    sender = _Sender(context, arguments.json, to.peer_id, sign=arguments.sign)

    def watch(node: crust.Service) -> None:
        links.watch(node)
        sender.watch(node)

    with links, contextlib.closing(start_node(arguments, context, prepare=watch, called=False)) as node:
        limits = {} if arguments.timeout is None else {"timeout": arguments.timeout}
        links.begin(node)
        links.wait(min(PATIENCE_WITH_ADDRESS if contact_of(to).endpoints else PATIENCE, arguments.timeout or PATIENCE))
        context.terminal.say(f"calling {context.call(to.peer_id)}")
        peer = node.connect(to, **limits)
        if peer.path is not None:
            context.terminal.say(
                f"connected: {peer.path.path_class} to {peer.path.remote}, {peer.path.cipher}"
            )
        unsent = [path for path in arguments.files if not sender.send(peer, path)]
    return 1 if unsent else 0


def _check_readable(path: Path) -> None:
    """All files are looked at before anybody is called."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise CommandError(
            f"{path} is a directory: crust sends files; pack it first, as in `tar cf {path.name}.tar`"
        )
    if not stat.S_ISREG(mode):
        raise CommandError(f"{path} is not a regular file")
    if not os.access(path, os.R_OK):
        raise CommandError(f"{path}: no permission to read it")


class _Sender:
    """Sends one file after the other and shows how it goes."""

    def __init__(self, context: Context, as_json: bool, to: crust.PeerId, *, sign: bool = False) -> None:
        self._sign = sign
        self._context = context
        self._terminal = context.terminal
        self._as_json = as_json
        self._to = to
        self._bar: Progress | None = None

    def watch(self, node: crust.Service) -> None:
        """Tell about a lost link, that it is back, and about a better one."""
        node.on(crust.PeerSuspended, lambda event: self._link_changed(event.peer, "link lost, reconnecting"))
        node.on(crust.PeerResumed, lambda event: self._link_changed(event.peer, ""))
        node.on(crust.PathChanged, self._path_changed)

    def _path_changed(self, event: crust.PathChanged) -> None:
        if event.peer.id == self._to:
            self._terminal.say(f"now by {event.new.path_class} to {event.new.remote}, {event.new.cipher}")

    def _link_changed(self, peer: crust.Peer, note: str) -> None:
        if peer.id != self._to:
            return
        bar = self._bar
        if bar is not None:
            bar.note(note)
        if bar is None or not self._terminal.bars:
            self._terminal.say(note or "the link is back, going on where it broke")

    def send(self, peer: crust.Peer, path: Path) -> bool:
        """Send one file; False if only this one failed."""
        bar = self._bar = self._terminal.progress(printable(path.name), path.stat().st_size)
        started = time.monotonic()
        try:
            sent = peer.send_file(path, sign=self._sign, progress=bar.update)
        except crust.TransferError as error:
            self._bar = None
            bar.close()
            self._terminal.error(f"{path}: {printable(str(error))}")
            return False
        finally:
            self._bar = None
            bar.close()
        self._report(path, sent, time.monotonic() - started)
        return True

    def _report(self, path: Path, sent: crust.FileSent, seconds: float) -> None:
        rate = human_size(sent.size / max(seconds, 1e-6))
        self._terminal.say(
            f"sent {printable(sent.name)}: {human_size(sent.size)} in {human_duration(seconds)}, {rate}/s; "
            "arrived whole, checksum verified there"
        )
        if self._as_json:
            told = {"event": "file_sent", "name": sent.name, "size": sent.size, "digest": sent.digest}
            self._terminal.out(json.dumps({**told, "seconds": round(seconds, 6)}))
        else:
            self._terminal.out(f"{sent.digest}  {printable(str(path), 4096)}")
