"""Messages that change hands: from inbox to callback to inbox, and from a stream that closes just then."""

from __future__ import annotations

import pytest

import crust
from crust.peers.messages import NewMessage
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


def test_a_callback_that_takes_one_message(nodes: Nodes) -> None:
    """A callback that cancels itself leaves the others to the inbox, in front of those that come meanwhile."""
    pair = nodes.pair()
    pair.to_far.send_many([b"1", b"2", b"3"])
    pair.to_far.flush(PATIENCE)
    got: list[bytes] = []

    def take_one(event: NewMessage) -> None:
        subscription.cancel()
        got.append(event.data)
        pair.to_far.send(b"4")
        wait_until(lambda: pair.to_near.stats().messages_received == 4, what="the fourth message")

    subscription = pair.far.on(NewMessage, take_one)
    wait_until(lambda: got == [b"1"], what="the first message")
    assert [pair.to_near.recv(PATIENCE) for _ in range(3)] == [b"2", b"3", b"4"]
    wait_until(lambda: pair.to_near.stats().unread_bytes == 0, what="the credit for all")


def test_a_message_that_meets_a_closing_stream(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes to the inbox, and costs its buffer no longer than until it is read."""
    pair = nodes.pair()
    stream = pair.far.events(NewMessage)
    subscriptions = pair.far._node.subscriptions  # type: ignore[union-attr]
    with monkeypatch.context() as patch:  # as if the message had been on its way to the stream before
        patch.setattr(subscriptions, "remove_stream", lambda _: None)
        stream.close()
        pair.to_far.send_many([b"1", b"2"])
        pair.to_far.flush(PATIENCE)
    subscriptions.remove_stream(stream)
    assert [pair.to_near.recv(PATIENCE) for _ in range(2)] == [b"1", b"2"]
    assert pair.to_near.stats().unread_bytes == 0


def test_what_a_callback_leaves_when_the_session_is_over(nodes: Nodes) -> None:
    """It can still be read, before the inbox says that it is over."""
    pair = nodes.pair()
    got: list[bytes] = []

    def take_one(event: NewMessage) -> None:
        subscription.cancel()
        got.append(event.data)
        wait_until(lambda: pair.to_near._has_unread, what="the end of the session in the inbox")

    def unread() -> int:
        inbox = pair.to_near._inbox
        return 0 if inbox is None else inbox.qsize()

    subscription = pair.far.on(NewMessage, take_one)
    pair.to_far.send_many([b"1", b"2", b"3"])
    pair.to_far.flush(PATIENCE)
    pair.to_far.disconnect()
    wait_until(lambda: got == [b"1"] and unread() == 3, what="two messages and the end")
    assert [pair.to_near.recv(PATIENCE) for _ in range(2)] == [b"2", b"3"]
    with pytest.raises(crust.PeerLost):
        pair.to_near.recv(PATIENCE)
