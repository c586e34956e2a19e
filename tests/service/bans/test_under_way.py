"""Links that are just bringing a session back when somebody is banned, and peers that begin a new one on them."""

from __future__ import annotations

import os
import socket

import pytest

import crust
from crust import Contact, Endpoint, PeerView, limits
from crust.wire import frames
from crust.wire.handshake import Role
from tests.support.nodes import Nodes, pair_of_identities
from tests.support.puppet import PATIENCE, Callee, Wire
from tests.support.threads import Background
from tests.support.waiting import wait_until


class Judge:
    """A function that has nothing against anybody whom it is asked about first, and raises from then on."""

    def __init__(self) -> None:
        self.asked: list[PeerView] = []

    def __call__(self, peer: PeerView) -> bool:
        self.asked.append(peer)
        if len(self.asked) > 1:
            raise RuntimeError("the database is away")
        return False


def test_a_session_that_was_to_be_resumed_is_no_new_one(nodes: Nodes) -> None:
    """Nobody has been asked about that: a peer that began one would be in for as long as the function takes."""
    lesser, greater = pair_of_identities()
    node, judge = nodes.start(identity=lesser, on_callback_error=lambda what, error: None), Judge()
    node.ban(judge)
    with Callee(greater) as callee:
        dialling = Background(node.connect, callee.contact)
        wire, _ = callee.welcome()
        dialling.result()
        wire.sock.close()
        wire, introduction = callee.welcome()
        assert introduction.resume is not None
        wire.rest()  # the node ends the link, and asks once more for the session that there was
        assert callee.greet()[1].resume == introduction.resume
        assert len(nodes.heard(node).of(crust.ConnectSuccess)) == len(judge.asked) == 1
        assert [peer.state for peer in node.peers] == ["suspended"]


def test_a_function_is_asked_though_there_was_a_session_a_moment_ago(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends when the link that was to bring it back is about to introduce us, and somebody waits for the peer."""
    lesser, greater = pair_of_identities()
    node, judge = nodes.start(identity=lesser, on_callback_error=lambda what, error: None), Judge()
    node.ban(judge)
    inner = node._running()
    introduction = inner.registry.introduction
    waiting: list[Background] = []
    with Callee(greater) as callee:

        def ends_first(*arguments: object) -> object:
            conversation = inner.registry.get(greater.peer_id)
            if conversation is not None and not waiting:
                waiting.append(Background(lambda: node.connect(callee.contact, timeout=1.0)))
                wait_until(lambda: inner.dialer._efforts[greater.peer_id].waiters, PATIENCE, "who waits for the peer")
                conversation.end("gone")
            return introduction(*arguments)  # type: ignore[arg-type]

        dialling = Background(node.connect, callee.contact)
        wire, _ = callee.welcome()
        dialling.result()
        monkeypatch.setattr(inner.registry, "introduction", ends_first)
        wire.sock.close()
        with pytest.raises(ConnectionResetError):  # without a word of introduction
            callee.greet()
        with pytest.raises(crust.ConnectError, match="raised"):
            waiting[0].result(PATIENCE)
        assert len(nodes.heard(node).of(crust.ConnectSuccess)) == 1 and len(judge.asked) > 1


def test_no_session_comes_back_at_an_address_that_is_banned_meanwhile(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was elsewhere when the sessions at that address were ended, and there already when the dials were."""
    lesser, greater = pair_of_identities()
    node = nodes.start(identity=lesser)
    inner = node._running()
    run: dict[str, object] = {
        "session_id": os.urandom(limits.SESSION_ID_SIZE),
        "incarnation": os.urandom(limits.INCARNATION_SIZE),
    }
    with Callee(greater) as callee, socket.create_server(("127.0.0.5", 0)) as listener:
        there = Endpoint("tcp", "127.0.0.5", listener.getsockname()[1])
        dialling = Background(node.connect, Contact(greater.peer_id, (*callee.contact.endpoints, there)))
        wire, _ = callee.welcome(**run)
        dialling.result()
        callee._listener.close()
        callee._listener = listener
        listener.settimeout(PATIENCE)
        wire.sock.close()
        wire, introduction = callee.greet()
        assert introduction.resume is not None
        dropped = inner.dialer.drop_banned

        def comes_first() -> None:
            resume(wire, run)
            wait_until(lambda: node.is_connected(greater.peer_id), PATIENCE, "the session")
            dropped()

        monkeypatch.setattr(inner.dialer, "drop_banned", comes_first)
        node.ban("127.0.0.5")
        assert node.peers == []
        assert nodes.heard(node).wait(crust.LostPeer).reason is crust.LostReason.BANNED


def resume(wire: Wire, run: dict[str, object]) -> None:
    """Go on with the session that the caller has asked for, on this link."""
    fields: dict[str, object] = {
        "role": Role.NODE,
        "capabilities": 0,
        "outcome": frames.Outcome.RESUMED,
        "next": 0,
        "window": limits.RECEIVE_BUFFER,
        "max_message": limits.MAX_MESSAGE_SIZE,
        "use": 2,
        **run,
    }
    wire.send(frames.Welcome(**fields))  # type: ignore[arg-type]
