"""The laboratory does what it is set to: delay, rate, loss, sizes, firewalls, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.natlab import names
from tests.natlab.hosts import Host
from tests.natlab.lab import CAPTURE, Lab
from tests.support import leaks
from tests.support.source import ROOT
from tests.support.waiting import busy

DELAY = 0.04
PATIENCE = 5.0  # seconds for an answer that is to come: the machine may be busy
TURNS = 5  # at most: what is measured while others have the processor says little
SILENCE = 0.5  # seconds after which none has come
FAMILIES = ("ipv4", "ipv6")
HEADERS = {"ipv4": 28, "ipv6": 48}  # bytes of IP and UDP


def trips(here: Host, there: Host, family: str = "ipv4", **arguments: float) -> list[float | None]:
    address = getattr(there, family)
    port = there.serve("echo", address=address).port
    found: list[float | None] = here.probe("ping", address=address, port=port, **arguments)["trips"]
    return found


def verdict(here: Host, there: Host, family: str = "ipv4", wait: float = PATIENCE) -> str:
    """What becomes of a TCP connect."""
    address = getattr(there, family)
    port = there.serve("answer", address=address).port
    found: str = here.probe("call", address=address, port=port, wait=wait)["verdict"]
    return found


def passes(here: Host, there: Host, wait: float = PATIENCE) -> bool:
    """Whether a datagram gets there and back."""
    return trips(here, there, count=1, wait=wait) != [None]


# --- what the link does -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_delay(lab: Lab, family: str) -> None:
    """A round trip takes the delay of both ways, and less than two milliseconds more when the machine is free."""
    here, there = lab.pair(delay=DELAY)
    taken = [each for each in trips(here, there, family, count=30) if each is not None]
    assert len(taken) == 30
    assert 2 * DELAY <= min(taken) < 2 * DELAY + 0.002 * busy()
    assert statistics.median(taken) < 2 * DELAY + 0.010 * busy()


def test_delays_of_both_ways_and_both_ends_add_up(lab: Lab) -> None:
    here, there = lab.pair()
    here.link.up.set(delay=0.01)
    here.link.down.set(delay=0.02)
    there.link.up.set(delay=0.03)
    assert 0.06 <= min(each for each in trips(here, there) if each) < 0.06 + 0.002 * busy()


@pytest.mark.parametrize("rate", [5e6, 100e6])
def test_rate(lab: Lab, rate: float) -> None:
    """A connection of TCP gets what the bottleneck lets through, and no more."""
    here, there = lab.pair(rate=rate, delay=0.01)
    for _ in range(TURNS):
        sink = there.serve("sink", address=there.ipv4, seconds=2.0, skip=1.0)
        here.probe("pour", address=there.ipv4, port=sink.port, seconds=3.2)
        found = 8 * sink.result()["rate"]
        assert found < 1.05 * rate
        if found > 0.8 * rate:
            return
    raise AssertionError(f"{found} of {rate} bit/s")


def test_queue(lab: Lab) -> None:
    """Of a burst exactly what has room in the queue comes through."""
    here, there = lab.pair(rate=1e6, queue=20_000)
    dropped = 0
    for _ in range(TURNS):
        collector = there.serve("collect", address=there.ipv4, quiet=3.0)
        here.probe("scatter", address=there.ipv4, port=collector.port, count=100, size=972)
        numbers = collector.result()["numbers"]
        dropped += 100 - len(numbers)
        assert numbers[:20] == list(range(20))
        assert here.link.up.counts().queue_full == dropped
        # The burst takes a few milliseconds to come, in which a packet or two leave the queue.
        if len(numbers) <= 25:
            return
    raise AssertionError(f"{len(numbers)} came through")


def test_loss(lab: Lab) -> None:
    """A tenth is lost, the same packets with the same seed, others with another one."""
    here, there = lab.pair()
    lost = []
    for seed in (5, 5, 6):
        here.link.up.set(loss=0.1, seed=seed)
        collector = there.serve("collect", address=there.ipv4, quiet=3.0)
        here.probe("scatter", address=there.ipv4, port=collector.port, count=1000, interval=0.0003)
        lost.append(set(range(1000)) - set(collector.result()["numbers"]))
    assert 60 < len(lost[0]) < 140
    assert lost[0] == lost[1] != lost[2]
    assert here.link.up.counts().lost == sum(map(len, lost))


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tells", [True, False])
def test_a_packet_too_big_to_pass(lab: Lab, family: str, tells: bool) -> None:
    """With "don't fragment" it vanishes; the sender's system learns the size, unless the link does not tell."""
    here, there = lab.pair()
    here.link.set(mtu=1300, tells=tells)
    address = getattr(there, family)
    collector = there.serve("collect", address=address, quiet=0.5)
    fits = 1300 - HEADERS[family]
    port = collector.port
    assert not here.probe("scatter", address=address, port=port, count=3, size=fits)["refused"]
    result = here.probe("scatter", address=address, port=port, count=100, size=fits + 1, interval=0.005)
    assert (result["refused"], result["mtu"]) == ((True, 1300) if tells else (False, 1500))
    assert collector.result()["sizes"] == [fits] * 3
    assert here.link.up.counts().too_big >= 1


