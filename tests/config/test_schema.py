"""What may be set, what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import pathlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import Contact, Endpoint, PeerId
from crust.config import (
    AccessConfig,
    BanConfig,
    BootstrapConfig,
    Config,
    DropConfig,
    IdentityConfig,
    LimitsConfig,
    ListenConfig,
    NetworkConfig,
    SendBufferConfig,
    SessionConfig,
)
from crust.config.sections import field_keys, values
from crust.exceptions import ConfigError

ID = str(PeerId(bytes(range(32))))


def test_defaults_are_those_of_the_limits() -> None:
    """A default stands in one place."""
    config = Config()
    assert config.version == 1
    assert config.network.role == "node"
    assert config.listen.addresses == ("tcp://0.0.0.0:0", "tcp://[::]:0", "utp://0.0.0.0:0", "utp://[::]:0")
    assert config.session.max_message_size == limits.MAX_MESSAGE_SIZE
    assert config.session.drop == DropConfig(limits.DROP_MIN_PRIORITY, limits.DROP_MAX_AGE)
    assert config.limits.half_open == limits.HALF_OPEN_MAX
    assert config.bootstrap.accept is False
    assert config.access.node_networks is None and config.access.ban.peers == ()


def test_configurations_are_values() -> None:
    """Equal by content, hashable, picklable, and nothing in them can be changed."""
    config = Config(session=SessionConfig(connect_timeout=5))
    assert config == Config.from_dict({"session": {"connect_timeout": 5.0}}) != Config()
    assert hash(config) == hash(Config(session=SessionConfig(connect_timeout=5)))
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.session.connect_timeout = 6  # type: ignore[misc]


def test_as_dict_and_back() -> None:
    """The dict has the shape of the file."""
    config = Config().replace(
        **{
            "session.drop": None,
            "access.ban.networks": ["192.0.2.0/24"],
            "bootstrap.contacts": [f"{ID}@tcp://192.0.2.7:1"],
        }
    )
    data = config.as_dict()
    assert data["session"]["drop"] is None
    assert Config.from_dict(data) == config
    assert Config.from_dict({}) == Config()


def test_every_key_is_documented_and_knows_its_kind() -> None:
    """A key without a sentence cannot be added."""
    for name, field in field_keys(Config):
        assert field.metadata["doc"].endswith("."), name
        assert field.metadata["kind"] is not None, name
    assert {name for name, _ in values(Config())} < {name for name, _ in field_keys(Config)}


# --- values -----------------------------------------------------------------------------------------------------------


def test_values_are_brought_into_one_form() -> None:
    """However something is written, it is stored in one way, so that equal configurations are equal."""
    peer = PeerId(bytes(range(32)))
    endpoint = Endpoint("tcp", "192.0.2.7", 1)
    config = Config.from_dict(
        {
            "identity": {"file": pathlib.Path("~/id")},
            "listen": {"addresses": ["TCP://[0:0::0]:0"], "advertise": [endpoint]},
            "bootstrap": {
                "contacts": [Contact(peer, [endpoint]), ID.upper()],
                "blacklist": [peer, "192.0.2.7", ID.upper()],
            },
            "session": {"send_timeout": 0, "connect_timeout": 5},
            "access": {"allow_peers": [peer], "node_networks": ["::ffff:192.0.2.0/120"], "client_networks": []},
        }
    )
    assert config.identity.file == str(pathlib.Path.home() / "id")
    assert config.listen.addresses == ("tcp://[::]:0",)
    assert config.listen.advertise == ("tcp://192.0.2.7:1",)
    assert config.bootstrap.contacts == (f"{ID}@tcp://192.0.2.7:1", ID)
    assert config.bootstrap.blacklist == (ID, "192.0.2.7/32", ID)
    assert config.session.send_timeout == 0.0 and isinstance(config.session.connect_timeout, float)
    assert config.access.allow_peers == (ID,)
    assert config.access.node_networks == ("192.0.2.0/24",)
    assert config.access.client_networks == ()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", 2, "expected 1, found 2"),
        ("identity.file", 5, "expected the name of a file, found 5; put it in quotes; null means a fresh identity"),
        ("identity.file", "", "not empty"),
        ("identity.file", "a\0b", "NUL"),
        ("bootstrap.cache.file", "a\ud800b", "no such character"),
        ("network.name", "", "write null"),
        ("network.name", 123, "put it in quotes"),
        ("network.name", "\ud800", "expected text"),
        ("network.role", "server", "expected node or client, found 'server'"),
        ("network.role", None, "found null"),
        ("listen", "tcp://0.0.0.0:1", "expected a mapping"),
        ("listen.addresses", "tcp://0.0.0.0:1", "a list is written in brackets"),
        ("listen.addresses", ["tcp://0.0.0.0:1", "0.0.0.0:1"], "listen.addresses[1]: expected an address"),
        ("listen.addresses", ["udp://0.0.0.0:1"], "expected tcp://host:port or utp://host:port"),
        ("listen.addresses", ["tcp://localhost:1"], "address of this machine"),
        ("listen.addresses", ["tcp://224.0.0.1:1"], "address of this machine"),
        ("listen.addresses", None, "found null"),
        ("listen.advertise", ["tcp://192.0.2.7:0"], "listen.advertise[0]"),
        ("listen.advertise", ["tcp://0.0.0.0:1"], "nobody can dial"),
        ("listen.interfaces.include", [""], "matches nothing"),
        ("listen.interfaces.exclude", None, "expected a list"),
        ("bootstrap.contacts", ["tcp://192.0.2.7:1"], "crust dials keys"),
        ("bootstrap.contacts", [None], "bootstrap.contacts[0]: expected a contact"),
        ("nat.stun_servers", ["2001:db8::1"], "an IPv6 address needs brackets, as in [::1]"),
        ("nat.stun_servers", ["stun.example:0"], "port 0"),
        ("nat.stun_servers", ["stun.example:turn"], "the port must be a number"),
        ("nat.stun_servers", ["tcp://stun.example"], "expected a server such as"),
        ("bootstrap.blacklist", ["x"], "expected a peer id, an address or a network"),
        ("bootstrap.blacklist", [ID[:-1] + "c"], "mistyped"),
        ("bootstrap.accept", 1, "expected true or false, found 1"),
        ("bootstrap.accept", "true", "without quotes"),
        ("bootstrap.timeout", 0, "above 0"),
        ("session.connect_timeout", "22:22", "expected a number of seconds"),
        ("session.connect_timeout", "1e3", "write 1000.0 without quotes"),
        ("session.connect_timeout", "10s", "write the number alone"),
        ("session.connect_timeout", True, "found true"),
        ("session.connect_timeout", float("nan"), "found nan"),
        ("session.connect_timeout", float("inf"), "found inf"),
        ("session.connect_timeout", 10**400, "found a huge number"),
        ("session.connect_timeout", -1, "found -1"),
        ("session.connect_timeout", None, "found null"),
        ("session.send_timeout", -0.1, "null means for ever"),
        ("session.max_message_size", 2.0, "expected a whole number of bytes"),
        ("session.max_message_size", "2097152", "write 2097152 without quotes"),
        ("session.max_message_size", 0, "from 1 to"),
        ("session.receive_buffer", 2**32, "to 4294967295"),
        ("session.receive_buffer", 2 * limits.MAX_MESSAGE_SIZE - 1, "at least 4194304 (max_message_size is 2097152)"),
        ("session.max_message_size", 5_000_000, "receive_buffer: expected at least 10000000"),
        ("session.send_buffer.bytes", limits.MAX_MESSAGE_SIZE + 63, "session.send_buffer.bytes: expected at least"),
        ("session.heartbeat_interval", 61, "session.resume_timeout: expected at least 122"),
        ("session.drop.min_priority", 256, "from 0 to 255"),
        ("session.drop", [], "session.drop: expected a mapping (key: value), found a list; null means never"),
        ("session.send_buffer", None, "expected a mapping"),
        ("limits.max_peers", 0, "limits.max_peers"),
        ("access.node_networks", ["192.0.2.7/24"], "did you mean 192.0.2.0/24?"),
        ("access.allow_peers", [ID, "x" * 56], "access.allow_peers[1]"),
        ("access.ban.peers", None, "access.ban.peers"),
        ("access.ban.networks", [5], "access.ban.networks[0]"),
        ("write_contact_to", [], "write_contact_to"),
    ],
)
def test_wrong_values(key: str, value: object, words: str) -> None:
    """The error names the key, what is allowed there, what was found, and perhaps how to mend it."""
    with pytest.raises(ConfigError) as caught:
        Config().replace(**{key: value})
    assert words in str(caught.value)
    assert str(caught.value).startswith(key.split(".")[0])


def test_sections_check_themselves() -> None:
    """An object that exists is valid, whatever made it."""
    for make in (
        lambda: SessionConfig(connect_timeout=-1),
        lambda: SessionConfig(receive_buffer=100_000),
        lambda: SendBufferConfig(messages=0),
        lambda: DropConfig(max_age=0),
        lambda: ListenConfig(addresses=("x",)),
        lambda: BootstrapConfig(accept=None),  # type: ignore[arg-type]
        lambda: NetworkConfig(role="x"),
        lambda: IdentityConfig(file=""),
        lambda: AccessConfig(ban=BanConfig(peers=("x",))),
        lambda: LimitsConfig(half_open=-1),
        lambda: Config(session=None),  # type: ignore[arg-type]
        lambda: Config(session={"sent_timeout": 5}),  # type: ignore[arg-type]
        lambda: dataclasses.replace(Config().session, send_timeout="x"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError):
            make()


def test_a_small_message_size_still_leaves_room_for_the_reserve() -> None:
    """64 KiB of the window are kept for small messages: with less, no big one would ever begin."""
    with pytest.raises(ConfigError, match="at least 66600"):
        Config().replace(**{"session.max_message_size": 1000, "session.receive_buffer": 66_599})
    Config().replace(**{"session.max_message_size": 1000, "session.receive_buffer": 66_600})


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"sesion": {}}, "sesion: unknown key; did you mean session?"),
        ({"session": {"conect_timeout": 5}}, "conect_timeout: unknown key; did you mean session.connect_timeout?"),
        ({"connect_timeout": 5}, "did you mean session.connect_timeout?"),
        ({"session": {"max_age": 5}}, "did you mean session.drop.max_age?"),
        ({"session": {"drop": {"zzz": 5}}}, "session.drop has min_priority, max_age"),
        ({"qqqqqqq": 5}, "the configuration has version, identity"),
        ({5: 5}, "5: a key is text"),
        ({"session": {"KEY": 5}}, "unknown key"),
        ({"self": 5}, "unknown key"),
    ],
)
def test_unknown_keys(data: dict[str, object], words: str) -> None:
    """The error names the nearest key that exists, in whatever section."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(data)
    assert words in str(caught.value)


