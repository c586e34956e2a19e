"""
The two datagrams of the beacon. Neither has an id, a name, or any constant in clear: all of it looks random.

::

    query    iv 12 bytes, random
             sealed: AEAD(key of the network, iv, associated data = where the asker is):
                 version u8 = 1 | key 32 bytes, X25519, used for this asking only | known: who need not answer

    answer   iv 12 bytes, random
             sealed: AEAD(key of the network and of the asker's key, iv, associated data = where both are):
                 key 32 bytes, X25519, used for this answer only
                 sealed: AEAD(key of both X25519 keys, an iv of zeros, associated data = the key before):
                     wants u8, 0 or 1 | role u8 | peer id 32 bytes | TCP port u16 | µTP port u16 | proof 16 bytes

Queries are 480 bytes and answers 130, always: nothing is amplified. Where somebody is, address and port, is associated
data: a datagram that is sent again from elsewhere does not open. The proof needs the private key of the peer id, or the
asker's.

No clock; randomness is an argument.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Collection, Iterable

from ... import limits
from ...addresses import PeerId
from ...crypto.identity import KeyPair
from ...crypto.keys import CHACHA20_POLY1305, KEY_SIZE, dh, ed25519_to_x25519, hash32, x25519_public
from ...exceptions import MalformedMessage
from ...values import dataclass
from ...wire.fields import FLAG, Definition, build_all, checked, choice, construct, parse_all, typed
from ...wire.handshake import Role

__all__ = [
    "ANSWER_SIZE",
    "Answer",
    "AskingKey",
    "NetworkKey",
    "Offer",
    "Place",
    "Query",
    "fact",
    "open_answer_untrusted",
    "open_query_untrusted",
    "seal_answer",
    "seal_query",
    "unwrap_answer_untrusted",
]

Place = tuple[str, int]
"""Address, perhaps with a scope, and port."""

Random = Callable[[int], bytes]

_CIPHER = CHACHA20_POLY1305
_IV = _CIPHER.nonce_size
_TAG = _CIPHER.tag_size
_NO_IV = bytes(_IV)  # with keys that seal one message only
_VERSION = 1
_PROOF = 16
_KNOWN_SIZE = limits.BEACON_QUERY_SIZE - _IV - _TAG - 1 - KEY_SIZE
_MARKS = 5  # bits of `known` for each peer: of 200, one in 4,000 more is taken for known; another one at each query


@dataclass(frozen=True)
class Offer:
    """What a node tells of itself on one link."""

    role: Role
    tcp: int
    """The port of TCP; 0: none."""
    utp: int
    """The port of µTP; 0: none."""


@dataclass(frozen=True)
class Query:
    """One that was opened."""

    key: bytes
    """To seal the answer for."""
    iv: bytes
    """Another one in each query."""
    known: bytes

    def knows(self, fact: bytes) -> bool:
        """Whether the asker knows that already."""
        return all(self.known[bit >> 3] >> (bit & 7) & 1 for bit in _bits(self.iv, fact))


@dataclass(frozen=True)
class Answer:
    """One that was opened."""

    peer_id: PeerId
    offer: Offer
    key: bytes
    """To seal an answer for in turn."""
    wants: bool
    """Whether that is asked for."""


@dataclass(frozen=True)
class _Body:
    wants: int
    role: Role
    peer_id: bytes
    tcp: int
    utp: int
    proof: bytes


_u16 = construct.Int16ub
_QUERY: Definition = construct.Struct(
    "version" / checked(construct.Int8ub, lambda version: version == _VERSION, "a query of another version"),
    "key" / construct.Bytes(KEY_SIZE),
    "known" / construct.Bytes(_KNOWN_SIZE),
)
_ANSWER: Definition = construct.Struct("key" / construct.Bytes(KEY_SIZE), "sealed" / construct.GreedyBytes)
_BODY: Definition = checked(
    typed(
        _Body,
        "wants" / FLAG,
        "role" / choice(construct.Int8ub, Role),
        "peer_id" / construct.Bytes(limits.PEER_ID_SIZE),
        "tcp" / _u16,
        "utp" / _u16,
        "proof" / construct.Bytes(_PROOF),
    ),
    lambda body: body.tcp or body.utp,
    "a peer without a port",
)
_BODY_SIZE = 1 + 1 + limits.PEER_ID_SIZE + 2 + 2 + _PROOF
_ANSWER_PLAIN = KEY_SIZE + _BODY_SIZE + _TAG
ANSWER_SIZE = _IV + _ANSWER_PLAIN + _TAG
"""Bytes of an answer."""


class NetworkKey:
    """
    What the queries of one network are sealed with.

    Args:
        network_id: 32 bytes.
        psk: Of a closed network (``crust.crypto.agreement.Secret``).
    """

    __slots__ = ("key",)

    def __init__(self, network_id: bytes, psk: bytes | None) -> None:
        self.key = hash32(b"crust/1 beacon" + network_id, key=psk or b"")

    def __repr__(self) -> str:
        return "NetworkKey(...)"

    def for_answers(self, asked: bytes) -> bytes:
        """What answers to that asking key are sealed with outside, for all of the network."""
        return hash32(b"crust/1 beacon answer" + asked, key=self.key)


class AskingKey:
    """A key of X25519 for one asking, under the key of the network."""

    __slots__ = ("_outer", "network", "private", "public")

    def __init__(self, network: NetworkKey, random: Random) -> None:
        self.network = network
        self.private = random(KEY_SIZE)
        self.public = x25519_public(self.private)
        self._outer = b""

    def __repr__(self) -> str:
        return "AskingKey(...)"

    @property
    def outer(self) -> bytes:
        """What answers are sealed with outside."""
        self._outer = self._outer or self.network.for_answers(self.public)
        return self._outer


def fact(peer_id: PeerId, offer: Offer, host: str) -> bytes:
    """All that one answer tells: who has heard it needs no other."""
    ports = offer.tcp.to_bytes(2, "big") + offer.utp.to_bytes(2, "big")
    return peer_id.public_key + bytes((offer.role,)) + ports + _packed(host)


def _packed(host: str) -> bytes:
    return ipaddress.ip_address(host.partition("%")[0]).packed


def _where(*places: Place) -> bytes:
    return b"".join(_packed(host) + port.to_bytes(2, "big") for host, port in places)


def _bits(salt: bytes, item: bytes) -> Iterable[int]:
    digest = hash32(item, key=salt)
    return [int.from_bytes(digest[4 * n : 4 * n + 4], "big") % (8 * _KNOWN_SIZE) for n in range(_MARKS)]


# --- queries ----------------------------------------------------------------------------------------------------------


def seal_query(asking: AskingKey, place: Place, known: Iterable[bytes], random: Random) -> bytes:
    """
    A query.

    Args:
        asking: A key of its own for each link.
        place: Where it is sent from.
        known: What was heard already (:func:`fact`).
    """
    iv = random(_IV)
    marked = bytearray(_KNOWN_SIZE)
    for each in known:
        for bit in _bits(iv, each):
            marked[bit >> 3] |= 1 << (bit & 7)
    plain = build_all(_QUERY, {"version": _VERSION, "key": asking.public, "known": bytes(marked)}, "a query")
    return iv + _CIPHER.seal(asking.network.key, iv, _where(place), plain)


def open_query_untrusted(networks: Collection[NetworkKey], source: Place, data: bytes) -> tuple[Query, NetworkKey]:
    """
    A query, and which of these keys it was sealed with.

    Raises:
        MalformedMessage: It is none of our network, or was not made where it comes from.
    """
    if len(data) != limits.BEACON_QUERY_SIZE:
        raise MalformedMessage(f"a query has {limits.BEACON_QUERY_SIZE} bytes, not {len(data)}")
    iv, where = data[:_IV], _where(source)
    for network in networks:
        try:
            plain = _CIPHER.open(network.key, iv, where, data[_IV:])
        except MalformedMessage:
            continue
        parsed = parse_all(_QUERY, plain, "a query", len(plain))
        return Query(bytes(parsed.key), iv, bytes(parsed.known)), network
    raise MalformedMessage("not a query of this network, or not from there")


# --- answers ----------------------------------------------------------------------------------------------------------


def _shared(key: NetworkKey, asked: bytes, answering: bytes, secret: bytes) -> bytes:
    return hash32(b"crust/1 beacon to" + asked + answering + secret, key=key.key)


def _proof(asked: bytes, body: bytes, secret: bytes) -> bytes:
    return hash32(b"crust/1 beacon proof" + asked + body[:-_PROOF], key=secret)[:_PROOF]


def seal_answer(
    ours: KeyPair,
    offer: Offer,
    answering: AskingKey,
    asked: bytes,
    places: tuple[Place, Place],
    wants: bool,
    random: Random,
) -> bytes:
    """
    An answer.

    Args:
        ours: Who answers.
        offer: What it tells; at least one port.
        answering: A key for this answer only.
        asked: The asker's key.
        places: Where the answer comes from, and where it goes to.
        wants: Whether we want to be told in turn; the answer to that is sealed for ``answering``.

    Raises:
        MalformedMessage: The asker's key is none.
    """
    network, public = answering.network, answering.public
    body = build_all(
        _BODY, _Body(int(wants), offer.role, ours.peer_id.public_key, offer.tcp, offer.utp, bytes(_PROOF)), "an answer"
    )
    body = body[:-_PROOF] + _proof(asked + public, body, dh(ours.dh_private, asked))
    inner = _CIPHER.seal(_shared(network, asked, public, dh(answering.private, asked)), _NO_IV, public, body)
    iv = random(_IV)
    plain = build_all(_ANSWER, {"key": public, "sealed": inner}, "an answer")
    return iv + _CIPHER.seal(network.for_answers(asked), iv, _where(*places), plain)


def unwrap_answer_untrusted(asking: AskingKey, places: tuple[Place, Place], data: bytes) -> bytes:
    """
    What is in an answer for all of the network; costs little.

    Args:
        asking: The key that was asked with.
        places: Where it comes from, and where it came to.

    Raises:
        MalformedMessage: It answers something else, or was not made where it comes from.
    """
    if len(data) != ANSWER_SIZE:
        raise MalformedMessage(f"an answer has {ANSWER_SIZE} bytes, not {len(data)}")
    return _CIPHER.open(asking.outer, data[:_IV], _where(*places), data[_IV:])


def open_answer_untrusted(asking: AskingKey, unwrapped: bytes) -> Answer:
    """
    What somebody says of itself.

    Args:
        asking: The key that was asked with.
        unwrapped: By :func:`unwrap_answer_untrusted`.

    Raises:
        MalformedMessage: It says nothing, or who says so is not that peer.
    """
    outer = parse_all(_ANSWER, unwrapped, "an answer", _ANSWER_PLAIN)
    public = bytes(outer.key)
    secret = _shared(asking.network, asking.public, public, dh(asking.private, public))
    inner = _CIPHER.open(secret, _NO_IV, public, bytes(outer.sealed))
    body = parse_all(_BODY, inner, "an answer", _BODY_SIZE)
    peer_id = PeerId(body.peer_id)
    try:
        static = ed25519_to_x25519(body.peer_id)
    except ValueError as error:
        raise MalformedMessage(f"an answer of nobody: {error}") from error
    if not hmac.compare_digest(_proof(asking.public + public, inner, dh(asking.private, static)), body.proof):
        raise MalformedMessage("an answer in the name of another peer")
    return Answer(peer_id, Offer(body.role, body.tcp, body.utp), public, bool(body.wants))
