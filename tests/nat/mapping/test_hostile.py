"""Routers with bad firmware, and neighbours that mean ill: what they say is bounded in what it makes a node do."""

from __future__ import annotations

import contextlib
import errno
import itertools
import pathlib
import random
import selectors
import socket
import time
from collections.abc import Callable

import pytest

from crust import limits
from crust.nat.mapping import natpmp, pcp
from crust.nat.mapping.gateway import Gateway
from crust.nat.mapping.igd import IgdInfo
from crust.nat.mapping.igd_way import IgdWay, Job
from crust.nat.mapping.journal import Entry, Journal
from crust.nat.mapping.keeper import Keeper, Settings
from crust.nat.mapping.line import Line
from crust.nat.mapping.mapper import Leftover
from crust.nat.mapping.natpmp_way import NatPmpWay
from crust.nat.mapping.offers import ask_gateway
from crust.nat.mapping.ways import Ask, Outcome, Removed, Wanted, Way, WayState
from crust.runtime.native import native_workers
from tests.nat.mapping.conftest import TCP as REAL_TCP
from tests.nat.mapping.conftest import MakeKept
from tests.nat.mapping.fake import FakeRouter
from tests.nat.mapping.router import Router
from tests.nat.mapping.simulated import GATEWAY, TCP, UDP, Bench
from tests.nat.mapping.test_mapper import only
from tests.support.bitten import Bitten
from tests.support.waiting import busy, wait_until

INFO = IgdInfo("20.0.1.1", True, 0)


@pytest.mark.parametrize("protocol", ["pcp", "natpmp"])
def test_an_age_that_jumps_with_each_answer(protocol: str) -> None:
    """Its word that it has lost its table is believed now and then: two listeners do not ask in turns without end."""

    class Jumping(Router):
        ages = itertools.cycle([90_000, 10])

        def answer(self, data: bytes, now: float) -> list[bytes]:
            self.booted = now - next(self.ages)
            return super().answer(data, now)

    router = Jumping()
    router.pcp, router.natpmp, router.igd = protocol == "pcp", protocol == "natpmp", False
    bench = Bench(router)
    bench.want(TCP, UDP)
    bench.run(600.0)
    assert len(bench.changes) == 2
    assert len([each for each in router.asked if " map " in each]) < 2 + 2 * 600 / limits.MAPPING_RESTART