def test_the_size_may_change_for_one_way_only(lab: Lab) -> None:
    here, there = lab.pair()
    assert trips(here, there, count=1, size=1400) != [None]
    there.link.down.set(mtu=1280)
    address, port = there.ipv4, there.serve("collect", address=there.ipv4, quiet=3.0).port
    assert here.probe("scatter", address=address, port=port, count=100, size=1400, interval=0.005)["mtu"] == 1280
    assert there.probe("scatter", address=here.ipv4, port=9, size=1400)["mtu"] == 1500


def test_what_may_be_fragmented_arrives(lab: Lab) -> None:
    """Pieces are cut on the way, and once more where the way gets narrower, and put together at the end."""
    here, there = lab.pair()
    here.link.up.set(mtu=1300)
    there.link.down.set(mtu=600)
    collector = there.serve("collect", address=there.ipv4, count=7)
    arguments = {"address": there.ipv4, "port": collector.port, "fragment": True}
    assert here.probe("scatter", count=5, size=1400, **arguments)["sent"] == 5
    assert here.probe("scatter", count=2, size=4000, **arguments)["sent"] == 2  # here the host cuts as well
    assert collector.result()["sizes"] == [1400] * 5 + [4000] * 2


def test_interfaces_may_be_bigger(lab: Lab) -> None:
    here, there = lab.pair(interface_mtu=9000)
    assert trips(here, there, count=1, size=8900, wait=PATIENCE) != [None]


def test_tcp_finds_its_way_through_a_narrow_link(lab: Lab) -> None:
    """The kernel believes our ICMP in the middle of a transfer."""
    here, there = lab.pair(delay=0.005, rate=20e6)
    sink = there.serve("sink", address=there.ipv4)
    pour = here.launch("pour", address=there.ipv4, port=sink.port, seconds=2.0)
    here.link.set(mtu=1280)
    poured = int(pour.wait_for(r'"total": (\d+)')[1])
    assert sink.result()["total"] == poured
    assert here.link.up.counts().too_big > 0


# --- firewalls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_firewall_on_the_way(lab: Lab, family: str) -> None:
    """It drops the one protocol both ways, silently, and is switched while programs run."""
    here, there = lab.pair()
    for dropped, expected in ((["tcp"], ("silence", True)), (["udp"], ("connected", False)), ([], ("connected", True))):
        here.link.drop(*dropped)
        answered = trips(here, there, family, count=1, wait=PATIENCE if expected[1] else SILENCE) != [None]
        found = verdict(here, there, family, SILENCE if expected[0] == "silence" else PATIENCE)
        assert (found, answered) == expected, dropped
    assert here.link.up.counts().firewall > 0


