"""Two nodes' file transfers joined in memory, and a peer that says what the test wants."""

from __future__ import annotations

import logging
import pathlib
import threading
from types import TracebackType
from typing import Any

from crust import limits
from crust.crypto.keys import hash32
from crust.exceptions import MalformedMessage, PeerLost, Timeout, WouldBlock
from crust.peers.files import Files
from crust.runtime.threads import Deadline
from crust.wire.transfer import TransferMessage, build_transfer, parse_transfer_untrusted
from tests.support.bitten import Bitten
from tests.support.threads import Crew
from tests.support.waiting import wait_until

WINDOW = 4 * 1024 * 1024


class FileNode:
    """A node of which only the files exist; a context manager that expects its threads to end."""

    def __init__(self) -> None:
        self.crew = Crew(io=False)
        self.received: list[tuple[Any, pathlib.Path, str, int, str, bytes | None]] = []
        self.failed: list[tuple[Any, str, str]] = []
        self.files = Files(
            spawn=self.crew.spawn,
            log=logging.getLogger("crust.test"),
            on_received=lambda *event: self.received.append(event),
            on_failed=lambda *event: self.failed.append(event),
        )
        self.files.bites = self.bitten = Bitten()

    def __enter__(self) -> FileNode:
        self.crew.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        self.files.close()
        self.crew.__exit__(kind, error, traceback)


class MemoryChannel:
    """
    One end of a session in memory, with credit: what was sent and is not dealt with at the other side is bounded.

    Sent messages are kept, parsed, in ``sent``. Without another end they stop here, and the test is the peer.
    """

    def __init__(self, node: FileNode, name: str, controller: bool, window: int = WINDOW) -> None:
        self.node = node
        self.peer_text = name
        self.controller = controller
        self.max_message_size = limits.MAX_MESSAGE_SIZE
        self.window = window
        self.other: MemoryChannel | None = None
        self.sent: list[TransferMessage] = []
        self.under_way = 0  # bytes sent and not dealt with
        self.taken = 0  # bytes received and not dealt with here
        self.lost = False
        self._changed = threading.Condition()
        self._session = threading.Lock()  # not reentrant: whoever calls back from within receive() hangs

    @property
    def peer(self) -> MemoryChannel:
        return self

    takes_signed_only = False
    place: bytes | None = None
    refused = strayed = 0

    def sign_file(self, transfer: int, size: int, digest: bytes, name: str) -> bytes:
        return b"signed" + hash32(b"%d %d %b" % (transfer, size, digest) + name.encode())

    def open_file(self, transfer: int, size: int, digest: bytes, name: str, signed: bytes) -> bytes:
        if signed != self.sign_file(transfer, size, digest, name):
            raise MalformedMessage("its signature is wrong")
        return b"proof of " + name.encode()

    def unsigned_file(self) -> None:
        self.refused += 1

    def stray_data(self) -> None:
        self.strayed += 1

    def send_file_message(self, data: bytes, timeout: float | None) -> None:
        deadline = Deadline(timeout)
        with self._changed:
            while not self.lost and self.under_way + len(data) > self.window:
                if timeout == 0:
                    raise WouldBlock("the buffer is full")
                if deadline.expired:
                    raise Timeout("no room")
                self._changed.wait(deadline.remaining())
            if self.lost:
                raise PeerLost("gone", "test")
            self.sent.append(parse_transfer_untrusted(data))
            self.under_way += len(data) if self.other is not None else 0
        if self.other is not None:
            self.other.receive(data)

    def receive(self, data: bytes) -> None:
        """As the reader thread does it: with the session's lock held."""
        with self._session:
            self.taken += len(data)
            self.node.files.receive(self, data)

    def say(self, *messages: TransferMessage) -> None:
        """The test speaks for the peer."""
        for message in messages:
            self.receive(build_transfer(message))

    def file_message_done(self, size: int) -> None:
        with self._session:
            self.taken -= size
            assert self.taken >= 0
        if self.other is not None:
            self.other.give_room(size)

    def give_room(self, size: int) -> None:
        with self._changed:
            self.under_way -= size
            self._changed.notify_all()

    def set_window(self, window: int) -> None:
        with self._changed:
            self.window = window
            self._changed.notify_all()

    def lose(self) -> None:
        """The session ends, as the node hears it."""
        with self._changed:
            self.lost = True
            self._changed.notify_all()
        with self._session:
            self.node.files.peer_lost(self, "test")

    def expect(self, message: TransferMessage | type[TransferMessage]) -> TransferMessage:
        """Wait until this, or something of this type, was sent; the first such message."""

        def found() -> list[TransferMessage]:
            return [each for each in self.sent if each == message or type(each) is message]

        wait_until(found, what=f"{message} among {[type(each).__name__ for each in self.sent]}")
        return found()[0]


def joined(left: FileNode, right: FileNode, window: int = WINDOW) -> tuple[MemoryChannel, MemoryChannel]:
    """Both ends of a session between two nodes: what left sees of right, and the other way round."""
    to_right = MemoryChannel(left, "right", controller=True, window=window)
    to_left = MemoryChannel(right, "left", controller=False, window=window)
    to_right.other, to_left.other = to_left, to_right
    return to_right, to_left


def puppet(node: FileNode, name: str = "puppet", window: int = WINDOW) -> MemoryChannel:
    """A peer whose part the test plays; it gives even numbers to its files."""
    return MemoryChannel(node, name, controller=True, window=window)
