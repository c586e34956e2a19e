"""
One file on its way to a peer: the rules of both ends, without disk, socket or clock.

Theory of operation (docs/wire-format.md, "File transfer"). The messages are ordinary messages of a session, of kind
``file``, so they arrive once and in order, also across a lost link; nothing here knows about links::

    sender                                          receiver
      OFFER(transfer, size, name)       ──────▶       decides
                                        ◀──────       ACCEPT, or REFUSE(reason): the end
      DATA(offset, bytes) …             ──────▶       writes it
                                        ◀──────       PROGRESS(received): so much is written
      END(BLAKE2b-256 of the content)   ──────▶       compares it with its own, publishes the file
                                        ◀──────       DONE

- Either side may give up at any time with FAIL(reason), and then forgets the transfer.
- DATA is strictly sequential. At most ``FILE_IN_FLIGHT`` bytes go beyond the last PROGRESS, which comes about every
  quarter of that: a slow disk stops the sender, not the session.
- Transfers go both ways at once, so numbers must not meet: the controller of the session (the side with the greater id)
  numbers the files that it sends with odd numbers, the other side with even ones.
- A message that the table below does not allow, or whose figures do not fit, is a lie. It costs the liar this transfer
  (FAIL), not the session.
- A file that is signed begins with SIGNED_OFFER, so that who takes no others knows at once, and ends with SIGNED_END.
  Who signs, and who looks at signatures, is somebody else: both ends have a function for that.
- A file that is over is answered no more: what is still on its way when one side gives up is dropped in silence.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable

from .. import limits
from ..exceptions import RemoteProtocolError
from ..wire.transfer import (
    Accept,
    Done,
    End,
    Fail,
    FileData,
    Offer,
    Progress,
    Refuse,
    SignedEnd,
    SignedOffer,
    TransferMessage,
)

__all__ = [
    "FileReceiver",
    "FileSender",
    "Fresh",
    "ReceiverState",
    "SenderState",
    "first_number",
    "is_ours",
    "printable",
    "short_text",
]

DIGEST_SIZE = 32
_PROGRESS_STEP = limits.FILE_IN_FLIGHT // 4


class SenderState(enum.Enum):
    """Where the sending end is."""

    OFFERED = "offered"
    SENDING = "sending"
    ENDED = "ended"
    """Everything is sent; the receiver is checking it."""
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class ReceiverState(enum.Enum):
    """Where the receiving end is."""

    OFFERED = "offered"
    RECEIVING = "receiving"
    COMPLETE = "complete"
    """Everything is here and is what was sent; it is being published."""
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


SENDER_TABLE: dict[tuple[SenderState, type[TransferMessage]], SenderState] = {
    (SenderState.OFFERED, Accept): SenderState.SENDING,
    (SenderState.OFFERED, Refuse): SenderState.REFUSED,
    (SenderState.OFFERED, Fail): SenderState.FAILED,
    (SenderState.SENDING, Progress): SenderState.SENDING,
    (SenderState.SENDING, Fail): SenderState.FAILED,
    (SenderState.ENDED, Progress): SenderState.ENDED,
    (SenderState.ENDED, Done): SenderState.DONE,
    (SenderState.ENDED, Fail): SenderState.FAILED,
}
"""What the sending end may receive, and where that takes it."""

RECEIVER_TABLE: dict[tuple[ReceiverState, type[TransferMessage]], ReceiverState] = {
    (ReceiverState.OFFERED, Fail): ReceiverState.FAILED,
    (ReceiverState.RECEIVING, FileData): ReceiverState.RECEIVING,
    (ReceiverState.RECEIVING, End): ReceiverState.COMPLETE,
    (ReceiverState.RECEIVING, SignedEnd): ReceiverState.COMPLETE,
    (ReceiverState.RECEIVING, Fail): ReceiverState.FAILED,
    (ReceiverState.COMPLETE, Fail): ReceiverState.FAILED,
}
"""What the receiving end may receive, and where that takes it."""

_SENDER_OVER = frozenset({SenderState.DONE, SenderState.REFUSED, SenderState.FAILED})
_RECEIVER_OVER = frozenset({ReceiverState.DONE, ReceiverState.REFUSED, ReceiverState.FAILED})


def first_number(controller: bool) -> int:
    """The number of the first file that a side sends; the next ones are 2 apart."""
    return 1 if controller else 0


def is_ours(transfer: int, controller: bool) -> bool:
    """True if a transfer's number is one of those this side gives."""
    return transfer % 2 == first_number(controller)


def printable(text: str) -> str:
    """A stranger's text, harmless on a terminal and in a log: control characters become U+FFFD."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def short_text(text: str, size: int = limits.DENIED_TEXT_MAX) -> str:
    """``text`` cut to ``size`` bytes of UTF-8, at a character."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


