"""
The sending half of a µTP connection: what waits, what is under way, what was lost.

Numbers are unwrapped: they go on beyond 16 bits. Packets are kept in *flights*, runs that went out together, so that
the common case, where they are acknowledged in order, costs a step a flight instead of one a packet. A packet that
needs to be sent again leaves its flight and is kept as a *loss* from then on.

What counts as lost (RFC 8985, RACK, as far as µTP can tell it apart):

- a packet behind which ``reorder`` others have arrived; that number grows when such a packet turns out to have been
  late only, because its acknowledgement comes sooner after the second sending than a round trip takes;
- a packet sent again, when one that was sent clearly after it has arrived;
- everything, when an acknowledgement is overdue (:meth:`Sender.lose_all`).
"""

from __future__ import annotations

import bisect
import collections
import heapq

from ... import limits
from .packet import PacketType

__all__ = ["Flight", "Loss", "Sender"]

_SMALL = 512  # bytes


class Flight:
    """Packets of consecutive numbers, sent at once, all of ``size`` bytes of payload but the last."""

    __slots__ = ("count", "done", "first", "kind", "payload", "probe", "sent_at", "size")

    def __init__(self, kind: PacketType, first: int, count: int, size: int, payload: memoryview, now: float) -> None:
        self.kind = kind
        self.first = first
        self.count = count
        self.size = size
        self.payload = payload
        self.sent_at = now
        self.probe = 0  # bytes of the datagram if it tries how large one may be, else 0
        self.done = 0  # bit i: packet first + i has been acknowledged, or is kept as a loss

    def bytes_of(self, mask: int) -> int:
        """Payload of the packets with these bits."""
        total = mask.bit_count() * self.size
        if mask >> (self.count - 1) & 1:
            total += len(self.payload) - self.count * self.size
        return total

    def packet(self, index: int) -> memoryview:
        """Payload of one packet."""
        return self.payload[index * self.size : (index + 1) * self.size]


class Loss:
    """A packet that is, or was, to be sent again."""

    __slots__ = ("cut", "declared", "kind", "number", "payload", "probe", "sent_at", "times", "waiting")

    def __init__(self, kind: PacketType, number: int, payload: memoryview, sent_at: float, probe: int) -> None:
        self.kind = kind
        self.number = number
        self.payload = payload
        self.sent_at = sent_at
        self.probe = probe
        self.times = 1  # how often it was sent
        self.cut = False  # the last time in pieces
        self.waiting = False  # to be sent again; else it is under way
        self.declared = False  # it was counted as lost, rightly or not


