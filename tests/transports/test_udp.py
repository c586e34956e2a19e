"""A hub of datagrams: what it tells apart, what the kernel refuses it, and how it ends."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports import udp_offload
from crust.transports.blocking import BlockingStream
from crust.transports.contract import Connection
from crust.transports.icmp import IcmpError, hear_icmp, icmp_errors
from crust.transports.udp import UdpHub
from crust.transports.udp_offload import Offload
from crust.transports.udp_receive import ReceiveBuffer, UdpReceiver, run_length
from crust.transports.utp.burst import number_headers
from crust.transports.utp.packet import PacketType, build_header, parse_packet_untrusted
from crust.transports.utp.transport import UtpTransport
from tests.support.sockets import has_ipv6, loopback, reserved_port
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

linux = pytest.mark.skipif(not udp_offload.LINUX, reason="GSO and GRO are Linux'")


@contextlib.contextmanager
def connected(
    crew: Crew, utp: UtpTransport, family: int = 4, count: int = 1
) -> Iterator[list[tuple[BlockingStream, BlockingStream]]]:
    """Pairs of connected streams over two hubs."""
    listener = utp.listen(Endpoint("utp", loopback(family), 0))
    accepted: list[Connection] = []
    crew.spawn("crust-listener", listener.run, accepted.append)
    pairs = []
    for number in range(count):
        near = utp.dial(listener.endpoint, 5.0)
        wait_until(lambda number=number: len(accepted) > number, what="accepting")
        pairs.append((BlockingStream(near, crew.spawn), BlockingStream(accepted[number], crew.spawn)))
    listener.close()
    yield pairs
    for pair in pairs:
        for stream in pair:
            stream.abort()
            assert stream.wait_lost(5.0)


def hub_of(stream: BlockingStream) -> UdpHub:
    return stream.connection._hub  # type: ignore[attr-defined]


def move(near: BlockingStream, far: BlockingStream, size: int, seed: int = 1) -> None:
    data = random.Random(seed).randbytes(size)
    job = Background(near.sendall, data, 20.0)
    assert far.recv_exactly(size, 20.0) == data
    job.result()


# --- the kernel's help ------------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("gro", [True, False])
@pytest.mark.parametrize("gso", [True, False])
def test_bytes_arrive_whatever_the_kernel_can(
    crew: Crew, utp: UtpTransport, monkeypatch: pytest.MonkeyPatch, gso: bool, gro: bool
) -> None:
    """With and without GSO and GRO, in datagrams of Ethernet's size, several connections mixed."""
    monkeypatch.setattr(limits, "UTP_DATAGRAM_MAX", 1472)
    takes = udp_offload._takes

    def some(sock: socket.socket, level: int, option: int, value: int) -> bool:
        refused = (option == udp_offload._UDP_SEGMENT and not gso) or (option == udp_offload._UDP_GRO and not gro)
        return not (level == udp_offload._SOL_UDP and refused) and takes(sock, level, option, value)

    monkeypatch.setattr(udp_offload, "_takes", some)
    with connected(crew, utp, count=3) as pairs:
        assert (hub_of(pairs[0][0]).offload.gso, hub_of(pairs[0][0]).offload.gro) == (gso, gro)
        jobs = [Background(move, near, far, 1_000_003, seed) for seed, (near, far) in enumerate(pairs)]
        jobs += [Background(move, far, near, 500_009, seed + 9) for seed, (near, far) in enumerate(pairs)]
        for job in jobs:
            job.result(60.0)
        # What waits at its socket is strangers' as far as what it has read is.
        assert hub_of(pairs[0][1])._sieve.heard > 3 * 1_000_003


