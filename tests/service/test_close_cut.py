"""The end of a node whose sessions have just lost their links."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import crust
import crust.testing
from crust import limits
from crust.peers.conversation import Conversation
from crust.peers.link import Link
from crust.peers.session import State
from crust.testing import Network
from tests.support.nodes import Nodes


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net


def test_waiting_for_links_is_part_of_the_time_to_close(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """``close(timeout)`` waits for one that has just been lost, half of its time at most, and has the rest then."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    net.cut(near, far)
    inner = near._node
    assert inner is not None
    assert [each.session.state for each in inner.registry.all()] == [State.SUSPENDED]
    left: list[float | None] = []
    close = inner.close

    def spied(timeout: float | None) -> bool:
        left.append(timeout)
        return close(timeout)

    monkeypatch.setattr(inner, "close", spied)
    began = net.now
    near.close(timeout=1.0)
    assert left == [pytest.approx(0.5, abs=0.01)]
    assert net.now - began < 1.0 + limits.CLOSE_GRACE


def test_what_was_sent_on_a_link_that_is_lost_unnoticed_arrives(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link has been cut, and its reader has not had its turn when close() begins: the session resumes first."""
    pair = nodes.proxied()
    heard: list[bytes] = []
    pair.far.on(crust.NewMessage, lambda event: heard.append(event.data))
    inner, conversation = pair.near._node, pair.to_far._conversation
    assert inner is not None
    goes_on, lost, drain, close = threading.Event(), Link.connection_lost, Conversation.drain, inner.registry.close

    def connection_lost(link: Link, error: OSError | None) -> None:
        if link.conversation is conversation:
            goes_on.wait(20)
        lost(link, error)

    def drained(self: Conversation, timeout: float | None) -> None:
        goes_on.set()
        drain(self, timeout)

    def closed() -> list[Conversation]:
        found = close()
        goes_on.set()
        return found

    monkeypatch.setattr(Link, "connection_lost", connection_lost)
    monkeypatch.setattr(Conversation, "drain", drained)
    monkeypatch.setattr(inner.registry, "close", closed)
    assert pair.wire.cut()
    sent = [b"%d" % number for number in range(5)]
    for each in sent:
        pair.to_far.send(each)
    pair.near.close()
    assert pair.far_heard.wait(crust.LostPeer).reason == "closed"
    assert heard == sent


def test_goodbye_is_heard_by_who_writes_before_it_reads(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer has gone while the reader was busy, and its stream is reset by the time at which something is sent."""
    monkeypatch.setattr(limits, "CLOSE_LINGER", 0.2)
    pair = nodes.pair()
    works, go_on = threading.Event(), threading.Event()
    conversation, receive = pair.to_near._conversation, Conversation.receive

    def work(self: Conversation, *arguments: Any) -> None:
        if self is conversation:
            works.set()
            go_on.wait(20)
        receive(self, *arguments)

    monkeypatch.setattr(Conversation, "receive", work)
    pair.to_far.send(b"hello")
    assert works.wait(20)
    pair.near.close(timeout=0.5)
    for _ in range(3):
        pair.to_near.send(b"are you there?")
    assert not pair.far_heard.of(crust.PeerSuspended)
    go_on.set()
    assert pair.far_heard.wait(crust.LostPeer).reason == "closed"
    assert not pair.far_heard.of(crust.PeerSuspended)
    assert pair.to_near.recv(5) == b"hello"
