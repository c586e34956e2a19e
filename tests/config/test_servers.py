"""The list of public STUN servers: what is in it can be used, and a damaged installation says so."""

from __future__ import annotations

import pathlib

import pytest

import crust
from crust.config import servers


def test_the_public_servers_can_be_used() -> None:
    """Each is a name and a port that the configuration takes, none is there twice, each has somebody who runs it."""
    found = crust.config.public_servers()
    names = [server.address for server in found]
    config = crust.Config.from_dict({"nat": {"stun_servers": names}})
    assert list(config.nat.stun_servers) == names and len(set(names)) == len(names)
    assert all(server.operator for server in found)


def test_the_list_is_short_and_enough() -> None:
    """Two operators at least, so that one may fail; one tests filtering (RFC 5780)."""
    found = crust.config.public_servers()
    assert len({server.operator for server in found}) >= 2
    assert len(found) <= 4
    assert any(server.tests_filtering for server in found)


def test_a_missing_list_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(servers, "__file__", str(tmp_path / "a" / "b" / "servers.py"))
    with pytest.raises(crust.ConfigError, match="stun-servers.yaml"):
        crust.config.public_servers()
