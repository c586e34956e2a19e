"""Packets of the right size that nobody has to seal: for simulations in which there are too many of the others."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import Any

import pytest

from crust import limits
from crust.crypto.identity import KeyPair
from crust.discovery.beacon import announcer, seeker
from crust.discovery.beacon.packet import ANSWER_SIZE, Answer, AskingKey, NetworkKey, Offer, Place
from crust.exceptions import MalformedMessage


class _Query:
    def __init__(self, key: bytes, iv: bytes, known: frozenset[bytes]) -> None:
        self.key, self.iv, self.known = key, iv, known

    def knows(self, fact: bytes) -> bool:
        return fact in self.known


class CheapPackets:
    """What ``crust.discovery.beacon.packet`` does, by looking things up."""

    def __init__(self) -> None:
        self._said: dict[bytes, Any] = {}
        self._numbers = itertools.count()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Until the end of the test."""
        monkeypatch.setattr(seeker, "seal_query", self.seal_query)
        monkeypatch.setattr(seeker, "unwrap_answer_untrusted", self.unwrap_answer)
        monkeypatch.setattr(seeker, "open_answer_untrusted", lambda asking, unwrapped: self._said[unwrapped][1])
        monkeypatch.setattr(announcer, "open_query_untrusted", self.open_query)
        monkeypatch.setattr(announcer, "seal_answer", self.seal_answer)

    def _say(self, what: Any, size: int) -> bytes:
        data = next(self._numbers).to_bytes(8, "big").ljust(size, b"\0")
        self._said[data] = what
        return data

    def seal_query(self, asking: AskingKey, place: Place, known: Iterable[bytes], random: Any) -> bytes:
        iv = next(self._numbers).to_bytes(12, "big")
        return self._say(_Query(asking.public, iv, frozenset(known)), limits.BEACON_QUERY_SIZE)

    def open_query(self, networks: Collection[NetworkKey], source: Place, data: bytes) -> tuple[_Query, NetworkKey]:
        return self._said[data], next(iter(networks))

    def seal_answer(
        self, ours: KeyPair, offer: Offer, answering: AskingKey, asked: bytes, places: Any, wants: bool, random: Any
    ) -> bytes:
        return self._say((asked, Answer(ours.peer_id, offer, answering.public, wants)), ANSWER_SIZE)

    def unwrap_answer(self, asking: AskingKey, places: Any, data: bytes) -> bytes:
        if self._said[data][0] != asking.public:
            raise MalformedMessage("for another asking")
        return data
