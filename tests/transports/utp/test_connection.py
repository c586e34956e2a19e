"""One µTP connection, by hand: opening, data, ends, timers, and what must not be believed."""

from __future__ import annotations

import errno
import random

import pytest

from crust import limits
from crust.transports.utp.connection import UtpConnection
from crust.transports.utp.packet import Packet, PacketType
from crust.transports.utp.settings import Settings
from crust.transports.utp.states import State
from tests.transports.utp.cores import RTT, Cores

DATA, FIN, STATE, RESET, SYN = (
    PacketType.DATA,
    PacketType.FIN,
    PacketType.STATE,
    PacketType.RESET,
    PacketType.SYN,
)


# --- opening ----------------------------------------------------------------------------------------------------------


def test_the_opening_is_as_in_bep_29s_diagram() -> None:
    """SYN on the caller's id; the answer to it bears that id too, and the caller sends on the next one."""
    cores = Cores(receive_id=7, sequences=(100, 200)).connect()
    cores.near.send(b"x")
    cores.run(RTT)
    syn, answer, data = cores.of("near", SYN)[0], cores.of("far", STATE)[0], cores.of("near", DATA)[0]
    assert (syn.connection_id, syn.sequence) == (7, 100)
    assert (answer.connection_id, answer.sequence, answer.ack) == (7, 200, 100)
    assert (data.connection_id, data.sequence, data.ack) == (8, 101, 199)
    assert cores.near.state is cores.there.state is State.ESTABLISHED


def test_the_answer_takes_no_number() -> None:
    """The callee's first data has the number that its answer had."""
    cores = Cores().connect()
    cores.there.send(b"hello")
    cores.run(RTT)
    assert cores.of("far", DATA)[0].sequence == cores.of("far", STATE)[0].sequence
    assert cores.got["near"] == b"hello"


def test_a_callee_stands_when_its_number_is_acknowledged_and_not_before() -> None:
    """Nobody who cannot read our answer gets beyond SYN_RECEIVED."""
    cores = Cores(passes=lambda packet, size: packet.type is SYN)
    cores.run(RTT)
    assert cores.there.state is State.SYN_RECEIVED
    for ack in (0, 198, 200):  # the answer's number is 200: what comes before it is 199
        forged = Packet(DATA, 8, 1, 1, 1000, 101, ack, b"", b"forged")
        assert not cores.there.receive(forged, 1, 6, cores.now, keep=True)
    assert cores.there.state is State.SYN_RECEIVED and not cores.there.chunks
    assert cores.there.send(b"not yet") == 0
    honest = Packet(DATA, 8, 1, 1, 1000, 101, 199, b"", b"honest")
    assert cores.there.receive(honest, 1, 6, cores.now, keep=True)
    assert cores.there.state is State.ESTABLISHED


def test_a_silent_caller_is_forgotten() -> None:
    """Half-open connections last three seconds."""
    cores = Cores(passes=lambda packet, size: packet.type is SYN)
    cores.run(RTT)
    cores.run(limits.UTP_HALF_OPEN_SECONDS)
    assert cores.there.state is State.CLOSED


def test_a_lost_syn_is_sent_again_with_doubling_gaps() -> None:
    """After half a second, one, two."""
    lost = [0]

    def passes(packet: Packet, size: int) -> bool:
        lost[0] += packet.type is SYN
        return lost[0] > 3

    cores = Cores(passes=passes)
    began = cores.now
    cores.run(10)
    assert cores.near.state is State.ESTABLISHED
    stamps = [packet.timestamp / 1e6 for packet in cores.of("near", SYN)]
    assert [round(b - a, 2) for a, b in zip(stamps, stamps[1:], strict=False)] == [0.5, 1.0, 2.0]
    assert stamps[0] == pytest.approx(began % 4294.967296)


def test_a_lost_answer_is_given_again() -> None:
    """The SYN comes twice; the connection is one."""
    answers = [0]

    def passes(packet: Packet, size: int) -> bool:
        answers[0] += packet.type is STATE
        return packet.type is not STATE or answers[0] > 1

    cores = Cores(passes=passes)
    cores.run(1.0)
    assert len(cores.of("near", SYN)) == 2
    cores.send(b"after all")
    assert cores.got["far"] == b"after all"


