"""
One µTP connection: BEP 29 as a state machine without sockets, clocks or threads.

After each call that may have changed something (``receive…``, ``send``, ``finish``, ``taken``, ``handle_timer``): send
what :meth:`UtpConnection.burst_to_send` gives until it gives None, hand :attr:`UtpConnection.chunks` to the
application, look at :attr:`UtpConnection.state`, and call ``handle_timer`` when :meth:`UtpConnection.get_timer` says.

Where BEP 29 is silent or wrong, libutp decides (docs/utp.md has the list): who sends on which id, that STATE takes no
number, that the window in a SYN means nothing. What is ours: loss recovery (``sender``), the congestion controllers,
the path MTU search, pacing.

Sequence numbers are 16 bits on the wire and unwrapped inside; so they are compared as integers, and a number from the
wire stands for the nearest unwrapped one. Fewer than 2^15 packets are ever under way.
"""

from __future__ import annotations

import collections
import errno

from ... import limits
from .burst import Burst, flight_burst, loss_burst, single_burst
from .congestion import make_congestion
from .events import DataReceived, Ended
from .freshness import Freshness
from .mtu import PathMtu
from .opening import Opening
from .pacing import Pacer
from .packet import Packet, PacketType, build_header, parse_packet_untrusted
from .peer_window import PeerWindow
from .receiver import Bytes, Receiver
from .retransmission import Retransmission
from .rtt import RoundTrip, echoed
from .sender import Flight, Loss, Sender
from .settings import Settings
from .states import TRANSITIONS, Event, State

__all__ = ["Burst", "DataReceived", "Ended", "Settings", "UtpConnection"]

_NEVER = float("inf")
_ENDED = frozenset({State.TIME_WAIT, State.CLOSED})
_OPENING = frozenset({State.SYN_SENT, State.SYN_RECEIVED})


