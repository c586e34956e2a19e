"""Keys of records are renewed while a session runs, and nobody notices."""

from __future__ import annotations

import random
from typing import Any

import pytest

from crust import limits
from crust.crypto.records import RecordSealer
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until

PATIENCE = 10.0  # seconds in which what should be at once must have happened, on a busy machine


def test_keys_are_renewed(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many records each direction changes its key, again and again, unnoticed."""
    monkeypatch.setattr(limits, "REKEY_RECORDS", 4)
    renewed = count_rekeys(monkeypatch)
    pair = nodes.pair()
    for number in range(50):
        pair.to_far.send(b"%d" % number)
        assert pair.to_near.recv(PATIENCE) == b"%d" % number
        pair.to_near.send(b"%d" % number)
        assert pair.to_far.recv(PATIENCE) == b"%d" % number
    pair.to_far.send(random.Random(3).randbytes(1_500_000))
    assert len(pair.to_near.recv(PATIENCE)) == 1_500_000
    assert len(renewed) > 20
    assert pair.near_heard.names(pair.far.id) == pair.far_heard.names(pair.near.id) == ["ConnectSuccess"]


def test_keys_are_renewed_after_a_time(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a link with few records."""
    monkeypatch.setattr(limits, "REKEY_SECONDS", 0.0)
    renewed = count_rekeys(monkeypatch)
    pair = nodes.pair()
    for _ in range(5):
        pair.to_far.send(b"x")
        assert pair.to_near.recv(PATIENCE) == b"x"
    assert len(renewed) >= 5


def test_the_keys_of_a_link_are_forgotten_with_it(nodes: Nodes) -> None:
    """On both sides, when the session goes on on another link as well as when it ends."""
    pair = nodes.proxied()
    first = [peer._conversation.link for peer in (pair.to_far, pair.to_near)]
    pair.cut()
    second = [peer._conversation.link for peer in (pair.to_far, pair.to_near)]
    wait_until(lambda: not any(map(keys, first)), what="the first link's keys to go")
    assert all(map(keys, second))
    pair.to_far.disconnect()
    wait_until(lambda: not any(map(keys, second)), what="the second link's keys to go")


def keys(link: Any) -> bool:
    """Whether a link still has any."""
    return any(each._key or each._length_key for each in (link._sealer, link._opener))


def count_rekeys(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every renewal of a sending key from now on."""
    renewed: list[object] = []
    update = RecordSealer.update_key

    def counting(sealer: RecordSealer) -> None:
        renewed.append(sealer)
        update(sealer)

    monkeypatch.setattr(RecordSealer, "update_key", counting)
    return renewed
