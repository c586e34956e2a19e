"""Circuits: two nodes that know each other's id alone talk through a third."""

from __future__ import annotations

import pytest

import crust
from crust import Identity
from crust.wire import frames
from tests.support.nodes import Nodes, call, config, through
from tests.support.trios import SERVES, Trio, hidden
from tests.support.waiting import wait_until


@pytest.mark.parametrize("controller", ["near", "far"])
def test_two_that_know_only_ids(nodes: Nodes, controller: str) -> None:
    """They connect through the peer that both have, and messages of all sizes flow both ways."""
    trio = Trio(nodes, controller=controller)
    to_far, to_near = trio.meet()
    for peer in (to_far, to_near):
        path = peer.path
        assert path is not None
        assert (path.path_class, path.transport) == ("relay", "relay")
        assert path.remote == f"relay://{str(trio.relay.addresses[0]).partition('//')[2]}"
    for size in (0, 1, 1000, 20_000, 1_000_000):
        to_far.send(b"a" * size)
        assert to_near.recv(timeout=5) == b"a" * size
        to_near.send(b"b" * size)
        assert to_far.recv(timeout=5) == b"b" * size
    counters = trio.relay.stats().circuits
    assert (counters.current, counters.opened, counters.refused) == (1, 1, 0)
    assert counters.carried_bytes > 2_000_000
    assert [each.verdict for each in to_far.attempts if each.method == "circuit"] == ["connected"]


def test_both_call_at_once(nodes: Nodes) -> None:
    """There is one session, and no circuit is left over."""
    trio = Trio(nodes)
    futures = [trio.near.dial(trio.far.id), trio.far.dial(trio.near.id)]
    to_far, to_near = (future.result(5) for future in futures)
    to_far.send(b"one")
    assert to_near.recv(timeout=5) == b"one"
    wait_until(lambda: trio.circuits() == 1, what="the circuit that was too much to end")
    assert [len(each.peers) for each in (trio.near, trio.far)] == [2, 2]


def test_the_end_is_told(nodes: Nodes) -> None:
    """Who closes says goodbye over the circuit, which ends with the session."""
    trio = Trio(nodes)
    _, to_near = trio.meet()
    trio.near.close()
    lost = nodes.heard(trio.far).wait(crust.LostPeer)
    assert lost.peer is to_near and lost.reason == "closed"
    wait_until(lambda: trio.circuits() == 0, what="the circuit to end")


def test_disconnect_ends_the_circuit(nodes: Nodes) -> None:
    """The links to the introducer stay."""
    trio = Trio(nodes)
    to_far, _ = trio.meet()
    to_far.disconnect()
    assert nodes.heard(trio.far).wait(crust.LostPeer).reason == "disconnected"
    wait_until(lambda: trio.circuits() == 0, what="the circuit to end")
    assert trio.near.is_connected(trio.relay.id) and trio.far.is_connected(trio.relay.id)


# --- nobody introduces ------------------------------------------------------------------------------------------------


def test_nobody_is_there_to_introduce(nodes: Nodes) -> None:
    """The error says what would help."""
    lone = nodes.start()
    with pytest.raises(crust.NoRoute, match="no peer of ours that introduces") as caught:
        lone.connect(Identity.generate().peer_id)
    assert caught.value.attempts == ()


def test_the_introducers_do_not_know_it(nodes: Nodes) -> None:
    """Each of them is named with its reason, in plain words."""
    trio = Trio(nodes, SERVES, SERVES)
    with pytest.raises(crust.NoRoute, match="none of our peers could introduce us") as caught:
        trio.near.connect(Identity.generate().peer_id)
    attempts = caught.value.attempts
    assert {attempt.endpoint for attempt in attempts} == {
        f"relay://{str(relay.addresses[0]).partition('//')[2]}" for relay in trio.relays
    }
    for attempt in attempts:
        assert (attempt.method, attempt.verdict) == ("circuit", "unreachable")
        assert attempt.error == "the introducer has no link to that peer (not at the moment)"


