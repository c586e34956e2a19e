"""What a configuration remembers of the file it came from, and what that does not change."""

from __future__ import annotations

import copy
import dataclasses
import pathlib
import pickle

import pytest

from crust import Config, LimitsConfig
from crust.config.sections import field_keys, live_keys
from crust.config.source import digest_of


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "crust.yaml"
    path.write_text("limits:\n  max_peers: 7\nsession: {drop: null}\n")
    return path


def test_the_file_and_its_content_are_remembered(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a name that holds wherever the process goes."""
    monkeypatch.chdir(path.parent)
    source = Config.load("crust.yaml").source
    assert source is not None
    assert (source.path, source.digest, source.overrides) == (str(path), digest_of(path.read_bytes()), ())
    assert Config().source is None
    assert Config.from_dict({"limits": {"max_peers": 7}}).source is None


def test_nothing_else_is_different(path: pathlib.Path) -> None:
    """Equal, of the same hash and text as one that came from nowhere; its dict makes the same again."""
    loaded = Config.load(path)
    made = Config().replace(**{"limits.max_peers": 7, "session.drop": None})
    assert (loaded, hash(loaded), repr(loaded)) == (made, hash(made), repr(made))
    assert loaded.as_dict() == made.as_dict()
    assert Config.from_dict(loaded.as_dict()) == loaded
    assert "source" not in loaded.as_dict()
    assert "source" not in [key for key, _ in field_keys(Config)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.source = None  # type: ignore[misc]
    with pytest.raises(TypeError):
        Config(source=None)  # type: ignore[call-arg]


def test_it_goes_to_other_processes(path: pathlib.Path) -> None:
    """Pickled and copied with its source."""
    loaded = Config.load(path).replace(**{"limits.half_open": 9})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(loaded, protocol))
        assert (again, again.source) == (loaded, loaded.source)
    assert copy.deepcopy(loaded).source == loaded.source


def test_what_a_program_sets_is_remembered(path: pathlib.Path) -> None:
    """By key, with the value as it is stored; the last word counts, and a section stands for what is in it."""
    config = Config.load(path).replace(**{"limits.max_peers": 8, "listen.addresses": ["tcp://127.0.0.1:0"]})
    config = config.replace(**{"limits.max_peers": 9, "access": {"ban": {"networks": ["192.0.2.1"]}}})
    assert config.source is not None
    assert dict(config.source.overrides) == {
        "limits.max_peers": 9,
        "listen.addresses": ("tcp://127.0.0.1:0",),
        "access.ban.networks": ("192.0.2.1/32",),
    }
    whole = Config.load(path).replace(limits=LimitsConfig(half_open=3)).source
    assert whole is not None
    assert {key.partition(".")[0] for key, _ in whole.overrides} == {"limits"}
    assert len(whole.overrides) == len(dataclasses.fields(LimitsConfig))


def test_a_section_that_is_null_can_be_set(path: pathlib.Path) -> None:
    """And what is set in it is remembered alone."""
    source = Config.load(path).replace(**{"session.drop.max_age": 5.0}).source
    assert source is not None and dict(source.overrides) == {"session.drop.max_age": 5.0}
    source = Config.load(path).replace(**{"session.drop": None}).source
    assert source is not None and dict(source.overrides) == {"session.drop": None}


def test_the_keys_that_a_running_node_takes_are_marked() -> None:
    """Those that the documents promise, at least."""
    promised = {
        *("listen.advertise", "bootstrap.contacts", "bootstrap.accept", "bootstrap.reachability_test"),
        *("bootstrap.blacklist", "nat.stun_servers", "nat.echo_for_others", "nat.serve_stun"),
        *(f"limits.{field.name}" for field in dataclasses.fields(LimitsConfig)),
        *("access.node_networks", "access.client_networks", "access.allow_peers"),
        *("access.ban.peers", "access.ban.networks"),
    }
    assert promised <= live_keys(Config)
    assert not {"identity.file", "network.name", "listen.addresses", "version"} & live_keys(Config)