class UtpConnection:
    """
    Made by :meth:`dial` or :meth:`accept`. Not thread-safe.

    ``now`` is seconds on any clock that only goes forward, the same one in all calls.
    """

    __slots__ = (
        "_difference",
        "_ended_told",
        "_fin_number",
        "_finishing",
        "_freshness",
        "_keep_at",
        "_limited",
        "_offset",
        "_opening",
        "_pacer",
        "_peer_window",
        "_reset_wanted",
        "_resend",
        "_same_acks",
        "_settings",
        "_tail",
        "_wait_ends",
        "congestion",
        "error",
        "last_received",
        "mtu",
        "receive_id",
        "receiver",
        "rtt",
        "send_id",
        "sender",
        "state",
    )

    def __init__(self, state: State, receive_id: int, send_id: int, settings: Settings, now: float) -> None:
        self.state = state
        self.receive_id = receive_id
        """What the other side puts into its packets (but its SYN)."""
        self.send_id = send_id
        self.error: OSError | None = None
        """Why it broke; None while it lives, or if it ended in order or was aborted here."""
        self.last_received = now
        self._settings = settings
        self.rtt = RoundTrip(settings.rtt)
        self.mtu = PathMtu(min(settings.mtu_ceiling, limits.UTP_DATAGRAM_USUAL))
        self.congestion = make_congestion(settings.congestion, self.mtu.size - limits.UTP_HEADER_SIZE)
        self.sender: Sender
        self.receiver: Receiver
        self._offset = settings.clock_offset
        self._difference = 0  # what we measured for the last packet
        self._peer_window = PeerWindow()
        self._resend = Retransmission(self.rtt)
        self._freshness = Freshness()
        self._opening = Opening(settings.rtt, now if state is State.SYN_SENT else _NEVER)
        self._tail: Loss | None = None  # to be sent once more, although it may yet arrive
        self._same_acks = 0
        self._limited = False
        self._pacer = Pacer(now)
        self._keep_at = now + limits.UTP_KEEPALIVE
        self._finishing = False
        self._fin_number: int | None = None
        self._reset_wanted = False
        self._wait_ends = _NEVER
        self._ended_told = False

    @classmethod
    def dial(cls, receive_id: int, sequence: int, settings: Settings, now: float) -> UtpConnection:
        """
        Begin to connect: a SYN is due.

        Args:
            receive_id: u16, random; the other side sends to it, we send to the next one.
            sequence: u16, random; the SYN's number.
        """
        self = cls(State.SYN_SENT, receive_id, receive_id + 1 & 0xFFFF, settings, now)
        self.sender = Sender(sequence + 1)
        self.receiver = Receiver(0, settings.window, settings.share)  # its number comes with the answer
        return self

    @classmethod
    def accept(cls, syn: Packet, sequence: int, settings: Settings, now: float) -> UtpConnection:
        """
        Answer a caller's SYN: a STATE packet is due.

        Args:
            sequence: u16, random; whoever acknowledges it is where the SYN came from.
        """
        self = cls(State.SYN_RECEIVED, syn.connection_id + 1 & 0xFFFF, syn.connection_id, settings, now)
        self.sender = Sender(sequence)
        self.receiver = Receiver(syn.sequence + 1, settings.window, settings.share)
        self._difference = self._since(syn.timestamp, now)
        self.mtu.allow(min(syn.largest, settings.mtu_ceiling))
        self.receiver.ack_now = True
        self._wait_ends = now + limits.UTP_HALF_OPEN_SECONDS
        return self

    # --- what the application does ------------------------------------------------------------------------------------

    @property
    def chunks(self) -> collections.deque[Bytes]:
        """Bytes of the stream for the application, in order; call :meth:`taken` for those that were kept."""
        return self.receiver.chunks

    @property
    def is_open(self) -> bool:
        """True while bytes can be sent."""
        return not self._finishing and self.state in (State.ESTABLISHED, State.CLOSE_WAIT)

    @property
    def ended(self) -> bool:
        """True when the other side's stream is over, in order or not."""
        return self.receiver.ended or self.state is State.CLOSED

    def send(self, data: Bytes) -> int:
        """Queue a copy of what fits of ``data``, and say how many bytes that was."""
        room = limits.UTP_SEND_QUEUE - self.sender.queued
        if room <= 0 or not data or not self.is_open:
            return 0
        accepted = min(room, len(data))
        self.sender.push(data if accepted == len(data) and type(data) is bytes else bytes(data[:accepted]))
        return accepted

    def finish(self) -> None:
        """Send a FIN after what was sent; receiving goes on. Idempotent."""
        self._finishing = self._finishing or self.is_open

    def abort(self) -> None:
        """End it now; a RESET is due if the other side is known to be there, and may know of us."""
        if self.state not in (State.CLOSED, State.TIME_WAIT, State.SYN_RECEIVED):
            self._reset_wanted = True
        self._break(None)

    def taken(self, size: int) -> None:
        """The application has taken ``size`` bytes that were kept for it."""
        self.receiver.taken(size)

    # --- receiving ----------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: Bytes, now: float) -> None:
        """
        Take one datagram; what comes of it is kept until :meth:`events_received`.

        Raises:
            MalformedMessage: It is no µTP packet.
        """
        packet = parse_packet_untrusted(data)
        self.receive(packet, 1, len(packet.payload), now, keep=True)

    def receive(self, packet: Packet, count: int, size: int, now: float, *, keep: bool) -> bool:
        """
        Take a run of packets that differ in their sequence number and payload alone.

        Args:
            packet: The first one; its payload is that of all of them.
            count: How many; more than 1 only of DATA.
            size: Bytes of payload in each but the last.
            keep: Copy the payload that comes in order, for later; else :attr:`chunks` has parts of what was given.

        Returns:
            False if it was not for us, but a stale duplicate or a forgery.
        """
        kind = packet.type
        if self.state is State.CLOSED or kind is PacketType.SYN:
            repeated = kind is PacketType.SYN and packet.connection_id == self.send_id
            self.receiver.ack_now |= repeated  # our answer to it was lost
            return repeated
        if kind is PacketType.RESET:
            return self._receive_reset(packet)
        sender = self.sender
        next_ack = sender.next - 1
        ack = next_ack + ((packet.ack - next_ack + 0x8000 & 0xFFFF) - 0x8000)
        if ack > next_ack or ack < sender.una - limits.UTP_PACKETS_MAX:
            return False  # of what was never sent, or of another connection
        if self.state in _OPENING and not self._confirm(packet, ack, now):
            return False
        receiver = self.receiver
        first = receiver.next + ((packet.sequence - receiver.next + 0x8000 & 0xFFFF) - 0x8000)
        if kind is not PacketType.STATE and self._freshness.is_stale(first, packet.timestamp, now):
            return False
        self.last_received = now
        self._difference = self._since(packet.timestamp, now)
        self.congestion.received(self._difference, now)
        if ack >= sender.una - 1:
            self._receive_ack(packet, ack, now)
        if kind is PacketType.DATA:
            before = receiver.next
            receiver.receive(first, count, size, packet.payload, keep or self.state in _ENDED, now)
            self._freshness.advanced(before, receiver.next, packet.timestamp, now)
        elif kind is PacketType.FIN:
            if len(packet.payload):
                receiver.receive(first, 1, len(packet.payload), packet.payload, True, now)
                first += 1
            receiver.receive_fin(first)
        if receiver.ended:
            self._step(Event.END_RECEIVED, now)
        return True

    def _receive_reset(self, packet: Packet) -> bool:
        """Believed only from who knows what is under way: ids alone can be guessed."""
        if packet.connection_id not in (self.receive_id, self.send_id):
            return False
        if self.state is State.SYN_SENT:
            if (packet.ack - (self.sender.una - 1)) & 0xFFFF:  # it does not name our SYN
                return False
            self._break(OSError(errno.ECONNREFUSED, "refused: nothing accepts µTP connections there"))
            return True
        low = self.sender.una - 1
        if (packet.ack - low) & 0xFFFF > self.sender.next - low:
            return False
        if self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT) or (
            self.state is State.FIN_WAIT_1 and self.receiver.ended
        ):
            self._break(None)  # both have said all: the other side has forgotten us already
        else:
            self._break(OSError(errno.ECONNRESET, "the connection was reset by the other side"))
        return True

    def _confirm(self, packet: Packet, ack: int, now: float) -> bool:
        """The first packet of the other side; False if it is not an answer to ours."""
        if ack != self.sender.next - 1 or packet.type is PacketType.FIN and self.state is State.SYN_SENT:
            return False
        if self.state is State.SYN_SENT:
            # STATE has the number of the first packet to come; DATA, if it overtakes STATE, its own.
            self.receiver = Receiver(packet.sequence, self._settings.window, self._settings.share)
            self.receiver.ack_now = True  # shows the callee that we are where our packets say
            self.mtu.allow(min(packet.largest, self._settings.mtu_ceiling))
            sample = self._opening.answered(now)
            if sample is not None:
                self.rtt.sample(sample)
        self._wait_ends = _NEVER
        self.state = TRANSITIONS[self.state, Event.CONFIRMED]
        return True

    def _receive_ack(self, packet: Packet, ack: int, now: float) -> None:
        sender, rtt = self.sender, self.rtt
        before, in_flight, sack = sender.una, sender.in_flight, packet.sacked
        if ack < before and before == sender.next:  # nothing is under way
            self._peer_window.heard(packet.window)
            return
        smoothed = rtt.smoothed or limits.UTP_RTO_INITIAL
        sender.acknowledge(ack, sack, now, max(smoothed / 4, 0.001), rtt.minimum if rtt.smoothed else 0.0)
        if packet.window != self._peer_window.size or ack >= before:
            self._same_acks = 0
        elif packet.type is PacketType.STATE and not sack and sender.outstanding:
            self._same_acks += 1
            if self._same_acks == limits.UTP_REORDER:  # BEP 29: three of the same, without a word of what is beyond
                sender.first_lost()
        self._peer_window.heard(packet.window)
        acked = sender.acked_bytes
        if sender.una != before or acked:
            if sender.acked_whole:
                self.mtu.progress()
            sample = sender.rtt_sample
            if sample is None and acked:
                sample = echoed(self._stamp(now), packet.timestamp, packet.timestamp_difference)
            if sample is not None:
                rtt.sample(sample)
            self._resend.acked(sender.next - sender.una, sample is not None, now)
            if acked:
                self.congestion.acked(acked, in_flight, self._limited, sample, packet.timestamp_difference, now)
        if sender.probe_acked:
            self.mtu.probe_acked(sender.probe_acked, now)
            self.congestion.packet_size = self.mtu.size - limits.UTP_HEADER_SIZE
        if sender.probe_lost:
            self.mtu.probe_lost(sender.probe_lost, now)
        if sender.congested:
            sender.congestion_noted(now)
            self.congestion.lost(now)
        if self._fin_number is not None and sender.una > self._fin_number:
            self._step(Event.FIN_ACKED, now)

    def events_received(self) -> list[DataReceived | Ended]:
        """What :meth:`receive_datagram` brought, in order; ``Ended`` once and last."""
        events: list[DataReceived | Ended] = []
        while self.chunks:
            data = self.chunks.popleft()
            self.taken(len(data))
            if len(data):
                events.append(DataReceived(data))
        if self.ended and not self._ended_told:
            self._ended_told = True
            events.append(Ended(self.error))
        return events

    # --- states -------------------------------------------------------------------------------------------------------

    def _step(self, event: Event, now: float) -> None:
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return
        self.state = state
        if state is State.TIME_WAIT:
            self._wait_ends = now + limits.UTP_TIME_WAIT
            self._resend.stop()
            self._peer_window.stop()

    def _break(self, error: OSError | None) -> None:
        if self.state is State.CLOSED:
            return
        self.state = TRANSITIONS[self.state, Event.BROKEN]
        self.error = error
        self.sender.clear()
        self._resend.stop()
        self._peer_window.stop()
        self._opening.stop()
        self._wait_ends = _NEVER

    # --- sending ------------------------------------------------------------------------------------------------------

    def packets_to_send(self, now: float) -> list[Burst]:
        """All that can be sent now."""
        bursts = []
        while (burst := self.burst_to_send(now)) is not None:
            bursts.append(burst)
        return bursts

    def has_payload(self) -> bool:
        """Whether anything but acknowledgements waits to be sent."""
        sender = self.sender
        if sender.queued or sender.waiting or self._tail is not None or (self._finishing and self._fin_number is None):
            return True
        self._limited = False
        self._pacer.until = 0.0
        return False

    def burst_to_send(self, now: float, *, acks: bool = True) -> Burst | None:
        """What to send now, or None: call it again after sending that. Without ``acks``, acknowledgements wait."""
        state = self.state
        if state is State.CLOSED:
            if self._reset_wanted:
                self._reset_wanted = False
                return self._control(PacketType.RESET, now)
            return None
        if state is State.SYN_SENT:
            return self._syn(now) if now >= self._opening.due_at else None
        if state is not State.SYN_RECEIVED:
            burst = self._payload(now)
            if burst is not None:
                self._keep_at = now + limits.UTP_KEEPALIVE
                return burst
        receiver = self.receiver
        if acks and (receiver.ack_now or now >= receiver.ack_due):
            self._keep_at = now + limits.UTP_KEEPALIVE
            return self._control(PacketType.STATE, now)
        return None

    def _payload(self, now: float) -> Burst | None:
        """Of what was lost, else of what waits, else the FIN."""
        sender = self.sender
        if self._tail is not None:
            tail, self._tail = self._tail, None
            return self._again(tail, now)
        lost = sender.next_resend_size if sender.waiting else -1
        if lost < 0 and not self.has_payload():
            return None
        if not sender.outstanding and (pause := self._resend.pause(now)):
            self.congestion.idle(now, pause)
        room = self._room(now)
        if room <= 0:
            return None
        if lost >= 0 and (loss := sender.next_resend(now)) is not None:
            self._pacer.spend(lost)
            return self._again(loss, now)
        if not sender.queued:
            return self._fin(now)
        flight = self._new(room, now)
        return None if flight is None else self._flight_burst(flight, now)

    def _room(self, now: float) -> float:
        """Payload bytes that congestion control lets out now."""
        congestion, sender = self.congestion, self.sender
        room = congestion.window - sender.in_flight
        if room < congestion.packet_size:
            self._limited = True
            if sender.in_flight or room <= 0:
                self._pacer.until = 0.0
                return 0.0
        return min(room, self._pacer.room(congestion, self.rtt.smoothed, now))

    def _new(self, room: float, now: float) -> Flight | None:
        """Packets that were never sent, as many as the other side has room for."""
        sender, mtu = self.sender, self.mtu
        size = mtu.size - limits.UTP_HEADER_SIZE
        under_way = sender.next - sender.una
        granted = self._peer_window.size - sender.unacked_bytes
        if under_way >= limits.UTP_PACKETS_MAX:
            return None
        if granted < min(size, sender.queued):
            if under_way:
                return None  # its acknowledgement brings more
            if granted <= 0:
                if not self._peer_window.may_try(now):
                    return None
                granted = 1
            elif granted < min(sender.queued, limits.WORTH_BYTES) and not self._peer_window.may_use(now):
                return None
        probe = self._probe(min(granted, sender.queued, self.congestion.window / 2), now)
        if probe is not None:
            return probe
        most = max(int(min(room, granted)), min(size, int(granted)))
        count = min(
            limits.UTP_SEGMENTS_MAX,
            limits.UTP_PACKETS_MAX - under_way,
            max(1, limits.UTP_BURST_MAX // mtu.size),
        )
        flight = sender.take(size, most, count, now)
        if flight is not None:
            self._sent_new(flight, now)
        return flight

    def _probe(self, most: float, now: float) -> Flight | None:
        """A packet that tries a larger size, if it is time to."""
        if self.rtt.smoothed is None:
            return None
        size, payload = self.mtu.probe(int(most), now)
        flight = self.sender.take(payload, payload, 1, now) if size else None
        if flight is not None:
            flight.probe = size
            self.mtu.probe_sent(size)
            self._sent_new(flight, now)
        return flight

    def _sent_new(self, flight: Flight, now: float) -> None:
        self._pacer.spend(len(flight.payload))
        self._resend.sent(self.sender.next - self.sender.una, now)

    def _fin(self, now: float) -> Burst:
        flight = self.sender.fin(now)
        self._fin_number = flight.first
        self._sent_new(flight, now)
        self._step(Event.FINISHED, now)
        return self._flight_burst(flight, now)

    def _again(self, loss: Loss, now: float) -> Burst:
        self._resend.sent_again(now)
        header = self._header(loss.kind, loss.number, now)
        self._told()
        return loss_burst(header, loss, self.mtu.size, self._settings.cut_beyond)

    def _flight_burst(self, flight: Flight, now: float) -> Burst:
        header = self._header(flight.kind, flight.first, now)
        self._told()
        return flight_burst(header, flight)

    def _told(self) -> None:
        """A packet with data acknowledges as well, unless there are gaps to tell of."""
        if not self.receiver.has_gaps:
            self.receiver.acknowledged()

    def _header(self, kind: PacketType, number: int, now: float) -> bytes:
        receiver = self.receiver
        return build_header(
            kind,
            self.send_id,
            self._stamp(now),
            self._difference,
            receiver.window,
            number & 0xFFFF,
            receiver.next - 1 & 0xFFFF,
        )

    def _syn(self, now: float) -> Burst:
        self._opening.sent(now)
        number, window = self.sender.una - 1 & 0xFFFF, self.receiver.window
        # Where nothing larger fits anyway, nothing is told: a constant would tell others who speaks.
        largest = limits.UTP_DATAGRAM_MAX if self._settings.mtu_ceiling > limits.UTP_DATAGRAM_USUAL else 0
        header = build_header(PacketType.SYN, self.receive_id, self._stamp(now), 0, window, number, 0, b"", largest)
        return single_burst(header)

    def _control(self, kind: PacketType, now: float) -> Burst:
        """A STATE or RESET packet: it takes no number."""
        receiver = self.receiver
        sack = receiver.sack if kind is PacketType.STATE else b""
        times = self._stamp(now), self._difference
        number, ack = self.sender.next & 0xFFFF, receiver.next - 1 & 0xFFFF
        largest = limits.UTP_DATAGRAM_MAX if self.mtu.told and not self.sender.sent_bytes else 0
        header = build_header(kind, self.send_id, *times, receiver.window, number, ack, sack, largest)
        receiver.acknowledged()
        return single_burst(header)

    def refused_size(self, size: int, now: float) -> None:
        """The kernel, or a router, says that datagrams of ``size`` bytes do not get through: they count as lost."""
        self.mtu.too_large(size, now)
        self.congestion.packet_size = self.mtu.size - limits.UTP_HEADER_SIZE

    # --- time ---------------------------------------------------------------------------------------------------------

    def _stamp(self, now: float) -> int:
        return (int(now * 1e6) + self._offset & 0xFFFFFFFF) or 1

    def _since(self, timestamp: int, now: float) -> int:
        return (int(now * 1e6) + self._offset - timestamp) & 0xFFFFFFFF

    def get_timer(self) -> float:
        """When :meth:`handle_timer` is due; infinity if never."""
        if self.state is State.CLOSED:
            return _NEVER
        resend = self._resend
        due = min(
            resend.rto_at,
            resend.tail_at,
            self.receiver.ack_due,
            self._opening.due_at,
            self._wait_ends,
            self._peer_window.probe_at,
        )
        pace = self._pacer.until
        if pace and pace < due:
            due = pace
        if self.state in _OPENING or self.state in _ENDED:
            return due
        return min(due, self._keep_at)

    def handle_timer(self, now: float) -> None:
        """Do what is due by ``now``; sending may follow."""
        if now >= self._wait_ends:
            self._wait_ends = _NEVER
            if self.state is State.SYN_RECEIVED:
                self._break(OSError(errno.ETIMEDOUT, "the caller did not answer"))
            else:
                self._step(Event.EXPIRED, now)
            return
        if self.state in _ENDED or self.state in _OPENING:
            return
        waits = self.sender.outstanding or self._peer_window.closed
        if waits and now - self.last_received >= limits.UTP_SILENCE_MAX:
            quiet = now - self.last_received
            self._break(OSError(errno.ETIMEDOUT, f"nothing was heard from the other side for {quiet:.0f} s"))
            return
        if now >= self._resend.rto_at:
            self._timed_out(now)
        elif now >= self._resend.tail_at:
            self._resend.tail_probed()
            if not self.sender.resending:  # the end of what was sent may be lost, and nothing behind it would tell
                self._tail = self.sender.tail(now)
                self.mtu.probe_lost(self.sender.probe_lost, now)
        if now >= self._keep_at:
            self._keep_at = now + limits.UTP_KEEPALIVE
            self.receiver.ack_now = True

    def _timed_out(self, now: float) -> None:
        sender = self.sender
        beyond = self._peer_window.size < sender.unacked_bytes  # it may throw away what it has no room for
        answers = now - self.last_received < self.rtt.rto * self._resend.backoff
        largest = sender.lose_all(now) + limits.UTP_HEADER_SIZE
        if sender.probe_lost:
            self.mtu.probe_lost(sender.probe_lost, now)
        if not (beyond and answers):
            self.mtu.timed_out(largest, now)
            self.congestion.packet_size = self.mtu.size - limits.UTP_HEADER_SIZE
            self.congestion.timed_out(now)
        self._resend.timed_out(now)
        self._pacer.restart(self.congestion.packet_size, now)
