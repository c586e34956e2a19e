"""The control channel: a line in, a reply out."""

from __future__ import annotations

import base64
import ipaddress
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crust
from crust.cli import control as module
from crust.cli.book import Book
from crust.cli.control import COMMANDS, Control
from tests.cli.fakes import ALICE, BOB, FakePeer, FakeService
from tests.support.waiting import wait_until

HELLO = base64.b64encode(b"hello").decode()
SEND = {"cmd": "send", "peer": str(BOB), "data": HELLO}


class Channel:
    """A control with a fake node; replies in order of arrival."""

    def __init__(self, home: Path, only: str | None = None) -> None:
        self.node = FakeService(crust.Config())
        self.book = Book(home / "contacts")
        self.replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        node: Any = self.node
        self.control = Control(node, "node", self.book, only, self.replies.put)

    def write(self, **request: Any) -> None:
        self.control.handle(json.dumps(request).encode())

    def reply(self) -> dict[str, Any]:
        return self.replies.get(timeout=5.0)

    def ask(self, **request: Any) -> dict[str, Any]:
        self.write(**request)
        return self.reply()


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    made = Channel(tmp_path)
    yield made
    made.control.close()


def no(error: str, **fields: Any) -> dict[str, Any]:
    return {"ok": False, "error": error, **fields}


def without_text(reply: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(reply.pop("text"), str)
    return reply


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"[]", b"7", b"null", b"\xff", b"[" * 100_000),
        *(b'{"id": NaN, "cmd": "info"}', b'{"id": 1e999, "cmd": "info"}'),
    ],
)
def test_a_line_that_is_no_request_is_refused_and_the_channel_goes_on(channel: Channel, line: bytes) -> None:
    channel.control.handle(line)
    assert without_text(channel.reply()) == no("bad_request")
    assert channel.ask(id=1, cmd="info")["ok"]


@pytest.mark.parametrize("endpoints", [(), ("tcp://192.0.2.9:5483",)])
def test_find_says_where_a_node_is(channel: Channel, endpoints: tuple[str, ...]) -> None:
    """Null stands for a node that names no address."""
    asked = []

    def find(peer_id: crust.PeerId, **arguments: Any) -> crust.Contact:
        asked.append((peer_id, arguments))
        return crust.Contact(peer_id, map(crust.Endpoint.parse, endpoints))

    channel.node.find = find  # type: ignore[attr-defined]
    contact = f"{BOB}@{endpoints[0]}" if endpoints else None
    assert channel.ask(cmd="find", peer=str(BOB), timeout=3) == {"ok": True, "peer": str(BOB), "contact": contact}
    assert asked == [(BOB, {"timeout": 3})]


@pytest.mark.parametrize("make", ['{"cmd": "info", "id": %s}', "%s", '{"cmd": "connect", "peer": %s}', '{"cmd": %s}'])
def test_a_line_that_nests_deeply_is_refused_at_every_depth(channel: Channel, make: str) -> None:
    """Also where Python can just read it, and could not write it into a reply any more."""
    for depth in range(33, 1000):
        channel.control.handle((make % ("[" * depth + "]" * depth)).encode())
        assert without_text(channel.reply()) == no("bad_request")


def test_connect_to_nobody_is_a_mistyped_contact(channel: Channel) -> None:
    assert without_text(channel.ask(cmd="connect", peer=""))["error"] == "contact_syntax_error"


def test_an_empty_line_is_nothing(channel: Channel) -> None:
    channel.control.handle(b"  ")
    assert channel.ask(id=1, cmd="info")["id"] == 1


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_whatever_a_line_holds_it_gets_one_reply(line: bytes) -> None:
    replies: list[Any] = []
    node: Any = FakeService(crust.Config())
    control = Control(node, "node", Book(Path("/nonexistent")), None, replies.append)
    control.handle(line)
    control.close()
    assert len(replies) == (1 if line.strip() else 0)


@pytest.mark.parametrize("number", [7, "seven", None, [1], {"a": 1}, 1.5, True])
def test_a_reply_has_the_id_of_its_command(channel: Channel, number: Any) -> None:
    assert channel.ask(id=number, cmd="info")["id"] == number
    assert channel.ask(id=number, cmd="nonsense")["id"] == number


def test_a_command_without_an_id_gets_a_reply_without_one(channel: Channel) -> None:
    assert "id" not in channel.ask(cmd="info")