def test_a_refusal_ends_a_call_only_if_it_names_our_syn() -> None:
    """RESET with the SYN's number, on either of the two ids; anything else may be a forgery."""
    core = UtpConnection.dial(7, 100, Settings(), 0.0)
    core.packets_to_send(0.0)
    for forged in (Packet(RESET, 7, 1, 0, 0, 5, 101), Packet(RESET, 9, 1, 0, 0, 5, 100)):
        assert not core.receive(forged, 1, 0, 0.1, keep=True)
    assert core.receive(Packet(RESET, 7, 1, 0, 0, 5, 100), 1, 0, 0.1, keep=True)
    assert core.state is State.CLOSED and isinstance(core.error, OSError)
    assert core.error.errno == errno.ECONNREFUSED


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", [(65530, 65534), (65535, 0), (0, 65535), (32767, 32768)])
def test_sequence_numbers_go_round(sequences: tuple[int, int]) -> None:
    """In both directions, and twice if there is enough to send."""
    cores = Cores(sequences=sequences).connect()
    data = random.Random(1).randbytes(300_000)
    cores.there.send(data[:100_000])
    cores.send(data)
    cores.run(1.0)
    assert cores.got["far"] == data
    assert cores.got["near"] == data[:100_000]


def test_timestamps_go_round() -> None:
    """The 32-bit microseconds wrap in the middle of a transfer; samples stay what they were."""
    cores = Cores(caller=Settings(clock_offset=(1 << 32) - 1_000_200_000)).connect()
    cores.send(bytes(200_000))
    assert cores.near.rtt.smoothed == pytest.approx(RTT, rel=0.3)
    stamps = [packet.timestamp for packet in cores.of("near")]
    assert max(stamps) > 0xFFFF0000 and min(stamps) < 0x10000000
    assert 0 not in stamps


def test_a_lost_packet_is_sent_again_when_three_others_have_arrived() -> None:
    """A selective acknowledgement names them; no timeout is needed, and nothing else is sent twice."""
    lost: list[int] = []

    def passes(packet: Packet, size: int) -> bool:
        if packet.type is DATA and packet.sequence == 104 and not lost:
            lost.append(packet.sequence)
            return False
        return True

    cores = Cores(passes=passes).connect()
    cores.near.send(bytes(10_000))
    cores.run(3 * RTT)
    assert lost == [104] and len(cores.got["far"]) == 10_000
    assert [packet.sequence for packet in cores.of("near", DATA)].count(104) == 2
    assert cores.near.sender.resent_packets == 1
    assert any(packet.sack and packet.ack == 103 for packet in cores.of("far", STATE))


def test_the_tail_is_probed_before_the_timeout() -> None:
    """Of a lost last packet no later one tells: it goes out again after two round trips."""
    lost: list[int] = []

    def passes(packet: Packet, size: int) -> bool:
        if packet.type is DATA and not lost:
            lost.append(packet.sequence)
            return False
        return True

    cores = Cores(passes=passes).connect()
    began = cores.now
    cores.send(b"alone")
    assert cores.now - began < limits.UTP_RTO_MIN


def test_timeouts_double_and_end_in_an_error() -> None:
    """A peer that vanishes half-way: attempts ever rarer, then ETIMEDOUT."""
    gone = [False]
    cores = Cores(passes=lambda packet, size: not gone[0]).connect()
    cores.near.send(b"first")
    cores.run(0.2)
    gone[0] = True
    before = len(cores.of("near"))
    cores.near.send(b"second")
    cores.run(limits.UTP_SILENCE_MAX + 10)
    error = cores.ended["near"]
    assert cores.near.state is State.CLOSED and error is not None and error.errno == errno.ETIMEDOUT
    stamps = [packet.timestamp / 1e6 for packet in cores.of("near", DATA)][-6:]
    gaps = [b - a for a, b in zip(stamps, stamps[1:], strict=False)]
    gaps = [round(gap, 3) for gap in gaps]
    assert gaps == sorted(gaps) and gaps[-1] <= limits.UTP_RTO_MAX + 0.1
    assert len(cores.of("near")) - before < 15
    assert cores.near.get_timer() == float("inf")


def test_acknowledgements_wait_for_data_to_travel_with() -> None:
    """One small packet is acknowledged after the delay, two full ones at once."""
    cores = Cores().connect()
    cores.near.send(b"small")
    cores.run(RTT / 2 + limits.UTP_ACK_DELAY / 2)
    before = len(cores.of("far"))
    cores.run(limits.UTP_ACK_DELAY)
    assert len(cores.of("far")) == before + 1
    cores.near.send(bytes(2 * limits.UTP_ACK_BYTES))
    cores.run(RTT / 2 + 0.001)
    assert len(cores.of("far")) > before + 1


