"""
Sending one file: reads the disk and waits, on the thread that called ``send_file``.

:meth:`Upload.run` may block on the disk, on room in the session's send buffer, and on the event below. What
ends the last wait: a message of the receiver (:meth:`Upload.receive`, on the reader thread), the end of the session
or of the node (:meth:`Upload.stop`), or the timeout.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable

from .. import limits
from ..exceptions import CrustError, FileRefused, PeerLost, Timeout, TransferError, WouldBlock
from ..runtime.clock import Clock
from ..wire.transfer import TRANSFER_DATA_OVERHEAD, TransferMessage, build_transfer
from .file_contract import FileChannel, FileSent, OnSending
from .transfer import FileSender, SenderState

__all__ = ["Upload", "open_source"]


def open_source(path: str | os.PathLike[str]) -> io.FileIO:
    """
    Open a regular file for reading.

    Raises:
        OSError: It cannot be opened.
        TransferError: It is a directory, pipe, device or socket: something without a size.
    """
    # Asked first, since opening a pipe that nobody writes to would hang. A descriptor of our own making would be lost
    # to an interrupt that strikes just after; a FileIO closes itself.
    if stat.S_ISREG(os.stat(path).st_mode):
        source = io.FileIO(os.fspath(path), "rb")
        if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            return source
        source.close()
    raise TransferError(f"cannot send {os.fspath(path)!r}: it is not a regular file; pack directories first")


class Upload:
    """
    One file on its way out.

    Args:
        channel: Where to.
        sender: The rules of the sending end, not begun.
        timeout: Seconds for all of it, the decision of the other side included; None: no limit.
        progress: Called after each piece.
        send_later: Takes a message for the peer that must wait until the send buffer has room.
        clock: What to wait with.
    """

    __slots__ = (
        "_changed",
        "_channel",
        "_chunk",
        "_deadline",
        "_error",
        "_lock",
        "_progress",
        "_send_later",
        "_sender",
        "_timeout",
    )

    def __init__(
        self,
        channel: FileChannel,
        sender: FileSender,
        *,
        timeout: float | None,
        progress: OnSending | None,
        send_later: Callable[[TransferMessage], None],
        clock: Clock,
    ) -> None:
        self._channel = channel
        self._chunk = min(limits.FILE_CHUNK, channel.max_message_size - TRANSFER_DATA_OVERHEAD)
        self._send_later = send_later
        self._timeout = timeout
        self._deadline = clock.deadline(timeout)
        self._progress = progress
        self._lock = threading.Lock()  # guards the two below
        self._sender = sender
        self._error: CrustError | None = None
        self._changed = clock.event()  # set when either changes

    def receive(self, message: TransferMessage) -> None:
        """The receiver has answered. Does not block."""
        with self._lock:
            self._sender.receive(message)
        self._changed.set()

    def stop(self, error: CrustError) -> None:
        """End :meth:`run` with this error. Does not block."""
        with self._lock:
            self._error = self._error or error
        self._changed.set()

    def run(self, source: io.FileIO) -> FileSent:
        """
        Send it, and wait until the receiver has it in its place.

        Whatever is raised, also KeyboardInterrupt, the receiver is told to forget the file if it can still be told.

        Raises:
            FileRefused: The receiver does not want it.
            TransferError: It went wrong at either end; the text says what.
            Timeout: Not done in time; the receiver keeps nothing.
            PeerLost, ServiceClosed: The session, or this node, has ended.
            OSError: The file cannot be read.
        """
        try:
            return self._run(source)
        except PeerLost as lost:
            with self._lock:
                self._error = lost
                self._check_locked()  # what the receiver said before it left says more
            raise
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._error = None  # its traceback leads back here, and to the peer: both would keep what is in its inbox

    def _run(self, source: io.FileIO) -> FileSent:
        sender = self._sender
        before = os.fstat(source.fileno())
        self._send_outgoing()
        self._wait(lambda: sender.state is not SenderState.OFFERED)
        while sender.sent < sender.size:
            self._wait(lambda: sender.room >= self._next_size())
            if self._deadline.expired:  # where nothing has to wait nobody else looks
                raise self._too_late()
            data = source.read(self._next_size())
            if not data:
                raise TransferError(f"{sender.name!r} became shorter while it was being sent; send it again")
            with self._lock:
                self._check_locked()
                sender.send_data(data)
            self._send_outgoing()
            if self._progress is not None:
                self._progress(sender.sent, sender.size)
        after = os.fstat(source.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise TransferError(f"{sender.name!r} was changed while it was being sent; send it again")
        with self._lock:
            self._check_locked()
            sender.send_end()
        self._send_outgoing()
        self._wait(lambda: sender.state is SenderState.DONE)
        return FileSent(sender.name, sender.size, sender.digest.hex())

    def _next_size(self) -> int:
        """Bytes of the next message."""
        return min(self._chunk, self._sender.size - self._sender.sent)

    def _wait(self, ready: Callable[[], bool]) -> None:
        while True:
            with self._lock:
                self._check_locked()
                if ready():
                    return
                if self._deadline.expired:
                    raise self._too_late()
                self._changed.clear()
            self._changed.wait(self._deadline.remaining())

    def _check_locked(self) -> None:
        sender = self._sender
        if sender.state is SenderState.REFUSED:
            raise FileRefused(f"{self._channel.peer_text} does not want {sender.name!r}: {sender.reason}")
        if sender.state is SenderState.FAILED:
            raise TransferError(f"{sender.name!r} did not get to {self._channel.peer_text}: {sender.reason}")
        if self._error is not None and sender.state is not SenderState.DONE:
            raise self._error

    def _too_late(self) -> Timeout:
        sender = self._sender
        nothing = "; the other side keeps nothing of it"
        doing = {
            SenderState.OFFERED: f"the other side had not decided yet{nothing}",
            SenderState.SENDING: f"{sender.confirmed} of {sender.size} bytes were there{nothing}",
        }.get(sender.state, "all of it is on the way, but the other side had not confirmed it yet, and may keep it")
        return Timeout(
            f"{sender.name!r} is not known to be with {self._channel.peer_text} within {self._timeout:g} s: {doing}"
        )

    def _send_outgoing(self) -> None:
        with self._lock:
            messages = self._sender.messages_to_send()
        for message in messages:
            try:
                self._channel.send_file_message(build_transfer(message), self._deadline.remaining())
            except (WouldBlock, Timeout):
                if self._deadline.expired:
                    raise self._too_late() from None
                raise

    def _give_up(self, error: BaseException) -> None:
        """Tell the receiver, without waiting. If it was the rules that ended the transfer, what they have to say is
        among the messages to send already."""
        with self._lock:
            self._sender.give_up(_why(error))
            messages = self._sender.messages_to_send()
        for message in messages:
            try:
                self._channel.send_file_message(build_transfer(message), 0)
            except (WouldBlock, Timeout):
                self._send_later(message)
            except CrustError:
                return  # nobody left to tell


def _why(error: BaseException) -> str:
    """What the receiver is told: nothing of our paths or internals."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by its user"
    if isinstance(error, Timeout):
        return "it took too long"
    if isinstance(error, TransferError):
        return "the file changed while it was being sent"
    if isinstance(error, OSError):
        return f"the file could not be read: {error.strerror or type(error).__name__}"
    return "cancelled"