def test_two_that_come_at_the_same_moment(nodes: Nodes) -> None:
    """Whoever calls a moment before the other one has come to the introducer is not told that there is no way."""
    relay, near, far = nodes.start(SERVES), nodes.start(hidden()), nodes.start(hidden())
    near.connect(relay.contact)
    future = near.dial(far.id)
    wait_until(lambda: relay.stats().circuits.refused > 0, what="the introducer to say that it does not know the peer")
    far.connect(relay.contact)
    assert future.result(10).id == far.id


def test_who_does_not_want_to_is_not_reached(nodes: Nodes) -> None:
    """A banned peer hears that it is, like one that calls directly."""
    trio = Trio(nodes)
    trio.far.ban(trio.near.id)
    error = call(lambda: trio.near.connect(trio.far.id))
    assert isinstance(error, crust.Denied) and error.reason == "banned"
    wait_until(lambda: trio.circuits() == 0, what="the circuit to end")


def test_a_circuit_has_no_circuit_inside(nodes: Nodes) -> None:
    """Who is reached through somebody introduces nobody on that link."""
    trio = Trio(nodes)
    trio.meet()
    last = nodes.start(hidden())
    # `last` is linked to `near` alone, which knows `far` over a circuit.
    listens = nodes.start(config(relay__serve=True))
    trio.near.connect(listens.contact)
    last.connect(listens.contact)
    trio_error = call(lambda: last.connect(trio.far.id))
    assert isinstance(trio_error, crust.NoRoute)
    assert "has no link to that peer" in str(trio_error)


# --- bans -------------------------------------------------------------------------------------------------------------


def test_a_ban_of_the_address_that_the_introducer_sees(nodes: Nodes) -> None:
    """It ends the session, as one with a direct path; here everybody has the same address."""
    trio = Trio(nodes)
    to_far, _ = trio.meet()
    conversation = to_far._conversation
    assert conversation.address == "127.0.0.1"
    trio.near.ban("127.0.0.1")
    lost = [nodes.heard(trio.near).wait(crust.LostPeer, count) for count in (1, 2)]
    assert {each.reason for each in lost} == {"banned"}
    assert {each.peer.id for each in lost} == {trio.far.id, trio.relay.id}


# --- the introducer ends ----------------------------------------------------------------------------------------------


def test_another_introducer_takes_over(nodes: Nodes) -> None:
    """When the one that carries the session goes, both go on through another, and nothing is lost."""
    trio = Trio(nodes, SERVES, SERVES)
    to_far, to_near = trio.meet()
    first = trio.carrier(to_far)
    to_far.send(b"before")
    first.close()
    nodes.heard(trio.near).wait(crust.PeerResumed)
    to_far.send(b"after")
    assert [to_near.recv(timeout=5), to_near.recv(timeout=5)] == [b"before", b"after"]
    assert trio.carrier(to_far) is not first
    suspended = [each for each in nodes.heard(trio.near).of(crust.PeerSuspended) if each.peer is to_far]
    assert suspended and all(each.reason.startswith("a link that the circuit went over ended") for each in suspended)


def test_the_only_introducer_comes_back(nodes: Nodes) -> None:
    """The session waits for it, since it may."""
    trio = Trio(nodes)
    to_far, to_near = trio.meet()
    trio.near.disconnect(trio.relay.id)
    nodes.heard(trio.near).wait(crust.PeerSuspended)
    to_far.send(b"later")
    assert to_far.state == "suspended"
    trio.near.connect(trio.relay.contact)
    assert to_near.recv(timeout=10) == b"later"
    assert to_far.state == "connected"


# --- who names whom ---------------------------------------------------------------------------------------------------


