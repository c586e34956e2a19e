"""The plans against every NAT that the RFCs know, on a clock that the test turns."""

from __future__ import annotations

import itertools
import random

import pytest

from crust import limits
from crust.findings import Behaviour, PortAllocation, Unsolicited
from crust.nat.probe.servers import Server, usable_other
from crust.nat.probe.tcp_plan import TcpPlan
from crust.nat.probe.udp_plan import UdpPlan
from crust.nat.stun.message import Class, Message, build_stun
from tests.nat.probe.world import OTHER, OUTER, PRIMARY, Nat, World

PLAIN = ("20.0.8.1", 19302)
SERVER = Server("stun.example.org:3478", PRIMARY)
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n"
KINDS = list(itertools.product(Behaviour, Behaviour, PortAllocation))


def plans(*servers: Server, seed: int = 1) -> tuple[UdpPlan, TcpPlan]:
    chance = random.Random(seed)
    asked = servers or (SERVER,)
    return UdpPlan(4, asked, chance.randbytes), TcpPlan(4, asked, chance.randbytes)


@pytest.mark.parametrize(("mapping", "filtering", "ports"), KINDS)
@pytest.mark.parametrize("poor", [False, True], ids=["good", "poor"])
def test_every_kind(mapping: Behaviour, filtering: Behaviour, ports: PortAllocation, poor: bool) -> None:
    """Right in every run; the poor network loses 10 % of the packets each way, and takes 0.2 s there and back."""
    for seed in range(4):
        nat = Nat(mapping, filtering, ports, step=3, random=random.Random(seed))
        udp, tcp = plans(seed=seed)
        kept = World([udp], nat, seed=seed, delay=0.1 if poor else 0.01, loss=0.1 if poor else 0.0)
        other = World([tcp], nat, seed=seed, delay=0.1 if poor else 0.01, loss=0.1 if poor else 0.0)
        assert max(kept.run(), other.run()) < limits.PROBE_SECONDS
        for finding in (udp.finding(), tcp.finding()):
            assert finding.reachable and finding.translated
            assert finding.mapping is mapping, seed
            assert finding.ports is ports, seed
            assert finding.step == (3 if ports is PortAllocation.SEQUENTIAL else None)
            assert finding.hairpin is False
        assert udp.finding().filtering is filtering, seed
        assert udp.finding().mtu == 1500 or poor
        assert tcp.finding().filtering is None  # no helper


def test_without_a_nat() -> None:
    """A public address: nothing is translated, and only the filter counts."""
    udp, tcp = plans()
    World([udp, tcp], Nat(None, Behaviour.ADDRESS_AND_PORT)).run()
    finding = udp.finding()
    assert finding.translated is False and finding.local == finding.mapped
    assert finding.mapping is Behaviour.INDEPENDENT
    assert finding.filtering is Behaviour.ADDRESS_AND_PORT
    assert finding.ports is PortAllocation.PRESERVED
    assert finding.hairpin is None
    assert tcp.finding().translated is False


@pytest.mark.parametrize("foreign", [1, 4])
def test_other_machines_take_ports_in_between(foreign: int) -> None:
    """It is still counting, by a larger step."""
    udp, tcp = plans()
    ways = Behaviour.ADDRESS_AND_PORT, Behaviour.ADDRESS_AND_PORT, PortAllocation.SEQUENTIAL
    World([udp, tcp], Nat(*ways, step=2, foreign=foreign)).run()
    for finding in (udp.finding(), tcp.finding()):
        assert finding.ports is PortAllocation.SEQUENTIAL
        assert finding.step == 2 * (1 + foreign)


def test_hairpin() -> None:
    udp, tcp = plans()
    World([udp, tcp], Nat(filtering=Behaviour.INDEPENDENT, hairpin=True)).run()
    assert udp.finding().hairpin is True
    assert tcp.finding().hairpin is True


@pytest.mark.parametrize("mtu", [1500, 1492, 1420, 1280])
def test_mtu(mtu: int) -> None:
    udp, _ = plans()
    World([udp], mtu=mtu).run()
    assert udp.finding().mtu == mtu


def test_two_plain_servers() -> None:
    """Servers without a second address show what the mapping depends on, together; not the filter."""
    first, second = Server("a:19302", PLAIN), Server("b:19302", ("20.0.8.2", 19302))
    for mapping, expected in (
        (Behaviour.INDEPENDENT, Behaviour.INDEPENDENT),
        (Behaviour.ADDRESS_AND_PORT, Behaviour.ADDRESS_AND_PORT),
    ):
        udp, tcp = plans(first, second)
        World([udp, tcp], Nat(mapping), plain_servers=[PLAIN, ("20.0.8.2", 19302)]).run()
        for finding in (udp.finding(), tcp.finding()):
            assert finding.mapping is expected
            assert finding.filtering is None
            assert [card.tests_filtering for card in finding.servers] == [False, False]


