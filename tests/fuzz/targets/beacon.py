"""Datagrams of the beacon on the LAN: from strangers, and from members of the network who say what they like.

What does not open is dropped without an answer. Whoever is found has a port and is the peer that the keys prove; what
is kept and what is sent is bounded; a query is answered once at most, by something shorter; the timers end.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

from crust import limits
from crust.crypto.identity import KeyPair
from crust.discovery.beacon.announcer import Announcer
from crust.discovery.beacon.links import Link
from crust.discovery.beacon.packet import (
    _ANSWER,
    _CIPHER,
    _IV,
    _NO_IV,
    _QUERY,
    ANSWER_SIZE,
    AskingKey,
    NetworkKey,
    Offer,
    _shared,
    _where,
    seal_answer,
    seal_query,
)
from crust.discovery.beacon.seeker import Seeker
from crust.exceptions import MalformedMessage
from crust.wire.fields import build_all
from crust.wire.handshake import Role
from tests.fuzz.source import Source, noise

ROUNDS = 60
SIZE_MAX = 1024

_OURS, _THEIRS = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)
_NETWORK = NetworkKey(bytes(32), None)
_KNOWN_SIZE = limits.BEACON_QUERY_SIZE - _IV - _CIPHER.tag_size - 33


class _Lan:
    def __init__(self, source: Source) -> None:
        self.source = source
        counter = itertools.count()
        self.random = lambda size: hashlib.shake_128(b"%d" % next(counter)).digest(size)
        self.link = Link("eth0", 2, "192.168.1.10", 24)
        self.port = 41_000
        self.there = ("192.168.1.20", 42_000)
        self.now = 1000.0
        self.announcer = Announcer(
            (_NETWORK,), _OURS, lambda link: Offer(Role.NODE, 4711, 4712), self._is_ours, self.random, lambda a, b: a
        )
        self.seeker = Seeker((_NETWORK,), self.random, lambda a, b: a)
        self.announcer.set_links({self.link: self.port})
        self.seeker.set_links({self.link: self.port}, self.now, ask=True)

    def _is_ours(self, key: bytes) -> bool:
        return self.seeker.is_ours(key)

    def asked(self) -> bytes:
        """The key that we have asked with last."""
        return self.seeker._links[self.link].keys[-1].asking.public

    def query(self) -> bytes:
        source = self.source
        theirs = AskingKey(_NETWORK, lambda size: source.bytes(size).ljust(size, b"\1"))
        if source.chance():
            return source.damaged(seal_query(theirs, self.there, (), self.random))
        plain = build_all(
            _QUERY,
            {"version": 1, "key": source.bytes(32).ljust(32, b"\0"), "known": bytes(_KNOWN_SIZE)},
            "a query",
        )
        iv = self.random(_IV)
        return iv + _CIPHER.seal(_NETWORK.key, iv, _where(self.there), source.damaged(plain))

    def answer(self) -> bytes:
        source, asked = self.source, self.asked()
        answering = AskingKey(_NETWORK, self.random)
        places = (self.there, (self.link.host, self.port))
        if source.chance():
            offer = Offer(source.pick(tuple(Role)), source.number(0, 65535), source.number(1, 65535))
            data = seal_answer(_THEIRS, offer, answering, asked, places, source.chance(), self.random)
            return source.damaged(data)
        public = answering.public if source.chance() else source.bytes(32).ljust(32, b"\0")
        try:
            secret = _shared(_NETWORK, asked, public, b"x" * 32)
        except MalformedMessage:
            secret = bytes(32)
        body = source.bytes(54).ljust(54, b"\0")
        inner = _CIPHER.seal(secret, _NO_IV, public, body)
        plain = build_all(_ANSWER, {"key": public, "sealed": inner}, "an answer")
        iv = self.random(_IV)
        return iv + _CIPHER.seal(_NETWORK.for_answers(asked), iv, _where(*places), plain)


def run(data: bytes) -> None:
    source = Source(data)
    lan = _Lan(source)
    answered = queries = 0
    for _ in range(24):
        if not source:
            break
        step = source.number(0, 4)
        if step == 0:
            queries += 1
            lan.announcer.receive(lan.link, lan.there, lan.query(), lan.now)
        elif step == 1:
            found = lan.seeker.receive(lan.link, lan.there, lan.answer(), lan.now)
            if found is not None:
                assert found.peer_id == _THEIRS.peer_id and (found.offer.tcp or found.offer.utp)
        elif step == 2:
            junk = source.some(600)
            assert not lan.announcer.receive(lan.link, lan.there, junk, lan.now)
            assert lan.seeker.receive(lan.link, lan.there, junk, lan.now) is None
        elif step == 3:
            lan.now += source.pick((0.01, 1.0, 70.0))
            for reply in lan.announcer.handle_timer(lan.now, wants=source.chance()):
                answered += 1
                assert len(reply.data) == ANSWER_SIZE < limits.BEACON_QUERY_SIZE
            for _, query in lan.seeker.handle_timer(lan.now):
                assert len(query) == limits.BEACON_QUERY_SIZE
            due = lan.announcer.get_timer()
            assert due is None or due > lan.now
        else:
            lan.seeker.seek(lan.now)
        assert len(lan.seeker.known(lan.now)) <= 1
    assert answered <= queries


def seeds() -> Iterable[bytes]:
    yield bytes((1, 1, 0, 0, 0, 0x12, 0x67, 1, 0, 3, 1, 1))
    yield bytes((0, 1)) + bytes(range(1, 33)) + bytes((0, 3, 1, 1))
    yield from noise(14, 160)
