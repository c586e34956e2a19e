"""What was tried to reach a peer: kept with its session, and told to who wants to watch."""

from __future__ import annotations

import time

import crust
from crust import Contact, Endpoint, Identity, Service
from tests.support.nodes import LOOPBACK, Nodes, config
from tests.support.sockets import silent_listener, unused_port
from tests.support.waiting import wait_until

LOOPBACK_UTP = "utp://127.0.0.1:0"


def watched(service: Service) -> list[crust.PathAttempted]:
    """What a node tells from now on."""
    told: list[crust.PathAttempted] = []
    service.on(crust.PathAttempted, told.append)
    return told


def test_every_attempt_of_a_connect_is_told_and_kept(nodes: Nodes) -> None:
    """With where from and where to, when it began, how long it took and what became of it; the last one is the path."""
    far, near = nodes.start(), nodes.start()
    dead = Endpoint("tcp", "127.0.0.1", unused_port())
    told = watched(near)
    began = time.time()
    peer = near.connect(Contact(far.id, (dead, *far.addresses)))
    wait_until(lambda: len(told) == 2, what="two attempts")
    assert [event.peer_id for event in told] == [far.id, far.id]
    assert peer.attempts == tuple(event.attempt for event in told)
    refused, connected = peer.attempts
    assert (refused.endpoint, refused.verdict, refused.local) == (str(dead), "refused", "")
    assert peer.path is not None
    assert (connected.endpoint, connected.verdict) == (peer.path.remote, "connected")
    assert connected.local == peer.path.local
    for attempt in peer.attempts:
        assert attempt.method == "direct"
        assert began - 1 <= attempt.started <= attempt.started + attempt.duration <= time.time() + 1
    assert peer.path.attempts == peer.attempts


def test_who_was_called_has_attempted_nothing(nodes: Nodes) -> None:
    pair = nodes.pair()
    assert pair.to_near.attempts == ()
    assert [attempt.verdict for attempt in pair.to_far.attempts] == ["connected"]


def test_attempts_that_lead_to_nobody_are_told_too(nodes: Nodes) -> None:
    """There is no peer then, only the id that was called."""
    near = nodes.start()
    told = watched(near)
    nobody = Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", unused_port()),))
    failure = near.dial(nobody).exception(timeout=10)
    assert isinstance(failure, crust.ConnectError)
    wait_until(lambda: told, what="an attempt")
    assert [(event.peer_id, event.attempt) for event in told] == [(nobody.peer_id, failure.attempts[0])]


def test_what_goes_on_behind_a_session_is_noted_once(nodes: Nodes) -> None:
    """µTP answered first, TCP was late: its attempt is added to those of the session, which moves."""
    far = nodes.start(config(listen__addresses=(LOOPBACK, LOOPBACK_UTP)))
    near = nodes.start(config(listen__addresses=(LOOPBACK, LOOPBACK_UTP)))
    proxy = nodes.proxy(far)
    proxy.stall()
    told = watched(near)
    utp = next(each for each in far.addresses if each.transport == "utp")
    peer = near.connect(Contact(far.id, (Endpoint.parse(proxy.endpoint), utp)))
    assert [(each.endpoint, each.verdict) for each in peer.attempts] == [(str(utp), "connected")]
    proxy.heal()
    wait_until(lambda: len(peer.attempts) == 2, 10, "the attempt over TCP")
    assert [each.endpoint for each in peer.attempts] == [str(utp), proxy.endpoint]
    wait_until(lambda: len(told) == 2, what="both to be told")
    assert tuple(event.attempt for event in told) == peer.attempts


def test_what_was_given_up_was_not_unreachable(nodes: Nodes) -> None:
    """Another address was reached; the attempts that still waited say that they were no longer needed."""
    far, near = nodes.start(), nodes.start()
    told = watched(near)
    sockets, port = silent_listener()
    try:
        peer = near.connect(Contact(far.id, (Endpoint("tcp", "127.0.0.1", port), *far.addresses)), timeout=10)
        wait_until(lambda: len(told) == 2, what="both attempts")
    finally:
        for sock in sockets:
            sock.close()
    verdicts = {attempt.endpoint: attempt.verdict for attempt in peer.attempts}
    assert verdicts == {f"tcp://127.0.0.1:{port}": "cancelled", str(far.addresses[0]): "connected"}


def test_a_plain_node_relays_nothing(nodes: Nodes) -> None:
    """Until its configuration says so."""
    pair = nodes.pair()
    assert not pair.to_far.relays
