"""Datagrams as they are handed to the kernel: headers and payloads in parts, since nothing needs them in one piece."""

from __future__ import annotations

from ... import limits
from .packet import PADDING_MAX, pad_header
from .receiver import Bytes
from .sender import Flight, Loss

__all__ = ["Burst", "flight_burst", "loss_burst", "number_headers", "single_burst"]

_HEADER = limits.UTP_HEADER_SIZE
_TIMES_WHOLE = 2  # how often a large packet is sent in one piece
_RAMP = bytes(range(256)) * 2


class Burst:
    """
    Datagrams to send at once, to the connection's remote address.

    ``buffers`` are the parts of all of them, in order; each datagram is ``segment`` bytes long, the last may be
    shorter; ``size`` bytes they are in all.
    """

    __slots__ = ("buffers", "count", "fragment", "probe", "segment", "size")

    def __init__(self, buffers: list[Bytes], count: int, segment: int, size: int) -> None:
        self.buffers = buffers
        self.count = count
        self.segment = segment
        self.size = size
        self.probe = False
        """It tries a size: routers must not fragment it."""
        self.fragment = False
        """It is too large for the way, or seems to be: the sender's own machine should cut it, if no router does."""

    def datagrams(self) -> list[bytes]:
        """Each datagram as bytes."""
        joined = b"".join(self.buffers)
        return [joined[at : at + self.segment] for at in range(0, len(joined), self.segment)]


def single_burst(header: bytes, payload: memoryview | None = None) -> Burst:
    """One datagram."""
    if not payload:
        return Burst([header], 1, len(header), len(header))
    size = len(header) + len(payload)
    return Burst([header, payload], 1, size, size)


def flight_burst(header: bytes, flight: Flight) -> Burst:
    """The packets of a flight, of which ``header`` is the first one's."""
    payload, count, size = flight.payload, flight.count, flight.size
    if count == 1:
        padding = flight.probe - _HEADER - len(payload)
        burst = single_burst(pad_header(header, padding) if padding > 0 else header, payload)
        burst.probe = bool(flight.probe)
        return burst
    view = memoryview(number_headers(header, flight.first & 0xFFFF, count))
    total = len(payload)
    buffers: list[Bytes] = [view] * (2 * count)
    buffers[0::2] = [view[at : at + _HEADER] for at in range(0, _HEADER * count, _HEADER)]
    buffers[1::2] = [payload[at : at + size] for at in range(0, total, size)]
    return Burst(buffers, count, size + _HEADER, total + count * _HEADER)


def loss_burst(header: bytes, loss: Loss, size: int, cut_beyond: int) -> Burst:
    """
    A packet that is sent again, with the bytes that it had. If it is too large, or is lost again and again, it goes in
    pieces and whole by turns: there are firewalls that let no pieces pass.

    Args:
        size: Bytes of the largest datagram that is known to arrive.
        cut_beyond: As in :class:`crust.transports.utp.settings.Settings`.
    """
    total = len(header) + len(loss.payload)
    suspect = total > limits.UTP_MTU_BASE and (total > size or loss.times > _TIMES_WHOLE)
    loss.cut = fragment = suspect and not loss.cut
    if fragment and 0 < (padding := cut_beyond + 1 - total) <= PADDING_MAX and cut_beyond:
        header = pad_header(header, max(2, padding))
    burst = single_burst(header, loss.payload)
    burst.fragment = fragment
    return burst


def number_headers(header: bytes, first: int, count: int) -> bytearray:
    """
    A header ``count`` times, with sequence numbers from ``first`` on. (Strided slices: the time of one header, not of
    fifty.)
    """
    headers = bytearray(header * count)
    low, high = first & 0xFF, first >> 8 & 0xFF
    headers[17::_HEADER] = _RAMP[low : low + count]
    over = low + count - 256  # so many of them are beyond a multiple of 256
    if over > 0:
        headers[16::_HEADER] = bytes((high,)) * (count - over) + bytes((high + 1 & 0xFF,)) * over
    return headers