@pytest.mark.parametrize("protocol", ["pcp", "natpmp"])
@pytest.mark.parametrize("lie", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"])
def test_an_outer_address_that_is_none(protocol: str, lie: str) -> None:
    """It is left empty, as with UPnP; and a true one from before stays."""
    bench = Bench(only(protocol))
    bench.router.external_ip = lie
    bench.want(TCP)
    bench.run(1.0)
    assert bench.held()[TCP] == ("", 4711, protocol)


def test_an_outer_address_of_ipv6_for_ipv4() -> None:
    """PCP has room for it; a port of IPv4 has none."""
    bench = Bench(only("pcp"))
    bench.router.external_ip = "2001:4860::1"
    bench.want(TCP)
    assert bench.held()[TCP][0] == ""


def test_a_connection_that_is_lost_for_a_while() -> None:
    """NAT-PMP says 0.0.0.0 then: the address is not told anew."""
    bench = Bench(only("natpmp"))
    bench.want(TCP)
    bench.router.external_ip = "0.0.0.0"
    bench.run(200.0)
    assert len(bench.changes) == 1 and bench.held()[TCP][0] == "20.0.1.1"


@pytest.mark.parametrize("protocol", ["pcp", "natpmp"])
@pytest.mark.parametrize("life", [1, 4])
def test_lifetimes_of_a_moment(protocol: str, life: int) -> None:
    """What ends before it may be renewed would come and go all the time: it is refused, and told once."""
    bench = Bench(only(protocol))
    bench.router.life_max = life
    bench.want(TCP)
    bench.run(600.0)
    assert bench.held() == {} and len(bench.changes) == 1
    assert f"for {life} s only" in bench.failures()[0]
    assert len([each for each in bench.router.asked if " map " in each]) < 10


def test_a_router_without_natpmp_answers_its_question_in_pcp() -> None:
    """Version 2, "unsupported version" (RFC 6887 section 9): that is no word about PCP."""

    class PcpAlone(Router):
        def answer(self, data: bytes, now: float) -> list[bytes]:
            if data[:1] == b"\0":
                return [pcp.build_pcp(pcp.AnnounceResponse(pcp.Result.UNSUPP_VERSION, 0))]
            return super().answer(data, now)

    router = PcpAlone()
    router.igd = False
    bench = Bench(router)
    bench.want(TCP)
    bench.run(1.0)
    assert bench.held()[TCP][2] == "pcp"


@pytest.mark.parametrize("protocol", ["pcp", "natpmp", "igd"])
def test_a_port_that_is_wanted_again_while_it_is_being_closed(protocol: str) -> None:
    """The answer to the closing is lost: the port is open in the end, and no closing is waited for without end."""
    bench = Bench(only(protocol))
    bench.want(TCP)
    bench.run(1.0)
    bench.lossy = lambda data: True
    bench.want()
    bench.want(TCP)
    bench.lossy = lambda data: False
    bench.run(10.0)
    assert len(bench.held()) == 1 and len(bench.router.table) == 1
    bench.close()
    assert bench.mapper.closed and bench.router.table == {} and bench.mapper.in_table() == []


def test_two_crashes_left_the_same_port() -> None:
    """Each by a nonce of its own: no closing is waited for without end."""
    bench = Bench(only("pcp"))
    left = [Ask(TCP, 4711, 3600, bytes([n]) * 12) for n in range(3)]
    bench.mapper.sweep(Leftover(GATEWAY.address, GATEWAY.local, "pcp", each) for each in left)
    bench.want(UDP)
    bench.run(2.0)
    bench.close()
    assert bench.mapper.closed


def test_a_list_with_a_low_port_goes_on_by_upnp() -> None:
    """By another port: ours from before is one that UPnP is never asked for."""
    bench = Bench(only("igd"))
    bench.mapper.sweep([Leftover(GATEWAY.address, GATEWAY.local, "igd", Ask(TCP, 80, 3600))])
    bench.want(TCP)
    bench.run(2.0)
    assert bench.held()[TCP][1] >= limits.MAPPING_PORTS[0]


def test_each_listener_fails_for_itself() -> None:
    """One that is refused by all does not keep the other, whose packet was lost, from the next protocol."""

    class UdpAlone(Router):
        def answer(self, data: bytes, now: float) -> list[bytes]:
            if data[:2] == b"\0\2":
                return [natpmp.build_natpmp(natpmp.Error(natpmp.MAP_TCP, 4, 0))]
            return super().answer(data, now)

    router = UdpAlone()
    router.pcp_result = 2
    bench = Bench(router, ["pcp", "natpmp"])
    bench.lossy = lambda data: data[:2] == b"\2\1" and data[36] == 17 and bench.now < 1000.1
    bench.want(TCP, UDP)
    bench.run(2.0)
    assert set(bench.held()) == {UDP} and len(bench.failures()) == 1
    router = only("natpmp")
    router.natpmp_result = 2
    bench = Bench(router)
    bench.want(TCP, UDP)
    bench.run(5.0)
    assert len(bench.failures()) == 2, "each of them is told"


# --- who answers the search -------------------------------------------------------------------------------------------


def found(url: str, target: str = "upnp:rootdevice") -> bytes:
    return f"HTTP/1.1 200 OK\r\nST: {target}\r\nLOCATION: {url}\r\n\r\n".encode()


IGD = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"


def jobs(way: IgdWay, now: float) -> list[Job]:
    """All calls that it wants to make, each answered with an error but the router's."""
    made = []
    while (job := way.next_job(now)) is not None:
        made.append(job)
        way.job_done(job, INFO if "192.168.1.1:" in job.url else RuntimeError(), now)
    return made


def test_a_house_full_of_devices() -> None:
    """Televisions answer before the router does: they are not even looked at, and it has its place."""
    way = IgdWay(GATEWAY.address)
    way.probe(0.0)
    for n in range(20):
        way.receive_answer(found(f"http://192.168.1.{n + 20}:80/d.xml"), f"192.168.1.{n + 20}", 0.1)
    way.handle_timer(limits.SSDP_PATIENCE)
    way.receive_answer(found("http://192.168.1.1:5000/d.xml", IGD), GATEWAY.address, limits.SSDP_PATIENCE)
    assert [job.url for job in jobs(way, 1.5)] == ["http://192.168.1.1:5000/d.xml"]
    assert way.state is WayState.READY


def test_neighbours_that_say_they_are_routers() -> None:
    """They are some, and bounded; our own one comes first if it answers in the time that it has been given."""
    way = IgdWay(GATEWAY.address)
    way.probe(0.0)
    for n in range(50):
        way.receive_answer(found(f"http://192.168.1.66:{n + 1}/d.xml", IGD), "192.168.1.66", 0.1)
    way.receive_answer(found("http://192.168.1.1:5000/d.xml"), GATEWAY.address, 1.1)
    way.handle_timer(limits.SSDP_PATIENCE)
    assert len(way._routers) == limits.IGD_ROUTERS_MAX + 1
    assert [job.url for job in jobs(way, limits.SSDP_PATIENCE)] == ["http://192.168.1.1:5000/d.xml"]


class Endless:
    """What a fake router says in place of its description: a beginning, and then pieces without end."""

    def __init__(self, begin: bytes, piece: bytes, pause: float = 0.0) -> None:
        self.begin, self.piece, self.pause = begin, piece, pause
        self.sent: list[int] = []  # bytes, by connection
        self.ended = 0

    def serve(self, connection: socket.socket) -> None:
        mine = len(self.sent)
        self.sent.append(0)
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
            connection.sendall(self.begin)
            while True:
                self.sent[mine] += connection.send(self.piece)
                time.sleep(self.pause)
        self.ended += 1


OK = b"HTTP/1.1 200 OK\r\n"
LONG, ENDLESS = "its answer is too long", "its answer does not come to an end"


@pytest.mark.parametrize(
    ("begin", "piece", "pause", "reason"),
    [
        (OK + b"\r\n", b"a" * 65536, 0.0, LONG),
        (OK + b"Content-Length: 2000000000\r\n\r\n", b"a" * 65536, 0.0, LONG),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n7fffff00\r\n", b"a" * 65536, 0.0, LONG),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 8000, 0.0, LONG),
        (OK, b"X-A: b\r\n" * 8000, 0.0, LONG),
        (b"", b"a" * 65536, 0.0, LONG),
        (OK + b"\r\n", b"a", 0.02, ENDLESS),
        (OK, b"X", 0.02, ENDLESS),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 0.02, ENDLESS),
        (OK + b"\r\n", b"a", 0.0005, ENDLESS),  # 2,000 packets a second
    ],
    ids=["body", "length", "chunk", "chunks", "head", "line", "drip", "drip of head", "drip of chunks", "drizzle"],
)
def test_http_without_end(
    fake: FakeRouter,
    keep: MakeKept,
    monkeypatch: pytest.MonkeyPatch,
    begin: bytes,
    piece: bytes,
    pause: float,
    reason: str,
) -> None:
    """It is told, so much is read of it and no more, for so long and no longer, and nothing is left."""
    if reason is ENDLESS:
        monkeypatch.setattr(limits, "IGD_ANSWER_TIME", 0.5)
    monkeypatch.setattr(limits, "SSDP_WAIT", 0.1)
    endless = Endless(begin, piece, pause)
    monkeypatch.setattr(fake, "_serve_one", endless.serve)
    kept = keep(("igd",))
    kept.want(REAL_TCP)
    assert f"UPnP: {reason}" in kept.wait_failure()
    assert time.monotonic() - kept.began < (0.5 if reason is ENDLESS else 0.0) + 2.0 * busy()
    wait_until(lambda: endless.ended == len(endless.sent) > 0, what="the end of the connections")
    room = 2 * limits.IGD_ANSWER_MAX  # what the system takes on our behalf, and on the router's
    assert max(endless.sent) <= limits.IGD_ANSWER_MAX + room + len(piece)
    assert len(native_workers()) == 1
    kept.close()
    wait_until(lambda: native_workers() == [], what="the end of the thread")


