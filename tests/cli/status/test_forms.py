"""The tables of ``crust status``, its rates, and the screen that it draws on."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import pytest

import crust
from crust.cli.status.live import Live
from crust.cli.status.rates import with_rates
from crust.cli.status.text import WIDTH_MAX, as_text
from tests.cli.fakes import make_terminal, printed
from tests.support.source import ROOT
from tests.support.statuses import a_peer, a_status

SCHEMA = json.loads((ROOT / "conf" / "status.schema.json").read_text(encoding="utf-8"))


def looked(status: crust.Status, before: crust.Status | None = None) -> dict[str, Any]:
    """As it comes from a node, with rates."""
    return with_rates(None if before is None else before.as_dict(), json.loads(json.dumps(status.as_dict())))


def text_of(status: crust.Status, width: int = 80, before: crust.Status | None = None) -> str:
    lines = as_text(
        looked(status, before), width=width, paint=lambda text, *styles: text, call=lambda peer: f"{peer[:8]}…"
    )
    return "\n".join(lines)


def flat(text: str) -> str:
    return " ".join(text.split())


def later(status: crust.Status, seconds: float, sent: int) -> crust.Status:
    """The same node, so much later, when each peer has been sent so many bytes more, and ten messages."""

    def more(traffic: crust.Traffic) -> crust.Traffic:
        count = (sent > 0) - (sent < 0)
        return dataclasses.replace(
            traffic, bytes_sent=traffic.bytes_sent + sent, messages_sent=traffic.messages_sent + 10 * count
        )

    peers = tuple(dataclasses.replace(each, traffic=more(each.traffic)) for each in status.peers)
    return dataclasses.replace(
        status, uptime=status.uptime + seconds, peers=peers, traffic=more(status.traffic)
    )


# --- text -------------------------------------------------------------------------------------------------------------


def test_everything_is_said() -> None:
    """Who it is, where it stands, who its peers are, what its parts add."""
    status = a_status()
    text = flat(text_of(status, 160, before=later(status, -2.0, 0)))
    for words in (
        f"id {status.id}",
        "network home, closed, role node, strangers may bootstrap",
        "reachable no: behind a router that keeps one outer port",
        "udp IPv4 one outer port for all, strangers do not get in, seen at 203.0.113.9:61234",
        "listens on tcp://0.0.0.0:5483, utp://0.0.0.0:5483",
        "addresses tcp://192.168.1.5:5483",
        "also seen at utp://203.0.113.9:61234 (reflexive)",
        "router leads tcp://100.64.0.9:5483 to tcp://0.0.0.0:5483 (pcp); but another NAT",
        f"introduced by {str(status.via[0].peer_id)[:8]}…",
        "gate 7 callers let in, 3 turned away",
        "for others 1 circuits now, 2 so far, 3 refused, 4.00 kB",
        "waiting 1 callbacks, 4.10 kB of messages",
        "3 peers, 1 suspended; 0 B/s out, 0 B/s in (123 MB out, 9.88 kB in so far)",
        "direct-tcp 12.3 ms 1:30 min",
        "relay 80.0 ms",
        "Cache entries 12, file /home/me/.local/state/crust/home.json, verified 3",
        "NAME WANT CONNECTED mirrors 8 7",
        "tcp://198.51.100.2:5483",
    ):
        assert words in text, words


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 100, 132, 500])
def test_it_fits_the_window(width: int) -> None:
    """No line is wider; who the peers are and what goes to and fro is there at 80 columns."""
    status = a_status()
    text = text_of(status, width, before=later(status, -2.0, -1_234_567))
    assert max(map(len, text.splitlines())) <= max(40, min(width, WIDTH_MAX))
    if width >= 80:
        assert all(word in text for word in ("PEER", "PATH", "RTT", "SINCE", "OUT/s", "IN/s", "617 kB"))
    if width >= 132:
        assert "ADDRESS" in text and "tcp://198.51.100.2:5483" in text


def test_the_narrow_and_the_wide_have_the_same_peers() -> None:
    for width in (40, 80, 160):
        text = text_of(a_status(), width)
        assert all(f"{str(a_peer(number).id)[:8]}…" in text for number in (2, 3, 4))
        assert "suspended" in text and "relay" in text


def test_what_others_have_said_is_harmless() -> None:
    """Names, reasons and addresses of strangers move no cursor, and keep to their lines."""
    evil = "\x1b[2Jevil\n\u202e" + "x" * 500
    status = a_status(
        network=evil,
        mapping_failure=evil,
        peers=(a_peer(2, remote=f"tcp://{evil}", path_class=evil),),
        sections={"groups": {evil: evil, "groups": [{"name": evil, evil: 1}]}},
    )
    for width in (40, 80, 160):
        lines = text_of(status, width).splitlines()
        assert all(line.isprintable() and len(line) <= width for line in lines)


def test_trouble_stands_out() -> None:
    stats = dataclasses.replace(a_status().stats, crashes=2, accept_pauses=1)
    assert "trouble 2 failures inside crust, 1 pauses for lack of descriptors" in flat(text_of(a_status(stats=stats)))


def test_a_lonely_node() -> None:
    """Nothing is made up where there is nothing."""
    nat = crust.NatVerdict(crust.SiteKind.UNKNOWN, "not known: nobody has told", None, ())
    empty = a_status(
        **{"peers": (), "via": (), "nat": nat, "sections": {}, "network": None, "closed": False},
        **{"listeners": (), "addresses": (), "candidates": (), "mappings": ()},
    )
    text = flat(text_of(empty))
    assert "no peers; 123 MB out" in text and "listens on nothing" in text and "without a name, open" in text
    assert "PEER" not in text and "router" not in text.replace("a router", "")


# --- rates ------------------------------------------------------------------------------------------------------------


def test_rates_are_differences() -> None:
    """Per second, of the node and of each peer; the whole is what the schema says."""
    before = a_status()
    found = looked(later(before, 2.0, 5_000), before)
    jsonschema.validate(found, SCHEMA)
    assert found["rates"] == {
        **{"bytes_sent": 2_500.0, "bytes_received": 0.0},
        **{"messages_sent": 5.0, "messages_received": 0.0},
    }
    assert [peer["rates"]["bytes_sent"] for peer in found["peers"]] == [2_500.0] * 3


def test_what_cannot_be_compared_has_no_rate() -> None:
    """The first look, a node that was started again, a peer that is new or has a new session."""
    before = a_status()
    assert looked(before)["rates"] is None
    jsonschema.validate(looked(before), SCHEMA)
    for other in (a_status(process=1), a_status(id=a_peer(9).id), later(before, 1.0, 0)):
        assert looked(a_status(), other)["rates"] is None
    fresh = dataclasses.replace(a_peer(2), traffic=crust.Traffic(5, 5, 1, 1))
    found = looked(later(a_status(peers=(fresh, a_peer(8))), 1.0, 0), before)
    assert found["rates"] is not None and [peer["rates"] for peer in found["peers"]] == [None, None]


# --- the screen -------------------------------------------------------------------------------------------------------


def test_a_terminal_is_drawn_over_and_given_back() -> None:
    """A screen of its own; the last picture stays when it is over; a low window is not overrun."""
    terminal = make_terminal(tty=True)
    with Live(terminal, {"TERM": "xterm"}) as live:
        assert live.moves
        live.show(["one", "two"])
        live.show([str(number) for number in range(100)])
        drawn = printed(terminal)
        assert drawn.count("\x1b[H") == 2 and "more lines" in drawn and "99" not in drawn.split("\x1b[H")[-1]
    after = printed(terminal)[len(drawn) :]
    assert after.startswith("\x1b[?25h\x1b[?1049l0\n1\n") and after.endswith("99\n")


@pytest.mark.parametrize(("tty", "term"), [(False, "xterm"), (True, "dumb")])
def test_elsewhere_no_cursor_moves(tty: bool, term: str) -> None:
    terminal = make_terminal(tty=tty)
    with Live(terminal, {"TERM": term}) as live:
        live.show(["one"])
        live.show(["two"])
    assert printed(terminal) == "one\n\ntwo\n"


def test_the_screen_is_given_back_whatever_happens() -> None:
    terminal = make_terminal(tty=True)
    with pytest.raises(KeyboardInterrupt), Live(terminal, {}) as live:
        live.show(["one"])
        raise KeyboardInterrupt
    assert printed(terminal).endswith("\x1b[?1049lone\n")
