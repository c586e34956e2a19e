"""The commands with one transport or both: processes, loopback."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

import crust
from tests.cli.processes import Process, no_traceback

LISTEN = ("--listen", "tcp://127.0.0.1:0", "--listen", "utp://127.0.0.1:0")


def node(home: Path, *words: str) -> Process:
    """``crust node --json`` on loopback, TCP and µTP."""
    home.mkdir()
    return Process(home, "node", "--json", *LISTEN, *words)


def connected(one: Process, started: dict[str, Any], **fields: Any) -> dict[str, Any]:
    reply = one.ask("connect", peer=started["contact"], timeout=10, **fields)
    assert reply["ok"], reply
    path: dict[str, Any] = reply["path"]
    return path


@pytest.mark.parametrize("only", ["tcp", "utp"])
def test_one_transport_end_to_end(tmp_path: Path, only: str) -> None:
    """Whoever has ``--only`` uses nothing else, called or calling; the path names it on both sides."""
    with node(tmp_path / "a", "--only", only) as alice, node(tmp_path / "b") as bob:
        me, peer = alice.told(event="started"), bob.told(event="started")
        assert {each.transport for each in crust.Contact.parse(me["contact"]).endpoints} == {only}
        assert {each.transport for each in crust.Contact.parse(peer["contact"]).endpoints} == {"tcp", "utp"}
        path = connected(alice, peer)
        assert (path["class"], path["transport"]) == (f"direct-{only}", only)
        assert path["remote"].startswith(f"{only}://") and path["local"].startswith(f"{only}://")
        assert bob.told(event="connect_success")["path"]["class"] == f"direct-{only}"
        data = base64.b64encode(bytes(range(256)) * 1000).decode()
        for one, other, to in ((alice, bob, peer["peer"]), (bob, alice, me["peer"])):
            assert one.ask("send", peer=to, data=data)["ok"]
            assert other.told(event="new_message")["data"] == data
        assert alice.ask("disconnect", peer=peer["peer"])["ok"]
        bob.told(event="lost_peer")
        path = connected(bob, me)
        assert (path["class"], path["transport"]) == (f"direct-{only}", only)
        for each in (alice, bob):
            each.interrupt()
            assert each.ends() in (0, 130)
            no_traceback(each)


def test_bootstrap_with_one_transport(tmp_path: Path) -> None:
    """``--contact`` names both; only the one is used."""
    with node(tmp_path / "b", "--allow-bootstrap") as bob:
        contact = bob.told(event="started")["contact"]
        with node(tmp_path / "a", "--only", "utp", "--contact", contact) as alice:
            assert alice.ask("bootstrap", timeout=10)["ok"]
            assert bob.told(event="bootstrap_accept")["path"]["transport"] == "utp"


def test_a_file_over_utp(tmp_path: Path) -> None:
    """``crust send --only utp`` says what it goes over."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    content = bytes(range(256)) * 8000
    (tmp_path / "here" / "holiday.jpg").write_bytes(content)
    with Process(tmp_path / "there", "recv", *LISTEN, "--yes", "--once") as receiver:
        contact = receiver.line()
        with Process(tmp_path / "here", "send", "--only", "utp", contact, "holiday.jpg") as sender:
            assert sender.ends() == 0
            assert "connected: direct-utp to utp://127.0.0.1:" in sender.errors
    assert (tmp_path / "there" / "holiday.jpg").read_bytes() == content