def test_a_firewall_on_a_host(lab: Lab) -> None:
    """It drops or refuses what comes in; what goes out is only dropped if one says so."""
    here, there = lab.pair()
    there.firewall.drop("tcp")
    assert (verdict(here, there, wait=SILENCE), passes(here, there)) == ("silence", True)
    there.firewall.drop("udp")
    assert (verdict(here, there), passes(here, there, SILENCE)) == ("connected", False)
    before = there.link.up.counts().packets
    there.firewall.drop("tcp", "udp", outgoing=True)
    assert (verdict(there, here, wait=SILENCE), passes(there, here, SILENCE)) == ("silence", False)
    assert there.link.up.counts().packets == before
    there.firewall.reject("tcp", "udp")
    assert (verdict(here, there), passes(here, there, SILENCE)) == ("ECONNREFUSED", False)
    there.firewall.open()
    assert (verdict(here, there), passes(here, there)) == ("connected", True)


# --- hosts ------------------------------------------------------------------------------------------------------------


def test_a_program_that_fails_shows_what_it_said(lab: Lab) -> None:
    host = lab.host("one")
    with pytest.raises(AssertionError, match="(?s)exit code 3.*oh dear"):
        host.run("sh", "-c", "echo oh dear >&2; exit 3")


def test_hosts_have_nothing_but_their_link(lab: Lab) -> None:
    """They see their own addresses, and not the machine's network."""
    here, there = lab.pair()
    shown = here.run("ip", "-brief", "address")
    assert {line.split()[0] for line in shown.splitlines()} == {"lo", "wan"}
    assert here.ipv4 in shown and here.ipv6 in shown and there.ipv4 not in shown


def test_more_than_two_hosts(lab: Lab) -> None:
    hosts = [lab.host(f"host{number}") for number in range(3)]
    for here in hosts:
        for there in hosts:
            assert here is there or passes(here, there)


@pytest.mark.usefixtures("laboratory")
def test_a_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable makes a file of every laboratory, with what was delivered."""
    monkeypatch.setenv(CAPTURE, str(tmp_path))
    with Lab() as lab:
        assert passes(*lab.pair())
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    assert data[:4] == b"\xd4\xc3\xb2\xa1" and data.count(b"\x14\x00\x01\x01\x14\x00\x02\x01") == 1


# --- and leaves -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("laboratory")
def test_nothing_is_left_behind() -> None:
    """Whatever happens in the body, programs and namespaces go."""
    with pytest.raises(ZeroDivisionError), Lab() as lab:
        here, there = lab.pair()
        there.serve("echo", address=there.ipv4)
        stubborn = here.start("python", "-c", _STUBBORN)
        stubborn.wait_for("ready")
        assert {here.namespace, there.namespace} <= set(names.own())
        raise ZeroDivisionError
    assert names.own() == []
    assert stubborn.process.poll() == -signal.SIGKILL


_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()  # out of the group that is killed with the program
    time.sleep(100)
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.usefixtures("laboratory")
def test_what_fails_on_the_way_up_is_taken_down() -> None:
    with pytest.raises(AssertionError, match="mtu"), Lab() as lab:
        lab.host("fine")
        lab.host("broken", interface_mtu=10)
    assert names.own() == []


@pytest.mark.usefixtures("laboratory")
def test_a_killed_run_is_cleaned_up_by_the_next() -> None:
    """And one that lives is left alone."""
    words = ("-c", "from tests.natlab.lab import Lab\nwith Lab() as lab: print(lab.host('x').namespace), input()")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, *words], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        namespace = other.stdout.readline().decode().strip()
        with Lab():
            assert namespace in os.listdir(names.FOLDER) and namespace not in names.orphans()
        other.kill()
        other.wait()
        assert namespace in names.orphans()
    with Lab():
        assert namespace not in os.listdir(names.FOLDER)


def test_a_namespace_that_is_left_behind_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that runs after every test tells its name."""
    monkeypatch.setattr(leaks, "GRACE", 0.05)
    before = leaks.snapshot()
    host = lab.host("forgotten")
    with pytest.raises(AssertionError, match=f"namespaces .*{host.namespace}"):
        leaks.check(before)


def test_an_answer_that_nobody_took(lab: Lab) -> None:
    """An interrupt may come before the answer to a command; the next command gets its own all the same."""
    host = lab.host("a")
    commands = lab._internet._process.stdin
    assert commands is not None
    commands.write(b'{"do": "route", "name": "a", "addresses": [], "number": "interrupted"}\n')
    assert host.link.up.counts().packets == 0
