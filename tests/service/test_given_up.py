"""Who is given up at the moment of its welcome: the attempt is cut and no session comes of it, or one that stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import crust
from tests.support.nodes import Nodes, Service, config, pair_of_identities
from tests.support.threads import Background
from tests.support.waiting import wait_until


def two(nodes: Nodes, controller: str) -> tuple[Service, Service]:
    lesser, greater = pair_of_identities()
    near, far = (greater, lesser) if controller == "near" else (lesser, greater)
    return nodes.start(identity=near), nodes.start(config(session__resume_timeout=60.0), identity=far)


def before(target: object, name: str, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call ``act()`` before the first call of that method."""
    method = getattr(target, name)

    def first(*args: Any, **keywords: Any) -> Any:
        monkeypatch.setattr(target, name, method)
        act()
        return method(*args, **keywords)

    monkeypatch.setattr(target, name, first)


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_welcome_that_comes_too_late_begins_nothing(
    nodes: Nodes, controller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call gets a session of its own, not one whose link is being cut; both sides can use it."""
    near, far = two(nodes, controller)
    node = near._node
    assert node is not None
    futures: list[Any] = []
    again: list[Any] = []

    def give_up() -> None:
        wait_until(lambda: futures)
        assert futures[0].cancel()
        again.append(near.dial(far.contact))

    before(node.registry, "welcomed", give_up, monkeypatch)
    futures.append(near.dial(far.contact, timeout=10))
    wait_until(lambda: again)
    peer = again[0].result(10)
    wait_until(lambda: far.peers and far.peers[0].state == "connected")
    peer.send(b"there")
    assert far.peers[0].recv(5) == b"there"
    assert near.disconnect(far.id)
    wait_until(lambda: not far.peers)
    nodes.heard(near).wait(crust.LostPeer)
    assert nodes.heard(near).names(far.id) == ["ConnectSuccess", "LostPeer"]


def test_whose_call_was_given_up_hears_goodbye(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It decides, and has begun a session: that ends, and does not wait for a caller who will not come back."""
    near, far = two(nodes, "far")
    node = near._node
    assert node is not None
    futures: list[Any] = []

    def give_up() -> None:
        wait_until(lambda: futures)
        assert futures[0].cancel()

    before(node.registry, "welcomed", give_up, monkeypatch)
    futures.append(near.dial(far.contact, timeout=10))
    assert nodes.heard(far).wait(crust.LostPeer).reason == "disconnected"
    assert nodes.heard(far).names(near.id) == ["ConnectSuccess", "LostPeer"]
    assert not nodes.heard(near).names(far.id)


@pytest.mark.parametrize("controller", ["near", "far"])
def test_what_has_become_a_session_is_not_cut(
    nodes: Nodes, controller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller has lost interest a moment too late."""
    near, far = two(nodes, controller)
    node = near._node
    assert node is not None
    futures: list[Any] = []

    def give_up() -> None:
        wait_until(lambda: futures)
        futures[0].cancel()

    before(node, "began", give_up, monkeypatch)
    futures.append(near.dial(far.contact, timeout=10))
    wait_until(lambda: near.peers and far.peers)
    near.peers[0].send(b"there")
    assert far.peers[0].recv(5) == b"there"
    assert not node.dialer._efforts
    nodes.heard(near).wait(crust.ConnectSuccess)
    assert nodes.heard(near).names(far.id) == ["ConnectSuccess"]


@pytest.mark.parametrize("controller", ["near", "far"])
def test_disconnect_at_the_moment_of_the_welcome(
    nodes: Nodes, controller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session comes after it: it waits for the one that begins just then, and ends it."""
    near, far = two(nodes, controller)
    node = near._node
    assert node is not None
    ended: list[Background] = []

    def part() -> None:
        ended.append(Background(near.disconnect, far.id))
        wait_until(lambda: not node.dialer._efforts)

    before(node, "began", part, monkeypatch)
    near.dial(far.contact, timeout=10)
    wait_until(lambda: ended)
    assert ended[0].result(5) is True
    wait_until(lambda: not far.peers and not near.peers)
    nodes.heard(near).wait(crust.LostPeer)
    assert nodes.heard(near).names(far.id) == ["ConnectSuccess", "LostPeer"]