def test_one_plain_server_cannot_tell() -> None:
    udp, tcp = plans(Server("a:19302", PLAIN))
    World([udp, tcp], plain_servers=[PLAIN]).run()
    for finding in (udp.finding(), tcp.finding()):
        assert finding.reachable and finding.translated
        assert finding.mapping is None
        assert finding.ports is PortAllocation.PRESERVED


def test_a_server_that_ignores_what_it_is_asked() -> None:
    """It names a second address, but answers from the first: that says nothing of the filter."""
    udp, _ = plans()
    world = World([udp])
    honest = world._serve

    def careless(plan: UdpPlan, action: object, outer: tuple[str, int]) -> None:
        world._full = "filter" not in action.slot  # type: ignore[attr-defined]
        honest(plan, action, outer)  # type: ignore[arg-type]

    world._serve = careless  # type: ignore[method-assign]
    world.run()
    assert udp.finding().mapping is Behaviour.INDEPENDENT
    assert udp.finding().filtering is None


def test_udp_blocked() -> None:
    udp, tcp = plans()
    end = World([udp], Nat(blocked=lambda address: True)).run()
    finding = udp.finding()
    assert finding.reachable is False and "stun.example.org:3478" in finding.reason
    assert finding.servers[0].error
    assert end <= limits.PROBE_SCHEDULE[-1] + 0.01


@pytest.mark.parametrize("resets", [False, True])
def test_tcp_blocked(resets: bool) -> None:
    _, tcp = plans()
    end = World([tcp], Nat(blocked=lambda address: True, resets=resets)).run()
    finding = tcp.finding()
    assert finding.reachable is False and finding.reason
    assert finding.open_ports == ()
    assert end < limits.PROBE_SECONDS


@pytest.mark.parametrize("resets", [False, True])
def test_only_the_ports_of_the_web(resets: bool) -> None:
    """Asked at another port, and asked at 443."""
    nat = dict(blocked=lambda address: address[1] not in (443, 80), resets=resets)
    _, tcp = plans()
    end = World([tcp], Nat(**nat), plain_servers=[(PRIMARY[0], 443)]).run()  # type: ignore[arg-type]
    assert tcp.finding().reachable and tcp.finding().open_ports == (443, 80)  # 80 refuses, from far away
    assert end < limits.PROBE_SECONDS
    server = Server("stun.example.org:443", (PRIMARY[0], 443))
    _, tcp = plans(server)
    end = World([tcp], Nat(**nat), plain_servers=[server.address]).run()  # type: ignore[arg-type]
    assert tcp.finding().open_ports == (443,)
    assert tcp.finding().mapped
    assert end < limits.PROBE_SECONDS


def test_a_server_at_443_where_all_is_open() -> None:
    server = Server("stun.example.org:443", (PRIMARY[0], 443))
    _, tcp = plans(server)
    World([tcp], plain_servers=[server.address]).run()
    assert tcp.finding().reachable and tcp.finding().open_ports == ()


def test_a_captive_portal() -> None:
    _, tcp = plans()
    World([tcp], http=PORTAL).run()
    assert "web page" in tcp.finding().intercepted
    assert not tcp.finding().mapped


@pytest.mark.parametrize(
    ("page", "portal"),
    [
        (PORTAL, True),
        (b"HTTP/1.0 200 OK\r\n\r\nlog in", True),
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", False),
        (b"\x15\x03\x01\x00\x02\x02\x46" + bytes(20), False),
    ],
)
def test_a_web_server_is_no_captive_portal(page: bytes, portal: bool) -> None:
    """At a port of the web, tried since nothing else answered, it says that it does not understand."""
    _, tcp = plans()
    World([tcp], Nat(blocked=lambda address: address[1] != 80), plain_servers=[(PRIMARY[0], 80)], http=page).run()
    assert tcp.finding().open_ports == (80,)
    assert bool(tcp.finding().intercepted) is portal


def test_a_helper_that_gets_in_shows_no_hairpin() -> None:
    """While it is looked whether there is one, somebody else's connection may come in."""
    _, tcp = plans()
    world = World([tcp], Nat(filtering=Behaviour.INDEPENDENT))
    world.after(0.5, lambda: tcp.accepted(("20.0.66.6", 5483), world.now))
    world.run()
    assert tcp.finding().hairpin is False


