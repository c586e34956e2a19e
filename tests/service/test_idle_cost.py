"""What a peer that is merely there does without: thousands of them are to fit into a node."""

from __future__ import annotations

import pytest

import crust
from crust.peers import outbox, scratches
from tests.support.nodes import Nodes, config
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


def test_messages_for_callbacks_make_no_inbox(nodes: Nodes) -> None:
    """Nor does the end; what comes later, without callbacks, and the end are read all the same."""
    pair = nodes.pair()
    got: list[bytes] = []
    subscription = pair.far.on(crust.NewMessage, lambda event: got.append(event.data))
    pair.to_far.send(b"1")
    wait_until(lambda: got == [b"1"], what="the message")
    assert pair.to_near._inbox is None
    subscription.cancel()
    with pytest.raises(crust.Timeout):
        pair.to_near.recv(0)
    pair.to_far.send(b"2")
    assert pair.to_near.recv(PATIENCE) == b"2"
    pair.to_far.disconnect()
    for peer in (pair.to_near, pair.to_far):  # the latter never had an inbox
        with pytest.raises(crust.PeerLost):
            peer.recv(PATIENCE)


def test_a_session_on_the_best_path_has_no_traversal(nodes: Nodes) -> None:
    """Nothing better is looked for."""
    pair = nodes.pair()
    for service in (pair.near, pair.far):
        node = service._node
        assert node is not None and node.traversals is not None
        assert pair.to_far.path is not None and pair.to_far.path.path_class == "direct-tcp"
        assert not node.traversals._living()


def test_small_messages_take_no_large_buffers(nodes: Nodes) -> None:
    """Neither to seal nor to open them; a large one does."""
    pair = nodes.pair()
    scratches.scratches.clear()
    for size, buffers in ((100, False), (200_000, True)):
        pair.to_far.send(bytes(size))
        assert pair.to_near.recv(PATIENCE) == bytes(size)
        assert bool(scratches.scratches) == buffers


def test_messages_one_by_one_leave_no_timers(nodes: Nodes) -> None:
    """Each is acknowledged by a timer; those of heartbeats, which are far off, are not made anew for that."""
    quiet = config(session__heartbeat_interval=100.0, session__resume_timeout=200.0)
    pair = nodes.pair(quiet, quiet)
    for _ in range(40):
        pair.to_far.send(b"1")
        assert pair.to_near.recv(PATIENCE) == b"1"
        wait_until(lambda: not pair.to_far._conversation.session.outbox.held_messages, PATIENCE, "acknowledgement")
    node = pair.far._node
    assert node is not None
    assert len(node.io._timers) < 20


def test_sessions_that_send_share_no_records() -> None:
    """Before the first record all outboxes have one list of them, which none of them changes."""
    one, other = (
        outbox.Outbox(max_messages=9, max_bytes=9000, drop_priority=None, window=9000) for _ in range(2)
    )
    assert one.push(b"x", 1, 0, 0.0) == 0
    assert one.next_record() is not None
    assert one.unacknowledged and not other.unacknowledged
    one.clear()
    assert not one.unacknowledged and not outbox._NONE_KEPT