@linux
def test_senders_that_come_between_each_other_lose_nothing(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read behind one sender's datagrams, and is another's, is not taken for the first one's."""
    monkeypatch.setattr(limits, "UTP_DATAGRAM_MAX", 1472)
    takes = udp_offload._takes
    monkeypatch.setattr(
        udp_offload, "_takes", lambda sock, level, *rest: level != udp_offload._SOL_UDP and takes(sock, level, *rest)
    )
    there = UtpTransport(crew.io, crew.spawn, crew.crashed)
    listener = there.listen(Endpoint("utp", "127.0.0.1", 0))
    accepted: list[Connection] = []
    crew.spawn("crust-listener", listener.run, accepted.append)
    pairs = []
    for number in range(4):  # each from a socket of its own
        near = UtpTransport(crew.io, crew.spawn, crew.crashed).dial(listener.endpoint, 5.0)
        wait_until(lambda number=number: len(accepted) > number, what="accepting")
        pairs.append((BlockingStream(near, crew.spawn), BlockingStream(accepted[number], crew.spawn)))
    spared: list[int] = []
    read = UdpReceiver.read

    def watched(self: UdpReceiver) -> Any:
        found = read(self)
        if self.spare is not None:
            spared.append(len(self.spare[0]))
        return found

    monkeypatch.setattr(UdpReceiver, "read", watched)
    jobs = [Background(move, near, far, 1_500_000, seed) for seed, (near, far) in enumerate(pairs)]
    for job in jobs:
        job.result(60.0)
    assert spared
    for near, far in pairs:
        near.abort()
        far.abort()
    listener.close()


@linux
def test_answers_come_from_the_address_that_was_called(crew: Crew, utp: UtpTransport) -> None:
    """A machine of several addresses, and a socket for all of them: else the caller would not know who answers."""
    listener = utp.listen(Endpoint("utp", "0.0.0.0", 0))
    accepted: list[Connection] = []
    crew.spawn("crust-listener", listener.run, accepted.append)
    caller = UtpTransport(crew.io, crew.spawn, crew.crashed)
    near = caller.dial(Endpoint("utp", "127.0.0.2", listener.endpoint.port), 5.0)
    wait_until(lambda: accepted, what="accepting")
    assert accepted[0].local == near.remote == Endpoint("utp", "127.0.0.2", listener.endpoint.port)
    streams = BlockingStream(near, crew.spawn), BlockingStream(accepted[0], crew.spawn)
    move(*streams, 100_000)
    move(*reversed(streams), 100_000)
    for stream in streams:
        stream.abort()
    listener.close()


@linux
@pytest.mark.parametrize("number", [errno.EIO, errno.EMSGSIZE, errno.EINVAL])
def test_refused_segmentation_never_reaches_the_user(
    crew: Crew, utp: UtpTransport, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some network cards and tunnels refuse it for what passes through them: plain datagrams for that destination."""
    monkeypatch.setattr(limits, "UTP_DATAGRAM_MAX", 1472)
    refused = []
    ancillary = Offload.ancillary

    def refuse(self: Offload, segment: int, source: Any) -> Any:
        if segment:
            refused.append(segment)
            raise OSError(number, "refused")
        return ancillary(self, segment, source)

    monkeypatch.setattr(Offload, "ancillary", refuse)
    with connected(crew, utp) as [(near, far)]:
        move(near, far, 2_000_000)
        assert len(refused) == 1
        assert near.connection.core.mtu.size == 1472  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", [4, pytest.param(6, marks=pytest.mark.skipif(not has_ipv6(), reason="no ::1"))])
def test_the_path_mtu_grows_to_the_interfaces(crew: Crew, utp: UtpTransport, family: int) -> None:
    """Loopback's, where both say that they take it; and the stream goes on meanwhile."""
    with connected(crew, utp, family) as [(near, far)]:
        move(near, far, 4_000_000)
        assert near.connection.core.mtu.size > 60_000  # type: ignore[attr-defined]


@linux
def test_a_datagram_that_the_interface_refuses_is_sent_smaller(
    crew: Crew, utp: UtpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMSGSIZE counts as a lost probe: at once, and nothing else is lost."""
    unfragmented = Offload.unfragmented
    tried = []

    @contextlib.contextmanager
    def too_large(self: Offload) -> Iterator[None]:
        tried.append(1)
        raise OSError(errno.EMSGSIZE, "Message too long")
        yield

    monkeypatch.setattr(Offload, "unfragmented", too_large)
    with connected(crew, utp) as [(near, far)]:
        move(near, far, 1_000_000)
        assert tried and near.connection.core.mtu.size == limits.UTP_MTU_BASE  # type: ignore[attr-defined]
    monkeypatch.setattr(Offload, "unfragmented", unfragmented)


@linux
def test_large_buffers_are_asked_for_and_told(crew: Crew, utp: UtpTransport, caplog: pytest.LogCaptureFixture) -> None:
    """The granted sizes are in the log, and the windows follow them."""
    with caplog.at_level("DEBUG", logger="crust.transports.utp"), connected(crew, utp) as [(near, _)]:
        granted = hub_of(near).offload.receive_size
        assert granted >= 200_000
        window = near.connection.core._settings.window  # type: ignore[attr-defined]
        assert limits.UTP_RECEIVE_WINDOW_MIN <= window <= max(granted, limits.UTP_RECEIVE_WINDOW_MIN)
    assert str(granted) in caplog.text


def test_the_windows_follow_the_sockets_buffer(crew: Crew, utp: UtpTransport) -> None:
    """Few connections have it for themselves; of many each gets a share, but never nothing."""
    with connected(crew, utp) as [(near, _)]:
        hub = hub_of(near)
        windows = []
        for population in (1, 16, 100, 10_000):
            hub._members.update({(("192.0.2.1", 1), -number): near.connection for number in range(population)})  # type: ignore[misc]
            windows.append(utp.settings(hub, ("192.0.2.1", 1), 1472).window)
        for key in [key for key in hub._members if key[1] < 0]:
            del hub._members[key]
    assert windows == sorted(windows, reverse=True)
    alone = max(limits.UTP_RECEIVE_WINDOW_MIN, hub.offload.receive_size // 2)
    assert windows[0] == min(limits.UTP_RECEIVE_WINDOW, alone)
    assert windows[-1] == limits.UTP_RECEIVE_WINDOW_MIN


def shares(crew: Crew, utp: UtpTransport) -> tuple[int, float]:
    """Thirty connections of one socket send as much each: what the last has sent when the first is done; the mean."""
    size, count = 400_000, 30
    with connected(crew, utp, count=count) as pairs:
        begin = threading.Barrier(count)

        def send(near: BlockingStream) -> None:
            begin.wait(10)
            near.sendall(bytes(size), 30.0)

        jobs = [Background(send, near) for near, _ in pairs]
        wait_until(lambda: max(far._size for _, far in pairs) >= size, 20.0, "the end of the first")
        arrived = [far._size for _, far in pairs]
        for job, (_, far) in zip(jobs, pairs, strict=True):
            job.result(20.0)
            far.recv_exactly(size, 20.0)
    return min(arrived), sum(arrived) / count


def test_many_connections_of_a_socket_share_it(crew: Crew, utp: UtpTransport) -> None:
    """
    When the first of thirty has sent all, the last has sent a quarter of the mean at least: in one of a few rounds,
    since the system's scheduler may leave out one of thirty threads on a busy machine, but hardly each time.
    """
    assert any(last >= mean / 4 for last, mean in (shares(crew, utp) for _ in range(5)))


def test_without_scattered_receiving_plain_datagrams_do(
    crew: Crew, utp: UtpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(UdpHub, "_read_all", lambda hub, receiver: hub._read_simply(memoryview(bytearray(65536))))
    with connected(crew, utp) as [(near, far)]:
        if hub_of(near).offload.gro:
            for stream in (near, far):
                hub = hub_of(stream)
                hub._sock.setsockopt(udp_offload._SOL_UDP, udp_offload._UDP_GRO, 0)
        move(near, far, 300_000)


# --- receiving several at once ----------------------------------------------------------------------------------------


def headers(*packets: tuple[int, int, int]) -> bytearray:
    """Headers of (type, id, number)."""
    return bytearray(b"".join(build_header(PacketType(kind), i, 5, 6, 7, n, 9) for kind, i, n in packets))


def test_a_run_ends_where_anything_but_the_number_differs() -> None:
    """Numbers that leave a gap or go back, other connections, other kinds: each begins a new run."""
    data = [(0, 5, number) for number in range(65530, 65536)] + [(0, 5, number) for number in range(4)]
    assert run_length(headers(*data), 0, 10) == 10
    assert run_length(headers(*data), 4, 10) == 6
    assert run_length(headers(*data[:3], (0, 5, 9)), 0, 4) == 3
    assert run_length(headers(*data[:3], (0, 6, 65533)), 0, 4) == 3
    assert run_length(headers((0, 5, 1), (2, 5, 2)), 0, 2) == 1
    assert run_length(headers((2, 5, 1), (2, 5, 1)), 0, 2) == 1


def test_numbered_headers_are_those_built_one_by_one() -> None:
    """Across every multiple of 256, and of 65,536."""
    for first in (0, 200, 255, 256, 65_500, 65_535):
        header = build_header(PacketType.DATA, 77, 1, 2, 3, first, 4)
        for count in (2, 40, 64):
            built = number_headers(header, first, count)
            each = [parse_packet_untrusted(bytes(built[at : at + 20])).sequence for at in range(0, 20 * count, 20)]
            assert each == [(first + index) & 0xFFFF for index in range(count)]


def test_a_wrong_guess_of_the_size_loses_nothing() -> None:
    """What did not come apart where it should is put together again."""
    for size, total in ((100, 120), (1180, 1200), (1180, 5000), (3000, 20)):
        buffer = ReceiveBuffer()
        buffer.expect(size)
        data = random.Random(total).randbytes(total)
        at = 0
        for part in buffer.first(True):
            piece = data[at : at + len(part)]
            part[: len(piece)] = piece
            at += len(piece)
        assert buffer.joined(total) == data
        assert buffer.fits(total, 0) == (total <= size + 20)
        assert buffer.fits(10 * (size + 20), size + 20)
        assert not buffer.fits(10 * (size + 21), size + 21)
        buffer.first(False)
        assert not buffer.fits(2 * (size + 20), size + 20)


def test_tiny_datagrams_do_not_make_huge_lists() -> None:
    """A call takes 1,024 parts at most; more datagrams than there are places for are put together again."""
    for size in (1, 2, 20, 500, 65_000):
        buffer = ReceiveBuffer()
        buffer.expect(size)
        assert len(buffer.first(True)) <= 1024
        room = (len(buffer.first(True)) - 1) // 2
        assert buffer.fits(room * (size + 20), size + 20)
        assert not buffer.fits((room + 1) * (size + 20), size + 20)


def test_sizes_that_change_all_the_time_cost_little() -> None:
    """Making room for another size costs as much as many reads, and strangers choose the sizes."""
    buffer = ReceiveBuffer()
    made = []
    for read in range(1000):
        buffer.expect(100 + 700 * (read % 2))
        if not made or buffer.payload is not made[-1]:
            made.append(buffer.payload)
    assert 0 < len(made) <= 1000 // 16 + 1
    for _ in range(40):  # a new one that stays
        buffer.expect(1400)
    assert buffer.size == 1400


# --- telling apart ----------------------------------------------------------------------------------------------------


@pytest.fixture
def plain() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5.0)
        yield sock


@pytest.fixture
def hub(utp: UtpTransport) -> Iterator[UdpHub]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    hub = utp.read(utp.adopt(sock))
    yield hub
    hub.release()


def test_strangers_packets_are_reset_and_named(hub: UdpHub, plain: socket.socket) -> None:
    """With the id and the number of what came; a SYN where nobody listens, too; never a RESET for a RESET."""
    for kind in (PacketType.DATA, PacketType.STATE, PacketType.FIN, PacketType.SYN):
        plain.sendto(build_header(kind, 700, 1, 2, 3, 4, 5), hub.name)
        packet = parse_packet_untrusted(plain.recv(2000))
        assert (packet.type, packet.connection_id, packet.ack) == (PacketType.RESET, 700, 4)
    plain.sendto(build_header(PacketType.RESET, 700, 1, 2, 3, 4, 5), hub.name)
    plain.sendto(b"no packet at all", hub.name)
    plain.sendto(b"", hub.name)
    plain.sendto(build_header(PacketType.DATA, 701, 1, 2, 3, 4, 5), hub.name)
    assert parse_packet_untrusted(plain.recv(2000)).connection_id == 701


def test_resets_are_few(hub: UdpHub, plain: socket.socket) -> None:
    """However many packets come, so many a second go out."""
    for number in range(1000):
        plain.sendto(build_header(PacketType.DATA, number, 1, 2, 3, 4, 5), hub.name)
    wait_until(lambda: hub.strays >= 200, what="the packets")
    plain.settimeout(0.05)
    answers = 0
    with contextlib.suppress(TimeoutError):
        while True:
            plain.recv(100)
            answers += 1
    assert 1 <= answers <= 2 * limits.UTP_RESETS_PER_SECOND


def test_a_punched_socket_answers_no_stranger(hub: UdpHub, plain: socket.socket) -> None:
    """Neither a SYN from the side that is dialled nor anything else."""
    hub.silent = True
    for kind in PacketType:
        plain.sendto(build_header(kind, 700, 1, 2, 3, 4, 5), hub.name)
    wait_until(lambda: hub.strays == len(PacketType), what="the strangers")
    hub.probes = lambda data, address, now: bool(plain.sendto(b"heard", address))
    plain.sendto(b"last", hub.name)
    assert plain.recv(100) == b"heard"


def test_stun_comes_first_and_probes_before_strangers(hub: UdpHub, plain: socket.socket) -> None:
    """A STUN success response begins like a µTP packet: who asked for it is asked first."""
    seen: list[tuple[str, bytes]] = []

    def stun(heard_by: UdpHub, data: memoryview, address: object, source: object, now: float) -> bool:
        assert heard_by is hub
        seen.append(("stun", bytes(data)))
        return data[4:8] == b"\x21\x12\xa4\x42"

    hub.stun = stun
    hub.probes = lambda data, address, now: not seen.append(("probe", bytes(data)))
    response = b"\x01\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    plain.sendto(response, hub.name)
    wait_until(lambda: seen, what="STUN")
    plain.sendto(b"\x90sealed", hub.name)
    wait_until(lambda: len(seen) == 2, what="the probe")
    assert seen == [("stun", response), ("probe", b"\x90sealed")]
    assert hub.strays == 0


def test_an_adopted_socket_carries_connections(crew: Crew, utp: UtpTransport, hub: UdpHub) -> None:
    """One side dials over a socket that it was given; the other answers with its listener."""
    listener = utp.listen(Endpoint("utp", "127.0.0.1", 0))
    accepted: list[Connection] = []
    crew.spawn("crust-listener", listener.run, accepted.append)
    opened: list[object] = []
    assert hub.hold()
    address = ("127.0.0.1", listener.endpoint.port)
    near = utp.connect(hub, address, udp_offload.route(socket.AF_INET, address), opened.append)
    wait_until(lambda: opened and accepted, what="the connection")
    assert near.local.port == hub.port == accepted[0].remote.port
    near.abort()
    accepted[0].abort()
    listener.close()


# --- the network's word -----------------------------------------------------------------------------------------------


@linux
def test_a_port_that_nobody_has_refuses_at_once(utp: UtpTransport, plain: socket.socket) -> None:
    """ICMP says so; no timeout is needed."""
    port = plain.getsockname()[1]
    plain.close()
    with pytest.raises(ConnectionRefusedError) as caught:
        utp.dial(Endpoint("utp", "127.0.0.1", port), 5.0)
    assert str(port) in str(caught.value)


@linux
def test_icmp_does_not_end_what_lives(crew: Crew, utp: UtpTransport) -> None:
    """A refusal that comes while a connection stands is not about it, or not for long."""
    with connected(crew, utp) as [(near, far)]:
        stream = near.connection
        stream.refused(errno.ECONNREFUSED, 0, crew.io.now())  # type: ignore[attr-defined]
        stream.refused(errno.EHOSTUNREACH, 0, crew.io.now())  # type: ignore[attr-defined]
        stream.refused(errno.EMSGSIZE, 100, crew.io.now())  # type: ignore[attr-defined]
        move(near, far, 100_000)
        move(far, near, 100_000)


def test_an_unreachable_address_is_an_error_at_once(utp: UtpTransport) -> None:
    """What the kernel refuses to send fails the dial, with its reason."""
    with pytest.raises(OSError) as caught:
        utp.dial(Endpoint("utp", "255.255.255.255", 9), 5.0)
    assert caught.value.errno in (errno.EACCES, errno.EPERM, errno.ENETUNREACH, errno.EINVAL)


class Clumsy:
    """A member that fails whenever it is told something."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def refused(self, number: int, mtu: int, now: float) -> None:
        self.told.append((number, mtu))
        raise RuntimeError("bug in a connection")

    def sendable(self) -> None:
        self.told.append((0, 0))
        raise RuntimeError("bug in a connection")


def test_a_member_that_fails_harms_no_other(
    crew: Crew, hub: UdpHub, plain: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All hear what ICMP says of their address, once however often it says so, and of room in the socket."""
    members = [Clumsy(), Clumsy(), Clumsy()]
    here, elsewhere = ("127.0.0.1", 5), ("127.0.0.1", 6)
    for receive_id, (address, member) in enumerate(zip((here, here, elsewhere), members, strict=True)):
        assert hub.add(address, receive_id, member)  # type: ignore[arg-type]
    errors = [IcmpError(here, errno.ECONNREFUSED, 700), IcmpError(here, errno.EMSGSIZE, 1300)] * 3
    monkeypatch.setattr(hub.offload, "icmp_errors", lambda: errors)
    hub._hear_errors(crew.io.now())
    assert [member.told for member in members] == [[(errno.ECONNREFUSED, 0), (errno.EMSGSIZE, 1300)]] * 2 + [[]]
    for member in members:
        hub.await_room(member)  # type: ignore[arg-type]
    wait_until(lambda: all((0, 0) in member.told for member in members), what="room")
    wait_until(lambda: len(crew.crashes) == 7, what="the reports")
    crew.crashes.clear()
    plain.sendto(build_header(PacketType.DATA, 700, 1, 2, 3, 4, 5), hub.name)
    assert parse_packet_untrusted(plain.recv(2000)).type is PacketType.RESET  # the reader lives


def test_a_flood_of_icmp_is_not_heard_for_a_while(
    crew: Crew, hub: UdpHub, plain: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can feign it: neither does what waits of it take the place of what peers send. Then all is as before."""
    if not hub.offload.errors:
        pytest.skip("this system tells nothing of ICMP")
    monkeypatch.setattr(limits, "ICMP_DEAF_SECONDS", 0.2)
    told: list[tuple[str, str, int]] = []
    hub.on_limit = lambda *limit: told.append(limit)
    feigned = [IcmpError(("127.0.0.1", 5), errno.ECONNREFUSED, 0)] * 60
    with monkeypatch.context() as flood:
        flood.setattr(hub.offload, "icmp_errors", lambda: feigned)
        for _ in range(10):
            hub._hear_errors(1000.0)
    assert told == [("ICMP_HEARD_PER_SECOND", "", 1)]
    wait_until(lambda: hub.offload.errors, what="hearing again")
    hub._hear_errors(1010.0)
    assert len(told) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell nothing of ICMP")
def test_what_waits_of_icmp_is_gone_where_it_is_not_heard() -> None:
    """Neither is it read, nor raised by the next call."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5.0)
        assert hear_icmp(sock)
        plain: Any = getattr(sock, "_sock", sock)
        nobody = ("127.0.0.1", reserved_port())
        for wanted in (False, True):
            sock.sendto(b"x", nobody)  # loopback answers before this returns
            assert hear_icmp(sock, wanted) is wanted
            if wanted:
                sock.sendto(b"x", nobody)
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(10)
                assert len(icmp_errors(plain)) == 1
            else:
                assert icmp_errors(plain) == []
                sock.sendto(b"x", sock.getsockname())
                assert sock.recv(10) == b"x"


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_hub_lives_as_long_as_somebody_holds_it(crew: Crew, utp: UtpTransport) -> None:
    """The listener, then its connections; after the last one the thread ends and the port is free."""
    with connected(crew, utp) as [(near, far)]:
        hub = hub_of(far)
        assert not hub.closed
        move(near, far, 1000)
    wait_until(lambda: hub.closed, what="the hub's end")
    wait_until(lambda: not [name for name in crew.threads.alive() if "crust-udp" in name], what="its reader's end")


def test_a_node_of_many_idle_connections_has_one_thread(crew: Crew, utp: UtpTransport) -> None:
    """However many there are."""
    with connected(crew, utp, count=20):
        readers = [name for name in crew.threads.alive() if name.startswith("crust-udp")]
        assert len(readers) == 2  # the listener's socket and the one for dials
