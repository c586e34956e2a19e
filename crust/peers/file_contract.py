"""What sending and receiving files needs from a peer, and the values that it shows to the application."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, Protocol

from ..values import dataclass

__all__ = [
    "Decide",
    "FileChannel",
    "FileFailedHook",
    "FileOffer",
    "FileProgress",
    "FileReceivedHook",
    "FileSent",
    "Log",
    "OnReceiving",
    "OnSending",
]


class Log(Protocol):
    """What is needed of a logger."""

    def info(self, message: str, /, *args: object) -> None: ...

    def exception(self, message: str, /, *args: object) -> None: ...


class FileChannel(Protocol):
    """
    A session, as the file transfer sees it. Hashable by identity; one object for the life of the session.

    Files travel as messages of kind ``file``. They share one priority, so that they keep their order, and they never
    expire.
    """

    @property
    def peer(self) -> Any:
        """What the application gets as ``peer``."""

    @property
    def peer_text(self) -> str:
        """Names the peer in errors and logs."""

    @property
    def place(self) -> bytes | None:
        """Where the peer is, or who brings it here, as places for peers count; None: nobody knows."""

    @property
    def controller(self) -> bool:
        """True if our id is greater than the peer's."""

    @property
    def max_message_size(self) -> int:
        """Bytes of the longest message that both sides accept."""

    @property
    def takes_signed_only(self) -> bool:
        """Files that are not signed are refused."""

    def sign_file(self, transfer: int, size: int, digest: bytes, name: str) -> bytes:
        """What is signed of a file that we send, and our signature."""

    def open_file(self, transfer: int, size: int, digest: bytes, name: str, signed: bytes) -> bytes:
        """
        The proof of a file that the peer sends.

        Raises:
            RemoteProtocolError: It has not signed that.
        """

    def unsigned_file(self) -> None:
        """A file was refused, since it is not signed."""

    def stray_data(self) -> None:
        """Bytes came of a file that is not under way."""

    def send_file_message(self, data: bytes, timeout: float | None) -> None:
        """
        Queue one message of kind ``file``.

        Args:
            timeout: Seconds to wait for room in the send buffer; None waits for ever; 0 does not wait.

        Raises:
            WouldBlock, Timeout: There is no room; nothing was queued.
            PeerLost, ServiceClosed: The session is over.
        """

    def file_message_done(self, size: int) -> None:
        """
        A received message of ``size`` bytes is dealt with: the peer may send as much again.

        Called once for each message that :meth:`Files.receive` took, on the thread that writes files, never within
        ``receive`` itself; perhaps not any more once the session or the node is over.
        """


@dataclass(frozen=True)
class FileOffer:
    """A peer wants to send a file: what the application decides about."""

    peer: Any
    """Who offers it: a ``Peer``."""

    name: str
    """What it would be called here: the offered name made harmless."""

    size: int
    """Bytes."""

    signed: bool = False
    """It comes with a proof, or not at all."""


@dataclass(frozen=True)
class FileProgress:
    """How far a file has come that a peer sends."""

    peer: Any
    """Who sends it: a ``Peer``."""

    name: str
    """As in the offer."""

    received: int
    """Bytes on disk; equal to ``size`` once, at the end."""

    size: int
    """Bytes in all."""


@dataclass(frozen=True)
class FileSent:
    """A file that the other side has, whole and under its final name there."""

    name: str
    """What it was offered as."""

    size: int
    """Bytes."""

    digest: str
    """BLAKE2b-256 of the content, in hex; the receiver has computed the same."""


Decide = Callable[[FileOffer], bool | str]
"""True takes the file, False refuses it, a text refuses it and tells the sender why. May block, for a person to answer;
runs on a thread of its own, never twice at once for the same peer. ``close()`` waits for it as for a callback; one that
does not return in time is left behind, and its answer means nothing any more."""

OnReceiving = Callable[[FileProgress], object]
"""Runs on the thread that writes the files: it must be quick."""

OnSending = Callable[[int, int], object]
"""Gets the bytes sent and the bytes in all, on the thread that called ``send_file``."""

FileReceivedHook = Callable[[Any, pathlib.Path, str, int, str, bytes | None], object]
"""Gets peer, path, name, size, digest (hex) and proof of a file that is in its place."""

FileFailedHook = Callable[[Any, str, str], object]
"""Gets peer, name and reason of a file that did not make it."""
