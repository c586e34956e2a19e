"""``crust node --json`` for real: processes, loopback, signals."""

from __future__ import annotations

import base64
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

import crust
from tests.cli.processes import Process, no_traceback, node
from tests.support.proxy import Proxy
from tests.support.sockets import unused_port


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def port_of(contact: str) -> int:
    return crust.Contact.parse(contact).endpoints[0].port


def test_two_nodes_talk_survive_a_cut_and_part(tmp_path: Path) -> None:
    """The whole life of a connection, driven by a script."""
    with node(tmp_path) as alice, node(tmp_path) as bob:
        started = bob.told(event="started")
        me = alice.told(event="started")["peer"]
        peer = started["peer"]
        assert started["contact"].startswith(peer + "@tcp://127.0.0.1:")
        with Proxy(port_of(started["contact"])) as proxy:
            reply = alice.ask("connect", peer=f"{peer}@{proxy.endpoint}", timeout=10)
            assert (reply["ok"], reply["peer"], reply["path"]["class"]) == (True, peer, "direct-tcp")
            assert alice.told(event="connect_success")["inbound"] is False
            assert bob.told(event="connect_success")["peer"] == me

            assert alice.ask("send", peer=peer, data=encoded(b"\0\xff"))["message"] == 0
            assert bob.told(event="new_message") == {
                **{"event": "new_message", "peer": me, "data": encoded(b"\0\xff")},
                **{"priority": 1, "proof": None},
            }
            assert bob.ask("send", peer=me, data="", priority=0)["ok"]
            assert alice.told(event="new_message")["priority"] == 0

            for number in range(300):
                if number in (100, 200):
                    proxy.cut()
                alice.write(id=number, cmd="send", peer=peer, data=encoded(b"%d" % number))
            got = [base64.b64decode(bob.told(event="new_message")["data"]) for _ in range(300)]
            assert got == [b"%d" % number for number in range(300)]
            assert all(alice.told(id=number)["ok"] for number in range(300))
            proxy.cut()
            assert alice.ask("send", peer=peer, data=encoded(b"still here"))["ok"]
            assert bob.told(event="new_message")["data"] == encoded(b"still here")
            for event in ("peer_suspended", "peer_resumed"):  # bob may notice nothing: she is back at once
                assert alice.told(event=event)["peer"] == peer

            (listed,) = bob.ask("peers")["peers"]
            assert (listed["peer"], listed["role"]) == (me, "node")
            assert alice.ask("disconnect", peer=peer)["was_connected"] is True
            assert alice.ask("disconnect", peer=peer)["was_connected"] is False
            assert bob.told(event="lost_peer")["reason"] == "disconnected"
            assert alice.ask("send", peer=peer, data="")["error"] == "peer_lost"
        assert alice.ask("stop")["ok"]
        bob.close_stdin()
        assert (alice.ends(), bob.ends()) == (0, 0)
        assert (alice.errors, bob.errors) == ("", "")


def test_connection_infos_bootstrap_and_bans(tmp_path: Path) -> None:
    with node(tmp_path) as alice, node(tmp_path, "--allow-bootstrap") as bob:
        me, contact = alice.told(event="started")["peer"], bob.told(event="started")["contact"]
        info = bob.ask("prepare_connection_info")["info"]
        assert bob.told(event="connection_info_prepared")["info"] == info
        peer = alice.ask("connect", info=info)["peer"]
        bob.told(event="connect_success")
        assert alice.ask("disconnect", peer=peer)["was_connected"]
        assert (
            alice.told(event="lost_peer")["reason"] == bob.told(event="lost_peer")["reason"] == "disconnected"
        )

        assert alice.ask("bootstrap", contacts=[contact])["peer"] == peer
        assert alice.told(event="bootstrap_connect")["peer"] == peer
        assert bob.told(event="bootstrap_accept")["peer"] == me
        assert bob.ask("ban", who=[me, "192.0.2.0/24"], seconds=60)["count"] == 2
        assert alice.told(event="lost_peer")["reason"] == "banned"
        reply = alice.ask("connect", peer=contact, timeout=5)
        assert (reply["ok"], reply["error"], reply["reason"]) == (False, "denied", "banned")
        assert bob.ask("unban", who=[me])["count"] == 1
        assert alice.ask("connect", peer=contact)["ok"]
        assert alice.ask("bootstrap", contacts=[contact], blacklist=[peer], timeout=2)["ok"] is False


@pytest.mark.parametrize(
    ("words", "error"),
    [(("--network", "other"), "denied"), (("--network-secret-file", "secret"), "connect_error")],
)
def test_other_networks_are_closed(tmp_path: Path, words: tuple[str, ...], error: str) -> None:
    with Process(tmp_path, "keygen", "--network", "secret") as keygen:
        assert keygen.ends() == 0
    with node(tmp_path, *words) as alice, node(tmp_path) as bob:
        contact = bob.told(event="started")["contact"]
        reply = alice.ask("connect", peer=contact, timeout=8)
        assert (reply["ok"], reply["error"]) == (False, error)
        assert reply["attempts"]
        assert bob.ask("peers")["peers"] == []


def test_members_of_a_closed_network_meet(tmp_path: Path) -> None:
    with Process(tmp_path, "keygen", "--network", "secret") as keygen:
        assert keygen.ends() == 0
    words = ("--network-secret-file", "secret")
    with node(tmp_path, *words) as alice, node(tmp_path, *words) as bob:
        assert alice.ask("connect", peer=bob.told(event="started")["contact"])["ok"]


