"""What a node can be made to send to machines that have nothing to do with it, by peers and introducers that lie."""

from __future__ import annotations

import contextlib
import json
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import NamedTuple

import pytest

from crust import limits
from tests.natlab import needs
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.matrix.run import Call, link
from tests.natlab.recorder import Recorder
from tests.natlab.watched import WatchedNode

HOSTILE = {"nat": {"port_mapping": [], "punch": {"timeout": 2.2}}}  # short attempts, one after the other
LONG, SHORT = 12.0, 6.0  # seconds of attack
BY_HAND = "02:00:00:00:00:0a"  # a machine that does not answer


class Attack(NamedTuple):
    """A node, a peer that attacks, and what the node's machine sends."""

    node: WatchedNode
    peer: WatchedNode
    recorder: Recorder
    machine: Machine
    victim: str

    def call(self, *, addresses: bool = False) -> None:
        """The peer gets a session with the node."""
        call = Call(self.peer, self.node, addresses=addresses)
        assert call.connected()[0] is not None

    def unharmed(self) -> None:
        """Nothing has failed in the node that must not."""
        assert "internal error" not in self.node.errors and "Traceback" not in self.node.errors, self.node.errors


@contextlib.contextmanager
def attack(
    lab: Lab,
    home: pathlib.Path,
    kind: str = "port",
    *,
    victim: str = "",
    introducer: Sequence[str] = (),
    timeout: float = 2.2,
    step: int = 1,
) -> Iterator[Attack]:
    """
    A peer at a site of kind ``port`` is linked to the same introducer as a node at another site.

    Args:
        kind: Of the node's site.
        victim: What the peer names; empty: a machine on the Internet that says nothing. ``lan``: those of the node's
            own network.
        introducer: What the introducer imports.
        timeout: Seconds of one of the peer's attempts.
        step: By which the peer's router counts, it says.
    """
    config = {"nat": {"port_mapping": [], "punch": {"timeout": timeout}}}
    (home / "hostile.yaml").write_text(json.dumps(config))  # which is YAML as well
    server, silent = lab.server("srv"), lab.host("victim")
    silent.firewall.drop("tcp", "udp")
    hostile, honest = lab.site("hostile", "port"), lab.site("honest", kind)
    named = honest.host.ipv4.rpartition(".")[0] + "." if victim == "lan" else silent.ipv4
    places = [word for place in ("tcp", "utp") for word in ("--listen", f"{place}://{server.ipv4}:0")]
    with contextlib.ExitStack() as stack:
        middle = stack.enter_context(
            WatchedNode(
                server, home, "--allow-bootstrap", "--serve-relay", "-v", *places, imports=introducer, VICTIM=named
            )
        )
        node = stack.enter_context(WatchedNode(honest.host, home, "-v", "--no-portmap"))
        words = ("-v", "--config", str(home / "hostile.yaml"))
        imports = ["tests.natlab.hostile_peer"]
        peer = stack.enter_context(
            WatchedNode(hostile.host, home, *words, imports=imports, VICTIM=named, STEP=str(step))
        )
        link([node, peer], middle)
        recorder = stack.enter_context(Recorder(honest.host))
        yield Attack(node, peer, recorder, honest.host, named)


def wait(seconds: float) -> None:
    """The attack lasts: nothing is awaited but what must not come."""
    threading.Event().wait(seconds)


def bounded(recorder: Recorder, victim: str) -> None:
    """Something went to the victim, so that the test shows something, but no more than may."""
    udp, syns = len(recorder.sent("udp", victim)), recorder.syns(victim)
    rest = len(recorder.sent("tcp", victim)) - syns
    assert udp + syns and udp <= limits.UNSEEN_PROBES, recorder.sent("udp", victim)
    assert syns <= limits.UNSEEN_SYNS, recorder.sent("tcp", victim)
    assert rest == 0


