"""What peer ids, endpoints, contacts and connection info look like, and that hostile text cannot get through."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import ipaddress
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import (
    ConnectionInfo,
    Contact,
    Endpoint,
    PeerId,
    address_key,
    network_id,
    parse_ip,
    parse_networks,
)
from crust.config import Config
from crust.exceptions import ConfigError, ContactSyntaxError

KEY = bytes(range(32))
ID = "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp7s25b"

keys = st.binary(min_size=32, max_size=32)
peer_ids = st.builds(PeerId, keys)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,6}){1,3}", fullmatch=True)
addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
endpoints = st.builds(Endpoint, st.sampled_from(["tcp", "utp"]), addresses | names, st.integers(1, 65535)).filter(
    lambda endpoint: endpoint.is_dialable
)
contacts = st.builds(Contact, peer_ids, st.lists(endpoints, max_size=limits.CONTACT_ENDPOINTS_MAX))
infos = st.builds(ConnectionInfo, contacts, keys)


# --- peer ids ---------------------------------------------------------------------------------------------------------


def test_text_of_a_peer_id_is_its_key_and_checksum_in_base32() -> None:
    """The text form is fixed: other implementations must come to the same."""
    peer = PeerId(KEY)
    assert str(peer) == ID
    assert peer.short == ID[:8]
    checksum = hashlib.blake2b(b"crust/1 peer id\0" + KEY, digest_size=32).digest()[:3]
    assert base64.b32decode(ID.upper()) == KEY + checksum


@given(peer_ids)
def test_peer_ids_round_trip(peer: PeerId) -> None:
    """Text and pickle give the same id back, in upper case too."""
    assert PeerId.parse(str(peer)) == peer == PeerId.parse(str(peer).upper())
    assert pickle.loads(pickle.dumps(peer)) == peer
    assert len(str(peer)) == 56
    assert hash(PeerId(peer.public_key)) == hash(peer)


@given(keys, keys)
def test_peer_ids_are_ordered_by_their_bytes(one: bytes, other: bytes) -> None:
    """The greater id decides between two links, so every node must agree on it."""
    assert (PeerId(one) < PeerId(other)) == (one < other)
    assert (PeerId(one) >= PeerId(other)) == (one >= other)
    assert (PeerId(one) == PeerId(other)) == (one == other)


@given(peer_ids, st.integers(0, 55), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_wrong_character_is_told_as_a_typo(peer: PeerId, index: int, letter: str) -> None:
    """The checksum catches it, but for one in 16 million."""
    text = str(peer)
    wrong = text[:index] + letter + text[index + 1 :]
    if wrong == text:
        return
    try:
        assert PeerId.parse(wrong) != peer
    except ContactSyntaxError as error:
        assert "mistyped" in str(error)


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [
        ("", "0 characters", 1),
        (ID[:-1], "55 characters, expected 56", 56),
        (ID + "a", "57 characters", 57),
        (ID[:-1] + "a", "mistyped", 1),
        (ID[:7] + "1" + ID[8:], "did you mean 'l'?", 8),
        (ID[:7] + "0" + ID[8:], "did you mean 'o'?", 8),
        (ID[:7] + "ı" + ID[8:], "does not occur in peer ids", 8),
        ("\u212a" + ID[1:], "does not occur in peer ids", 1),  # the Kelvin sign folds to k
        (ID + "\n", "white space", 57),
        (ID + "=", "does not occur", 57),
        ("a" * 5000, "5000 characters long", 4097),
    ],
)
def test_wrong_peer_ids(text: str, words: str, column: int) -> None:
    """The error says what is wrong, where."""
    with pytest.raises(ContactSyntaxError) as caught:
        PeerId.parse(text)
    assert words in str(caught.value)
    assert caught.value.column == column
    assert len(caught.value.text) <= 201


def test_peer_ids_cannot_be_made_of_other_things() -> None:
    """32 bytes, or an error; and they cannot be changed."""
    with pytest.raises(ValueError, match="32 bytes, found 31"):
        PeerId(KEY[:-1])
    with pytest.raises(TypeError):
        PeerId("x" * 32)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        PeerId.parse(KEY)  # type: ignore[arg-type]
    peer = PeerId(KEY)
    with pytest.raises(AttributeError):
        peer._public_key = b""
    with pytest.raises(AttributeError):
        del peer._public_key
    assert not hasattr(peer, "__dict__")
    assert ID not in repr(peer) and peer.short in repr(peer)
    assert peer != KEY
    with pytest.raises(TypeError):
        _ = peer < KEY  # type: ignore[operator]


# --- endpoints --------------------------------------------------------------------------------------------------------


@given(endpoints)
def test_endpoints_round_trip(endpoint: Endpoint) -> None:
    """Text and pickle give the same endpoint back, and there is one text only."""
    again = Endpoint.parse(str(endpoint))
    assert again == endpoint and hash(again) == hash(endpoint) and str(again) == str(endpoint)
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint
    assert again.ip == endpoint.ip


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("TCP://192.0.2.7:5483", "tcp://192.0.2.7:5483"),
        ("utp://[2001:0DB8:0:0::7]:1", "utp://[2001:db8::7]:1"),
        ("tcp://[::ffff:192.0.2.7]:80", "tcp://192.0.2.7:80"),
        ("tcp://[::ffff:c000:207]:80", "tcp://192.0.2.7:80"),
        ("tcp://[fe80::1%eth0]:80", "tcp://[fe80::1%eth0]:80"),
        ("tcp://Node.Example.ORG.:443", "tcp://node.example.org:443"),
        ("tcp://xn--bcher-kva.example:443", "tcp://xn--bcher-kva.example:443"),
        ("tcp://localhost:443", "tcp://localhost:443"),
    ],
)
def test_one_endpoint_has_one_text(text: str, canonical: str) -> None:
    """Other spellings are read and brought into the one form."""
    assert str(Endpoint.parse(text)) == canonical
    assert Endpoint.parse(text) == Endpoint.parse(canonical)


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [
        ("", "expected tcp://", 1),
        ("192.0.2.7:5483", "expected tcp://", 1),
        ("udp://192.0.2.7:5483", "expected tcp://", 1),
        ("tcp://192.0.2.7", "port is missing", 16),
        ("tcp://:5", "host is missing", 7),
        ("tcp://::1:5483", "needs brackets", 7),
        ("tcp://[::1:5483", "closing ]", 7),
        ("tcp://[::1]5483", "expected :port", 12),
        ("tcp://[192.0.2.7]:1", "only an IPv6 address", 8),
        ("tcp://[::g]:1", "neither an IP address", 8),
        ("tcp://[::1%eth0]:1", "link-local", 11),
        ("tcp://[fe80::1%a;b]:1", "name an interface", 15),
        ("tcp://192.0.2.7:0", "listening only", 17),
        ("tcp://192.0.2.7:65536", "1 to 65535", 17),
        ("tcp://192.0.2.7:080", "1 to 65535", 17),
        ("tcp://192.0.2.7:+80", "1 to 65535", 17),
        ("tcp://192.0.2.7:٨٠", "1 to 65535", 17),
        ("tcp://192.0.2.7:80/", "1 to 65535", 17),
        ("tcp://192.0.2.7 :80", "white space", 16),
        ("tcp://192.0.2:80", "looks like an IPv4 address", 7),
        ("tcp://010.0.0.1:80", "looks like an IPv4 address", 7),
        ("tcp://0x7f000001:80", "looks like an IPv4 address", 7),
        ("tcp://2130706433:80", "looks like an IPv4 address", 7),
        ("tcp://bücher.example:80", "xn--", 8),
        ("tcp://a..b:80", "host name", 9),
        ("tcp://-a.b:80", "host name", 7),
        ("tcp://a.b;rm:80", "host name", 9),
        ("tcp://user@host:80", "host name", 7),
        (f"tcp://{'a' * 64}.org:80", "host name", 7),
        (f"tcp://{'a.' * 130}org:80", "253 characters", 260),
    ],
)
def test_wrong_endpoints(text: str, words: str, column: int) -> None:
    """The error says what is wrong, where."""
    with pytest.raises(ContactSyntaxError) as caught:
        Endpoint.parse(text)
    assert words in str(caught.value)
    assert caught.value.column == column


def test_port_zero_is_for_listening() -> None:
    """It is read when the caller says that it listens, and cannot be dialled."""
    endpoint = Endpoint.parse("tcp://0.0.0.0:0", allow_port_zero=True)
    assert endpoint.port == 0 and not endpoint.is_dialable
    assert str(endpoint.with_port(5483)) == "tcp://0.0.0.0:5483"
    assert not endpoint.with_port(5483).is_dialable


@pytest.mark.parametrize(
    ("text", "family", "flags"),
    [
        ("tcp://8.8.8.8:1", 4, "global"),
        ("tcp://10.0.0.1:1", 4, ""),
        ("tcp://100.64.0.1:1", 4, ""),
        ("tcp://127.0.0.1:1", 4, "loopback"),
        ("tcp://169.254.0.1:1", 4, "link_local"),
        ("tcp://224.0.0.1:1", 4, ""),
        ("tcp://[2606:4700::1]:1", 6, "global"),
        ("tcp://[fd00::1]:1", 6, ""),
        ("tcp://[::1]:1", 6, "loopback"),
        ("tcp://[::ffff:127.0.0.1]:1", 4, "loopback"),
        ("tcp://[fe80::1%eth0]:1", 6, "link_local"),
        ("tcp://localhost:1", None, ""),
    ],
)
def test_endpoints_are_classified(text: str, family: int | None, flags: str) -> None:
    """Which addresses are of use to whom."""
    endpoint = Endpoint.parse(text)
    found = [flag for flag in ("global", "loopback", "link_local") if getattr(endpoint, f"is_{flag}")]
    assert found == flags.split()
    assert endpoint.family == family
    assert endpoint.is_ip == (endpoint.ip is not None) == (family is not None)


@pytest.mark.parametrize(
    ("text", "single"),
    [
        ("tcp://192.0.2.1:1", True),
        ("utp://10.1.2.3:1", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://[::ffff:192.0.2.1]:1", True),
        ("utp://[2606:4700::1]:1", True),
        ("tcp://[fe80::1%eth0]:1", True),
        ("tcp://node.example.org:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://[::]:1", False),
        ("tcp://224.0.0.251:1", False),
        ("tcp://[ff02::1]:1", False),
        ("tcp://255.255.255.255:1", False),
        ("tcp://240.1.1.1:1", False),
        ("tcp://[2002:c000:201::1]:1", False),
        ("tcp://[2001:0:c000:201::1]:1", False),
        ("tcp://[64:ff9b::192.0.2.1]:1", False),
        ("tcp://[64:ff9b:1::192.0.2.1]:1", False),
    ],
)
def test_an_endpoint_of_one_machine(text: str, single: bool) -> None:
    """What may be dialled though strangers name it: no names, groups, reserved addresses, or those of gateways."""
    assert Endpoint.parse(text).is_single_host is single
    assert not Endpoint("tcp", Endpoint.parse(text).host, 0).is_single_host


def test_endpoints_check_what_programs_give() -> None:
    """The constructor is as strict as the parser, and brings the host into the same form."""
    assert Endpoint("tcp", "0:0::1", 5).host == "::1"
    with pytest.raises(ContactSyntaxError, match="tcp or utp"):
        Endpoint("udp", "::1", 5)
    with pytest.raises(ContactSyntaxError, match="0 to 65535"):
        Endpoint("tcp", "::1", 65536)
    with pytest.raises(ContactSyntaxError, match="neither"):
        Endpoint("tcp", "[::1]:5/x", 5)
    with pytest.raises(TypeError, match="port"):
        Endpoint("tcp", "::1", True)
    with pytest.raises(TypeError, match="host"):
        Endpoint("tcp", b"::1", 5)  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Endpoint("tcp", "::1", 5).port = 6  # type: ignore[misc]
    assert dataclasses.replace(Endpoint("tcp", "::1", 5), port=6) == Endpoint("tcp", "::1", 6)


# --- contacts ---------------------------------------------------------------------------------------------------------


@given(contacts)
def test_contacts_round_trip(contact: Contact) -> None:
    """One word, copied, gives the same contact."""
    text = str(contact)
    assert Contact.parse(text) == contact
    assert pickle.loads(pickle.dumps(contact)) == contact
    assert text.isascii() and not any(map(str.isspace, text))


@given(infos)
def test_connection_info_round_trips(info: ConnectionInfo) -> None:
    """Text and pickle give the same info, and it tells its network from others."""
    assert ConnectionInfo.parse(str(info)) == info
    assert pickle.loads(pickle.dumps(info)) == info


def test_a_contact_as_text() -> None:
    """The form in which contacts are printed in the documents."""
    contact = Contact.parse(f"{ID}@tcp://192.0.2.7:5483,utp://[2001:db8::7]:5483")
    assert contact.peer_id == PeerId(KEY)
    assert [endpoint.transport for endpoint in contact.endpoints] == ["tcp", "utp"]
    assert str(contact) == f"{ID}@tcp://192.0.2.7:5483,utp://[2001:db8::7]:5483"
    assert Contact.parse(ID) == Contact(PeerId(KEY))
    assert str(Contact(PeerId(KEY))) == ID


def test_a_repeated_endpoint_counts_once() -> None:
    """Dialling the same place twice helps nobody."""
    endpoint = Endpoint("tcp", "192.0.2.7", 1)
    assert Contact(PeerId(KEY), [endpoint, endpoint]).endpoints == (endpoint,)


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [
        ("", "nothing there", 1),
        ("tcp://192.0.2.7:5483", "crust dials keys", 1),
        ("192.0.2.7:5483", "crust dials keys", 1),
        ("node.example.org", "crust dials keys", 1),
        ("@tcp://192.0.2.7:5483", "crust dials keys", 1),
        (ID[:-1] + "@tcp://192.0.2.7:5483", "55 characters", 56),
        (ID[:-1] + "c@tcp://192.0.2.7:5483", "mistyped", 1),
        (ID + "@", "expected tcp://", 58),
        (ID + "@tcp://192.0.2.7:5483,", "expected tcp://", 79),
        (ID + "@tcp://192.0.2.7:1,tcp://192.0.2.7:99999", "1 to 65535", 92),
        (ID + "@tcp://192.0.2.7:0", "listening only", 74),
        (ID + "@tcp://0.0.0.0:1", "nobody can dial", 58),
        (ID + "@tcp://255.255.255.255:1", "nobody can dial", 58),
        (ID + "@tcp://[ff02::1]:1", "nobody can dial", 58),
        (f"crust1:0011223344556677:{ID}", "ConnectionInfo.parse", 1),
        (ID + "@" + ",".join(f"tcp://192.0.2.7:{port}" for port in range(1, 34)), "more than 32", 657),
    ],
)
def test_wrong_contacts(text: str, words: str, column: int) -> None:
    """The error says what is wrong, where; an address without a key is refused with the reason."""
    with pytest.raises(ContactSyntaxError) as caught:
        Contact.parse(text)
    assert words in str(caught.value)
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [
        (ID, "begin with crust1:", 1),
        ("crust1:", "16 hex digits", 8),
        (f"crust1:001122334455667:{ID}", "16 hex digits", 23),
        (f"crust1:00112233445566777:{ID}", "expected :", 24),
        (f"crust1:0011223344556677:{ID[:-1]}", "55 characters", 80),
        (f"crust1:0011223344556677:{ID}@tcp://1.2.3.4:x", "1 to 65535", 96),
    ],
)
def test_wrong_connection_info(text: str, words: str, column: int) -> None:
    """Columns count from the start of what was given."""
    with pytest.raises(ContactSyntaxError) as caught:
        ConnectionInfo.parse(text)
    assert words in str(caught.value)
    assert caught.value.column == column


def test_connection_info_names_its_network() -> None:
    """Eight bytes of it, enough to say at once that two nodes are in different networks."""
    info = ConnectionInfo(Contact(PeerId(KEY)), network_id("mine"))
    assert str(info) == f"crust1:{network_id('mine')[:8].hex()}:{ID}"
    assert info.same_network(network_id("mine")) and not info.same_network(network_id("other"))
    assert info.peer_id == PeerId(KEY) and info.endpoints == ()
    assert info == ConnectionInfo(info.contact, info.network_id)
    with pytest.raises(ValueError, match="32 or 8 bytes, found 9"):
        ConnectionInfo(info.contact, bytes(9))


def test_contacts_check_what_programs_give() -> None:
    """The constructor is as strict as the parser."""
    with pytest.raises(ContactSyntaxError, match="nobody can dial"):
        Contact(PeerId(KEY), [Endpoint("tcp", "::", 5)])
    with pytest.raises(ContactSyntaxError, match="33 endpoints"):
        Contact(PeerId(KEY), [Endpoint("tcp", "::1", port) for port in range(1, 34)])
    with pytest.raises(ContactSyntaxError, match="characters in all"):
        Contact(PeerId(KEY), [Endpoint("tcp", f"{'a.' * 110}a{n}", 1) for n in range(30)])
    with pytest.raises(TypeError):
        Contact(ID)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Contact(PeerId(KEY), ["tcp://192.0.2.7:1"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        ConnectionInfo(ID, bytes(32))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ConnectionInfo(Contact(PeerId(KEY)), "00")  # type: ignore[arg-type]


FRAGMENTS = ["tcp://", "utp://", *"@,:[]%/", ID, "crust1:", "0011223344556677", "::1", "192.0.2.7", "80"]


@given(st.text() | st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3)).map("".join))
def test_hostile_text_gives_a_syntax_error_or_a_value(text: str) -> None:
    """Nothing but ContactSyntaxError escapes; what is read has a canonical text; errors print without harm."""
    for parse in (PeerId.parse, Endpoint.parse, Contact.parse, ConnectionInfo.parse):
        try:
            value = parse(text)
        except ContactSyntaxError as error:
            assert 1 <= error.column <= len(text) + 1
            assert str(error).isprintable()
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
        else:
            assert parse(str(value)) == value


# --- networks ---------------------------------------------------------------------------------------------------------


def test_network_ids() -> None:
    """They depend on the name alone; no name is the empty name."""
    assert network_id(None) == network_id("") == hashlib.blake2b(b"crust/1 network\0", digest_size=32).digest()
    assert network_id("né") == hashlib.blake2b(b"crust/1 network\0n\xc3\xa9", digest_size=32).digest()
    assert len({network_id(None), network_id("a"), network_id("b")}) == 3


def test_networks_are_read() -> None:
    """Single addresses are networks of one; IPv4-mapped ones are IPv4."""
    found = parse_networks(["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "::ffff:192.0.2.0/120", "::1", "::/0"])
    assert list(map(str, found)) == [
        "192.0.2.0/24",
        "192.0.2.7/32",
        "2001:db8::/32",
        "192.0.2.0/24",
        "::1/128",
        "::/0",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("192.0.2.7/24", "did you mean 192.0.2.0/24?"),
        ("192.0.2.0/33", "expected an address or a network"),
        ("fe80::1%eth0", "an interface"),
        ("example.org", "expected an address"),
        ("", "expected an address"),
        ("1" * 5000, "5000 characters long"),
    ],
)
def test_wrong_networks(text: str, words: str) -> None:
    """The error names the entry."""
    with pytest.raises(ContactSyntaxError) as caught:
        parse_networks(["::1", text])
    assert words in str(caught.value)
    assert caught.value.text == text[:200] + ("…" if len(text) > 200 else "")


@given(st.text())
def test_hostile_networks(text: str) -> None:
    """Nothing but ContactSyntaxError escapes."""
    try:
        (network,) = parse_networks([text])
    except ContactSyntaxError:
        return
    assert parse_networks([str(network)]) == (network,)


def test_quotas_count_ipv4_addresses_and_ipv6_sites() -> None:
    """All addresses of one /64 are one key, and an IPv4 address is the same however it is written."""
    assert address_key("192.0.2.7") == bytes([192, 0, 2, 7]) == address_key("::ffff:192.0.2.7")
    assert address_key("2001:db8:0:1::1") == address_key("2001:db8:0:1:ffff::9") == bytes.fromhex("20010db800000001")
    assert address_key("2001:db8:0:2::1") != address_key("2001:db8:0:1::1")
    assert address_key("fe80::1%eth0") == address_key(ipaddress.ip_address("fe80::2"))
    assert parse_ip("::ffff:192.0.2.7") == ipaddress.ip_address("192.0.2.7")
    with pytest.raises(ValueError):
        address_key("example.org")


# --- the ends of paths through a peer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["192.0.2.7", "[2001:db8::7]"])
def test_the_end_of_a_path_through_a_peer(host: str) -> None:
    """It has an endpoint, which can be shown and read again; nobody can dial it."""
    text = f"relay://{host}:5483"
    endpoint = Endpoint.parse(text, allow_relay=True)
    assert (endpoint.transport, endpoint.port, str(endpoint)) == ("relay", 5483, text)
    assert endpoint == Endpoint("relay", host.strip("[]"), 5483)
    assert not endpoint.is_dialable
    assert Endpoint.parse("tcp://192.0.2.7:1", allow_relay=True) == Endpoint.parse("tcp://192.0.2.7:1")


def test_nobody_is_told_to_dial_it() -> None:
    """Neither endpoints nor contacts are read with one, and neither contacts nor listeners are made of one."""
    text = "relay://192.0.2.7:5483"
    key = PeerId(bytes(32))
    for read in (Endpoint.parse, lambda: Contact.parse(f"{key}@{text}"), lambda: Contact(key, [RELAYED])):
        with pytest.raises(ContactSyntaxError):
            read(text) if read == Endpoint.parse else read()
    for section in ({"addresses": [RELAYED]}, {"advertise": [RELAYED]}, {"addresses": [text]}):
        with pytest.raises(ConfigError):
            Config.from_dict({"listen": section})


RELAYED = Endpoint("relay", "192.0.2.7", 5483)