@pytest.mark.parametrize(
    ("request_", "error", "hint"),
    [
        ({}, "bad_request", "cmd"),
        ({"cmd": 7}, "bad_request", "cmd"),
        ({"cmd": "conect"}, "unsupported", "did you mean connect?"),
        ({"cmd": "teleport"}, "unsupported", "known: ban"),
        ({"cmd": "subscribe", "events": ["lost_peer"]}, "unsupported", "has all events already"),
        ({"cmd": "connect"}, "bad_request", "either peer or info"),
        ({"cmd": "connect", "peer": str(BOB), "info": "x"}, "bad_request", "either peer or info"),
        ({"cmd": "connect", "peer": 7}, "bad_request", "peer: expected a string, found 7"),
        ({"cmd": "connect", "peer": str(BOB), "timout": 2}, "bad_request", "did you mean timeout?"),
        ({"cmd": "connect", "peer": str(BOB), "timeout": -1}, "bad_request", "timeout"),
        ({"cmd": "connect", "peer": str(BOB), "timeout": True}, "bad_request", "timeout"),
        ({"cmd": "connect", "peer": str(BOB), "keep": 1}, "bad_request", "keep"),
        ({"cmd": "connect", "peer": str(BOB)[:-1] + "a"}, "contact_syntax_error", "column"),
        ({"cmd": "connect", "peer": "tcp://192.0.2.7:1"}, "contact_syntax_error", "key"),
        ({"cmd": "connect", "peer": "bob"}, "unknown_contact", "bob"),
        ({"cmd": "send", "peer": "bob", "data": HELLO}, "unknown_contact", "bob"),
        ({"cmd": "send", "peer": str(BOB)}, "bad_request", "data"),
        ({"cmd": "send", "peer": str(BOB), "data": "!"}, "bad_request", "base64"),
        ({"cmd": "send", "peer": str(BOB), "data": "aGVsbG8"}, "bad_request", "base64"),
        ({"cmd": "send", "peer": str(BOB), "data": HELLO, "priority": 256}, "bad_request", "priority"),
        ({"cmd": "ban"}, "bad_request", "who"),
        ({"cmd": "ban", "who": [7]}, "bad_request", "who"),
        ({"cmd": "info", "peer": "x"}, "bad_request", "it takes none"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_request_is_told_what_is_wrong(
    channel: Channel, request_: dict[str, Any], error: str, hint: str
) -> None:
    reply = channel.ask(id=1, **request_)
    assert (reply["id"], reply["ok"], reply["error"]) == (1, False, error)
    assert hint in reply["text"]
    assert channel.node.calls == []


# --- commands ---------------------------------------------------------------------------------------------------------


def test_info_tells_who_we_are(channel: Channel) -> None:
    assert channel.ask(id=1, cmd="info") == {
        "id": 1,
        "ok": True,
        "peer": str(ALICE),
        "contact": f"{ALICE}@tcp://127.0.0.1:4",
        "addresses": ["tcp://127.0.0.1:4"],
        "role": "node",
    }


def test_peers_have_state_role_and_path(channel: Channel) -> None:
    suspended = FakePeer(ALICE)
    suspended.__class__ = type("Suspended", (FakePeer,), {"state": "suspended", "path": None})
    channel.node.peers = [FakePeer(), suspended]
    first, second = channel.ask(id=1, cmd="peers")["peers"]
    assert (first["peer"], first["state"], first["role"], first["path"]["class"]) == (
        *(str(BOB), "connected", "node", "direct-tcp"),
    )
    assert (second["peer"], second["state"], second["path"]) == (str(ALICE), "suspended", None)
    told = {name: first["path"][name] for name in ("transport", "local", "remote", "rtt", "since")}
    assert told == {
        "transport": "tcp",
        "local": "tcp://127.0.0.1:1",
        "remote": "tcp://127.0.0.1:2",
        "rtt": None,
        "since": 1.0,
    }


@pytest.mark.parametrize(
    ("given_", "passed"),
    [
        ({}, {}),
        ({"timeout": 3}, {"timeout": 3.0}),
        ({"timeout": None}, {"timeout": None}),
        ({"keep": True}, {"keep": True}),
        ({"keep": False}, {"keep": False}),
    ],
)
def test_connect_takes_a_contact_and_a_timeout(
    channel: Channel, given_: dict[str, Any], passed: dict[str, Any]
) -> None:
    contact = f"{BOB}@tcp://192.0.2.7:1"
    reply = channel.ask(id=1, cmd="connect", peer=contact, **given_)
    assert (reply["ok"], reply["peer"], reply["path"]["cipher"]) == (True, str(BOB), "AEGIS-256")
    assert channel.node.calls == [("connect", (crust.Contact.parse(contact),), passed)]


def test_connect_takes_a_connection_info_and_a_name(channel: Channel) -> None:
    info = crust.ConnectionInfo(crust.Contact(BOB), bytes(8))
    channel.book.add("bob", crust.Contact(BOB))
    assert channel.ask(cmd="connect", info=str(info))["ok"]
    assert channel.ask(cmd="connect", peer="bob")["ok"]
    assert [arguments for _, arguments, _ in channel.node.calls] == [(info,), (crust.Contact(BOB),)]


def test_only_leaves_out_endpoints(tmp_path: Path) -> None:
    channel = Channel(tmp_path, only="utp")
    channel.ask(cmd="connect", peer=f"{BOB}@tcp://192.0.2.7:1,utp://192.0.2.7:2")
    channel.ask(cmd="bootstrap", contacts=[f"{BOB}@tcp://192.0.2.7:1"])
    channel.control.close()
    assert channel.node.calls[0][1] == (crust.Contact.parse(f"{BOB}@utp://192.0.2.7:2"),)
    assert channel.node.calls[1][2] == {"contacts": [crust.Contact(BOB)]}


def test_a_failed_connect_tells_what_was_tried(channel: Channel) -> None:
    attempt = crust.Attempt("direct", "tcp://192.0.2.7:1", 0.1, "refused", "Connection refused")
    channel.node.answers["connect"] = crust.ConnectError("cannot reach", (attempt,))
    reply = channel.ask(id=5, cmd="connect", peer=str(BOB))
    assert (reply["id"], reply["error"], reply["text"]) == (5, "connect_error", "cannot reach")
    assert reply["attempts"][0]["verdict"] == "refused"


def test_replies_overtake_a_slow_connect(channel: Channel) -> None:
    """While one connect waits, others and info are answered."""
    go = threading.Event()
    channel.node.answers["connect"] = lambda to, **_: (
        FakePeer() if to.peer_id == BOB or go.wait(5.0) else None
    )
    channel.write(id="slow", cmd="connect", peer=str(ALICE))
    assert channel.ask(id="fast", cmd="connect", peer=str(BOB))["id"] == "fast"
    assert channel.ask(id="info", cmd="info")["id"] == "info"
    go.set()
    assert channel.reply()["id"] == "slow"


def test_a_fault_in_a_command_is_answered_and_logged(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.node.answers["connect"] = RuntimeError("broken")
    reply = channel.ask(id=1, cmd="connect", peer=str(BOB))
    assert (reply["ok"], reply["error"], reply["text"]) == (False, "runtime_error", "broken")
    assert "the command connect failed" in caplog.text


def test_the_small_commands_do_what_they_say(channel: Channel) -> None:
    channel.node.answers |= {
        "disconnect": True,
        "ban": 2,
        "unban": 1,
        "prepare_connection_info": crust.ConnectionInfo(crust.Contact(BOB), bytes(8)),
    }
    assert channel.ask(cmd="disconnect", peer=str(BOB)) == {"ok": True, "was_connected": True}
    assert channel.ask(cmd="disconnect", peer=str(BOB), reason="enough")["was_connected"]
    assert channel.ask(cmd="ban", who=["192.0.2.0/24", str(BOB)], seconds=5) == {"ok": True, "count": 2}
    assert channel.ask(cmd="ban", who=[str(BOB)], keep=True) == {"ok": True, "count": 2}
    assert channel.ask(cmd="unban", who="192.0.2.0/24") == {"ok": True, "count": 1}
    assert channel.ask(cmd="prepare_connection_info") == {"ok": True, "info": f"crust1:{'0' * 16}:{BOB}"}
    assert channel.ask(cmd="bootstrap", contacts=[str(BOB)], blacklist=["10.0.0.0/8"], timeout=2) == {
        "ok": True,
        "peer": str(BOB),
    }
    assert channel.ask(cmd="start_bootstrap", contacts=[str(BOB)], blacklist=["10.0.0.0/8"]) == {"ok": True}
    assert channel.ask(cmd="stop_bootstrap") == {"ok": True}
    assert channel.node.calls == [
        ("disconnect", (BOB,), {}),
        ("disconnect", (BOB,), {"reason": "enough"}),
        ("ban", ("192.0.2.0/24", str(BOB)), {"seconds": 5.0}),
        ("ban", (str(BOB),), {"keep": True}),
        ("unban", ("192.0.2.0/24",), {}),
        ("prepare_connection_info", (), {}),
        ("bootstrap", (), {"contacts": [crust.Contact(BOB)], "blacklist": ["10.0.0.0/8"], "timeout": 2.0}),
        ("start_bootstrap", (), {"contacts": [crust.Contact(BOB)], "blacklist": ["10.0.0.0/8"]}),
        ("stop_bootstrap", (), {}),
    ]


def test_bans_are_listed(channel: Channel) -> None:
    """A function by its name, as far as it has one."""
    channel.node.bans = (
        crust.Ban(BOB, None, kept=True, configured=False),
        crust.Ban(ipaddress.ip_network("192.0.2.0/24"), 5.0, kept=False, configured=False),
    )
    assert channel.ask(cmd="bans") == {
        "ok": True,
        "bans": [
            {"who": str(BOB), "seconds": None, "kept": True, "configured": False},
            {"who": "192.0.2.0/24", "seconds": 5.0, "kept": False, "configured": False},
        ],
    }


def test_a_wrong_ban_is_a_bad_request(channel: Channel) -> None:
    channel.node.answers["ban"] = ValueError("'x' is no address")
    assert channel.ask(cmd="ban", who=["x"]) == no("bad_request", text="'x' is no address")


def test_stop_is_answered_and_remembered(channel: Channel) -> None:
    assert not channel.control.stopped
    assert channel.ask(id=9, cmd="stop") == {"id": 9, "ok": True}
    assert channel.control.stopped


def test_a_channel_that_has_every_event_needs_no_subscribe(channel: Channel) -> None:
    reply = channel.ask(id=1, cmd="subscribe", events=["new_message"])
    assert (reply["error"], "--control" in reply["text"]) == ("unsupported", True)


def test_subscribe_takes_events_and_peers(tmp_path: Path) -> None:
    """Peers are ids, contacts or names; left out, they are all peers."""
    taken: list[Any] = []
    replies: list[Any] = []
    node: Any = FakeService(crust.Config())
    book = Book(tmp_path / "contacts")
    book.add("bob", crust.Contact(BOB))
    control = Control(node, "node", book, None, replies.append, lambda *what: taken.append(what))
    for fields in (
        {"events": ["a", "b"]},
        {"events": [], "peers": ["bob", f"{ALICE}@tcp://192.0.2.7:1"]},
        {},
    ):
        control.handle(json.dumps({"cmd": "subscribe", **fields}).encode())
    control.close()
    assert taken == [(["a", "b"], None), ([], [BOB, ALICE])]
    assert [reply["ok"] for reply in replies] == [True, True, False]


def test_reload_tells_what_came_of_it(channel: Channel) -> None:
    """The keys that count, and those that do not yet; or why nothing was changed."""
    channel.node.answers["reload"] = crust.ConfigReloaded(("limits.max_peers",), ("utp.congestion",))
    assert channel.ask(id=1, cmd="reload") == {
        **{"id": 1, "ok": True},
        **{"applied": ["limits.max_peers"], "needs_restart": ["utp.congestion"]},
    }
    channel.node.answers["reload"] = crust.ConfigError("c.yaml:1: what?")
    reply = channel.ask(id=2, cmd="reload")
    assert (reply["ok"], reply["error"], reply["text"]) == (False, "config_error", "c.yaml:1: what?")


def test_status_is_the_nodes_snapshot(channel: Channel) -> None:
    """As ``crust status`` shows it."""

    class Snapshot:
        def as_dict(self) -> dict[str, Any]:
            return {"schema": 1, "peers": []}

    channel.node.answers["status"] = lambda: Snapshot()
    assert channel.ask(id=1, cmd="status") == {"id": 1, "ok": True, "status": {"schema": 1, "peers": []}}


def test_every_command_is_tried_here() -> None:
    assert set(COMMANDS) == {
        *("ban", "bans", "bootstrap", "connect", "disconnect", "find", "info", "peers"),
        *("prepare_connection_info", "reload", "send", "start_bootstrap", "status", "stop", "stop_bootstrap"),
        *("subscribe", "unban"),
    }


# --- sending ----------------------------------------------------------------------------------------------------------


def test_send_gives_the_number_of_the_message(channel: Channel) -> None:
    channel.node.answers["send"] = 41
    assert channel.ask(id=1, priority=3, **SEND) == {"id": 1, "ok": True, "message": 41}
    assert channel.node.calls == [("send", (BOB, b"hello"), {"timeout": 0, "priority": 3})]


def test_a_failed_send_is_told(channel: Channel) -> None:
    channel.node.answers["send"] = crust.PeerLost("there is no session", "gone")
    assert channel.ask(id=1, **SEND) == {
        **{"id": 1, "ok": False, "error": "peer_lost", "reason": "gone"},
        "text": "there is no session",
    }


class SlowPeer:
    """`send` of a node whose peer bob has no room until ``room`` is set."""

    def __init__(self) -> None:
        self.room = threading.Event()
        self.taken: list[bytes] = []
        self.timeouts: list[Any] = []

    def __call__(self, to: crust.PeerId, data: bytes, *, timeout: Any = "configured", **_: Any) -> int:
        if to == BOB and not self.room.is_set():
            if timeout == 0:
                raise crust.WouldBlock("full")
            self.timeouts.append(timeout)
            assert self.room.wait(5.0)
        self.taken.append(data)
        return len(self.taken) - 1


def numbered(number: int, peer: crust.PeerId = BOB, **more: Any) -> dict[str, Any]:
    data = base64.b64encode(str(number).encode()).decode()
    return {"id": number, "cmd": "send", "peer": str(peer), "data": data, **more}


def test_sends_to_a_slow_peer_wait_in_order_and_hold_up_nobody(channel: Channel) -> None:
    slow = channel.node.answers["send"] = SlowPeer()
    for number in range(20):
        channel.write(**numbered(number, timeout=60))
    assert channel.ask(**numbered(99, ALICE))["id"] == 99
    assert channel.ask(id="info", cmd="info")["ok"]
    slow.room.set()
    assert [channel.reply()["id"] for _ in range(20)] == list(range(20))
    assert slow.taken[1:] == [str(n).encode() for n in range(20)]
    assert 59 < slow.timeouts[0] <= 60


def test_slow_commands_hold_up_no_waiting_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: a send whose turn has come goes out."""
    monkeypatch.setattr(module, "_WORKERS", 2)
    channel, go = Channel(tmp_path), threading.Event()
    slow = channel.node.answers["send"] = SlowPeer()
    channel.node.answers["connect"] = lambda to, **_: FakePeer() if go.wait(10.0) else None
    try:
        for number in range(3):
            channel.write(id=f"slow {number}", cmd="connect", peer=str(ALICE))
        channel.write(**numbered(1))
        wait_until(lambda: slow.timeouts, what="the send to wait for room")
        slow.room.set()
        assert channel.reply() == {"id": 1, "ok": True, "message": 0}
    finally:
        go.set()
        channel.control.close()


@pytest.mark.parametrize(
    ("given_", "least", "most"), [({}, 29, 30), ({"timeout": None}, None, None), ({"timeout": 5}, 4, 5)]
)
def test_a_waiting_send_has_its_timeout_or_the_configured_one(
    channel: Channel, given_: dict[str, Any], least: float | None, most: float | None
) -> None:
    """Counted from the command, not from its turn."""
    slow = channel.node.answers["send"] = SlowPeer()
    channel.write(**numbered(1, **given_))
    wait_until(lambda: slow.timeouts)
    slow.room.set()
    assert channel.reply()["ok"]
    (timeout,) = slow.timeouts
    assert timeout is most or (least is not None and most is not None and least < timeout <= most)


def test_a_send_that_must_not_wait_does_not(channel: Channel) -> None:
    channel.node.answers["send"] = SlowPeer()
    assert without_text(channel.ask(**numbered(1, timeout=0))) == no("would_block", id=1)


def test_a_send_that_must_not_wait_does_not_queue(channel: Channel) -> None:
    slow = channel.node.answers["send"] = SlowPeer()
    channel.write(**numbered(1))
    assert without_text(channel.ask(**numbered(2, timeout=0))) == no("would_block", id=2)
    slow.room.set()
    assert channel.reply()["id"] == 1


@pytest.mark.parametrize("bound", ["_LANE_SENDS", "_LANE_BYTES"])
def test_when_too_much_waits_no_more_is_read(
    channel: Channel, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """A script that writes faster than the peer reads is slowed down in turn; nothing is refused, memory is bounded."""
    monkeypatch.setattr(module, bound, 3)
    slow = channel.node.answers["send"] = SlowPeer()
    written: list[int] = []

    def script() -> None:
        for number in range(10):
            channel.write(**numbered(number, timeout=60))
            written.append(number)

    writer = threading.Thread(target=script, name="test-script", daemon=True)
    writer.start()
    wait_until(lambda: slow.timeouts and len(written) == 3)
    assert not writer.join(0.05) and len(written) == 3
    slow.room.set()
    assert [channel.reply()["id"] for _ in range(10)] == list(range(10))
    writer.join()