def a_named_victim_gets_twelve_packets(lab: Lab, tmp_path: pathlib.Path) -> None:
    """By all methods, over many attempts, over two sessions, and over all ports together."""
    with attack(lab, tmp_path) as found:
        for seconds in (LONG, SHORT):
            found.call()
            wait(seconds)
            bounded(found.recorder, found.victim)
            assert found.peer.ask("disconnect", peer=found.node.peer)["ok"]
        found.unharmed()


def whoever_is_gone_is_looked_for_at_its_victim_twelve_times(lab: Lab, tmp_path: pathlib.Path) -> None:
    """A peer that called says where it is now, and vanishes: the node redials, again and again."""
    with attack(lab, tmp_path, "none") as found:
        found.call(addresses=True)
        found.node.first(lambda line: line.get("event") == "new_message")
        wait(1.0)
        found.peer.abort()
        found.node.first(lambda line: line.get("event") == "peer_suspended")
        wait(LONG)
        bounded(found.recorder, found.victim)
        found.unharmed()


def our_own_network_is_not_looked_through(lab: Lab, tmp_path: pathlib.Path) -> None:
    """A peer elsewhere names one machine after the other there: few of them get few packets, and it hears nothing."""
    with attack(lab, tmp_path, victim="lan") as found:
        for number in range(30, 130):
            host = f"{found.victim}{number}"
            found.machine.run("ip", "neigh", "replace", host, "lladdr", BY_HAND, "dev", found.machine.interface)
        found.call()
        wait(LONG)
        counts = {host for host in found.recorder.destinations() if host.startswith(found.victim)}
        counts -= {f"{found.victim}1"}  # the router
        assert 0 < len(counts) <= 2 * limits.UNSEEN_PRIVATE_MAX, counts
        for host in counts:
            bounded(found.recorder, host)
        found.unharmed()


def an_introducer_in_league_with_a_peer_gets_a_search_and_no_more(lab: Lab, tmp_path: pathlib.Path) -> None:
    """
    It says that the peer is where the victim is, and the peer says that its ports have no order: the victim is
    searched, within the bounds, however many attempts follow each other.
    """
    with attack(lab, tmp_path, introducer=["tests.natlab.lying_introducer"], timeout=15.0, step=0) as found:
        found.call()
        wait(32.0)
        recorder, victim = found.recorder, found.victim
        probes = recorder.sent("udp", victim)
        ports = {packet.destination[1] for packet in probes}
        assert limits.BIRTHDAY_PROBES // 4 < len(ports), "there was no search"
        assert len(probes) <= limits.SEARCH_PROBES and len(ports) <= limits.BIRTHDAY_PROBES + limits.CANDIDATES_MAX * 16
        fastest = limits.BIRTHDAY_RATE + limits.PUNCH_RATE + 2 * limits.PUNCH_RATE_BURST
        assert recorder.fastest(1.0, "udp", victim) <= fastest
        assert recorder.syns(victim) <= limits.SEARCH_SYNS
        found.unharmed()


Scene = Callable[[Lab, pathlib.Path], None]

SCENES: tuple[Scene, ...] = (
    an_introducer_in_league_with_a_peer_gets_a_search_and_no_more,
    a_named_victim_gets_twelve_packets,
    whoever_is_gone_is_looked_for_at_its_victim_twelve_times,
    our_own_network_is_not_looked_through,
)


@pytest.fixture(scope="module")
def under_way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Scene, futures.Future[None]]]:
    """Those that are to be tested, all at once, each in a laboratory of its own: most of the time they wait."""
    needs.require()

    def play(scene: Scene) -> None:
        with Lab() as lab:
            scene(lab, tmp_path_factory.mktemp("scene"))

    tests = [each for each in request.session.items if each.path == request.path and isinstance(each, pytest.Function)]
    wanted = {each.callspec.params["scene"] for each in tests}
    with futures.ThreadPoolExecutor(len(SCENES)) as pool:
        yield {scene: pool.submit(play, scene) for scene in SCENES if scene in wanted}


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_what_a_node_can_be_made_to_send(under_way: dict[Scene, futures.Future[None]], scene: Scene) -> None:
    """No more than the bounds allow."""
    under_way[scene].result()