def test_a_connect_that_fails_says_what_was_tried(tmp_path: Path) -> None:
    """Nobody there; somebody else there; oneself; no address."""
    with node(tmp_path) as alice, node(tmp_path) as bob:
        contact = crust.Contact.parse(bob.told(event="started")["contact"])
        stranger = crust.Identity.generate().peer_id
        reply = alice.ask("connect", peer=f"{stranger}@tcp://127.0.0.1:{unused_port()}", timeout=5)
        assert reply["attempts"][0]["verdict"] == "refused"
        reply = alice.ask("connect", peer=str(crust.Contact(stranger, contact.endpoints)), timeout=5)
        assert reply["ok"] is False and reply["attempts"]
        assert alice.ask("connect", peer=str(stranger))["error"] == "no_route"
        me = alice.told(event="started")["contact"]
        assert alice.ask("connect", peer=me, timeout=5)["ok"] is False
        assert alice.told(event="connect_failure")["peer_id"] == str(stranger)


def test_a_flood_to_one_peer_keeps_order(tmp_path: Path) -> None:
    """More than the buffers hold, while the other side is away: sends wait, in order, and the channel still answers."""
    count, size = 150, 60_000
    with node(tmp_path) as alice, node(tmp_path) as bob:
        contact = crust.Contact.parse(bob.told(event="started")["contact"])
        with Proxy(contact.endpoints[0].port) as proxy:
            peer = str(contact.peer_id)
            assert alice.ask("connect", peer=f"{peer}@{proxy.endpoint}")["ok"]
            proxy.stall()
            for number in range(count):
                alice.write(id=number, cmd="send", peer=peer, data=encoded(b"%d" % number + bytes(size)))
            assert alice.ask("info")["ok"]
            proxy.stall(on=False)
            got = [
                int(base64.b64decode(bob.told(event="new_message")["data"]).rstrip(b"\0"))
                for _ in range(count)
            ]
            assert got == list(range(count))
            assert all(alice.told(id=number)["ok"] for number in range(count))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_end_a_node_in_good_order(tmp_path: Path, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM: the peer hears goodbye, no traceback, nothing hangs."""
    with node(tmp_path) as alice, node(tmp_path) as bob:
        assert alice.ask("connect", peer=bob.told(event="started")["contact"])["ok"]
        bob.told(event="connect_success")
        alice.interrupt(number)
        assert bob.told(event="lost_peer")["reason"] == "closed"
        assert alice.ends() == code
        no_traceback(alice)


def test_ctrl_c_during_a_connect(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, node(tmp_path) as alice:
        alice.told(event="started")
        stranger = crust.Identity.generate().peer_id
        alice.write(id=1, cmd="connect", peer=f"{stranger}@tcp://127.0.0.1:{silent.getsockname()[1]}")
        connection, _ = silent.accept()
        with connection:
            alice.interrupt()
            assert alice.ends() == 130
        no_traceback(alice)
        assert any('"error": "service_closed"' in line for line in alice.rest())


def test_a_reader_that_goes_away_ends_the_node(tmp_path: Path) -> None:
    with node(tmp_path) as alice, node(tmp_path) as bob:
        alice.told(event="started")
        contact = bob.told(event="started")["contact"]
        assert bob.process.stdout is not None
        reader = bob.process.stdout.fileno()
        assert reader
        assert alice.ask("connect", peer=contact)["ok"]
        alice.ask("stop")
        assert alice.ends() == 0
        bob.close_stdin()
        assert bob.ends() == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--listen", "tcp://192.0.2.77:0"), "192.0.2.77"),
        (("--config", "nothing.yaml"), "nothing.yaml"),
        (("--identity", "damaged"), "damaged"),
        (("--network-secret-file", "nothing"), "nothing"),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    (tmp_path / "damaged").write_text("garbage\n")
    (tmp_path / "damaged").chmod(0o600)
    with Process(tmp_path, "node", "--json", *words) as process:
        assert process.ends() == 1
        assert process.rest() == []
        assert hint in process.errors
        assert process.errors.count("\n") == 1


def test_an_occupied_port_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Process(tmp_path, "node", "--json", "--listen", f"tcp://127.0.0.1:{port}") as process:
            assert process.ends() == 1
            assert str(port) in process.errors
            assert process.errors.count("\n") == 1


def test_an_identity_is_kept_and_locked(tmp_path: Path) -> None:
    """The same id at each start; a second node under it is refused, by process id."""
    words = ("--identity", "me")
    with node(tmp_path, *words) as first:
        peer = first.told(event="started")["peer"]
        with node(tmp_path, *words) as second:
            assert second.ends() == 1
            assert str(first.process.pid) in second.errors
            assert second.errors.count("\n") == 1
        first.ask("stop")
        assert first.ends() == 0
    with node(tmp_path, *words) as again:
        assert again.told(event="started")["peer"] == peer


def test_people_can_watch_a_node(tmp_path: Path) -> None:
    with Process(tmp_path, "node", "--listen", "tcp://127.0.0.1:0") as watched, node(tmp_path) as alice:
        contact = watched.line()
        assert (
            crust.Contact.parse(contact).peer_id
            == crust.Identity.load(tmp_path / "crust" / "identity").peer_id
        )
        reply: dict[str, Any] = alice.ask("connect", peer=contact)
        alice.ask("send", peer=reply["peer"], data=encoded(b"hi \x1b[2J"))
        watched.shows("data=hi \\x1b[2J")
        watched.interrupt()
        assert watched.ends() == 130
        assert watched.errors.endswith("interrupted\n")
        no_traceback(watched)
