"""``crust chat``: lines of text to and from one peer, or whoever calls."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import crust

from .announcing import Announcing
from .as_json import value_as_json
from .lines import Lines
from .options import add_common, load_config, parse_seconds, restricted, start_node
from .rendezvous import PATIENCE, PATIENCE_WITH_ADDRESS, Links, command_line, contact_of, rendezvous_of
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
        "peer that was called by leaving. With --contact RENDEZVOUS at both ends the id of a peer is enough to call.",
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
    links = Links(rendezvous_of(arguments, context), context, people=() if to is None else [to.peer_id])
    with Lines(terminal.stdin.fileno(), _LINE_MAX) as lines, links:
        talk = _Talk(context, lines, None if to is None else to.peer_id, links)
        with contextlib.closing(start_node(arguments, context, prepare=talk.watch, called=to is None)) as node:
            links.begin(node)
            if to is None:
                links.wait(PATIENCE)
                line = "crust chat CONTACT  with this contact:"
                if links:
                    config = load_config(arguments, context.environ)
                    line = command_line(["crust", "chat", str(node.contact)], links.wanted, config)
                terminal.say(f"waiting for a call; on the other side run:  {line}")
                talk.announcing.begin(node)
            else:
                patience = PATIENCE_WITH_ADDRESS if contact_of(to).endpoints else PATIENCE
                links.wait(min(patience, arguments.timeout or PATIENCE))
                limits = {} if arguments.timeout is None else {"timeout": arguments.timeout}
                terminal.say(f"calling {context.call(to.peer_id)}")
                node.connect(to, **limits)
            return talk.run(node)


class _Talk:
    """What they say, what we say."""

    def __init__(self, context: Context, lines: Lines, called: crust.PeerId | None, links: Links) -> None:
        self._context = context
        self._links = links
        self._terminal = context.terminal
        self._lines = lines
        self._called = called
        self._exit_code = 0
        self.announcing = Announcing(
            self._terminal, lambda contact: self._terminal.out(str(contact)), links=links
        )

    def watch(self, node: crust.Service) -> None:
        """Hear of everything; all of this runs on the node's dispatcher."""
        self._links.watch(node)
        if self._called is None:
            self.announcing.watch(node)
        hear: dict[type[Any], Callable[[Any], object]] = {
            crust.NewMessage: self._heard,
            crust.ConnectSuccess: self._arrived,
            crust.BootstrapAccept: self._arrived,
            crust.LostPeer: self._left,
            crust.PeerSuspended: lambda event: self._terminal.say(f"link to {self._call(event.peer)} lost, waiting"),
            crust.PeerResumed: lambda event: self._terminal.say(f"link to {self._call(event.peer)} is back"),
            crust.PathChanged: self._moved,
        }
        for kind, callback in hear.items():
            node.on(kind, functools.partial(self._hear_person, callback))

    def _hear_person(self, callback: Callable[[Any], object], event: Any) -> None:
        if isinstance(event, crust.NewMessage):
            self._links.heard(event.peer)
        if not self._links.covers(event.peer):
            callback(event)

    def _people(self, node: crust.Service) -> list[crust.Peer]:
        return [peer for peer in node.peers if not self._links.covers(peer)]

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
        for peer in self._people(node):  # the last words may still be on their way
            with contextlib.suppress(crust.CrustError):
                peer.flush(timeout=5.0)
        return self._exit_code

    def _say(self, node: crust.Service, line: bytes) -> None:
        people = self._people(node)
        if not people:
            self._terminal.say("nobody is here yet")
        for peer in people:
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

    def _moved(self, event: crust.PathChanged) -> None:
        self._terminal.say(f"link to {self._call(event.peer)} is now {event.new.path_class}")

    def _left(self, event: crust.LostPeer) -> None:
        reason = value_as_json(event.reason)
        self._terminal.say(f"{self._call(event.peer)} has left: {printable(str(reason))}")
        if event.peer.id == self._called:
            self._exit_code = 0 if reason in _FAREWELLS else 1
            self._lines.stop()

    def _call(self, peer: crust.Peer) -> str:
        return self._context.call(peer.id)