class FileSender:
    """
    The sending end of one file. Not thread-safe.

    After every call, send ``messages_to_send()``.

    Args:
        transfer: Its number: see :func:`first_number`.
        size: Bytes of the file.
        name: What to call it at the other side, at most 1,024 bytes of UTF-8.
        sign: Gives what is signed of a file, for its digest; None: it is not signed.
    """

    __slots__ = ("_digest", "_outgoing", "_sign", "confirmed", "name", "reason", "sent", "size", "state", "transfer")

    def __init__(self, transfer: int, size: int, name: str, sign: Callable[[bytes], bytes] | None = None) -> None:
        self.transfer = transfer
        self.size = size
        self.name = name
        self.state = SenderState.OFFERED
        self.sent = 0
        """Bytes given to :meth:`send_data`."""
        self.confirmed = 0
        """Bytes that the receiver has written."""
        self.reason = ""
        """Why it was refused or failed; printable."""
        self._digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
        self._sign = sign
        offer = Offer if sign is None else SignedOffer
        self._outgoing: list[TransferMessage] = [offer(transfer, size, name)]

    @property
    def over(self) -> bool:
        """True once nothing can change any more."""
        return self.state in _SENDER_OVER

    @property
    def digest(self) -> bytes:
        """BLAKE2b-256 of what has been sent."""
        return self._digest.digest()

    @property
    def room(self) -> int:
        """Bytes that may be sent now; 0 unless accepted."""
        if self.state is not SenderState.SENDING:
            return 0
        return min(self.size - self.sent, self.confirmed + limits.FILE_IN_FLIGHT - self.sent)

    def messages_to_send(self) -> list[TransferMessage]:
        """What the peer must be sent, in order. Each is returned once."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def send_data(self, data: bytes) -> None:
        """
        Send the next piece of the content; after the last one comes :meth:`send_end`.

        Raises:
            ValueError: It is empty, or more than there is ``room`` for.
        """
        if not 0 < len(data) <= self.room:
            raise ValueError(f"{len(data)} bytes of a file where {self.room} may be sent")
        self._outgoing.append(FileData(self.transfer, self.sent, data))
        self._digest.update(data)
        self.sent += len(data)

    def send_end(self) -> None:
        """
        Everything is sent: let the receiver compare.

        Raises:
            ValueError: Bytes are missing, or it was not accepted.
        """
        if self.state is not SenderState.SENDING or self.sent != self.size:
            raise ValueError(
                f"the end of a file in state {self.state.value}, {self.sent} of {self.size} bytes sent"
            )
        number, digest = self.transfer, self.digest
        end = End(number, digest) if self._sign is None else SignedEnd(number, self._sign(digest))
        self.state = SenderState.ENDED
        self._outgoing.append(end)

    def give_up(self, reason: str) -> None:
        """Stop, and tell the receiver why; nothing happens if it is over."""
        if not self.over:
            self.state, self.reason = SenderState.FAILED, reason
            self._outgoing = [Fail(self.transfer, short_text(reason))]

    def receive(self, message: TransferMessage) -> None:
        """
        Take a message of the receiver. A lie ends the transfer; ``state`` and ``reason`` tell.

        Args:
            message: A parsed message about this transfer.
        """
        if self.over:
            return  # it was on its way while we gave up
        try:
            self._receive(message)
        except RemoteProtocolError as error:
            self.give_up(f"the receiver broke the protocol: {error}")

    def _receive(self, message: TransferMessage) -> None:
        following = SENDER_TABLE.get((self.state, type(message)))
        if following is None:
            raise RemoteProtocolError(f"{type(message).__name__} in state {self.state.value}")
        if isinstance(message, Progress):
            if not self.confirmed <= message.received <= self.sent:
                raise RemoteProtocolError(
                    f"{message.received} bytes received, after {self.confirmed}, of {self.sent} sent"
                )
            self.confirmed = message.received
        elif isinstance(message, Refuse | Fail):
            self.reason = printable(message.text) or "no reason given"
        elif isinstance(message, Done):
            self.confirmed = self.size
        self.state = following


class FileReceiver:
    """
    The receiving end of one file. Not thread-safe.

    After every call, write what :meth:`receive` returned, *then* send ``messages_to_send()``: they say that it is
    written.

    Args:
        offer: The message that began it.
        verify: Gives the proof of what is signed of the file with that digest, or raises RemoteProtocolError.
    """

    __slots__ = (
        "_digest",
        "_outgoing",
        "_verify",
        "name",
        "proof",
        "reason",
        "received",
        "reported",
        "signed",
        "size",
        "state",
        "transfer",
    )

    def __init__(self, offer: Offer | SignedOffer, verify: Callable[[bytes, bytes], bytes] | None = None) -> None:
        self.transfer = offer.transfer
        self.size = offer.size
        self.name = offer.name
        """As offered: untrusted."""
        self.signed = isinstance(offer, SignedOffer)
        """The sender has said that it will sign it."""
        self.proof: bytes | None = None
        """That it has, once the file is complete."""
        self._verify = verify
        self.state = ReceiverState.OFFERED
        self.received = 0
        """Bytes received in order."""
        self.reason = ""
        """Why it was refused or failed; printable."""
        self.reported = 0
        """Bytes of the last PROGRESS."""
        self._digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
        self._outgoing: list[TransferMessage] = []

    @property
    def over(self) -> bool:
        """True once nothing can change any more."""
        return self.state in _RECEIVER_OVER

    @property
    def digest(self) -> bytes:
        """BLAKE2b-256 of what has been received."""
        return self._digest.digest()

    def messages_to_send(self) -> list[TransferMessage]:
        """What the peer must be sent, in order. Each is returned once."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def accept(self) -> None:
        """
        Let it come.

        Raises:
            ValueError: It is not waiting for a decision.
        """
        if self.state is not ReceiverState.OFFERED:
            raise ValueError(f"cannot accept a file in state {self.state.value}")
        self.state = ReceiverState.RECEIVING
        self._outgoing.append(Accept(self.transfer))

    def refuse(self, reason: str) -> None:
        """
        Do not let it come, and say why.

        Raises:
            ValueError: It is not waiting for a decision.
        """
        if self.state is not ReceiverState.OFFERED:
            raise ValueError(f"cannot refuse a file in state {self.state.value}")
        self.state, self.reason = ReceiverState.REFUSED, reason
        self._outgoing.append(Refuse(self.transfer, short_text(reason)))

    def finish(self) -> None:
        """
        It stands under its final name.

        Raises:
            ValueError: It is not complete.
        """
        if self.state is not ReceiverState.COMPLETE:
            raise ValueError(f"cannot finish a file in state {self.state.value}")
        self.state = ReceiverState.DONE
        self._outgoing.append(Done(self.transfer))

    def give_up(self, reason: str) -> None:
        """Stop, and tell the sender why; nothing happens if it is over."""
        if not self.over:
            self.state, self.reason = ReceiverState.FAILED, reason
            self._outgoing = [Fail(self.transfer, short_text(reason))]

    def receive(self, message: TransferMessage) -> bytes:
        """
        Take a message of the sender. A lie ends the transfer; ``state`` and ``reason`` tell.

        Args:
            message: A parsed message about this transfer.

        Returns:
            What to write at the end of the file; often empty.
        """
        if self.over:
            return b""  # it was on its way while we gave up
        try:
            return self._receive(message)
        except RemoteProtocolError as error:
            self.give_up(f"the sender broke the protocol: {error}")
            return b""

    def _receive(self, message: TransferMessage) -> bytes:
        following = RECEIVER_TABLE.get((self.state, type(message)))
        if following is None:
            raise RemoteProtocolError(f"{type(message).__name__} in state {self.state.value}")
        data = b""
        if isinstance(message, FileData):
            data = self._receive_data(message)
        elif isinstance(message, End | SignedEnd):
            self._receive_end(message)
        elif isinstance(message, Fail):
            self.reason = f"the sender gave up: {printable(message.text) or 'no reason given'}"
        self.state = following
        return data

    def _receive_end(self, message: End | SignedEnd) -> None:
        if self.received != self.size:
            raise RemoteProtocolError(f"the end after {self.received} of {self.size} bytes")
        if isinstance(message, End):
            if self.signed:
                raise RemoteProtocolError("it was to be signed, and is not")
            if message.digest != self.digest:
                raise RemoteProtocolError("the checksum differs from that of the bytes received")
        elif not self.signed or self._verify is None:
            raise RemoteProtocolError("it was not to be signed, and is")
        else:
            self.proof = self._verify(message.signed, self.digest)

    def _receive_data(self, message: FileData) -> bytes:
        data = message.data
        if message.offset != self.received:
            raise RemoteProtocolError(f"data for offset {message.offset} where {self.received} comes next")
        if len(data) > self.size - self.received:
            raise RemoteProtocolError(f"more than the {self.size} bytes that were offered")
        if self.received + len(data) > self.reported + limits.FILE_IN_FLIGHT:
            raise RemoteProtocolError("more data under way than allowed")
        self._digest.update(data)
        self.received += len(data)
        if self.received - self.reported >= _PROGRESS_STEP and self.received < self.size:
            self.reported = self.received
            self._outgoing.append(Progress(self.transfer, self.received))
        return data


class Fresh:
    """
    Which numbers of a peer's signed files are new, so that no two of one session have the same proof: all above the
    lowest of the last ``FILE_SIGNED_MEMORY``, but for those. Threads may bring them out of order.
    """

    __slots__ = ("_floor", "_seen")

    def __init__(self) -> None:
        self._floor = -1
        self._seen: set[int] = set()

    def take(self, transfer: int) -> bool:
        """False if it is not new."""
        if transfer <= self._floor or transfer in self._seen:
            return False
        self._seen.add(transfer)
        if len(self._seen) > limits.FILE_SIGNED_MEMORY:
            self._floor = min(self._seen)
            self._seen.remove(self._floor)
        return True
