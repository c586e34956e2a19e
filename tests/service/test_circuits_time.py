"""How long circuits last, and what waits on them: in memory, on a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust import Service, limits
from crust.peers.circuits.relayed import Leg, RelayedCircuit
from crust.peers.efforts import BANNED
from crust.testing import Network
from crust.wire.frames import CircuitData, CircuitReason

HIDDEN = crust.Config().replace(**{"nat.punch.tcp": False, "nat.punch.udp": False})
"""Of a node that nobody can reach as long as it does not listen."""


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


def relaying(net: Network) -> Service:
    """An introducer that carries messages, too."""
    return net.service(crust.Config().replace(relay={"serve": True}))


def hidden(net: Network, *introducers: Service) -> tuple[Service, Service]:
    """Two nodes that reach each other through these alone."""
    near, far = net.service(HIDDEN), net.service(HIDDEN)
    for each in (near, far):
        each.stop_listening()
        for introducer in introducers:
            each.connect(introducer.contact)
    net.settle()
    return near, far


def end_all(introducer: Service) -> int:
    """It ends its circuits; how many."""
    assert introducer._node is not None
    circuits = introducer._node.circuits.introducing._circuits.copy()
    for circuit in circuits:
        circuit.end(CircuitReason.LOST, "")
    return len(circuits)


def trio(net: Network, **relay: object) -> tuple[Service, crust.Peer, crust.Peer]:
    """An introducer, and a session through it as both ends see it."""
    middle = net.service(crust.Config().replace(relay=relay))
    near, far = hidden(net, middle)
    to_far = near.connect(far.id)
    net.settle()
    (to_near,) = [each for each in far.peers if each.id == near.id]
    return middle, to_far, to_near


def kinds(net: Network, service: Service, peer: crust.Peer) -> list[str]:
    names = (crust.PeerSuspended, crust.PeerResumed, crust.LostPeer)
    return [type(each).__name__ for each in net.heard(service) if isinstance(each, names) and each.peer is peer]


def current(middle: Service) -> int:
    return middle.stats().circuits.current


def test_two_round_trips(net: Network) -> None:
    """From the wish to the session, at 25 ms from each end to the introducer."""
    middle = relaying(net)
    near, far = hidden(net, middle)
    net.delay(seconds=0.025)
    began = net.now
    near.connect(far.id)
    assert net.now - began <= 2 * 4 * 0.025 + 0.01


def test_a_circuit_that_only_signals_is_short(net: Network) -> None:
    """After a minute it ends; the session gets another one at once, and what waits goes on waiting."""
    middle, to_far, to_near = trio(net)
    to_far.send(b"waits")
    net.advance(limits.CIRCUIT_SIGNAL_SECONDS - 5)
    assert middle.stats().circuits.opened == 1
    net.advance(10)
    assert middle.stats().circuits.opened >= 2
    net.advance(300)
    assert to_far.state == "connected" and to_near.state == "connected"
    assert current(middle) == 1
    assert to_near._conversation.messages_received == 0
    assert not to_far._conversation.session.suspected


@pytest.mark.parametrize("is_first", [True, False])
def test_who_finds_no_room_goes_to_another_introducer(net: Network, is_first: bool) -> None:
    """It is not the first one's circuit for signals that decides for a minute, whichever came first."""
    full = net.service(crust.Config().replace(relay={"serve": True, "max_circuits": 1}))
    roomy = relaying(net)
    pairs = [(net.service(HIDDEN), net.service(HIDDEN)) for _ in range(2)]
    for near, far in pairs:
        for each in (near, far):
            each.stop_listening()
            each.connect(full.contact)
            if not is_first and (near, far) == pairs[1]:
                each.connect(roomy.contact)
    net.settle()
    pairs[0][0].connect(pairs[0][1].id)
    near, far = pairs[1]
    introducers = near._node.circuits.introducers  # type: ignore[union-attr]
    if not is_first:
        net.delay(near, roomy, seconds=0.05)
    to_far = near.connect(far.id)
    to_far.send(b"waits")
    net.settle()
    (to_near,) = [each for each in far.peers if each.id == near.id]
    link = to_far._conversation.link
    assert link is not None and not link.carries_data and not to_near._conversation.messages_received
    if is_first:
        net.advance(limits.CIRCUIT_ROOM_LOOK[0])
        assert to_far._conversation.link is link
        for each in (near, far):
            each.connect(roomy.contact)
    net.advance(sum(limits.CIRCUIT_ROOM_LOOK) + 1)
    assert to_near.recv(timeout=0) == b"waits"
    assert current(full) == current(roomy) == 1
    assert kinds(net, near, to_far) == []
    first = introducers.towards(far.id)[0]
    assert first.peer_id == roomy.id
    assert introducers.roomless(far.id) == {full.id}
    net.advance(limits.CIRCUIT_ROOM_MEMORY)
    assert introducers.roomless(far.id) == set()


