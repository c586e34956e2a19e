"""What a µTP connection makes of packets that no peer should send, or that somebody else sent: nothing, or an end."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import MalformedMessage
from crust.transports.utp.connection import DataReceived, Ended, Settings, UtpConnection
from crust.transports.utp.packet import Packet, PacketType, build_packet, parse_packet_untrusted
from crust.transports.utp.states import State
from tests.support import wire_values
from tests.support.wire_values import numbers, repeatable

WINDOW = 65_536
STEP = 0.01  # seconds from one end to the other
OURS, THEIRS = 0x7FF0, 0xFFF0  # sequence numbers that begin near where they wrap


class Ends:
    """A caller and a callee, with a path between them that delays and does nothing else."""

    def __init__(self, size: int = 0) -> None:
        self.now = 1000.0
        self.near = UtpConnection.dial(7, OURS, Settings(window=WINDOW), self.now)
        (syn,) = self.sent_by(self.near)
        self.far = UtpConnection.accept(parse_packet_untrusted(syn), THEIRS, Settings(window=WINDOW), self.now)
        self.to_near: list[bytes] = []
        self.to_far: list[bytes] = []
        self.got = bytearray()
        self.ended: list[OSError | None] = []
        self.waiting = random.Random(1).randbytes(size)
        self.sent = bytes(self.waiting)
        self.step()
        self.step()

    def sent_by(self, core: UtpConnection) -> list[bytes]:
        sent = [data for burst in core.packets_to_send(self.now) for data in burst.datagrams()]
        assert sum(map(len, sent)) <= 4 * 1024 * 1024, "a burst without end"
        return sent

    def step(self) -> None:
        """What was sent before arrives, and what is due is done."""
        self.now += STEP
        to_near, self.to_near = self.to_near, []
        to_far, self.to_far = self.to_far, []
        for core, arriving in ((self.near, to_near), (self.far, to_far)):
            for data in arriving:
                core.receive_datagram(data, self.now)
            if self.now >= core.get_timer():
                core.handle_timer(self.now)
        if self.waiting:
            self.waiting = self.waiting[self.near.send(self.waiting) :]
        for event in self.far.events_received():
            if isinstance(event, DataReceived):
                self.got += event.data
            else:
                self.ended.append(event.error)
        self.near.events_received()
        self.to_far += self.sent_by(self.near)
        self.to_near += self.sent_by(self.far)
        for core in (self.near, self.far):
            assert core.receiver.held + core.receiver._early_bytes <= WINDOW
            assert core.sender.queued <= limits.UTP_SEND_QUEUE
            assert core.sender.next - core.sender.una <= limits.UTP_PACKETS_MAX

    def run(self, seconds: float = 120.0) -> None:
        """Until all has arrived, or the connection has ended."""
        end = self.now + seconds
        while self.now < end and len(self.got) < len(self.sent) and not self.over:
            self.step()

    @property
    def over(self) -> bool:
        return State.CLOSED in (self.near.state, self.far.state)

    def forged(self, core: UtpConnection, **fields: int | bytes) -> bytes:
        """What ``core`` would take for a packet of the other end, but for these fields; numbers are wrapped."""
        packet = Packet(
            PacketType.STATE,
            core.receive_id,
            int(self.now * 1e6) & 0xFFFFFFFF,
            0,
            WINDOW,
            core.receiver.next,
            core.sender.next - 1,
        )
        given = packet._replace(**fields)
        return build_packet(given._replace(sequence=given.sequence & 0xFFFF, ack=given.ack & 0xFFFF))

    def inject(self, core: UtpConnection, data: bytes) -> None:
        """Somebody else's datagram arrives from the peer's address."""
        try:
            core.receive_datagram(data, self.now)
        except MalformedMessage:
            return


def whole(ends: Ends) -> None:
    """The transfer goes on to its end as if nothing had been."""
    ends.run()
    assert (ends.near.state, ends.far.state) == (State.ESTABLISHED, State.ESTABLISHED)
    assert ends.got == ends.sent
    assert ends.ended == []


def in_the_middle(size: int = 300_000) -> Ends:
    ends = Ends(size)
    while not ends.near.sender.outstanding or len(ends.got) < 20_000:
        ends.step()
    return ends


# --- bytes that are no packets ----------------------------------------------------------------------------------------


@settings(repeatable, max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=20))
def test_random_bytes_change_nothing(datagrams: list[bytes]) -> None:
    """Random datagrams from the peer's own address: MalformedMessage, or no connection of ours is meant."""
    ends = in_the_middle(60_000)
    for data in datagrams:
        for core in (ends.near, ends.far):
            ends.inject(core, data)
        ends.step()
    ends.run()
    assert ends.got == ends.sent or ends.over