def test_from_dict_takes_a_dict() -> None:
    """And says so."""
    with pytest.raises(ConfigError, match="expected a mapping of keys to values, found list"):
        Config.from_dict([])  # type: ignore[arg-type]


# --- replace ----------------------------------------------------------------------------------------------------------


def test_replace_changes_a_copy() -> None:
    """By key, by section, or by what changes in a section."""
    config = Config()
    assert config.replace() == config
    assert config.replace(**{"session.connect_timeout": 5}).session.connect_timeout == 5
    assert config.replace(session=SessionConfig(connect_timeout=5)) == Config(session=SessionConfig(connect_timeout=5))
    changed = config.replace(**{"session.send_timeout": 7}).replace(session={"connect_timeout": 5})
    assert changed.session == SessionConfig(connect_timeout=5, send_timeout=7)
    assert config == Config()


def test_replace_checks_at_the_end() -> None:
    """Two values that need each other can be set in one call."""
    changes = {"session.max_message_size": 8_000_000, "session.receive_buffer": 16_000_000}
    assert Config().replace(**changes, **{"session.send_buffer.bytes": 9_000_000}).session.max_message_size == 8_000_000


def test_replace_below_null() -> None:
    """A section that is null comes to life with its defaults."""
    never = Config().replace(**{"session.drop": None})
    assert never.replace(**{"session.drop.max_age": 5}).session.drop == DropConfig(max_age=5)