def test_an_answer_carries_the_acknowledgement() -> None:
    """Request and response: no packet of its own."""
    cores = Cores().connect()
    cores.run(1.0)
    before = len(cores.of("far"))
    cores.near.send(b"ping")
    cores.run(RTT / 2 + 0.001)
    cores.there.send(b"pong")
    cores.run(RTT)
    assert [packet.type for packet in cores.of("far")[before:]] == [DATA]


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_closed_window_stops_the_sender_and_its_opening_starts_it() -> None:
    """Nothing is lost or buffered beyond it; the news goes out at once."""
    window = 20_000
    cores = Cores(callee=Settings(window=window)).connect()
    far = cores.there
    cores.takes = False
    data = random.Random(2).randbytes(100_000)
    cores.near.send(data)
    cores.run(2.0)
    assert window - 1500 <= far.receiver.held <= window
    cores.takes = True
    cores.send(b"", 2.0)
    cores.run(1.0)
    assert bytes(cores.got["far"]) == data


def test_a_closed_window_is_probed_since_its_opening_may_be_lost() -> None:
    """The first try after a second; each takes a byte if there is room."""
    cut = [False]
    cores = Cores(
        callee=Settings(window=5_000), passes=lambda packet, size: not (cut[0] and packet.window > 0)
    ).connect()
    cores.takes = False
    cores.near.send(bytes(50_000))
    cores.run(1.0)
    cut[0] = True  # from here on the window's opening is never heard
    cores.takes = True
    cores.run(0.5)
    cut[0] = False
    cores.run(30.0)
    assert len(cores.got["far"]) == 50_000


def test_the_window_of_a_syn_means_nothing() -> None:
    """libtorrent writes 0 there."""
    syn = Packet(SYN, 7, 1, 0, 0, 100, 0)
    far = UtpConnection.accept(syn, 200, Settings(), 0.0)
    far.packets_to_send(0.0)
    far.receive(Packet(DATA, 8, 2, 0, 50_000, 101, 199, b"", b"hi"), 1, 2, 0.1, keep=True)
    assert far.send(b"answer") == 6
    assert [burst.size for burst in far.packets_to_send(0.1)][0] == limits.UTP_HEADER_SIZE + 6


def test_a_sender_keeps_to_an_absurdly_small_window_and_a_huge_one() -> None:
    """One byte at a time, and no more than the format can tell apart."""
    for window, most in ((1, 1), (0xFFFFFFFF, limits.UTP_PACKETS_MAX * 2000)):
        cores = Cores().connect()
        cores.near.receive(Packet(STATE, 7, 1, 1, window, 200, 100), 1, 0, cores.now, keep=True)
        cores.near.send(bytes(100_000))
        out = sum(burst.size - 20 * burst.count for burst in cores.near.packets_to_send(cores.now))
        assert 0 < out <= most


@pytest.mark.parametrize(("window", "least", "most"), [(1, 9, 11), (300, 9, 11), (limits.WORTH_BYTES, 90, 101)])
def test_who_grants_a_few_bytes_at_a_time_gets_few_packets(window: int, least: int, most: int) -> None:
    """
    Each packet costs as much as a full one does, so a second's are counted, to one that acknowledges at once. They
    go on by a timer, and use all that there is room for.
    """
    near, step = Cores().connect().near, 0.01
    now, number, packets, size = 1000.0, 100, 0, 0
    near.receive(Packet(STATE, 7, 1, 1, window, 200, number), 1, 0, now, keep=True)
    near.send(bytes(100_000))
    while now < 1001.0:
        for burst in (bursts := near.packets_to_send(now)):
            packets += burst.count
            size += burst.size - limits.UTP_HEADER_SIZE * burst.count
            number += burst.count
            near.receive(Packet(STATE, 7, 1, 1, window, 200, number & 0xFFFF), 1, 0, now + step, keep=True)
        now = now + step if bursts else near.get_timer()
        near.handle_timer(now)
    assert least <= packets <= most and size == packets * window


# --- ends -------------------------------------------------------------------------------------------------------------


