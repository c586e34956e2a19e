"""
The receiving half of a session: numbers, credit, and big messages being put together.

Sans-IO and not thread-safe: the session's lock guards it. Whatever a peer sends that breaks the rules of
docs/wire-format.md, "Sessions", raises :exc:`~crust.RemoteProtocolError`; the link is closed for it.
"""

from __future__ import annotations

from .. import limits
from ..exceptions import RemoteProtocolError
from ..wire import frames

__all__ = ["Inbox"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_SMALL_PIECE = 4096  # bytes; shorter ones are gathered: an object costs some fifty bytes more than its data


class _Partial:
    """A big message of which not all pieces are here yet."""

    __slots__ = ("kind", "parts", "priority", "received", "total")

    def __init__(self, piece: frames.Piece) -> None:
        self.kind = piece.kind
        self.priority = piece.priority
        self.total = piece.total
        self.received = 0
        self.parts: list[bytes | bytearray] = []

    def add(self, data: bytes) -> None:
        """Append the data of the next piece."""
        self.received += len(data)
        if len(data) >= _SMALL_PIECE:
            self.parts.append(data)
        elif self.parts and isinstance(self.parts[-1], bytearray):
            self.parts[-1] += data
        else:
            self.parts.append(bytearray(data))


class Inbox:
    """
    What one side of a session has received.

    Args:
        buffer_size: Bytes granted to the sender: messages begun and not yet consumed by the application, each counting
            its length and ``MESSAGE_OVERHEAD``.
        max_message_size: Longest message accepted, in bytes.
    """

    __slots__ = (
        *("_buffer_size", "_max_message_size", "_partials"),
        *("begun", "next", "repeated", "taken", "turned", "used"),
    )

    def __init__(self, *, buffer_size: int, max_message_size: int) -> None:
        self._buffer_size = buffer_size
        self._max_message_size = max_message_size
        self._partials: dict[int, _Partial] = {}
        self.next = 0
        """Number of the next chunk; all below are stored."""
        self.used = 0
        """Bytes in use of the buffer."""
        self.begun = 0
        """Bytes that are here of big messages of which not all is."""
        self.turned = False
        """Of big messages under way, the one that had begun first has come to its end; whoever looks makes it false."""
        self.taken = 0
        """Bytes that were new, counted as the buffer counts them."""
        self.repeated = 0
        """Bytes that had come before, counted so, too."""

    @property
    def window(self) -> int:
        """Bytes the sender may still begin."""
        return self._buffer_size - self.used

    def receive_batch(self, batch: frames.Batch) -> list[bytes]:
        """
        Store a batch of small messages.

        Returns:
            The messages that are new, in order; none if the batch was a repetition.

        Raises:
            RemoteProtocolError: A gap in the numbers, or more data than the window allowed.
        """
        messages = batch.messages
        skip = self.next - batch.first
        if skip:
            if skip < 0:
                raise RemoteProtocolError(f"the peer skipped from chunk {self.next} to {batch.first}")
            old, messages = messages[:skip], messages[skip:]
            self.repeated += sum(map(len, old)) + _OVERHEAD * len(old)
            if not messages:
                return messages
        sizes = list(map(len, messages))
        if max(sizes) > self._max_message_size:
            raise RemoteProtocolError(
                f"the peer sent a message of {max(sizes)} bytes; at most {self._max_message_size} are allowed"
            )
        used = self.used + sum(sizes) + _OVERHEAD * len(sizes)
        if used > self._buffer_size:
            raise RemoteProtocolError("the peer sent more than the window allowed")
        self.taken += used - self.used
        self.used = used
        self.next += len(sizes)
        return messages

    def receive_piece(self, piece: frames.Piece) -> bytes | None:
        """
        Store a piece of a big message.

        Returns:
            The whole message if this was its last missing piece, else None.

        Raises:
            RemoteProtocolError: A gap in the numbers, pieces that do not fit together, or too much data.
        """
        if piece.number != self.next:
            if piece.number < self.next:
                self.repeated += len(piece.data)
                return None
            raise RemoteProtocolError(f"the peer skipped from chunk {self.next} to {piece.number}")
        if piece.is_first:
            partial = self._begin(piece)
        else:
            known = self._partials.get(piece.slot)
            if known is None:
                raise RemoteProtocolError(f"the peer continued a message in slot {piece.slot}, where none has begun")
            partial = known
            if (piece.total, piece.kind, piece.priority) != (partial.total, partial.kind, partial.priority):
                raise RemoteProtocolError(f"the peer changed its mind about the message in slot {piece.slot}")
        received = partial.received + len(piece.data)
        if received > partial.total or piece.is_last != (received == partial.total):
            raise RemoteProtocolError(
                f"the pieces of the message in slot {piece.slot} do not add up to its {partial.total} bytes"
            )
        self.next += 1
        self.taken += len(piece.data)
        partial.add(piece.data)
        self.begun += len(piece.data)
        if not piece.is_last:
            return None
        self.turned = self.turned or next(iter(self._partials)) == piece.slot
        del self._partials[piece.slot]
        self.begun -= partial.total
        return b"".join(partial.parts)

    def _begin(self, piece: frames.Piece) -> _Partial:
        if piece.slot in self._partials:
            raise RemoteProtocolError(f"the peer began a second message in slot {piece.slot}")
        if piece.total > self._max_message_size:
            raise RemoteProtocolError(
                f"the peer began a message of {piece.total} bytes; at most {self._max_message_size} are allowed"
            )
        used = self.used + piece.total + _OVERHEAD
        if used > self._buffer_size:
            raise RemoteProtocolError("the peer sent more than the window allowed")
        self.used = used
        partial = self._partials[piece.slot] = _Partial(piece)
        return partial

    def consumed(self, cost: int) -> None:
        """The application has taken messages that cost so much (lengths and overheads)."""
        self.used -= cost

    def clear(self) -> None:
        """Let go of partial messages; the session is over."""
        self._partials.clear()
        self.begun = 0