def test_replace_names_unknown_keys() -> None:
    """As from_dict does."""
    with pytest.raises(ConfigError, match=r"did you mean session\?"):
        Config().replace(**{"sesion.connect_timeout": 5})
    with pytest.raises(ConfigError, match="session.connect_timeout has no keys below it"):
        Config().replace(**{"session.connect_timeout.x": 5})


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
any_key = st.sampled_from([name for name, _ in field_keys(Config)])


@given(any_key, json)
def test_hostile_values(key: str, value: object) -> None:
    """Nothing but ConfigError escapes, its text prints without harm, and what is taken survives a round trip."""
    try:
        config = Config().replace(**{key: value})
    except ConfigError as error:
        assert str(error).isprintable()
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
    else:
        assert Config.from_dict(config.as_dict()) == config


@given(st.dictionaries(st.sampled_from([n for n, _ in field_keys(Config)]) | st.text(max_size=5), json, max_size=4))
def test_hostile_dicts(data: dict[str, object]) -> None:
    """Nothing but ConfigError escapes."""
    try:
        Config.from_dict(data)
    except ConfigError as error:
        assert str(error).isprintable()


def test_a_server_is_named_by_host_and_port() -> None:
    """The port may be left out."""
    config = Config.from_dict({"nat": {"stun_servers": ["STUN.example", "192.0.2.1:99", "[2001:db8:0::1]"]}})
    assert config.nat.stun_servers == ("stun.example:3478", "192.0.2.1:99", "[2001:db8::1]:3478")
