"""Records of nodes: what they say, whose they are, how long they hold, and which of two does."""

from __future__ import annotations

import pytest

from crust.addresses import Contact, Endpoint, network_id
from crust.crypto.identity import KeyPair
from crust.discovery.gossip.record import Record, make_record, next_sequence, parse_record_untrusted
from crust.exceptions import IdentityError, MalformedMessage
from crust.wire.handshake import Role
from tests.discovery.gossip.mesh import NETWORK, WALL, key_pair, record_of

KEYS, FRIEND = key_pair(1), key_pair(2)
ENDPOINTS = [Endpoint("tcp", "192.0.2.7", 5483), Endpoint("utp", "2001:db8::7", 5483)]
VIA = [Contact(FRIEND.peer_id, [Endpoint("tcp", "192.0.2.8", port) for port in (1, 2, 3)])]


def made(**changes: object) -> Record | None:
    arguments: dict[str, object] = {"wall": WALL, "endpoints": ENDPOINTS, "via": VIA, **changes}
    return make_record(KEYS, NETWORK, **arguments)  # type: ignore[arg-type]


def test_a_record_says_what_was_put_into_it() -> None:
    """At the other end, too."""
    record = made(is_public=True)
    assert record is not None
    other = parse_record_untrusted(record.data, NETWORK)
    for one in (record, other):
        assert one.peer_id == KEYS.peer_id
        assert one.endpoints == tuple(ENDPOINTS)
        assert one.via == (Contact(FRIEND.peer_id, VIA[0].endpoints[:2]),)
        assert (one.role, one.is_public, one.made) == (Role.NODE, True, round(WALL * 1000))
    assert (record.version, record.mix, record.prefix) == (other.version, other.mix, other.prefix)
    assert len(record.data) <= 512


def test_a_client_and_who_publishes_via_only_name_no_address() -> None:
    """And so they cannot be public."""
    for record in (made(role=Role.CLIENT, is_public=True), made(publish="via", is_public=True)):
        assert record is not None
        assert (record.endpoints, record.is_public) == ((), False)
        assert record.via[0].peer_id == FRIEND.peer_id


def test_who_publishes_nothing_has_no_record() -> None:
    """Neither who wants it so, nor who has nothing to tell."""
    assert made(publish="none") is None
    assert made(publish="via", via=()) is None
    assert made(endpoints=[Endpoint("tcp", "example.org", 1)], via=()) is None
    with pytest.raises(ValueError, match="publish is one of full, via, none"):
        made(publish="some")


def test_only_addresses_that_mean_something_elsewhere_are_named() -> None:
    """Neither names, nor those of one interface; each once, eight at most."""
    ports = [Endpoint("tcp", "192.0.2.7", port) for port in range(1, 12)]
    odd = [Endpoint("tcp", "example.org", 1), Endpoint("tcp", "fe80::1%eth0", 1), ports[0]]
    record = made(endpoints=odd + ports)
    assert record is not None
    assert record.endpoints == tuple(ports[:8])


def test_the_sequence_never_falls() -> None:
    """Also when the clock does."""
    assert next_sequence(0, WALL) == round(WALL * 1000)
    assert next_sequence(round(WALL * 1000) + 5, WALL - 1000) == round(WALL * 1000) + 6


def test_whoever_changes_a_byte_is_found_out() -> None:
    """Every byte is signed, or part of the signature."""
    record = record_of(KEYS)
    for index in range(len(record.data)):
        data = bytearray(record.data)
        data[index] ^= 1
        with pytest.raises(MalformedMessage):
            parse_record_untrusted(bytes(data), NETWORK)
    with pytest.raises(MalformedMessage):
        parse_record_untrusted(record.data[:-1], NETWORK)


def test_a_record_of_another_network_is_worth_nothing() -> None:
    """The network is signed, though not sent."""
    with pytest.raises(MalformedMessage, match="in this network"):
        parse_record_untrusted(record_of(KEYS, network=network_id("other")).data, NETWORK)


def test_a_signature_for_something_else_is_none_for_a_record() -> None:
    """The domain is signed, too."""
    record = record_of(KEYS)
    body = record.data[:-64]
    with pytest.raises(MalformedMessage, match="signature"):
        parse_record_untrusted(body + KEYS.sign(NETWORK + body), NETWORK)


def test_how_long_a_record_holds() -> None:
    """Two hours; and clocks may differ by ten minutes."""
    record = record_of(KEYS)
    assert record.holds(WALL) and record.holds(WALL + 7200) and record.holds(WALL - 600)
    assert not record.holds(WALL + 7200.01) and not record.holds(WALL - 600.01)
    assert record.expires() == WALL + 7200


def test_of_two_records_the_later_one_holds_and_of_equals_the_same_one_everywhere() -> None:
    """By sequence; then by digest, so that chance and order decide nothing."""
    assert record_of(KEYS, WALL + 1).version > record_of(KEYS, WALL).version
    one, other = made(), made(is_public=True)
    assert one is not None and other is not None
    assert one.sequence == other.sequence and one.version != other.version


def test_a_key_that_was_cleared_signs_nothing() -> None:
    """With a clear error."""
    keys = KeyPair(bytes(32))
    keys.clear()
    with pytest.raises(IdentityError):
        make_record(keys, NETWORK, wall=WALL, endpoints=ENDPOINTS)