def test_a_peer_that_wants_no_messages_by_circuits_has_no_introducer_blamed(net: Network) -> None:
    """Some are tried, as it may be they, and no more for a while; for other peers all of them are as good as before."""
    serving = [relaying(net) for _ in range(5)]
    near, other = net.service(HIDDEN), net.service(HIDDEN)
    refusing = net.service(HIDDEN.replace(relay={"use": False}))
    for each in (near, other, refusing):
        each.stop_listening()
        for middle in serving:
            each.connect(middle.contact)
    net.settle()
    near.connect(refusing.id)
    net.advance(limits.CIRCUIT_SIGNAL_SECONDS - 5)
    assert sum(middle.stats().circuits.opened for middle in serving) == limits.CIRCUIT_INTRODUCERS
    introducers = near._node.circuits.introducers  # type: ignore[union-attr]
    assert len(introducers.roomless(refusing.id)) == limits.CIRCUIT_INTRODUCERS
    assert introducers.roomless(other.id) == set()
    net.advance(30 * 60)
    assert len(introducers._roomless._noted) == 1
    minutes = 31
    assert sum(middle.stats().circuits.opened for middle in serving) <= (1 + limits.CIRCUIT_INTRODUCERS) * minutes
    assert all(middle.stats().circuits.opened for middle in serving), "those that were not tried have their turn"


def test_the_only_way_is_not_put_off_for_those_that_lead_nowhere(net: Network) -> None:
    """Each end has two more introducers, which do not know the other one: cuts are mended at once."""
    middle = relaying(net)
    near, far = hidden(net, middle)
    for each in (near, far):
        for _ in range(2):
            each.connect(relaying(net).contact)
    near.connect(far.id)
    for _ in range(12):
        net.advance(5.0)
        assert end_all(middle) == 1
        net.advance(2 * limits.CIRCUIT_HANDICAP)
        assert current(middle) == 1


def test_those_that_end_circuits_at_once_do_not_get_them_again(net: Network) -> None:
    """However near and many they are: the session comes to one that keeps it, and nothing is lost."""
    ending = [relaying(net) for _ in range(5)]
    keeping = relaying(net)
    near, far = hidden(net, *ending, keeping)
    for each in (near, far):
        net.delay(each, keeping, seconds=0.1)
    to_far = near.connect(far.id)
    net.settle()
    (to_near,) = [each for each in far.peers if each.id == near.id]
    ended = 0
    for number in range(40):
        to_far.send(b"%d" % number)
        net.advance(1.0)
        ended += sum(map(end_all, ending))
    assert current(keeping) == 1 and 0 < ended <= 3 * len(ending)
    assert [to_near.recv(timeout=0) for _ in range(40)] == [b"%d" % number for number in range(40)]