def test_a_helper_is_greeted_more_than_once() -> None:
    """One datagram may be lost, and the filter then looks stricter than it is."""
    udp, _ = plans()
    udp.greet(("20.0.66.6", 5483), 0.0)
    assert len(udp.actions()) > 2


def test_who_has_been_dialled_is_no_stranger() -> None:
    """Whether it answered or not."""
    _, tcp = plans()
    tcp.begin(0.0)
    tcp.other_known(PRIMARY, OTHER, 0.0)
    tcp.greet(("20.0.66.6", 5483), 0.0)
    assert tcp.asked == {PRIMARY[0], OTHER[0]}


def test_helpers_tell_the_filter_of_tcp() -> None:
    """What their calls came to."""
    for stranger, known, filtering, unsolicited in (
        ("connected", None, Behaviour.INDEPENDENT, Unsolicited.ACCEPTED),
        ("timeout", "connected", Behaviour.ADDRESS, Unsolicited.DROPPED),
        ("timeout", "timeout", Behaviour.ADDRESS_AND_PORT, Unsolicited.DROPPED),
        (None, "connected", None, None),  # a helper at a server's address is no stranger
        (None, "timeout", None, Unsolicited.DROPPED),
        (None, "refused", None, Unsolicited.RESET),
        ("refused", "refused", Behaviour.ADDRESS_AND_PORT, Unsolicited.RESET),
    ):
        _, tcp = plans()
        World([tcp]).run()
        told = {"stranger": stranger, "known_address": known}
        tcp.echoed = {name: outcome for name, outcome in told.items() if outcome}
        assert tcp.finding().filtering is filtering
        assert tcp.finding().unsolicited is unsolicited


def test_what_strangers_send_is_ignored() -> None:
    """Garbage, answers to nothing, answers from elsewhere."""
    udp, _ = plans()
    udp.begin(0.0)
    sent = [action for action in udp.actions() if hasattr(action, "data")]
    udp.opened("main", ("192.168.7.2", 5), 0.0)
    mirrored, forged = sent[0].data, b"\x01\x01" + sent[0].data[2:]  # with the right number
    for source in (PRIMARY, OTHER, ("20.0.66.6", 1)):
        for data in (b"", b"\0" * 3, b"HTTP/1.1 200 OK", forged[:19], bytes(20), b"\x01\x01" + sent[0].data[2:8]):
            udp.received("main", data, source, 0.1)
    assert udp.mapped is None
    udp.received("main", forged, OTHER, 0.1)
    udp.received("main", mirrored, PRIMARY, 0.1)
    assert not udp.done and udp.finding().mapped == ""


def test_what_answers_another_question_by_tcp_says_nothing() -> None:
    """Somebody on the way may send what a server sent somebody else."""
    _, tcp = plans()
    tcp.begin(0.0)
    slot = next(iter(tcp._calls))
    tcp.opened(slot, ("192.168.7.2", 5), 0.1)
    tcp.received(slot, build_stun(Message(Class.SUCCESS, bytes(12), xor_mapped=("20.0.66.6", 1))), 0.2)
    assert tcp.mapped is None
    assert "not what was asked" in tcp.finding().servers[0].error


def test_a_second_address_that_is_none() -> None:
    """Servers behind a translator name a private one, others 0.0.0.0: it is not asked."""
    for other in (("192.168.1.2", 3479), ("0.0.0.0", 3479), (PRIMARY[0], 3479), ("20.0.9.2", 0), ("2001:db8::1", 3479)):
        assert usable_other(PRIMARY, other) is None
    private = ("192.168.1.1", 3478)
    for other in (("127.0.0.1", 3479), ("255.255.255.255", 3479), ("169.254.1.1", 3479), ("224.0.0.1", 3479)):
        assert usable_other(private, other) is None
    assert usable_other(private, ("192.168.1.2", 3479)) is not None
    assert usable_other(PRIMARY, OTHER) == OTHER
    assert usable_other(PRIMARY, None) is None


def test_nothing_is_asked_of_our_own_outer_address_but_the_hairpin() -> None:
    """A modest number of packets."""
    udp, _ = plans()
    world = World([udp], Nat(filtering=Behaviour.ADDRESS_AND_PORT))
    world.run()
    assert world.datagrams < 60
    assert udp.asked == {PRIMARY[0], OTHER[0]} and OUTER not in udp.asked