class Sender:
    """
    Args:
        sequence: Number of the first packet of the stream.
    """

    __slots__ = (
        "_chunks",
        "_event_at",
        "_firsts",
        "_flights",
        "_gone_bytes",
        "_losses",
        "_marked",
        "_newest",
        "_order",
        "_resent",
        "_sacked",
                "acked_bytes",
        "acked_whole",
        "congested",
        "in_flight",
        "lost_packets",
        "next",
        "probe_acked",
        "probe_lost",
        "queued",
        "reorder",
        "resent_packets",
        "rtt_sample",
        "sent_bytes",
        "una",
        "waiting",
    )

    def __init__(self, sequence: int) -> None:
        self.una = self.next = sequence
        """The first packet that is not acknowledged; the first that has not been sent."""
        self.queued = 0
        """Bytes that have not been sent."""
        self.in_flight = 0
        """Bytes under way: sent, not acknowledged, not counted as lost."""
        self.sent_bytes = 0
        """Bytes of the stream sent so far, each counted once."""
        self.reorder = limits.UTP_REORDER
        self.lost_packets = self.resent_packets = 0
        # What the last acknowledgement brought:
        self.acked_bytes = 0
        self.acked_whole = False
        """Packets of the full size of their time are among it, and were sent once, so in one piece."""
        self.rtt_sample: float | None = None
        self.congested = False
        """Something was lost that had been sent after the last time this was True."""
        self.probe_acked = 0
        self.probe_lost = 0
        self._chunks: collections.deque[memoryview] = collections.deque()
        self._flights: list[Flight] = []
        self._firsts: list[int] = []  # of the flights
        self._gone_bytes = 0  # payload of the flights that have arrived whole
        self._sacked = 0  # bit i: packet una + i has arrived
        self._marked = 0  # bit i: packet una + i is kept as a loss
        self._losses: dict[int, Loss] = {}
        self._order: list[int] = []  # the numbers of the losses, ascending
        self.waiting: list[int] = []
        """A heap of the numbers of losses that wait, some of them settled since; empty if none waits."""
        self._resent: collections.deque[tuple[float, int]] = collections.deque()  # (when, number), in order
        self._newest = 0.0  # when the packet was sent that was sent last of those that have arrived
        self._event_at = -1.0  # when something was lost last that counted as congestion

    # --- what waits ---------------------------------------------------------------------------------------------------

    def push(self, data: bytes | memoryview) -> None:
        """Queue bytes, which must not change any more. Small pieces are joined: each would cost more than its size."""
        chunks, size = self._chunks, len(data)
        self.queued += size
        if size < _SMALL and chunks and len(chunks[-1]) < _SMALL:
            data = b"".join((chunks.pop(), data))
        chunks.append(memoryview(data))

    def take(self, size: int, most: int, count: int, now: float) -> Flight | None:
        """
        Make a flight of what waits.

        Args:
            size: Bytes of payload in a full packet.
            most: Bytes of payload in all, at least one packet's.
            count: Packets at the most.

        Returns:
            None if nothing waits. Its last packet is shorter than the others only if nothing waits behind it.
        """
        total = min(self.queued, size * min(count, most // size))
        if not total:
            total = min(self.queued, most)
            if not total:
                return None
        payload = self._gather(total)
        self.queued -= total
        packets = -(-total // size)
        flight = Flight(PacketType.DATA, self.next, packets, size, payload, now)
        self._launch(flight)
        return flight

    def _gather(self, size: int) -> memoryview:
        chunks = self._chunks
        first = chunks[0]
        if len(first) > size:
            chunks[0] = first[size:]
            return first[:size]
        if len(first) == size:
            return chunks.popleft()
        parts: list[memoryview] = []
        left = size
        while left:
            chunk = chunks[0]
            if len(chunk) > left:
                parts.append(chunk[:left])
                chunks[0] = chunk[left:]
                break
            parts.append(chunks.popleft())
            left -= len(chunk)
        return memoryview(b"".join(parts))

    def fin(self, now: float) -> Flight:
        """The packet that ends the stream."""
        flight = Flight(PacketType.FIN, self.next, 1, 0, memoryview(b""), now)
        self._launch(flight)
        return flight

    def _launch(self, flight: Flight) -> None:
        self._flights.append(flight)
        self._firsts.append(flight.first)
        self.next += flight.count
        size = len(flight.payload)
        self.in_flight += size
        self.sent_bytes += size

    # --- what is under way --------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> bool:
        """True while anything sent is not acknowledged."""
        return self.una != self.next

    @property
    def acknowledged(self) -> int:
        """How many packets have been acknowledged, more or less those before the stream."""
        return self.una + self._sacked.bit_count()

    @property
    def unacked_bytes(self) -> int:
        """Bytes sent from the first one that is not acknowledged on: what the other side's window must cover."""
        flights = self._flights
        if not flights:
            return 0
        first = flights[0]
        return self.sent_bytes - self._gone_bytes - (self.una - first.first) * first.size

    @property
    def resending(self) -> bool:
        """True while a loss waits to be sent again."""
        return self._next_waiting() is not None

    def _next_waiting(self) -> Loss | None:
        waiting, losses = self.waiting, self._losses
        while waiting:
            loss = losses.get(waiting[0])
            if loss is not None and loss.waiting:
                return loss
            heapq.heappop(waiting)
        return None

    def next_resend(self, now: float) -> Loss | None:
        """The loss to send again now, the oldest first; it counts as under way from here on."""
        loss = self._next_waiting()
        if loss is not None:
            heapq.heappop(self.waiting)
            loss.waiting = False
            self.in_flight += len(loss.payload)
            self._sent_again(loss, now)
        return loss

    def _sent_again(self, loss: Loss, now: float) -> None:
        loss.sent_at = now
        loss.times += 1
        loss.probe = 0
        self.resent_packets += 1
        self._resent.append((now, loss.number))

    @property
    def next_resend_size(self) -> int:
        """Bytes of payload of the loss that :meth:`next_resend` would give; -1 without one."""
        loss = self._next_waiting()
        return -1 if loss is None else len(loss.payload)

    def tail(self, now: float) -> Loss | None:
        """
        The last packet under way, to be sent once more although it may yet arrive (RFC 8985 section 7).

        Sets :attr:`probe_lost` if it was a probe: it goes without padding now, and nobody can tell which one arrives.
        """
        self.probe_lost = 0
        number = self.next - 1
        while number >= self.una and self._sacked >> (number - self.una) & 1:
            number -= 1
        if number < self.una:
            return None
        loss = self._losses.get(number)
        if loss is None:
            loss = self._extract(number)
        elif loss.waiting:
            return None
        self.probe_lost = loss.probe
        self._sent_again(loss, now)
        return loss

    def _extract(self, number: int) -> Loss:
        """Take a packet out of its flight; its bytes stay counted as they are."""
        flight = self._flights[bisect.bisect_right(self._firsts, number) - 1]
        index = number - flight.first
        flight.done |= 1 << index
        loss = Loss(flight.kind, number, flight.packet(index), flight.sent_at, flight.probe)
        self._losses[number] = loss
        bisect.insort(self._order, number)
        self._marked |= 1 << (number - self.una)
        return loss

    # --- acknowledgements ---------------------------------------------------------------------------------------------

    def acknowledge(self, ack: int, sack: int, now: float, reorder_wait: float, rtt_floor: float) -> None:
        """
        Take an acknowledgement of all packets up to ``ack``, which is below :attr:`next`.

        Sets :attr:`acked_bytes`, :attr:`acked_whole`, :attr:`rtt_sample`, :attr:`congested`, :attr:`probe_acked` and
        :attr:`probe_lost`.

        Args:
            sack: Bit i: packet ``ack + 2 + i`` has arrived, too.
            reorder_wait: Seconds by which packets may overtake each other.
            rtt_floor: The shortest round trip of this path: what answers sooner answers an earlier packet.
        """
        self.acked_bytes = self.probe_acked = self.probe_lost = 0
        self.rtt_sample = None
        self.congested = self.acked_whole = False
        newest = self._newest
        if ack >= self.una:
            newest = self._advance(ack, now, newest, rtt_floor)
        if sack:
            sack = sack << 1 & ((1 << (self.next - self.una)) - 1)
            fresh = sack & ~self._sacked
            if fresh:
                self._sacked |= fresh
                newest = self._selective(fresh, now, newest, rtt_floor)
        if self._sacked:
            self._find_losses()
        if newest > self._newest:
            self._newest = newest
            if self._resent:
                self._find_lost_again(newest - reorder_wait)

    def _advance(self, ack: int, now: float, newest: float, rtt_floor: float) -> float:
        """Everything up to ``ack`` has arrived."""
        beyond = ack + 1
        flights = self._flights
        gone = acked = 0
        sampled = -1.0
        for flight in flights:
            first = flight.first
            if first >= beyond:
                break
            if first + flight.count <= beyond:
                gone += 1
                self._gone_bytes += len(flight.payload)
                if not flight.done:
                    acked += len(flight.payload)
                    self.acked_whole |= len(flight.payload) >= flight.size
                    sampled = flight.sent_at
                    if flight.probe:
                        self.probe_acked = flight.probe
                    continue
                fresh = ~flight.done & ((1 << flight.count) - 1)
            else:
                fresh = ~flight.done & ((1 << (beyond - first)) - 1)
                flight.done |= fresh
            if fresh:
                size = flight.bytes_of(fresh)
                acked += size
                self.acked_whole |= size >= flight.size
                sampled = flight.sent_at
                if flight.probe:
                    self.probe_acked = flight.probe
        if gone:
            del flights[:gone]
            del self._firsts[:gone]
        self.in_flight -= acked
        moved = beyond - self.una
        self.una = beyond
        self._sacked >>= moved
        self._marked >>= moved
        if sampled >= 0.0:
            self.rtt_sample = now - sampled
            newest = max(newest, sampled)
        self.acked_bytes += acked
        order = self._order
        if order and order[0] < beyond:
            cut = bisect.bisect_left(order, beyond)
            for number in order[:cut]:
                newest = self._arrived(number, now, newest, rtt_floor)
            del order[:cut]
        return newest

    def _selective(self, fresh: int, now: float, newest: float, rtt_floor: float) -> float:
        """Packets beyond the first missing one have arrived."""
        una = self.una
        for_losses = fresh & self._marked
        rest = fresh & ~for_losses
        self._marked &= ~for_losses
        while for_losses:
            bit = for_losses & -for_losses
            for_losses ^= bit
            number = una + bit.bit_length() - 1
            newest = self._arrived(number, now, newest, rtt_floor)
            del self._order[bisect.bisect_left(self._order, number)]
        if not rest:
            return newest
        flights = self._flights
        index = bisect.bisect_right(self._firsts, una + (rest & -rest).bit_length() - 1) - 1
        acked = 0
        sampled = -1.0
        while index < len(flights):
            flight = flights[index]
            index += 1
            shift = flight.first - una
            bits = rest >> shift if shift >= 0 else rest << -shift
            if not bits:
                break
            bits &= ((1 << flight.count) - 1) & ~flight.done
            if bits:
                flight.done |= bits
                size = flight.bytes_of(bits)
                acked += size
                self.acked_whole |= size >= flight.size
                sampled = flight.sent_at
                if flight.probe:
                    self.probe_acked = flight.probe
        self.in_flight -= acked
        self.acked_bytes += acked
        if sampled >= 0.0:
            self.rtt_sample = now - sampled
            newest = max(newest, sampled)
        return newest

    def _arrived(self, number: int, now: float, newest: float, rtt_floor: float) -> float:
        """A loss has arrived after all, by whichever of its sendings."""
        loss = self._losses.pop(number)
        size = len(loss.payload)
        self.acked_bytes += size
        if not loss.waiting:
            self.in_flight -= size
        if loss.times > 1 and now - loss.sent_at >= rtt_floor * 0.9:
            return max(newest, loss.sent_at)
        if loss.declared:  # the first sending was late, not lost
            self.reorder = min(2 * self.reorder, limits.UTP_REORDER_MAX)
        return newest

    # --- losses -------------------------------------------------------------------------------------------------------

    def _find_losses(self) -> None:
        """Packets behind which enough others have arrived."""
        top = self._sacked
        for _ in range(self.reorder - 1):
            if not top:
                return
            top ^= 1 << (top.bit_length() - 1)
        if top:
            missing = ~self._sacked & ~self._marked & ((1 << (top.bit_length() - 1)) - 1)
            if missing:
                self._lose(missing)

    def _lose(self, missing: int, *, quietly: bool = False) -> None:
        una = self.una
        while missing:
            bit = missing & -missing
            missing ^= bit
            self._to_waiting(self._extract(una + bit.bit_length() - 1), quietly)

    def _to_waiting(self, loss: Loss, quietly: bool) -> None:
        loss.waiting = loss.declared = True
        self.in_flight -= len(loss.payload)
        heapq.heappush(self.waiting, loss.number)
        self.lost_packets += 1
        if loss.probe:
            self.probe_lost = loss.probe
        elif not quietly and loss.sent_at > self._event_at:
            self.congested = True

    def _find_lost_again(self, before: float) -> None:
        """Of what was sent again, that which was sent clearly before a packet that has arrived."""
        resent = self._resent
        while resent and resent[0][0] < before:
            sent_at, number = resent.popleft()
            loss = self._losses.get(number)
            if loss is not None and not loss.waiting and loss.sent_at == sent_at:
                self._to_waiting(loss, quietly=False)

    def congestion_noted(self, now: float) -> None:
        """What was sent until now is of the same congestion, however much more of it turns out to be lost."""
        self._event_at = now

    def first_lost(self) -> None:
        """The first packet under way is lost: others have been acknowledged again and again without it."""
        if not self._marked & 1 and not self._sacked & 1 and self.una != self.next:
            self._lose(1)

    def lose_all(self, now: float) -> int:
        """
        Nothing has been heard for too long: all that is under way counts as lost.

        Returns:
            Payload bytes of the largest packet among it.
        """
        if self._sacked & 1:
            self._distrust()
        missing = ~self._sacked & ~self._marked & ((1 << (self.next - self.una)) - 1)
        self.probe_lost = 0
        self._lose(missing, quietly=True)
        for loss in self._losses.values():
            if not loss.waiting:
                self._to_waiting(loss, quietly=True)
        self._resent.clear()
        self._event_at = now
        return max((len(loss.payload) for loss in self._losses.values()), default=0)

    def _distrust(self) -> None:
        """
        The first packet is said to have arrived, and yet not what comes after it: the other side threw away what it had
        acknowledged selectively, or lied (RFC 2018 section 8). Everything is sent again that is not acknowledged.
        """
        sacked, self._sacked = self._sacked, 0
        while sacked:
            bit = sacked & -sacked
            sacked ^= bit
            loss = self._extract(self.una + bit.bit_length() - 1)
            loss.waiting = loss.declared = True
            heapq.heappush(self.waiting, loss.number)

    def clear(self) -> None:
        """Forget everything: the connection is over."""
        self._chunks.clear()
        self._flights.clear()
        self._firsts.clear()
        self._losses.clear()
        self._order.clear()
        self.waiting.clear()
        self._resent.clear()
        self.queued = self.in_flight = self._sacked = self._marked = 0
        self.una = self.next