forgeries = st.builds(
    Packet,
    type=st.sampled_from(PacketType),
    connection_id=st.one_of(st.sampled_from((7, 8)), numbers(16)),
    timestamp=numbers(32),
    timestamp_difference=numbers(32),
    window=numbers(32),
    sequence=st.one_of(numbers(16), st.integers(OURS, OURS + 400), st.integers(THEIRS, 0xFFFF)),
    ack=st.one_of(numbers(16), st.integers(OURS, OURS + 400), st.integers(THEIRS, 0xFFFF)),
    sack=st.integers(0, 63).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
    payload=st.binary(max_size=1400),
    largest=st.one_of(st.just(0), numbers(16)),
).map(build_packet)


@settings(repeatable, max_examples=150)
@given(st.lists(st.one_of(forgeries, wire_values.damaged(forgeries)), max_size=12))
def test_a_peer_without_manners_gets_an_end_at_worst(datagrams: list[bytes]) -> None:
    """Any packets at any time, with right ids as well: nothing is raised, nothing grows, and both ends come to rest."""
    ends = in_the_middle(60_000)
    for data in datagrams:
        ends.inject(ends.far, data)
        ends.inject(ends.near, data)
        ends.step()
    ends.run()
    ends.near.abort()
    ends.far.abort()
    for core in (ends.near, ends.far):
        ends.sent_by(core)
        assert core.state in (State.CLOSED, State.TIME_WAIT)
        core.handle_timer(ends.now + limits.UTP_TIME_WAIT + 1)
        assert core.state is State.CLOSED and core.get_timer() == float("inf")
        assert ends.sent_by(core) == []


# --- packets that only one who sees them could make -------------------------------------------------------------------


def off_the_path(ends: Ends, kind: PacketType) -> Iterable[bytes]:
    """Packets with the right ids and an acknowledgement that a stranger guesses."""
    for core in (ends.near, ends.far):
        una, upcoming = core.sender.una, core.sender.next
        for ack in (upcoming + 1, upcoming + 300, upcoming + 0x3000, una - 0x4100, una - 0x7000):
            for number in (core.receiver.next, core.receiver.next + 1, core.receiver.next + 500):
                payload = b"forged" * 100 if kind is PacketType.DATA else b""
                yield ends.forged(core, type=kind, sequence=number, ack=ack, payload=payload, window=0)


@pytest.mark.parametrize("kind", [PacketType.DATA, PacketType.FIN, PacketType.STATE, PacketType.RESET])
def test_guessed_packets_are_not_believed(kind: PacketType) -> None:
    """Data, ends, windows and resets with the right ids that acknowledge what was never sent, or long ago."""
    ends = in_the_middle()
    for data in list(off_the_path(ends, kind)):
        for core in (ends.near, ends.far):
            ends.inject(core, data)
    whole(ends)


def test_a_reset_of_the_present_is_believed() -> None:
    """So that the test above shows something."""
    ends = in_the_middle()
    ends.inject(ends.near, ends.forged(ends.near, type=PacketType.RESET))
    assert ends.near.state is State.CLOSED
    assert isinstance(ends.near.error, ConnectionResetError)


@pytest.mark.parametrize("connection_id", [6, 9, 0, 0xFFFF])
def test_resets_for_others_are_not_believed(connection_id: int) -> None:
    """Neither our sending nor our receiving id."""
    ends = in_the_middle()
    ends.inject(ends.near, ends.forged(ends.near, type=PacketType.RESET, connection_id=connection_id))
    whole(ends)


@pytest.mark.parametrize("sack", [b"\xff" * 252, b"\0\0\0\x80" * 63, b"\0" * 252])
def test_acknowledgements_of_what_was_never_sent(sack: bytes) -> None:
    """Bits beyond what is under way count for nothing."""
    ends = in_the_middle()
    before = ends.near.sender.una
    ends.inject(ends.near, ends.forged(ends.near, ack=before - 1, sack=sack))
    assert ends.near.sender.una == before
    ends.inject(ends.near, ends.forged(ends.near, ack=ends.near.sender.next, sack=sack))
    assert ends.near.sender.una == before
    assert ends.near.sender.in_flight >= 0


