"""What the recorder of packets sees, and what another machine's traffic does to a NAT that counts its ports."""

from __future__ import annotations

import time

import pytest

from tests.natlab import recorder
from tests.natlab.judge import Watch
from tests.natlab.lab import Lab
from tests.natlab.matrix.run import QUIET, idle
from tests.natlab.recorder import Recorder
from tests.support.waiting import wait_until

SENDS = """import socket
sock = socket.socket(socket.{family}, socket.SOCK_DGRAM)
for _ in range({count}):
    sock.sendto(b"x" * 10, ({to!r}, 9))
"""
CALLS = "import socket; s = socket.socket(); s.settimeout({patience}); s.connect_ex(({to!r}, {port}))"


def test_datagrams_are_counted_by_destination(lab: Lab) -> None:
    """Of both families, to whom nobody is as well; what arrives is told apart from what is sent."""
    here, there = lab.pair()
    before = time.time()
    with Recorder(here) as sending, Recorder(there) as other:
        for family, to, count in (("AF_INET", there.ipv4, 3), ("AF_INET", "20.0.99.9", 4), ("AF_INET6", there.ipv6, 5)):
            here.run("python", "-c", SENDS.format(family=family, to=to, count=count))
        assert sending.destinations("udp") == {there.ipv4: 3, "20.0.99.9": 4, there.ipv6: 5}
        wait_until(lambda: len(other.packets()) == 8)
        assert not other.sent()
        seen = sending.sent(address=there.ipv6)[0]
        assert (seen.length, seen.ttl, seen.destination, seen.syn) == (58, 64, (there.ipv6, 9), False)
        assert before - 1 < seen.at < time.time() + 1
        assert len(sending.sent("udp", there.ipv4, 9)) == 3 and not sending.sent("udp", there.ipv4, 10)


def test_what_the_kernel_repeats_is_counted(lab: Lab) -> None:
    """A SYN that nobody answers is sent again after a second; one that is refused is not, and its answer is no SYN."""
    here, there = lab.pair()
    with Recorder(here) as sending, Recorder(there) as other:
        here.run("python", "-c", CALLS.format(patience=1.3, to="20.0.99.9", port=80))
        here.run("python", "-c", CALLS.format(patience=1.3, to=there.ipv4, port=80))
        assert sending.syns("20.0.99.9", 80) == 2
        assert sending.syns(there.ipv4) == 1 and sending.syns() == 3
        assert sending.fastest(0.5, "tcp", "20.0.99.9") == 1 and sending.fastest(1.2, "tcp", "20.0.99.9") == 2
        assert len(other.sent("tcp")) == 1 and not other.syns()


def test_a_router_shows_what_its_nat_makes_of_it(lab: Lab) -> None:
    """At its outer interface the sources are its own, at the inner one the host's."""
    home = lab.site("home", "port")
    assert home.router is not None
    with Recorder(home.router) as outer, Recorder(home.router, "lan") as inner:
        home.host.run("python", "-c", SENDS.format(family="AF_INET", to="20.0.99.9", count=2))
        assert {each.source[0] for each in outer.sent("udp")} == {home.public_ipv4}
        assert {each.source[0] for each in inner.packets()} == {home.host.ipv4}


def test_what_was_not_recorded_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """No count is too low in silence."""
    here, there = lab.pair()
    monkeypatch.setattr(recorder, "_BUFFER", 4096)
    with Recorder(here) as few:
        here.run("python", "-c", SENDS.format(family="AF_INET", to=there.ipv4, count=200))
        with pytest.raises(OverflowError, match="not recorded"):
            few.packets()


def test_quiet_is_when_nothing_passes(lab: Lab) -> None:
    """Not while a program sends, but soon after; and it is known since when."""
    here, there = lab.pair()
    with Recorder(here) as one, Recorder(there) as other:
        program = here.start("python", "-m", "tests.natlab.foreign", there.ipv4, "20")
        program.wait_for("^flow$", 30.0)
        assert idle([one, other], 2.0)[0] is False
        program.process.kill()
        ended = time.monotonic()
        is_idle, last = idle([one, other])
        assert is_idle and last is not None and ended - 1.0 < last < time.monotonic() - QUIET
        assert idle([one, other], quiet=0.0, besides=[there.ipv4]) == (True, None)


@pytest.mark.parametrize("rate", [0, 20])
def test_foreign_flows_move_the_ports_of_a_neighbour(lab: Lab, rate: int) -> None:
    """Where a NAT counts, two flows of one host get ports in a row, unless another machine has opened some."""
    server, home = lab.server(), lab.site("home", "symseq", hosts=2)
    server.coturn()
    if rate:
        program = home.hosts[1].start("python", "-m", "tests.natlab.foreign", server.all_ipv4[1], str(rate))
        program.wait_for("^flow$", 30.0)
    apart = []
    for _ in range(8 if rate else 1):  # of the flows that are told some began before the first of ours
        first = Watch(server, home.host).first
        for _ in range(3 if rate else 0):
            program.wait_for("^flow$", 30.0)
        second = Watch(server, home.host).first
        assert first is not None and second is not None
        apart.append(second[1] - first[1])
        if apart[-1] != 1:
            break
    assert (apart[-1] == 1) is (rate == 0)


def test_foreign_flows_are_of_both_protocols(lab: Lab) -> None:
    """As many datagrams as calls, from ports of their own, as often as they are told to."""
    server, home = lab.server(), lab.site("home", "port")
    with Recorder(home.host) as sending:
        program = home.host.start("python", "-m", "tests.natlab.foreign", server.ipv4, "50")
        for _ in range(20):
            program.wait_for("^flow$", 30.0)
        wait_until(lambda: sending.syns() >= 20)
        datagrams = sending.sent("udp", server.ipv4)
        assert len({each.source[1] for each in datagrams}) == len(datagrams) >= 20
        assert datagrams[19].at - datagrams[0].at > 19 / 50 / 4