def test_ever_new_descriptions(fake: FakeRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router whose leases are over before they are renewed has it searched every few seconds, and may be another one
    each time: the last ones are kept, and the one that is asked."""
    settings = Settings(("igd",), 3600, "crust test", None)
    line = Line(fake.gateway, settings, time.monotonic, random.Random(1))
    told: list[object] = []
    monkeypatch.setattr(line.mapper, "job_done", lambda job, result, now: told.append(result))
    with selectors.DefaultSelector() as selector:
        line.register(selector)

        def call(what: str, url: str) -> object:
            before = len(told)
            line._call(Job(what, url), time.monotonic())
            while len(told) == before:
                for key, _ in selector.select(5.0):
                    key.data()
            return told[-1]

        try:
            for n in range(2 * limits.IGD_ROUTERS_KEPT):
                assert isinstance(call("open", f"{fake.url}?{n}"), IgdInfo)
                if n % 8 == 7:
                    assert isinstance(call("status", f"{fake.url}?0"), IgdInfo), "its control is known"
            assert len(line._routers) == limits.IGD_ROUTERS_KEPT
        finally:
            line.close(selector)


def test_the_end_of_a_call_that_hangs(fake: FakeRouter, keep: MakeKept) -> None:
    """close() ends it, though the library would wait for five seconds."""
    fake.hangs = True
    kept = keep(("igd",))
    kept.want(REAL_TCP)
    wait_until(lambda: fake.requests, what="the call")
    relay = kept.keeper._lines[0]._relay
    assert relay is not None and len(relay._exchanges) == 1
    began = time.monotonic()
    kept.close()
    wait_until(lambda: native_workers() == [], what="the end of the thread")
    assert time.monotonic() - began < limits.MAPPING_CLOSE + 1.5 * busy()
    assert relay._exchanges == [] and relay._listener.fileno() == -1


def test_other_programs_at_the_relay(fake: FakeRouter, keep: MakeKept) -> None:
    """They may connect to it while a call lasts. It leads nowhere but to the router, and has room for a few."""
    fake.hangs = True
    kept = keep(("igd",))
    kept.want(REAL_TCP)
    wait_until(lambda: fake.requests, what="the call")
    (relay,) = [line._relay for line in kept.keeper._lines]
    assert relay is not None
    place, well = ("127.0.0.1", relay.port), f"Host: 127.0.0.1:{relay.port}\r\n\r\n"
    for request in (
        f"GET /other.xml HTTP/1.1\r\n{well}",
        f"GET http://127.0.0.1:1/desc.xml HTTP/1.1\r\n{well}",
        f"POST /control HTTP/1.1\r\n{well}",  # the description is not known yet
        "GET /desc.xml HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
        "GET /desc.xml HTTP/1.1\r\n\r\n",
        f"CONNECT 127.0.0.1:1 HTTP/1.1\r\n{well}",
        "x" * (limits.IGD_REQUEST_MAX + 1),
    ):
        with socket.create_connection(place, 5.0) as stranger:
            stranger.sendall(request.encode())
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(100) == b""
    assert len(fake.requests) == 1
    crowd = [socket.create_connection(place, 5.0) for _ in range(3 * limits.IGD_EXCHANGES_MAX)]
    try:
        for each in crowd[: -limits.IGD_EXCHANGES_MAX]:
            assert each.recv(1) == b""
        assert len(relay._exchanges) <= limits.IGD_EXCHANGES_MAX
        assert sum(each.has_asked for each in relay._exchanges) == 1, "the library's own is not driven out"
    finally:
        for each in crowd:
            each.close()


# --- the machine ------------------------------------------------------------------------------------------------------


def test_a_system_that_does_not_tell_its_gateways(
    fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors for a moment: the thread goes on, and the ports stay."""
    monkeypatch.setattr(limits, "MAPPING_CHECK", 0.02)
    looks: list[int] = []

    def find() -> list[Gateway]:
        looks.append(1)
        if len(looks) % 2:
            raise OSError(errno.EMFILE, "too many open files")
        return [fake.gateway]

    kept = keep(("pcp",), find)
    kept.want(REAL_TCP)
    before = kept.wait_open(1)
    wait_until(lambda: len(looks) > 6)
    assert kept.keeper.mappings() == before and fake.router.asked.count("pcp map tcp 4711") == 1


def test_a_survey_on_a_system_that_does_not_tell_its_gateways() -> None:
    def find() -> list[Gateway]:
        raise OSError(errno.EMFILE, "too many open files")

    assert "too many open files" in ask_gateway(gateways=find).reason


def test_a_full_disk(
    fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """The ports stay listed as they were, and ours: nobody takes us for dead and closes them. Later it is written."""
    full: list[int] = []
    really = Journal.save

    def save(self: Journal, entries: list[Entry]) -> None:
        if full:
            full.append(1)
            raise OSError(errno.ENOSPC, "no space left on device")
        really(self, entries)

    monkeypatch.setattr(Journal, "save", save)
    kept = keep(("pcp",))
    kept.want(REAL_TCP)
    kept.wait_open(1)
    full.append(1)
    kept.want(REAL_TCP, Wanted("tcp", 4712))
    kept.wait_open(2)
    other = Journal(tmp_path / "state")
    assert other.take_over(time.time()) == []
    other.close()
    full.clear()
    kept.want(REAL_TCP)
    wait_until(lambda: len(fake.router.table) == 1)
    kept.close()
    assert list((tmp_path / "state").iterdir()) == []


def idle_keeper(folder: pathlib.Path | None = None) -> Keeper:
    """One whose thread is not made."""
    settings = Settings(("pcp",), 3600, "crust test", folder)
    return Keeper(settings, lambda: [], lambda name, run: None, lambda: 10.0, lambda: None)


def test_closing_does_not_spin() -> None:
    """Routers are not looked for any more, so it is not waited for the time to look."""
    keeper = idle_keeper()
    keeper._look_at = 5.0
    keeper.close(None)
    assert keeper._nap() == limits.MAPPING_CLOSE


def test_many_networks_one_after_another(tmp_path: pathlib.Path) -> None:
    """What was left open in them is forgotten when it has run out, and bounded."""
    keeper = idle_keeper(tmp_path)
    keeper._open_journal()
    soon, past = time.time() + 1000, time.time() - 1
    ask = Ask(TCP, 4711, 3600)
    keeper._orphans = [Entry(Leftover(f"10.0.{n}.1", "10.0.0.2", "pcp", ask), soon) for n in range(200)]
    keeper._orphans += [Entry(Leftover("10.1.1.1", "10.0.0.2", "pcp", ask), past)]
    keeper._save(10.0)
    kept = [each.leftover.gateway for each in keeper._orphans]
    assert kept == [f"10.0.{n}.1" for n in range(200 - limits.MAPPING_LEFTOVERS_MAX, 200)]
    keeper._end()


def test_no_descriptor_for_the_second_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is closed."""
    made: list[socket.socket] = []
    really = socket.socket

    def make(*args: int) -> socket.socket:
        if made:
            raise OSError(errno.EMFILE, "too many open files")
        made.append(really(*args))
        return made[0]

    monkeypatch.setattr(socket, "socket", make)
    settings = Settings(("pcp",), 3600, "crust test", None)
    with pytest.raises(OSError, match="too many"):
        Line(Gateway("127.0.0.1", "lo", "127.0.0.1"), settings, time.monotonic, random.Random(1))
    assert made[0].fileno() == -1


def test_a_flood_of_answers_is_read_slowly(fake: FakeRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the router's, and of whoever is near: then the thread rests."""
    bitten, rests, now = Bitten(), [], [1000.0]
    monkeypatch.setattr("crust.nat.mapping.line.time.sleep", rests.append)
    settings = Settings(("pcp",), 3600, "crust test", None)
    line = Line(fake.gateway, settings, lambda: now[0], random.Random(1), bitten)
    read: list[str] = []
    monkeypatch.setattr(line.mapper, "receive", lambda data, now: read.append("router"))
    monkeypatch.setattr(line.mapper, "receive_answer", lambda data, source, now: read.append(source))

    def flood(to: tuple[str, int], sock: socket.socket, call: Callable[[], object]) -> int:
        """How many of 64 are read."""
        before = len(read)
        for _ in range(64):
            sock.sendto(b"?", to)
        call()
        return len(read) - before

    try:
        control, search = line._control.getsockname(), line._search.getsockname()
        burst = 4 * limits.MAPPING_READS_PER_SECOND
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as neighbour:
            got = sum(flood(control, fake._udp, line._read_control) for _ in range(4))
            got += sum(flood(search, neighbour, line._read_search) for _ in range(4))
            assert got == burst and bitten["MAPPING_READS_PER_SECOND"] == len(rests) > 0
            assert rests[0] == limits.MAPPING_REST
            assert flood(control, fake._udp, line._read_control) == 0
            now[0] += 0.5
            assert flood(control, fake._udp, line._read_control) == limits.MAPPING_READS_PER_SECOND // 2
    finally:
        line.close(None)


def test_an_address_that_nobody_asked_for() -> None:
    """It would be told to all peers, each time."""
    way = NatPmpWay()
    way.probe(0.0)
    for number, seen in ((1, "20.0.0.1"), (2, "20.0.0.1"), (3, "20.0.0.1")):
        way.receive(natpmp.build_natpmp(natpmp.AddressResponse(100, f"20.0.0.{number}")), 0.0)
        assert way.external_ip == seen
    way.probe(60.0)
    way.receive(natpmp.build_natpmp(natpmp.AddressResponse(160, "20.0.0.4")), 60.0)
    assert way.external_ip == "20.0.0.4"


def test_a_removal_that_is_answered_by_an_error() -> None:
    """NAT-PMP: it is not taken for done."""
    bench = Bench(only("natpmp"))
    bench.want(TCP)
    bench.router.natpmp_result = int(natpmp.Result.NOT_AUTHORIZED)
    bench.close()
    assert bench.mapper.closed and [each.ask.wanted for each in bench.mapper.in_table()] == [TCP]


@pytest.mark.parametrize("protocol", ["natpmp", "igd"])
def test_removals_that_are_never_confirmed(protocol: str) -> None:
    """While ports change, so many are listed, the last ones: those that a router may still have."""
    bench = Bench(only(protocol))
    really = bench.mapper._take

    def take(way: Way, outcome: Outcome, now: float) -> None:
        really(way, Removed(outcome.ask, False) if isinstance(outcome, Removed) else outcome, now)

    bench.mapper._take = take  # type: ignore[method-assign]
    last = 5000 + 2 * limits.MAPPING_LEFTOVERS_MAX
    for port in range(5000, last + 1):
        bench.want(Wanted("tcp", port))
        bench.run(1.0)
    listed = [each.ask.wanted.port for each in bench.mapper.in_table()]
    assert sorted(listed) == list(range(last - limits.MAPPING_LEFTOVERS_MAX, last + 1))
