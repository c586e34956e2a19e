"""The signed record of a node, and the texts that come of it.

It is a record of this network with a right signature, or MalformedMessage. What it says parses to the same bytes again;
its addresses can be dialled; no bit of it can be changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust.addresses import Contact, Endpoint
from crust.discovery.gossip.record import make_record, parse_record_untrusted
from crust.wire import gossip as wire
from crust.wire.handshake import Role
from tests.discovery.gossip.mesh import NETWORK, WALL, key_pair
from tests.fuzz.codecs import parsed

ROUNDS = 400
SIZE_MAX = 600

_KEYS = key_pair(1)


def run(data: bytes) -> None:
    statement = parsed(wire.parse_statement_untrusted, data)
    if statement is not None:
        body, signature = wire.split_record_untrusted(data)
        assert body + signature == data
        assert wire.build_record_body(statement) == body, "a record that can be written in two ways"
        if statement.peer_id == _KEYS.peer_id.public_key:
            # Signed by its node, which may say anything: what is made of it holds all the same.
            signed = body + _KEYS.sign(b"crust/1 record of a node\0" + NETWORK + body)
            _look(signed)
    record = parsed(lambda data: parse_record_untrusted(data, NETWORK), data)
    if record is not None:
        assert statement is not None and data in _known(), "a signature that nobody has made"


def _look(data: bytes) -> None:
    record = parse_record_untrusted(data, NETWORK)
    assert record.peer_id == _KEYS.peer_id and record.data == data
    assert all(endpoint.is_dialable and endpoint.ip is not None for endpoint in record.endpoints)
    for contact in record.via:
        assert Contact.parse(str(contact)) == contact
    assert record.expires() >= 0 and repr(record)
    record.holds(WALL)


def _known() -> list[bytes]:
    places = [Endpoint("tcp", "203.0.113.9", 5483), Endpoint("utp", "2001:db8::9", 5483)]
    via = [Contact(key_pair(2).peer_id, places[:1]), Contact(key_pair(3).peer_id)]
    made = [
        make_record(_KEYS, NETWORK, wall=WALL, endpoints=places, is_public=True),
        make_record(_KEYS, NETWORK, wall=WALL, via=via, role=Role.CLIENT),
        make_record(_KEYS, NETWORK, wall=WALL, last=9, endpoints=places[:1], via=via),
    ]
    return [each.data for each in made if each is not None]


def seeds() -> Iterable[bytes]:
    return _known()