def test_each_direction_ends_by_itself() -> None:
    """Half-close: who has finished still receives."""
    cores = Cores().connect()
    cores.near.send(b"question")
    cores.near.finish()
    cores.run(2 * RTT)
    assert cores.ended == {"far": None}
    assert (cores.near.state, cores.there.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)
    assert cores.there.send(b"answer") == 6
    cores.run(2 * RTT)
    assert cores.got["near"] == b"answer"
    cores.there.finish()
    cores.run(2 * RTT)
    assert cores.ended == {"far": None, "near": None}
    cores.run(2 * limits.UTP_TIME_WAIT)
    assert cores.near.state is cores.there.state is State.CLOSED


def test_both_may_end_at_once() -> None:
    """CLOSING, as in TCP."""
    cores = Cores().connect()
    cores.near.finish()
    cores.there.finish()
    cores.run(RTT / 2)
    assert cores.near.state in (State.CLOSING, State.TIME_WAIT)
    cores.run(5.0)
    assert cores.ended == {"far": None, "near": None}
    assert cores.near.state is cores.there.state is State.CLOSED


def test_the_end_comes_after_all_data_whatever_is_lost() -> None:
    """The FIN overtakes lost packets, and waits for them."""
    rng = random.Random(5)
    cores = Cores(passes=lambda packet, size: rng.random() > 0.3).connect()
    cores.run(10)
    data = rng.randbytes(50_000)
    cores.near.send(data)
    cores.near.finish()
    cores.run(60.0)
    assert cores.got["far"] == data and cores.ended.get("far", "") is None


def test_a_fin_with_payload_is_understood() -> None:
    """Nobody is known to send one; BEP 29 does not forbid it."""
    cores = Cores().connect()
    cores.there.receive(Packet(FIN, 8, 5, 0, 1000, 101, 199, b"", b"bye"), 1, 3, cores.now, keep=True)
    assert [type(event).__name__ for event in cores.there.events_received()] == ["DataReceived", "Ended"]


def test_an_abort_resets_the_other_side() -> None:
    """ECONNRESET there; nothing is left here."""
    cores = Cores().connect()
    cores.near.send(bytes(100_000))
    cores.near.abort()
    cores.run(RTT)
    error = cores.ended["far"]
    assert error is not None and error.errno == errno.ECONNRESET
    assert cores.near.state is cores.there.state is State.CLOSED
    assert cores.near.sender.in_flight == cores.near.sender.queued == 0


def test_a_reset_after_both_ends_is_no_error() -> None:
    """Who has forgotten the connection answers the repeated FIN so."""
    cores = Cores().connect()
    cores.near.finish()
    cores.run(2 * RTT)
    cores.there.finish()
    cores.there.packets_to_send(cores.now)
    assert cores.there.state is State.LAST_ACK
    number = cores.there.sender.next - 1
    assert cores.there.receive(Packet(RESET, 8, 1, 0, 0, 5, number & 0xFFFF), 1, 0, cores.now, keep=True)
    assert cores.there.state is State.CLOSED and cores.there.error is None


def test_resets_are_believed_only_with_a_number_under_way() -> None:
    """Ids alone are 16 bits: they can be guessed."""
    cores = Cores().connect()
    cores.near.send(b"abc")
    cores.near.packets_to_send(cores.now)
    low, high = cores.near.sender.una - 1, cores.near.sender.next
    for ack in (low - 1, high + 1, low - 5000, high + 30_000):
        forged = Packet(RESET, 7, 1, 0, 0, 0, ack & 0xFFFF)
        assert not cores.near.receive(forged, 1, 0, cores.now, keep=True)
    assert cores.near.state is State.ESTABLISHED
    assert cores.near.receive(Packet(RESET, 8, 1, 0, 0, 0, low & 0xFFFF), 1, 0, cores.now, keep=True)
    assert cores.near.state is State.CLOSED


def test_an_idle_connection_keeps_its_way_open() -> None:
    """A packet every quarter of a minute, both ways; and it lives for ever."""
    cores = Cores().connect()
    cores.run(1.0)
    before = len(cores.of("near"))
    cores.run(20 * limits.UTP_KEEPALIVE)
    assert 19 <= len(cores.of("near")) - before <= 21
    assert cores.near.state is State.ESTABLISHED
    cores.send(b"still there")


# --- what must not be believed ----------------------------------------------------------------------------------------