@pytest.mark.parametrize("count", [2, 5, limits.CIRCUIT_ASKED - 1])
def test_those_that_end_calls_at_once_keep_no_two_apart(
    net: Network, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say that they carry data, and the honest one does not: one call after the other leads there all the same."""
    ending = [relaying(net) for _ in range(count)]
    honest = net.service()
    near, far = hidden(net, *ending, honest)
    lenders = [each._node.circuits.introducing for each in ending if each._node is not None]
    ask = RelayedCircuit.ask

    def end(circuit: RelayedCircuit) -> None:
        ask(circuit)
        if circuit.lender in lenders:
            circuit.end(CircuitReason.LOST, "")

    monkeypatch.setattr(RelayedCircuit, "ask", end)
    for _ in range(6):
        to_far = near.connect(far.id)
        assert current(honest) == 1
        to_far.disconnect()
        net.settle()
    unknown = crust.Identity.generate().peer_id
    with pytest.raises(crust.NoRoute) as caught:
        near.connect(unknown)
    assert len({each.endpoint for each in caught.value.attempts}) <= limits.CIRCUIT_ASKED


def test_the_start_that_others_have_is_not_counted_as_wasted(net: Network) -> None:
    """Who says at once that it does not know a peer is not blamed for the seconds that it was to wait before."""
    middle, other = relaying(net), relaying(net)
    near, _ = hidden(net, middle, other)
    assert near._node is not None
    introducers, unknown = near._node.circuits.introducers, crust.Identity.generate().peer_id
    introducers.was_tried(middle.id, unknown, wasted=limits.CIRCUIT_HANDICAP_MAX)
    before = introducers._tries(unknown)
    with pytest.raises(crust.NoRoute):
        near.connect(unknown)
    after = introducers._tries(unknown)
    assert 0 < after[middle.id] - before[middle.id] <= after[other.id]


def test_who_was_only_slower_is_not_counted(net: Network) -> None:
    middles = [relaying(net) for _ in range(2)]
    near, far = hidden(net, *middles)
    assert near._node is not None
    introducers = near._node.circuits.introducers
    first = introducers.towards(far.id)[0].peer_id
    for each in middles:
        if each.id == first:
            net.delay(near, each, seconds=2 * limits.DIAL_STAGGER)
    to_far = near.connect(far.id)
    net.advance(8 * limits.DIAL_STAGGER)
    assert [each.verdict for each in to_far.attempts] == ["connected", "lost_race"]
    assert first not in introducers._tries(far.id)


def test_a_call_asks_so_many_introducers_and_no_more(net: Network) -> None:
    near = hidden(net, *(relaying(net) for _ in range(limits.CIRCUIT_ASKED + limits.CIRCUIT_INTRODUCERS)))[0]
    with pytest.raises(crust.NoRoute):
        near.connect(unknown := crust.Identity.generate().peer_id)
    assert near._node is not None
    assert len(near._node.circuits.introducers._tries(unknown)) == limits.CIRCUIT_ASKED


def test_introducers_that_are_being_banned_are_not_asked_for_ever(
    net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ban of their address holds, and the sessions with them are about to be ended."""
    introducers = [relaying(net) for _ in range(limits.CIRCUIT_INTRODUCERS + 2)]
    near, far = hidden(net, *introducers)
    node = near._node
    assert node is not None
    monkeypatch.setattr(node.bans, "enforce", lambda among=None: None)
    near.ban(*(each.contact.endpoints[0].host for each in introducers))
    with pytest.raises(crust.NoRoute) as caught:
        near.connect(far.id)
    assert len({each.endpoint for each in caught.value.attempts}) == len(introducers)
    assert {each.error for each in caught.value.attempts} == {BANNED}
    assert not node.dialer._efforts


@pytest.mark.parametrize("silent", [1, 2])
def test_introducers_that_carry_nothing_after_all(net: Network, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nearer than others, they let the first two messages pass, so that they win, and then nothing: whoever has lost to
    them has another turn, and no time is lost but theirs.
    """
    liars = [relaying(net) for _ in range(silent)]
    honest = relaying(net)
    near, far = hidden(net, *liars, honest)
    net.delay(near, honest, seconds=0.02)
    lenders = [each._node.circuits.introducing for each in liars if each._node is not None]
    data = Leg._data

    def swallow(leg: Leg) -> CircuitData | None:
        if leg.circuit.lender not in lenders:
            return data(leg)
        leg.flow.passed(len(leg.out))
        leg.out.clear()
        return None

    monkeypatch.setattr(Leg, "_data", swallow)
    began = net.now
    to_far = near.connect(far.id, timeout=60.0)
    assert net.now - began < silent * limits.HANDSHAKE_TIMEOUT + 2.0
    to_far.send(b"through the honest one")
    net.advance(1.0)
    (to_near,) = [each for each in far.peers if each.id == near.id]
    assert to_near.recv(timeout=5.0) == b"through the honest one"
    assert kinds(net, near, to_far) == []


def test_a_session_over_a_circuit_stays(net: Network) -> None:
    """For an hour, if the introducer serves; nobody suspects anything."""
    middle, to_far, to_near = trio(net, serve=True)
    for _ in range(2):
        net.advance(1800)
        to_far.send(b"ping")
        assert to_near.recv(timeout=5) == b"ping"
    assert middle.stats().circuits.opened == 1
    near = next(each for each in net._heard if to_far in each.peers)
    assert kinds(net, near, to_far) == []


def test_a_called_peer_that_does_not_answer(net: Network) -> None:
    """The introducer ends the wait, before the caller would."""
    middle, to_far, _ = trio(net, serve=True)
    far = next(each for each in net._heard if each.id == to_far.id)
    lone = net.service(HIDDEN)
    lone.connect(middle.contact)
    net.settle()
    net.partition(middle, far)
    future = lone.dial(far.id)
    net.advance(limits.CIRCUIT_OFFER_SECONDS + 2)
    error = future.exception(0)
    assert isinstance(error, crust.NoRoute)
    assert error.attempts[0].verdict == "timeout"
    assert error.attempts[0].error.endswith("(the peer did not answer)")
