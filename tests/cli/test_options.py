"""Configuration, identity and contacts as the options say."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli.errors import UsageError
from crust.cli.main import build_parser
from crust.cli.options import (
    add_common,
    config_file,
    load_config,
    parse_seconds,
    start_node,
    user_directory,
    with_options,
)
from tests.cli.fakes import ALICE, BOB, FakeService, make_context, shown

pytestmark = pytest.mark.usefixtures("fake_service")


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_common(parser, identity="the user's")
    return parser.parse_args(words)


def start(home: Path, *words: str, **options: Any) -> FakeService:
    node = start_node(parse(*words), make_context(home), **options)
    assert isinstance(node, FakeService)
    return node


def test_the_user_directory_follows_xdg() -> None:
    assert user_directory({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x/crust")
    assert user_directory({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}) == Path("/h/.config/crust")
    assert user_directory({"HOME": "/h"}) == Path("/h/.config/crust")


def test_the_configuration_file_is_the_most_explicit_one(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert config_file(None, environ) is None
    usual = tmp_path / "crust" / "crust.yaml"
    usual.parent.mkdir()
    usual.touch()
    assert config_file(None, environ) == usual
    assert config_file(None, {**environ, "CRUST_CONFIG": ""}) == usual
    assert config_file(None, {**environ, "CRUST_CONFIG": "/e.yaml"}) == Path("/e.yaml")
    assert config_file("named.yaml", {**environ, "CRUST_CONFIG": "/e.yaml"}) == Path("named.yaml")


def test_options_stand_above_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("network: {name: from-file}\nsession: {connect_timeout: 7}\n")
    config = load_config(parse("--config", str(path), "--network", "from-option"), {})
    assert (config.network.name, config.session.connect_timeout) == ("from-option", 7)


def test_who_only_looks_around_has_no_options_of_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``crust peers`` runs a node that neither listens nor dials: its help names what it uses, and nothing else."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["peers", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    own = {"--help", "--verbose", "--quiet", "--json", "--wait", "--watch"}
    assert options == own | {"--config", "--network", "--network-secret-file"}
    arguments = build_parser().parse_args(["peers", "--network", "there"])
    assert load_config(arguments, {"HOME": "/nowhere"}).network.name == "there"
    node = start_node(arguments, make_context(tmp_path), overrides={"lan.seek": "always"})
    assert (node.config.network.name, node.config.lan.seek) == ("there", "always")


def test_every_option_reaches_its_key() -> None:
    config = load_config(
        parse(
            *("--identity", "/i", "--network-secret-file", "/s", "--allow-bootstrap"),
            *("--listen", "tcp://127.0.0.1:0", "--listen", "tcp://[::1]:0"),
            *("--stun", "stun.example:3479", "--stun", "192.0.2.1", "--no-portmap"),
        ),
        {"HOME": "/nowhere"},
    )
    assert config.identity.file == "/i"
    assert config.network.secret_file == "/s"
    assert config.listen.addresses == ("tcp://127.0.0.1:0", "tcp://[::1]:0")
    assert config.bootstrap.accept is True
    assert config.nat.stun_servers == ("stun.example:3479", "192.0.2.1:3478")
    assert config.nat.port_mapping == ()


def test_the_beacon_is_switched(tmp_path: Path) -> None:
    """A node of its own is found on its LAN, and looks for others, unless an option or the file says something else."""
    path = tmp_path / "c.yaml"
    path.write_text("lan: {announce: false}\n", encoding="utf-8")

    def lan(*words: str) -> tuple[bool, str]:
        found = load_config(build_parser().parse_args(words), {"HOME": "/nowhere"}).lan
        return found.announce, found.seek

    assert lan("node") == (True, "always")
    assert lan("node", "--config", str(path)) == (False, "always")
    assert lan("chat", "x") == (False, "bootstrap")
    assert lan("node", "--no-beacon") == lan("chat", "x", "--no-beacon") == (False, "never")


def test_relaying_is_switched() -> None:
    """Neither option touches what the other one does."""
    relay = load_config(parse("--serve-relay"), {"HOME": "/nowhere"}).relay
    assert (relay.serve, relay.use) == (True, True)
    relay = load_config(parse("--no-relay"), {"HOME": "/nowhere"}).relay
    assert (relay.serve, relay.use) == (False, False)


def test_a_wrong_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^--listen: "):
        load_config(parse("--listen", "5483"), {"HOME": "/nowhere"})
    with pytest.raises(UsageError, match="^--stun: "):
        load_config(parse("--stun", "stun.example:none"), {"HOME": "/nowhere"})


@pytest.mark.parametrize(("only", "other"), [("tcp", "utp"), ("utp", "tcp")])
def test_only_one_transport_is_used(tmp_path: Path, only: str, other: str) -> None:
    """The option is kept literally: the other one is not used in secret, whatever the file says."""
    both = f'["{only}://192.0.2.1:5", "{other}://192.0.2.1:5"]'
    contacts = f'["{BOB}@{other}://192.0.2.7:1,{only}://192.0.2.7:1", "{ALICE}@{other}://192.0.2.8:1"]'
    path = tmp_path / "c.yaml"
    path.write_text(
        f"listen: {{addresses: {both}, advertise: {both}}}\nbootstrap: {{contacts: {contacts}}}\n", encoding="utf-8"
    )
    words = ("--config", str(path), "--only", only, "--contact", f"{BOB}@tcp://192.0.2.9:1,utp://192.0.2.9:1")
    node = start(tmp_path, *words)
    assert node.config.listen.addresses == node.config.listen.advertise == (f"{only}://192.0.2.1:5",)
    assert node.config.bootstrap.contacts == (f"{BOB}@{only}://192.0.2.7:1",)
    assert [str(c) for c in node.contacts] == [f"{BOB}@{only}://192.0.2.9:1"]
    assert with_options(crust.Config.load(path), parse(*words))[1]["bootstrap.contacts"] == "--only"


def test_only_one_transport_of_the_defaults() -> None:
    """They name both."""
    for only in ("tcp", "utp"):
        addresses = load_config(parse("--only", only), {"HOME": "/nowhere"}).listen.addresses
        assert addresses == (f"{only}://0.0.0.0:0", f"{only}://[::]:0")


def test_contacts_may_be_names(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    context.book.add("bob", crust.Contact(BOB))
    node: Any = start_node(parse("--contact", "bob", "--contact", str(ALICE)), context)
    assert node.contacts == [crust.Contact(BOB), crust.Contact(ALICE)]


def test_the_user_identity_is_the_default(tmp_path: Path) -> None:
    assert start(tmp_path).config.identity.file == str(tmp_path / "crust" / "identity")
    assert start(tmp_path, fresh=True).config.identity.file is None
    assert start(tmp_path, "--identity", "/i", fresh=True).config.identity.file == "/i"


def test_a_one_shot_command_takes_a_fresh_identity_and_says_so(tmp_path: Path) -> None:
    FakeService.start_errors = [crust.IdentityInUse("identity /i is in use by process 7")]
    context = make_context(tmp_path)
    node: Any = start_node(parse(), context)
    assert node.started and node.config.identity.file is None
    assert "process 7: taking a fresh identity" in shown(context.terminal)
    assert FakeService.made[0].closed


@pytest.mark.parametrize(("words", "one_shot"), [(("--identity", "/i"), True), ((), False)])
def test_a_named_identity_or_a_lasting_node_insists(
    tmp_path: Path, words: tuple[str, ...], one_shot: bool
) -> None:
    FakeService.start_errors = [crust.IdentityInUse("in use")]
    with pytest.raises(crust.IdentityInUse):
        start(tmp_path, *words, one_shot=one_shot)
    assert len(FakeService.made) == 1


def test_a_node_that_does_not_start_is_closed(tmp_path: Path) -> None:
    FakeService.start_errors = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path)
    assert FakeService.made[0].closed


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_seconds_are_above_zero(text: str) -> None:
    assert parse_seconds("1.5") == 1.5
    with pytest.raises(argparse.ArgumentTypeError):
        parse_seconds(text)
