"""
The receiving half of a µTP connection: packets into a stream of bytes, acknowledgements and the window out of it.

Sequence numbers are unwrapped here: they go on beyond 16 bits. A *run* is packets of consecutive numbers, all of the
same size but the last: what the kernel hands over at once.
"""

from __future__ import annotations

import collections

from ... import limits
from .reserve import Reserve, Share

__all__ = ["Receiver"]

_NEVER = float("inf")
_SMALL = 512  # bytes
_LEAST = 128  # bytes that a packet counts as in the window, if it is kept: it costs time, too

Bytes = bytes | memoryview


class Receiver:
    """
    Args:
        sequence: Number of the first packet of the stream.
        window: Bytes that may be kept for an application that does not take them, once it has taken half as many.
        share: Of what the node has for that; None: there is no bound but the window.
    """

    __slots__ = (
        "_early",
        "_early_bytes",
        "_fin",
        "_padding",
        "_mask",
        "_most",
        "_share",
        "_unacked",
        "ack_due",
        "ack_now",
        "chunks",
        "duplicates",
        "ended",
        "held",
        "next",
        "told",
        "window_size",
    )

    def __init__(self, sequence: int, window: int, share: Share | None = None) -> None:
        self.next = sequence
        """The packet that is waited for."""
        self._most = window
        self._share = share or Share(Reserve(2 * window), None)
        self.window_size = min(window, limits.UTP_RECEIVE_WINDOW_BEGUN)
        """Bytes that may be kept now. Strangers whom the application has heard nothing of yet get little of its memory;
        and it stays ahead of a sender in its slow start, since it grows by twice what the application takes."""
        self.chunks: collections.deque[Bytes] = collections.deque()
        """Of the stream, in order, for the application; see :meth:`receive`."""
        self.held = 0
        """Bytes of the chunks that were copied to be kept."""
        self._padding = 0  # bytes as which those count besides that came in tiny packets
        self.ended = False
        """The other side's FIN and all before it have come."""
        self.ack_now = False
        self.ack_due = _NEVER
        self.told = self.window_size
        """The window that was told last."""
        self.duplicates = 0
        self._early: dict[int, bytes] = {}  # packets that came before their time
        self._early_bytes = 0
        self._mask = 0  # bit i: packet next + 1 + i is among them
        self._fin: int | None = None  # number of the other side's FIN
        self._unacked = 0  # bytes that came since the last acknowledgement

    @property
    def window(self) -> int:
        """Bytes that the other side may send beyond what is acknowledged."""
        size = self.window_size
        if self._share.short:
            size = min(size, limits.UTP_RECEIVE_WINDOW_BEGUN)
        return max(0, size - self.held - self._padding)

    def _may_keep(self, size: int, ahead: int) -> bool:
        kept = self.held + self._early_bytes + size
        if kept + self._padding > self.window_size:
            return False
        # Whatever is kept beyond a gap, there has to be room for what closes it.
        return self._share.fits(kept) or not ahead and self.held + size <= limits.UTP_RECEIVE_WINDOW_BEGUN

    def receive(self, first: int, count: int, size: int, payload: Bytes, keep: bool, now: float) -> None:
        """
        Take a run of data packets.

        Args:
            first: Number of the first one.
            count: How many.
            size: Bytes in each but the last.
            payload: Those of all of them.
            keep: Copy what is put into :attr:`chunks`, and count it as held; else the application takes it now.
        """
        if first == self.next and not self._mask and (self._fin is None or first + count <= self._fin):
            if keep:
                if not self._may_keep(len(payload), 0):
                    self.ack_now = True
                    if count > 1:  # some of it may fit
                        self._receive_each(first, count, size, payload, keep, now)
                    return
                self._keep(payload, count)
            elif payload:
                self.chunks.append(payload)
                if self.window_size != self._most:
                    self._grow(len(payload))
            self.next = first + count
            self._unacked += len(payload)
            if len(payload) >= limits.UTP_ACK_STRETCH_FROM and self._unacked < limits.UTP_ACK_STRETCH:
                # So much at once is a small part of what is under way: each acknowledgement costs both sides.
                self.ack_due = min(self.ack_due, now + limits.UTP_ACK_STRETCH_DELAY)
            elif self._unacked >= limits.UTP_ACK_BYTES or count > 1:
                self.ack_now = True
            elif self.ack_due == _NEVER:
                self.ack_due = now + limits.UTP_ACK_DELAY
            if self.next == self._fin:
                self._end()
            return
        self._receive_each(first, count, size, payload, keep, now)

    def _keep(self, data: Bytes, count: int) -> None:
        """Small pieces are joined: a window full of packets of a byte must not cost a hundred times its size."""
        chunks = self.chunks
        if len(data) < _SMALL and chunks and len(chunks[-1]) < _SMALL:
            chunks[-1] = b"".join((chunks[-1], data))
        elif data:
            chunks.append(bytes(data))
        self.held += len(data)
        if len(data) < count * _LEAST:
            self._padding += count * _LEAST - len(data)

    def _receive_each(self, first: int, count: int, size: int, payload: Bytes, keep: bool, now: float) -> None:
        """The long way, packet by packet: something is missing, doubled, or beyond what may come."""
        self.ack_now = True
        view = memoryview(payload)
        for index in range(count):
            number = first + index
            ahead = number - self.next
            if ahead < 0 or ahead >= limits.UTP_PACKETS_MAX or (self._fin is not None and number >= self._fin):
                self.duplicates += ahead < 0
                continue
            piece = view[index * size : (index + 1) * size]
            if ahead and self._mask & 1 << (ahead - 1):
                self.duplicates += 1
                continue
            # What the application takes at once needs no room, and makes some.
            if (ahead or keep) and not self._may_keep(len(piece), ahead):
                continue
            if ahead:
                self._mask |= 1 << (ahead - 1)
                self._early[number] = bytes(piece)
                self._early_bytes += len(piece)
                continue
            self.next += 1
            if keep:
                self._keep(piece, 1)
            elif piece:
                self.chunks.append(piece)
                self._grow(len(piece))
            self._release(keep)

    def _release(self, keep: bool) -> None:
        """The gap in front of early packets has closed."""
        ready: list[bytes] = []
        while self._mask & 1:
            ready.append(self._early.pop(self.next))
            self.next += 1
            self._mask >>= 1
        self._mask >>= 1
        if ready:
            joined = b"".join(ready)
            self._early_bytes -= len(joined)
            if keep:
                self._keep(joined, len(ready))
            elif joined:
                self.chunks.append(joined)
                self._grow(len(joined))
                self._freed()
        if self.next == self._fin:
            self._end()

    def receive_fin(self, number: int) -> None:
        """The other side's stream ends before packet ``number``, which counts as a packet itself."""
        self.ack_now = True
        if self._fin is None and 0 <= number - self.next < limits.UTP_PACKETS_MAX:
            self._fin = number
            beyond = number - self.next  # packets beyond the end are none
            for each in [each for each in self._early if each >= number]:
                self._early_bytes -= len(self._early.pop(each))
            self._freed()
            self._mask &= (1 << max(0, beyond - 1)) - 1
            if number == self.next:
                self._end()

    def _end(self) -> None:
        self.next += 1
        self.ended = True
        self.ack_now = True

    def taken(self, size: int) -> bool:
        """The application has taken kept bytes; True if the other side should hear of the room at once."""
        self.held -= size
        if not self.held:
            self._padding = 0
        self._grow(size)
        self._freed()
        window, told = self.window, self.told
        if window - told >= self.window_size // 4 or (told < 2 * limits.UTP_MTU_BASE and window > told):
            self.ack_now = True
            return True
        return False

    def put_back(self, chunks: list[Bytes]) -> None:
        """The application did not take these, which it was given last: they are kept."""
        for chunk in reversed(chunks):
            self.held += len(chunk)
            self.chunks.appendleft(bytes(chunk))

    def forget(self) -> None:
        """The connection is over: nothing more comes, and what came early is in vain."""
        self._early.clear()
        self._early_bytes = self._mask = 0
        self._share.keeps(0)

    def _freed(self) -> None:
        self._share.keeps(self.held + self._early_bytes)

    def _grow(self, taken: int) -> None:
        self.window_size = min(self._most, self.window_size + 2 * taken)

    @property
    def packets(self) -> int:
        """How many have come of the stream, more or less those before it."""
        return self.next + len(self._early)

    @property
    def sack(self) -> bytes:
        """Which packets beyond the next one have come, as BEP 29 writes it; empty if none has."""
        mask = self._mask
        if not mask:
            return b""
        words = min((mask.bit_length() + 31) // 32, limits.UTP_SACK_MAX // 4)
        return (mask & ((1 << 32 * words) - 1)).to_bytes(4 * words, "little")

    @property
    def has_gaps(self) -> bool:
        """True while packets beyond a missing one are kept."""
        return bool(self._mask)

    def acknowledged(self) -> None:
        """A packet with our acknowledgement goes out."""
        self.ack_now = False
        self.ack_due = _NEVER
        self._unacked = 0
        self.told = self.window