def test_acknowledgements_of_what_was_never_sent_are_ignored() -> None:
    """The packet that bears one, too: it is of another connection."""
    cores = Cores().connect()
    near = cores.near
    near.send(b"abc")
    near.packets_to_send(cores.now)
    for ack in (near.sender.next, near.sender.next + 1000, near.sender.una - 3000):
        forged = Packet(DATA, 7, 1, 1, 0, 200, ack & 0xFFFF, b"\xff" * 252, b"forged")
        assert not near.receive(forged, 1, 6, cores.now, keep=True)
    assert not near.chunks and near.sender.outstanding


def test_selective_acknowledgements_beyond_what_was_sent_are_cut() -> None:
    """The bits of packets under way count; the others are nothing."""
    cores = Cores().connect()
    cores.near.send(bytes(5000))
    cores.near.packets_to_send(cores.now)
    ack = cores.near.sender.una - 1
    cores.near.receive(Packet(STATE, 7, 1, 1, 9999, 200, ack & 0xFFFF, b"\xff" * 255), 1, 0, cores.now, keep=True)
    assert cores.near.sender.in_flight >= 0
    cores.run(1.0)
    cores.near.send(b"on")
    cores.run(5.0)
    assert len(cores.got["far"]) == 5002


def test_who_takes_back_a_selective_acknowledgement_gets_the_packets_again() -> None:
    """It lied, or threw them away: after a timeout everything not acknowledged in order is sent again."""
    lying = [True]

    def passes(packet: Packet, size: int) -> bool:
        return not (lying[0] and packet.type is DATA and packet.sequence > 102)

    cores = Cores(passes=passes).connect()
    data = random.Random(4).randbytes(9_000)
    cores.near.send(data)
    cores.run(0.01)
    near = cores.near
    near.receive(Packet(STATE, 7, 1, 1, 99_999, 200, 102, b"\xff\xff\xff\x00"), 1, 0, cores.now, keep=True)
    lying[0] = False
    cores.run(10.0)
    assert cores.got["far"] == data


def test_duplicates_from_before_the_numbers_went_round_are_dropped() -> None:
    """A packet whose number fits, and whose timestamp is older than the stream of half a round ago."""
    cores = Cores().connect()
    cores.send(bytes(3000))
    old = cores.of("near", DATA)[-1]
    far = cores.there
    # The stream of 2^16 packets more, of which only the receiving end knows.
    before = far.receiver.next
    for number in range(before, before + (1 << 16), 1024):
        far._freshness.advanced(number, number + 1024, old.timestamp + number - before + 1 & 0xFFFFFFFF, cores.now)
    far.receiver.next = before + (1 << 16)
    ack = far.sender.next - 1 & 0xFFFF
    stale = old._replace(sequence=far.receiver.next & 0xFFFF, ack=ack)
    assert not far.receive(stale, 1, len(stale.payload), cores.now, keep=True)
    fresh = stale._replace(timestamp=old.timestamp + (1 << 17) & 0xFFFFFFFF)
    assert far.receive(fresh, 1, len(fresh.payload), cores.now, keep=True)
    assert far.receiver.next == before + (1 << 16) + 1


def test_what_is_kept_is_bounded() -> None:
    """Packets far ahead of a gap, and more bytes than the window allows, are thrown away."""
    cores = Cores(callee=Settings(window=10_000)).connect()
    far = cores.there
    ack = (far.sender.next - 1) & 0xFFFF
    for ahead in range(1, 5000, 3):
        number = far.receiver.next + ahead & 0xFFFF
        far.receive(Packet(DATA, 8, 1, 1, 1, number, ack, b"", bytes(1000)), 1, 1000, cores.now, keep=True)
    assert sum(map(len, far.receiver._early.values())) <= 10_000
    assert len(far.receiver.sack) <= limits.UTP_SACK_MAX


def test_what_waits_costs_little_more_than_its_size() -> None:
    """Single bytes, as many as may wait: they are kept in large pieces, and arrive in order."""
    cores = Cores().connect()
    queue = cores.near.sender
    cores.near.receive(Packet(STATE, 7, 1, 1, 0, 200, queue.next - 1 & 0xFFFF), 1, 0, cores.now, keep=True)
    data = random.Random(1).randbytes(limits.UTP_SEND_QUEUE)
    assert [cores.near.send(data[at : at + 1]) for at in range(len(data))] == [1] * len(data)
    assert cores.near.send(b"x") == 0
    assert len(queue._chunks) <= len(data) // 512
    cores.run(60.0)
    assert cores.got["far"] == data