@pytest.mark.parametrize("window", [0, 1, 2**32 - 1])
def test_absurd_windows(window: int) -> None:
    """A closed one stops us until the next word of the peer; a giant one does not make us send without bound."""
    ends = in_the_middle(1_000_000)
    ends.inject(ends.near, ends.forged(ends.near, ack=ends.near.sender.una - 1, window=window))
    sent = ends.sent_by(ends.near)
    assert sum(map(len, sent)) <= max(window, 1500) and len(sent) <= limits.UTP_PACKETS_MAX
    ends.to_far += sent
    whole(ends)


def test_data_beyond_the_window_is_not_kept() -> None:
    """Packets of any number, 60 KB each: what is kept stays within the window that was granted."""
    ends = in_the_middle()
    core = ends.far
    for number in range(core.receiver.next + 1, core.receiver.next + 3000, 7):
        ends.inject(core, ends.forged(core, type=PacketType.DATA, sequence=number, payload=bytes(60_000)))
        assert core.receiver.held + core.receiver._early_bytes <= WINDOW


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_tiny_packets_cost_little(gap: int, size: int) -> None:
    """Of no byte, or of one: an application that does not take them makes us keep few objects, in order or not."""
    ends = in_the_middle()
    core = ends.far
    first = core.receiver.next
    for number in range(first + gap, first + 0x6000):
        ends.inject(core, ends.forged(core, type=PacketType.DATA, sequence=number, payload=bytes(size)))
    assert len(core.receiver._early) + len(core.chunks) <= limits.UTP_PACKETS_MAX
    assert core.receiver.held <= WINDOW


@pytest.mark.parametrize("offset", [0, 1, 0x10000, 0x80000000])
def test_syns_on_a_connection_that_is_there(offset: int) -> None:
    """Somebody's second SYN, whatever its number, does not disturb the first connection."""
    ends = in_the_middle()
    for core in (ends.near, ends.far):
        for number in (core.receiver.next, core.receiver.next + offset):
            syn = Packet(PacketType.SYN, 7, offset & 0xFFFFFFFF, 0, 0, number & 0xFFFF, 0)
            ends.inject(core, build_packet(syn))
    whole(ends)


# --- peers that go away -----------------------------------------------------------------------------------------------


def test_a_peer_that_vanishes_is_given_up() -> None:
    """With data under way: the caller tries again less and less often, and ends with a timeout."""
    ends = in_the_middle()
    began, datagrams = ends.now, 0
    while ends.near.state is not State.CLOSED:
        ends.now = min(ends.near.get_timer(), ends.now + 60.0)
        ends.near.handle_timer(ends.now)
        datagrams += len(ends.sent_by(ends.near))
        assert ends.now < began + 2 * limits.UTP_SILENCE_MAX
    assert isinstance(ends.near.error, TimeoutError)
    assert datagrams < 1000
    assert ends.near.get_timer() == float("inf")


def test_a_caller_that_vanishes_is_forgotten() -> None:
    """A SYN alone costs a few seconds of one small connection."""
    now = 5.0
    syn = Packet(PacketType.SYN, 7, 1, 0, 0, 99, 0)
    core = UtpConnection.accept(syn, THEIRS, Settings(), now)
    answers = []
    while core.state is not State.CLOSED:
        answers += [data for burst in core.packets_to_send(now) for data in burst.datagrams()]
        now = core.get_timer()
        core.handle_timer(now)
        assert now <= 5.0 + limits.UTP_HALF_OPEN_SECONDS
    assert len(answers) == 1 and len(answers[0]) <= len(build_packet(syn))


def test_a_stranger_gets_no_data() -> None:
    """Until somebody has acknowledged our random number, nothing but the answer goes out, whatever is queued."""
    ends = Ends()
    syn = Packet(PacketType.SYN, 7, 1, 0, 0, 99, 0)
    core = UtpConnection.accept(syn, THEIRS, Settings(), ends.now)
    assert core.send(b"secret" * 1000) == 0
    ends.sent_by(core)
    for guess in range(0, 0x10000, 0x11):
        if guess == THEIRS - 1:
            continue
        data = Packet(PacketType.DATA, 8, 1, 0, WINDOW, 100, guess, b"", b"knock")
        ends.inject(core, build_packet(data))
    assert core.state is State.SYN_RECEIVED
    assert [event for event in core.events_received() if not isinstance(event, Ended)] == []
    assert ends.sent_by(core) == []
