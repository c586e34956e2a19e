"""``crust chat``: lines of text to and from one peer, or whoever calls."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

import crust

from .announcing import Announcing
from .as_json import value_as_json
from .lines import Lines
from .options import add_common, parse_seconds, restricted, start_node
from .terminal import printable

if TYPE_CHECKING:
    from .context import Context

__all__ = ["register"]

_LINE_MAX = 65_536  # bytes of one line
_FAREWELLS = {"closed", "disconnected"}  # reasons of LostPeer that are an end, not a failure


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "chat",
        parents=[common],
        help="talk with a peer, line by line",
        description="Call a peer and talk, or without CONTACT show one's own contact and wait for calls. Lines from "
        "stdin go to everybody connected, theirs come to stdout. The end of stdin (Ctrl-D) ends it, and so does the "
        "peer that was called by leaving.",
        allow_abbrev=False,
    )
    parser.add_argument("to", metavar="CONTACT", nargs="?", help="whom to call: a contact, or a name of one")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=parse_seconds, help="how long to try to reach the peer"
    )
    add_common(parser, identity="the user's, ~/.config/crust/identity")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Talk until stdin or the conversation ends."""
    terminal = context.terminal
    to = None if arguments.to is None else restricted(context.book.resolve(arguments.to), arguments.only)
    with Lines(terminal.stdin.fileno(), _LINE_MAX) as lines:
        talk = _Talk(context, lines, None if to is None else to.peer_id)
        with contextlib.closing(start_node(arguments, context, prepare=talk.watch, called=to is None)) as node:
            if to is None:
                terminal.say(
                    "waiting for a call; on the other side run:  crust chat CONTACT  with this contact:"
                )
                talk.announcing.begin(node)
            else:
                limits = {} if arguments.timeout is None else {"timeout": arguments.timeout}
                terminal.say(f"calling {context.call(to.peer_id)}")
                node.connect(to, **limits)
            return talk.run(node)


class _Talk:
    """What they say, what we say."""

    def __init__(self, context: Context, lines: Lines, called: crust.PeerId | None) -> None:
        self._context = context
        self._terminal = context.terminal
        self._lines = lines
        self._called = called
        self._exit_code = 0
        self.announcing = Announcing(self._terminal, lambda contact: self._terminal.out(str(contact)))

    def watch(self, node: crust.Service) -> None:
        """Hear of everything; all of this runs on the node's dispatcher."""
        if self._called is None:
            self.announcing.watch(node)
        node.on(crust.NewMessage, self._heard)
        node.on(crust.ConnectSuccess, self._arrived)
        node.on(crust.BootstrapAccept, self._arrived)
        node.on(crust.LostPeer, self._left)
        node.on(
            crust.PeerSuspended,
            lambda event: self._terminal.say(f"link to {self._call(event.peer)} lost, waiting"),
        )
        node.on(
            crust.PeerResumed, lambda event: self._terminal.say(f"link to {self._call(event.peer)} is back")
        )

    def run(self, node: crust.Service) -> int:
        """Say what comes on stdin, until it ends or the peer that was called has left."""
        while True:
            try:
                line = self._lines.read()
            except ValueError as error:
                self._terminal.error(str(error))
                continue
            if line is None:
                break
            self._say(node, line)
        for peer in node.peers:  # the last words may still be on their way
            with contextlib.suppress(crust.CrustError):
                peer.flush(timeout=5.0)
        return self._exit_code

    def _say(self, node: crust.Service, line: bytes) -> None:
        if not node.peers:
            self._terminal.say("nobody is here yet")
        for peer in node.peers:
            try:
                peer.send(line)
            except crust.CrustError as error:
                self._terminal.error(f"not sent to {self._call(peer)}: {printable(str(error))}")

    def _heard(self, event: crust.NewMessage) -> None:
        text = printable(event.data.decode("utf-8", "replace"), _LINE_MAX)
        self._terminal.out(f"{self._call(event.peer)}: {text}")

    def _arrived(self, event: crust.ConnectSuccess | crust.BootstrapAccept) -> None:
        path = event.path
        self._terminal.say(f"{self._call(event.peer)} is here ({path.path_class}, {path.cipher})")

    def _left(self, event: crust.LostPeer) -> None:
        reason = value_as_json(event.reason)
        self._terminal.say(f"{self._call(event.peer)} has left: {printable(str(reason))}")
        if event.peer.id == self._called:
            self._exit_code = 0 if reason in _FAREWELLS else 1
            self._lines.stop()

    def _call(self, peer: crust.Peer) -> str:
        return self._context.call(peer.id)