def test_via(nodes: Nodes) -> None:
    """Those that were dialled introduce us; those that called us have no address that we know."""
    trio = Trio(nodes, SERVES, SERVES)
    assert {contact.peer_id for contact in trio.near.via} == {relay.id for relay in trio.relays}
    assert all(contact in [relay.contact for relay in trio.relays] for contact in trio.near.via)
    assert trio.relay.via == ()
    trio.near.disconnect(trio.relay.id)
    assert [contact.peer_id for contact in trio.near.via] == [trio.relays[1].id]
    trio.near.close()
    assert trio.near.via == ()


# --- for signalling alone ---------------------------------------------------------------------------------------------


def check_that_only_signals_pass(peer: crust.Peer) -> None:
    """The session lives, and no message has come."""
    conversation = peer._conversation
    before = conversation.session.last_received
    conversation.lives()
    wait_until(lambda: conversation.session.last_received > before, what="a sign of life")
    assert not conversation.session.suspected
    assert conversation.messages_received == 0
    link = conversation.link
    assert link is not None and not link.carries_data


@pytest.mark.parametrize("who", ["relay", "near", "far"])
def test_messages_wait_where_a_circuit_only_signals(nodes: Nodes, who: str) -> None:
    """If the introducer, or one of the ends, wants it so, messages wait for another path, and then they all come."""
    off = {"relay__use": False}
    trio = Trio(
        nodes,
        config() if who == "relay" else SERVES,
        near=hidden(**(off if who == "near" else {})),
        far=hidden(**(off if who == "far" else {})),
    )
    to_far, to_near = trio.meet()
    messages = [bytes([number]) * 100_000 for number in range(20)]
    for number, message in enumerate(messages):
        (to_far if number % 2 else to_near).send(message)
    for peer in (to_far, to_near):
        check_that_only_signals_pass(peer)
    assert trio.relay.stats().circuits.carried_bytes < 10_000
    trio.move(to_far)
    for number, message in enumerate(messages):
        assert (to_near if number % 2 else to_far).recv(timeout=5) == message
    wait_until(lambda: trio.circuits() == 0, what="the circuit to end")
    for each in (trio.near, trio.far):
        nodes.heard(each).wait(crust.PathChanged)
    names = [name for each in (trio.near, trio.far) for name in nodes.heard(each).names()]
    assert "PeerSuspended" not in names and names.count("PathChanged") == 2


def test_what_was_on_its_way_waits_too(nodes: Nodes) -> None:
    """Messages that a lost direct link may have swallowed are sent again on the next one that takes them."""
    trio = Trio(nodes, config())
    trio.far.start_listening()
    proxy = nodes.proxy(trio.far)
    to_far = trio.near.connect(through(proxy, trio.far))
    to_near = trio.to_near()
    trio.far.stop_listening()
    proxy.swallow()
    sent = [bytes([number]) * 50_000 for number in range(10)]
    for message in sent:
        to_far.send(message)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: (path := to_far.path) is not None and path.path_class == "relay", what="the circuit")
    assert to_far._conversation.session.outbox.unacknowledged or to_far._conversation.session.outbox.queued_bytes
    trio.move(to_far)
    assert [to_near.recv(timeout=20) for _ in sent] == sent


def test_who_misbehaves_behind_an_introducer(nodes: Nodes) -> None:
    """Is named by its id, and the session with the introducer goes on."""
    trio = Trio(nodes)
    to_far, to_near = trio.meet()
    link = to_near._conversation.link
    assert link is not None
    link.write_control(frames.Use(7))
    event = nodes.heard(trio.near).wait(crust.PeerMisbehaved)
    assert event.peer is to_far and event.address.startswith("relay://")
    assert nodes.heard(trio.near).wait(crust.LostPeer).peer is to_far
    assert trio.near.is_connected(trio.relay.id)
    wait_until(lambda: trio.circuits() == 0, what="the circuit to end")


def test_nothing_is_left_of_it(nodes: Nodes) -> None:
    """When a node closes, its ends of circuits are gone."""
    trio = Trio(nodes)
    trio.meet()
    node = trio.near._node
    assert node is not None and len(node.circuits._connections) == 1
    assert trio.near.close()
    assert node.circuits._connections == set()
