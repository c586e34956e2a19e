"""All methods under a peer, and strangers, that do what they like: where anything is sent, and how much is kept."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import MalformedMessage
from crust.nat.methods import methods
from crust.nat.punch import tcp_signals, udp_signals
from crust.nat.punch.contract import Address, Close, Connect, Context, Finish, Plan, Probe, Tell, Terrain, Win
from crust.nat.punch.probe_packet import Kind, ProbeSealer
from crust.wire.frames import Place, PlaceKind, Standing, TransportCode

SEEN, NAMED, VICTIM, OURS = "20.0.2.1", "192.168.1.20", "192.0.2.66", "20.0.1.1"
EASY, HARD, COUNTS = (1, 0), (2, 0), (2, 1)
NETWORKS = [((0, 0), (0, 0)), (EASY, EASY), (COUNTS, COUNTS), *itertools.permutations((EASY, HARD, COUNTS), 2)]
KEY_OUT, KEY_IN = bytes(32), bytes(31) + b"\1"
NAMES = [each.name for each in methods() if each.plan is not None and each.name.endswith(("tcp", "udp"))]

hosts = st.sampled_from([SEEN, NAMED, VICTIM, OURS, "127.0.0.1", "224.0.0.1", "0.0.0.0", "2001:db8::66", "::1"])
addresses = st.tuples(hosts, st.integers(1, 65_535))
numbers, steps = st.integers(0, 9), st.integers(-40, 40)
udp = st.one_of(
    st.builds(udp_signals.Fresh, addresses).map(udp_signals.build_signal),
    st.builds(udp_signals.Guess, numbers, addresses, steps).map(udp_signals.build_signal),
    st.builds(udp_signals.Aim, addresses).map(udp_signals.build_signal),
    st.builds(udp_signals.Roles, st.booleans()).map(udp_signals.build_signal),
    st.builds(udp_signals.Round, numbers).map(udp_signals.build_signal),
    st.just(udp_signals.build_signal(udp_signals.Ready())),
)
tcp = st.one_of(
    st.builds(tcp_signals.Guess, numbers, addresses, steps).map(tcp_signals.build_signal),
    st.builds(tcp_signals.Sync, numbers).map(tcp_signals.build_signal),
    st.builds(tcp_signals.Dialled, numbers).map(tcp_signals.build_signal),
    st.builds(tcp_signals.Round, numbers).map(tcp_signals.build_signal),
    st.builds(tcp_signals.Opened, numbers).map(tcp_signals.build_signal),
    st.just(tcp_signals.build_signal(tcp_signals.Hit())),
)
signals = {word: st.tuples(st.just("signal"), found) for word, found in (("udp", udp), ("tcp", tcp))}
others = st.one_of(
    st.tuples(st.just("probe"), addresses, st.sampled_from(Kind)),
    st.tuples(st.just("junk"), addresses, st.binary(max_size=130)),
    st.tuples(st.just("sampled"), st.one_of(st.none(), addresses)),
    st.tuples(st.just("connected"), st.integers(0, 5)),
    st.tuples(st.just("failed"), st.integers(0, 5), st.sampled_from([1, 11, 24, 98, 110, 111])),
    st.tuples(st.just("time"), st.floats(0.0, 2.0)),
)


def standings(mapping: int, step: int) -> tuple[Standing, ...]:
    return tuple(Standing(code, 4, mapping, step, 0, 0, False) for code in TransportCode)


def places(*named: str) -> tuple[Place, ...]:
    return tuple(Place(PlaceKind.REFLEXIVE, code, False, (host, 7000)) for host in named for code in TransportCode)


class Watched:
    """A plan, what it has open, and where it has sent."""

    def __init__(self, name: str, leads: bool, ours: tuple[int, int], theirs: tuple[int, int]) -> None:
        chance = random.Random(7)
        context = Context(
            leads, 0.04, Terrain(standings(*ours), places(OURS)), Terrain(standings(*theirs), places(SEEN, NAMED)),
            places(SEEN, NAMED), frozenset({SEEN}), KEY_OUT, KEY_IN, 15.0, chance.random, chance.randbytes,
        )  # fmt: skip
        method = next(each for each in methods() if each.name == name)
        assert method.plan is not None
        self.plan: Plan | None = method.plan(context)
        self.sealer = ProbeSealer(KEY_IN, name, chance.randbytes)
        self.now, self.over = 0.0, False
        self.family = "udp4" if name.endswith("udp") else "tcp4"
        self.sent: list[Address] = []
        self.open: list[str] = []
        self.wins: list[Win] = []
        self.tells = 0

    def tell(self, verb: str, *details: Any) -> None:
        """Tell the plan, and see what it asks for."""
        plan = self.plan
        assert plan is not None
        try:
            getattr(plan, verb)(*details, self.now)
        except MalformedMessage:
            self.over = True  # the runner ends it
        for action in plan.actions():
            if isinstance(action, Probe):
                self.sent.append(action.to)
            elif isinstance(action, Connect):
                self.sent.append(action.to)
                self.open.append(action.name)
            elif isinstance(action, Close) and action.name in self.open:
                self.open.remove(action.name)
            elif isinstance(action, Win):
                self.wins.append(action)
            elif isinstance(action, Tell):
                self.tells += 1
                assert len(action.body) <= limits.SIGNAL_MAX
            elif isinstance(action, Finish):
                self.over = True

    def happen(self, kind: str, *details: Any) -> None:
        if kind == "signal":
            self.tell("receive_signal", *details)
        elif kind == "probe":
            address, word = details
            self.tell("receive_datagram", self.family, address, self.sealer.seal(word, self.sealer.nonce()))
        elif kind == "junk":
            self.tell("receive_datagram", self.family, *details)
        elif kind == "sampled":
            self.tell("sampled", self.family, *details)
        elif kind in ("connected", "failed"):
            if details[0] < len(self.open):
                self.tell(kind, self.open[details[0]], *details[1:])
                if kind == "failed" and details[0] < len(self.open):
                    del self.open[details[0]]
        else:
            until = self.now + details[0]
            plan = self.plan
            assert plan is not None
            while not self.over and (due := plan.get_timer()) is not None and due <= until:
                self.now = max(self.now + limits.PLAN_PAUSE, due)
                self.tell("handle_timer")
            self.now = max(self.now, until)


OPENING = (udp_signals.Ready(), udp_signals.Roles(True), udp_signals.Round(1))
ATTEMPTED = {
    name: [
        (leads, *networks)
        for leads in (False, True)
        for networks in NETWORKS
        if Watched(name, leads, *networks).plan is not None
    ]
    for name in NAMES
}
"""For each method, where it attempts something."""


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_nothing_goes_anywhere_else(name: str, data: st.DataObject) -> None:
    """
    But to places that may be tried, to where the introducer saw the peer, and, as answers, few, to where a valid probe
    came from; whatever is said, or comes. What nobody has proven wins nothing.
    """
    watched = Watched(name, *data.draw(st.sampled_from(ATTEMPTED[name])))
    said = signals[name[-3:]]
    happening = data.draw(st.lists(st.one_of(said, said, said, others), min_size=10, max_size=40))
    if name.endswith("udp") and data.draw(st.booleans()):  # what it waits for, so that more comes of the rest
        happening = [*(("signal", udp_signals.build_signal(each)) for each in OPENING), *happening]
    watched.tell("start")
    sources: list[Address] = []
    for kind, *details in happening:
        if watched.over:
            break
        if kind == "probe":
            sources.append(details[0])
        watched.happen(kind, *details)
    for address in set(watched.sent):
        host, port = address
        assert 0 < port < 65_536
        assert host in (SEEN, NAMED) or (address in sources and name.endswith("udp")), (address, sources)
    for host in (NAMED, VICTIM, OURS, "224.0.0.1"):
        answered = {each for each in sources if each[0] == host}
        answers = sum(each in answered for each in watched.sent if each[0] == host)
        direct = len(limits.PUNCH_UNSEEN_TIMES) if name.endswith("udp") else limits.PUNCH_TCP_SYNS
        assert answers <= limits.PUNCH_ANSWERS * len(answered) + direct
    assert not (watched.wins and name.endswith("udp"))
    assert watched.tells <= limits.PLAN_SIGNALS_MAX and len(watched.open) <= limits.PUNCH_SOCKETS_MAX


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(leads=st.booleans(), networks=st.sampled_from(NETWORKS), body=st.binary(max_size=limits.SIGNAL_MAX))
def test_any_bytes(name: str, leads: bool, networks: tuple[tuple[int, int], tuple[int, int]], body: bytes) -> None:
    """They end the attempt, or are a word; nothing else is raised."""
    watched = Watched(name, leads, *networks)
    if watched.plan is not None:
        watched.tell("start")
        watched.happen("signal", body)
        assert {host for host, _ in watched.sent} <= {SEEN, NAMED}


def test_all_methods_are_watched() -> None:
    """Whichever are added; each attempts something somewhere."""
    assert len(NAMES) >= 6 and all(ATTEMPTED.values())
