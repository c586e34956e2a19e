"""
``crust recv``: wait for files and write them into a directory.

The node's own threads only put questions and results into one queue; everything is asked on the main thread,
where Ctrl-C arrives.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import queue
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import crust

from .announcing import Announcing
from .as_json import event_as_json
from .errors import CommandError, UsageError
from .options import add_common, load_config, start_node
from .proofs import keep
from .rendezvous import PATIENCE, Links, command_line, rendezvous_of
from .terminal import Progress, human_size, parse_size, printable

if TYPE_CHECKING:
    from .context import Context

__all__ = ["register"]

_LOOK_INTERVAL = 1.0  # seconds between two looks whether the node still runs


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "recv",
        parents=[common],
        help="receive files",
        description="Wait for files. Shows a contact for `crust send` on the other side, asks before each file "
        "(unless --from or --yes decide), and never overwrites: a second photo.jpg becomes photo (1).jpg. stdout gets "
        "the contact first, then the BLAKE2b-256 checksum and the path of each file that has arrived whole. If it is "
        "signed, its proof is kept beside it, for `crust verify`.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dir", metavar="DIR", type=Path, default=Path("."), help="where files go (default: here)"
    )
    parser.add_argument(
        "--from",
        metavar="ID",
        dest="senders",
        action="append",
        default=[],
        help="take files from this peer (id, contact or name) without asking, and from nobody else; may be repeated",
    )
    parser.add_argument("--yes", action="store_true", help="take files from anyone but a rendezvous without asking")
    parser.add_argument(
        "--max-size", metavar="SIZE", type=_size, help="refuse files above this: bytes, or 10M, 2GiB"
    )
    parser.add_argument(
        "--signed", action="store_true", help="take only files that are signed, as by `crust send --sign`"
    )
    parser.add_argument(
        "--once", action="store_true", help="end after one file; the exit code tells whether it arrived"
    )
    parser.add_argument("--json", action="store_true", help="JSON objects on stdout instead")
    add_common(parser, identity="the user's, ~/.config/crust/identity")
    parser.set_defaults(run=run)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Receive until interrupted, or one file."""
    if arguments.yes and arguments.senders:
        raise UsageError("--yes takes files from anyone, --from only from some: give one of them")
    if not (arguments.yes or arguments.senders or context.terminal.can_ask):
        raise UsageError(
            "nobody is at a terminal to ask: say whose files to take with --from ID, or --yes for anyone's"
        )
    directory = arguments.dir
    if not directory.is_dir():
        raise CommandError(f"{directory} is not a directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise CommandError(f"{directory}: no permission to write there")
    senders = frozenset(context.book.resolve(text).peer_id for text in arguments.senders)
    links = Links(rendezvous_of(arguments, context), context, people=senders)
    receiver = _Receiver(context, arguments, senders, links)
    overrides = {"signing.require_signed": True} if arguments.signed else None
    with (
        links,
        contextlib.closing(start_node(arguments, context, overrides=overrides, prepare=receiver.watch)) as node,
    ):
        node.accept_files(directory, decide=receiver.decide, progress=receiver.progress)
        links.begin(node)
        links.wait(PATIENCE)
        receiver.announce(node, load_config(arguments, context.environ))
        try:
            return receiver.serve(lambda: node.closed, arguments.once)
        finally:
            receiver.stop()


@dataclasses.dataclass
class _Question:
    offer: crust.FileOffer
    answer: concurrent.futures.Future[bool]


class _Receiver:
    """Decides on offers and shows what becomes of them."""

    def __init__(
        self, context: Context, arguments: argparse.Namespace, senders: frozenset[crust.PeerId], links: Links
    ) -> None:
        self._context = context
        self._links = links
        self._terminal = context.terminal
        self._senders = senders
        self._take_all: bool = arguments.yes
        self._max_size: int | None = arguments.max_size
        self._as_json: bool = arguments.json
        self._announcing = Announcing(
            self._terminal, self._show, lambda contact: self._tell("addresses_changed", contact), links
        )
        self._taken: set[crust.PeerId] = set()  # of whom the person has taken a file
        self._inbox: queue.SimpleQueue[_Question | crust.FileReceived | crust.FileFailed] = (
            queue.SimpleQueue()
        )
        self._stopped = False
        self._bar: Progress | None = None

    def watch(self, node: crust.Service) -> None:
        """Hear about files, links and addresses."""
        self._links.watch(node)
        self._announcing.watch(node)
        node.on(crust.FileReceived, self._inbox.put)
        node.on(crust.FileFailed, self._inbox.put)
        node.on(crust.ConnectSuccess, lambda event: self._say_of(event.peer, "{} is connected"))
        node.on(crust.MessageRefused, lambda event: self._say_of(event.peer, "refused what {} sent: it is not signed"))
        node.on(crust.PeerSuspended, lambda event: self._say_of(event.peer, "link to {} lost, waiting"))
        node.on(crust.PeerResumed, lambda event: self._say_of(event.peer, "link to {} is back"))
        node.on(
            crust.PathChanged,
            lambda event: self._say_of(event.peer, f"link to {{}} is now {event.new.path_class}"),
        )

    def _say_of(self, peer: crust.Peer, text: str) -> None:
        if not self._links.covers(peer):
            self._terminal.say(text.format(self._call(peer)))

    def announce(self, node: crust.Service, config: crust.Config) -> None:
        """Show what the sender needs."""
        if self._links:
            line = command_line(["crust", "send", str(node.contact), "FILE"], self._links.wanted, config)
            self._terminal.say(f"ready; on the other side run:  {line}")
        else:
            if not node.contact.endpoints:
                self._terminal.warn("this node listens nowhere, so nobody can reach it by this contact")
            self._terminal.say("ready; on the other side run:  crust send CONTACT FILE  with this contact:")
        self._announcing.begin(node)

    def _show(self, contact: crust.Contact) -> None:
        if self._as_json:
            self._tell("started", contact)
        else:
            self._terminal.out(str(contact))

    def _tell(self, event: str, contact: crust.Contact) -> None:
        if self._as_json:
            self._terminal.out(
                json.dumps({"event": event, "peer": str(contact.peer_id), "contact": str(contact)})
            )

    def decide(self, offer: crust.FileOffer) -> bool | str:
        """Take this file? Called by the node on a thread of this offer's own, which may wait for the person."""
        self._links.heard(offer.peer)
        if self._senders and offer.peer.id not in self._senders:
            self._refused(offer, "who is not among those of --from")
            return "the receiver does not take files from this peer"
        if self._take_all and self._links.covers(offer.peer):
            self._refused(offer, "who is a rendezvous; --from takes files from it")
            return "the receiver takes no files from a rendezvous"
        if self._max_size is not None and offer.size > self._max_size:
            # Here and not by accept_files(), whose refusal is an event that would end --once.
            self._refused(offer, f"as it has {human_size(offer.size)}")
            return f"it has {offer.size} bytes, and the limit is {self._max_size}"
        if self._take_all or self._senders:
            return True
        question = _Question(offer, concurrent.futures.Future())
        self._inbox.put(question)
        if self._stopped:  # stop() may have emptied the queue just before
            self.stop()
        return question.answer.result() or "the receiver said no"

    def _refused(self, offer: crust.FileOffer, why: str) -> None:
        self._terminal.say(f"refused {printable(offer.name)} of {self._call(offer.peer)}, {why}")

    def progress(self, progress: crust.FileProgress) -> None:
        """Draw the bar; called by the node as bytes arrive."""
        if self._bar is None:
            self._bar = self._terminal.progress(printable(progress.name), progress.size)
        self._bar.update(progress.received, progress.size)

    def serve(self, is_closed: Callable[[], bool], once: bool) -> int:
        """Ask and report until one file is done, or for ever."""
        while True:
            try:
                item = self._inbox.get(timeout=_LOOK_INTERVAL)
            except queue.Empty:
                if is_closed():
                    raise CommandError("the node has stopped by itself; -v shows why") from None
                continue
            if isinstance(item, _Question):
                self._answer(item)
                continue
            self._close_bar()
            arrived = self._report(item)
            if once and (arrived or self._is_wanted(item.peer)):
                return 0 if arrived else 1

    def _is_wanted(self, peer: crust.Peer) -> bool:
        """Whether what fails of that peer may be the file of --once: anybody offers what has no room, or leaves."""
        if self._senders:
            return peer.id in self._senders
        if self._take_all:
            return not self._links.covers(peer)
        return peer.id in self._taken

    def _answer(self, question: _Question) -> None:
        taken = False
        try:
            taken = self._ask(question.offer)
            if taken:
                self._taken.add(question.offer.peer.id)
        finally:  # Ctrl-C is a no
            question.answer.set_result(taken)

    def stop(self) -> None:
        """Answer all open questions with no, now and later."""
        self._stopped = True
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, _Question):
                item.answer.set_result(False)

    def _ask(self, offer: crust.FileOffer) -> bool:
        size = human_size(offer.size)
        return self._terminal.ask(
            f"{self._context.call(offer.peer.id, whole=True)} offers {printable(offer.name)} ({size}). Take it?"
        )

    def _report(self, event: crust.FileReceived | crust.FileFailed) -> bool:
        proof_file, failure = self._keep_proof(event)
        if self._as_json:
            more = {} if proof_file is None else {"proof_file": str(proof_file)}
            self._terminal.out(json.dumps({**event_as_json(event), **more}))
        if isinstance(event, crust.FileFailed):
            self._terminal.error(
                f"{printable(event.name)} of {self._call(event.peer)} did not arrive: {printable(event.reason)}"
            )
            return False
        self._terminal.say(
            f"received {event.path} from {self._call(event.peer)}: {human_size(event.size)}, checksum right"
        )
        if not self._as_json:
            self._terminal.out(f"{event.digest}  {printable(str(event.path), 4096)}")
        if proof_file is not None:
            self._terminal.say(f"it is signed; the proof, for `crust verify`, is {printable(str(proof_file), 4096)}")
        if failure is not None:
            self._terminal.error(f"its proof cannot be kept: {failure.strerror or failure}")
        return failure is None

    @staticmethod
    def _keep_proof(event: crust.FileReceived | crust.FileFailed) -> tuple[Path | None, OSError | None]:
        """Where the proof of a file is now, or why it is not."""
        if isinstance(event, crust.FileFailed) or event.proof is None:
            return None, None
        try:
            return keep(Path(event.path), event.proof), None
        except OSError as error:
            return None, error

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _call(self, peer: crust.Peer) -> str:
        return self._context.call(peer.id)
