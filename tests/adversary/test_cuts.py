"""
Promise: a link may be cut anywhere, again and again, and nothing is lost, doubled or reordered.

The attacker sits on the path and resets connections after as many bytes as he likes, of the direction that he likes:
in the middle of a handshake, of a length, of a record, of an acknowledgement. Both sides send all the while.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import crust
from tests.support.nodes import Nodes, Pair, config
from tests.support.proxy import DOWN, UP, Proxy
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 100.0  # seconds: each cut costs a call, and a busy machine much more
SESSIONS, CUTS = 8, 25
"""At a time, and of each."""
OPENING = 1200
"""Bytes in which a handshake, the welcome and the first records are over."""


ALONE = config(
    gossip__enabled=False,
    session__max_message_size=60_000,
    session__send_buffer__bytes=150_000,
    session__receive_buffer=150_000,
)
"""Knows no address but the one that was given; and after each cut not much has to be sent again."""


def plan(chance: random.Random, wire: Proxy) -> Callable[[], tuple[str, int] | None]:
    """Where each connection ends until ``CUTS`` have: as often while they begin as in the middle of data."""

    def next_cut() -> tuple[str, int] | None:
        if wire.cuts >= CUTS:
            return None
        early = chance.random() < 0.5
        return chance.choice((UP, DOWN)), chance.randrange(OPENING) if early else round(OPENING * 50 ** chance.random())

    return next_cut


def message(chance: random.Random, number: int) -> bytes:
    """Each has its number and another size, now and then one of several records."""
    return b"%d:" % number + chance.randbytes(chance.choice((0, 10, 1000, 3000)) if number % 25 else 50_000)


class Ledger:
    """What one side has sent, and what the other one's application was given."""

    def __init__(self, pair: Pair, up: bool, seed: int) -> None:
        sender, receiver = (pair.to_far, pair.far) if up else (pair.to_near, pair.near)
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        receiver.on(crust.NewMessage, lambda event: self.received.append(event.data))
        self._chance = random.Random(seed)
        self._enough = threading.Event()
        self._sender = sender
        self._job = Background(self._send)

    def _send(self) -> None:
        while not self._enough.is_set():
            self.sent.append(message(self._chance, len(self.sent)))
            self._sender.send(self.sent[-1], timeout=PATIENCE)
        self._sender.flush(PATIENCE)

    def close(self) -> None:
        """Send no more; all that was sent has arrived, once and in order."""
        self._enough.set()
        self._job.result(PATIENCE)
        wait_until(lambda: len(self.received) >= len(self.sent), PATIENCE, "the last message")
        assert self.received == self.sent


def test_cuts_at_two_hundred_places(nodes: Nodes) -> None:
    """Eight sessions are cut twenty-five times each, at random bytes of their streams."""
    pairs = [nodes.proxied(ALONE, ALONE, controller="near" if number % 2 else "far") for number in range(SESSIONS)]
    for pair in pairs:
        pair.near.stop_listening()  # so that all goes his way
    ledgers = [Ledger(pair, up, number) for number, pair in enumerate(pairs) for up in (True, False)]
    for number, pair in enumerate(pairs):
        pair.wire.cut_each(plan(random.Random(number), pair.wire))
        pair.wire.cut()
    for pair in pairs:
        wait_until(lambda wire=pair.wire: wire.cuts >= CUTS, PATIENCE, "the cuts")
    for ledger in ledgers:
        ledger.close()
    for pair in pairs:
        for heard in (pair.near_heard, pair.far_heard):
            assert heard.of(crust.LostPeer, crust.PeerMisbehaved) == []
