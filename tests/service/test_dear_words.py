"""A link that is handed a lot at once stops in the middle of it where that is dear."""

from __future__ import annotations

import itertools

import pytest

import crust
from crust import Identity, limits
from crust.peers.link import Link
from crust.transports.pieces import Pieces
from crust.wire import frames
from crust.wire.transfer import Refuse, build_transfer
from tests.support.nodes import Nodes
from tests.support.puppet import Caller
from tests.support.waiting import wait_until


def test_who_sends_cheap_things_first_gets_no_more_dear_ones_in_at_once(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link was found to be quick, and is handed a lot: it stops after some words about files all the same."""
    monkeypatch.setattr(limits, "PIECE_BEGUN", limits.BURST_SIZE)
    monkeypatch.setattr(Pieces, "taken", lambda pieces, size, seconds: None)
    monkeypatch.setattr(limits, "OVERHEAD_BEGUN", 10.0)  # it is not held for what they cost
    monkeypatch.setattr(limits, "OVERHEAD_SAVED", 10.0)
    offered: list[tuple[int, int]] = []
    offer = Link.data_offered

    def watch(link: Link, data: memoryview, may_leave: bool = True) -> int:
        taken = offer(link, data, may_leave)
        if link.peer_id == flooder.peer_id:
            offered.append((len(data), taken))
        return taken

    monkeypatch.setattr(Link, "data_offered", watch)
    bob, flooder = nodes.start(), Identity.generate()
    with Caller(bob, flooder) as caller:
        caller.begin()
        numbers = itertools.count(0, 800)
        size = 0
        words = [build_transfer(Refuse(number, "")) for number in range(800)]

        def flood() -> bool:
            nonlocal size
            records = [
                caller.sealer.seal(frames.build_batch(next(numbers), frames.Kind.FILE, 0, words)) for _ in range(16)
            ]
            size = len(records[0])
            caller.sock.sendall(b"".join(records))  # one by one they are read as fast as they are made
            return any(given > 4 * size for given, _ in offered)

        wait_until(flood, what="much being handed on at once")
    assert all(taken <= 2 * size for given, taken in offered if given > 4 * size)


def test_who_sends_a_few_bytes_at_a_time_is_held_back(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though each record brings a lot; and nothing of it is lost."""
    monkeypatch.setattr(limits, "SPLIT_FREE", 5.0)
    monkeypatch.setattr(limits, "COST_PACKET", 0.04)
    bob = nodes.start()
    with Caller(bob, Identity.generate()) as caller:
        caller.begin()
        peer = nodes.heard(bob).wait(crust.ConnectSuccess).peer
        wait_until(lambda: peer._conversation.link is not None, what="its link")
        link = peer._conversation.link
        assert link is not None
        text = bytes(3000)
        record = caller.sealer.seal(frames.build_batch(0, frames.Kind.MESSAGE, 1, [text]))
        for position in range(20):
            before = link.bytes_received
            caller.sock.sendall(record[position : position + 1])
            if nodes.heard(bob).of(crust.PeerMisbehaved):
                break
            wait_until(lambda before=before: link.bytes_received > before or link.connection.paused, what="the byte")  # type: ignore[attr-defined]
        caller.sock.sendall(record[position + 1 :])
        assert nodes.heard(bob).wait(crust.PeerMisbehaved).kind == "tiny-records"
        assert peer.recv(30.0) == text
        assert bob.stats().refusals["limits.overhead_per_peer"] > 0
