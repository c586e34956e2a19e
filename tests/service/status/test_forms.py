"""What is said of a node, without sockets: the lines, the page of HTTP, the figures, the verdict, the sections."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import crust
from crust.addresses import Endpoint
from crust.assessment import SiteKind
from crust.nat.punch.standing import DEPENDENT, INDEPENDENT, NOTHING
from crust.service.status.http import CONTENT_TYPE, REQUEST_MAX, MetricsPage
from crust.service.status.lines import COMMANDS_MAX, LINE_MAX, StatusLines
from crust.service.status.metrics import as_text
from crust.service.status.sections import Sections
from crust.service.status.verdict import protocols, verdict
from crust.wire.frames import Standing, TransportCode
from tests.support.source import ROOT
from tests.support.statuses import a_status

OUTER = Endpoint.parse("utp://1.2.3.4:5483")
OUTER_TCP = Endpoint.parse("tcp://1.2.3.4:5483")


# --- the lines --------------------------------------------------------------------------------------------------------


def replies(data: bytes, *more: bytes) -> tuple[list[dict[str, Any]], bool]:
    lines = StatusLines(lambda: {"schema": 1})
    told, over = b"", False
    for part in (data, *more):
        said, over = lines.receive(part)
        told += said
    return [json.loads(line) for line in told.splitlines()], over


def test_the_status_command() -> None:
    """In pieces, without an id, several at once, and with the line's end missing."""
    assert replies(b'{"id": 7, "cmd": "st', b'atus"}\n') == ([{"id": 7, "ok": True, "status": {"schema": 1}}], False)
    assert replies(b'{"cmd": "status"}\r\n\n{"cmd": "status", "id": null}\n')[0] == [
        {"ok": True, "status": {"schema": 1}},
        {"id": None, "ok": True, "status": {"schema": 1}},
    ]
    assert replies(b'{"cmd": "status"}', b"") == ([{"ok": True, "status": {"schema": 1}}], True)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"id": 1, "cmd": "stop"}', "unsupported"),
        (b'{"id": 1, "cmd": "status", "peer": "x"}', "bad_request"),
        (b'{"id": 1}', "bad_request"),
        (b"[]", "bad_request"),
        (b'{"id": NaN, "cmd": "status"}', "bad_request"),  # not to be repeated: a reply is JSON
        (b'{"id": 1e999, "cmd": "status"}', "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[" * 60_000, "bad_request"),
    ],
)
def test_everything_else_is_refused(line: bytes, error: str) -> None:
    """The socket only tells; what is wrong gets one reply, and the conversation goes on."""
    found, over = replies(line + b"\n", b'{"cmd": "status"}\n')
    assert [(each["ok"], each.get("error")) for each in found] == [(False, error), (True, None)]
    assert not over


def test_what_nests_deeply_is_refused_at_every_depth() -> None:
    """Also where Python can just read an id, and could not write it into the reply any more."""
    for depth in range(32, 1000):
        found, over = replies(b'{"cmd": "status", "id": ' + b"[" * depth + b"]" * depth + b"}\n")
        assert [each["error"] for each in found] == ["bad_request"] and not over


def test_no_program_makes_a_node_hold_much() -> None:
    """A line without an end, and commands without end, end the conversation."""
    found, over = replies(b"x" * (LINE_MAX + 1))
    assert over and found[0]["error"] == "bad_request"
    found, over = replies(b'{"cmd": "status"}\n' * (COMMANDS_MAX + 1))
    assert over and len(found) == COMMANDS_MAX + 1 and not found[-1]["ok"]


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_is_answered_in_json(parts: list[bytes]) -> None:
    for each in replies(b"", *[part or b"\n" for part in parts])[0]:
        assert each["ok"] is False and each["text"]


# --- HTTP -------------------------------------------------------------------------------------------------------------


def page(request: bytes, *, local: bool = True) -> tuple[int, dict[str, str], bytes]:
    said, over = MetricsPage(lambda: "crust_x 1\n", local=local).receive(request)
    assert over
    head, _, body = said.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in rest)
    assert first.startswith("HTTP/1.1 ") and headers["connection"] == "close"
    return int(first.split(" ")[1]), headers, body


def test_the_page() -> None:
    """GET /metrics, whole or in pieces; HEAD has no body."""
    code, headers, body = page(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9475\r\n\r\n")
    assert (code, body) == (200, b"crust_x 1\n")
    assert headers["content-type"] == CONTENT_TYPE and headers["content-length"] == str(len(body))
    assert page(b"GET /metrics?debug=1 HTTP/1.0\n\n")[0] == 200
    code, headers, body = page(b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (code, headers["content-length"], body) == (200, "10", b"")
    exchange = MetricsPage(lambda: "", local=True)
    for byte in b"GET /metrics HTTP/1.1\r\nHost: [::1]\r\n\r":
        assert exchange.receive(bytes([byte])) == (b"", False)
    assert exchange.receive(b"\n")[1]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET http://localhost/metrics HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 505),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01" + bytes(200) + b"\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * REQUEST_MAX, 431),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * REQUEST_MAX + b"\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example:9475\r\n\r\n", 403),
    ],
)
def test_other_requests_are_refused(request_: bytes, code: int) -> None:
    """By the code that says why; also what a browser asks for in the name of a page that is not of this machine."""
    assert page(request_)[0] == code


def test_elsewhere_than_on_loopback_names_are_taken() -> None:
    assert page(b"GET /metrics HTTP/1.1\r\nHost: node.example:9475\r\n\r\n", local=False)[0] == 200


@given(st.binary(max_size=300))
def test_garbage_is_answered_or_waited_for(data: bytes) -> None:
    said, over = MetricsPage(lambda: "", local=True).receive(data)
    assert (said == b"") or (over and re.match(rb"HTTP/1\.1 [2345]\d\d ", said))


# --- the figures ------------------------------------------------------------------------------------------------------


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """As Prometheus' own client reads them; each once."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_the_figures_are_what_prometheus_reads() -> None:
    """Every figure has a type and a help, a name of ours, and the value of the snapshot."""
    status = a_status()
    text = as_text(status)
    found = samples(text)
    assert found["crust_peers", (("state", "connected"),)] == 2
    assert found["crust_paths", (("class", "relay"),)] == 1
    assert found["crust_bytes_total", (("direction", "sent"),)] == status.traffic.bytes_sent
    assert found["crust_round_trip_seconds", (("which", "longest"),)] == 0.08
    assert found["crust_cache_entries", ()] == 12 and found["crust_cache_verified_total", ()] == 3
    assert found["crust_groups_groups", ()] == 1
    families = list(text_string_to_metric_families(text))
    assert all(each.name.startswith("crust_") and each.documentation for each in families)
    assert {each.type for each in families} == {"gauge", "counter"}
    assert ("crust_reachable", ()) in found


def test_a_strange_name_stays_within_its_quotes() -> None:
    """A network's name is a text like any other."""
    name = 'a "network"\\ of\nlines{}'
    text = as_text(a_status(network=name))
    labels = next(dict(labels) for (metric, labels) in samples(text) if metric == "crust_info")
    assert labels["network"] == name


def test_what_is_not_known_is_absent() -> None:
    """No figure is made up."""
    status = a_status(peers=(), nat=crust.NatVerdict(SiteKind.UNKNOWN, "", None, ()))
    names = {name for name, _ in samples(as_text(status))}
    assert names.isdisjoint({"crust_reachable", "crust_round_trip_seconds"})
    assert not any(math.isnan(value) for value in samples(as_text(status)).values())


def test_every_figure_is_documented() -> None:
    """docs/metrics.md lists them, and no others, but for those of sections."""
    page_ = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(crust_\w+)`", page_, re.MULTILINE))
    assert listed == {name for name, _ in samples(as_text(a_status(sections={})))}


# --- the verdict ------------------------------------------------------------------------------------------------------


def standing(mapping: int, *, step: int = 0, transport: TransportCode = TransportCode.UTP) -> Standing:
    return Standing(transport, 4, mapping, step, 0, 0, False)


def judged(
    *standings: Standing,
    seen: Endpoint | None = None,
    tried: bool | None = None,
    own: tuple[str, ...] = ("192.168.1.5",),
    mapped: tuple[str, str] | None = None,
) -> crust.NatVerdict:
    places = {} if seen is None else {("utp", 4): (seen,)}
    outcomes = {} if tried is None else {("utp", 4): tried}
    local = Endpoint.parse("utp://0.0.0.0:5483")
    ports = [] if mapped is None else [crust.MappedPort(local, Endpoint.parse(mapped[0]), "pcp", 7200, mapped[1])]
    return verdict(protocols(standings, places, outcomes), ports, own, ())


@pytest.mark.parametrize(
    ("make", "kind", "public"),
    [
        (lambda: judged(), SiteKind.UNKNOWN, None),
        (lambda: judged(seen=OUTER), SiteKind.CONNECTED, None),
        (lambda: judged(standing(INDEPENDENT), seen=OUTER), SiteKind.TRANSLATED, False),
        (lambda: judged(standing(INDEPENDENT), seen=OUTER, tried=False), SiteKind.TRANSLATED, False),
        (lambda: judged(standing(INDEPENDENT), seen=OUTER, tried=True), SiteKind.FULL_CONE, True),
        (lambda: judged(standing(DEPENDENT, step=1), seen=OUTER), SiteKind.SEQUENTIAL, False),
        (lambda: judged(standing(DEPENDENT), seen=OUTER), SiteKind.SYMMETRIC, False),
        (lambda: judged(standing(NOTHING)), SiteKind.UDP_BLOCKED, False),
        (lambda: judged(standing(NOTHING, transport=TransportCode.TCP)), SiteKind.TCP_BLOCKED, False),
        (lambda: judged(standing(INDEPENDENT), seen=OUTER, own=("1.2.3.4",), tried=True), SiteKind.OPEN, True),
        (lambda: judged(standing(INDEPENDENT), seen=OUTER, own=("1.2.3.4",), tried=False), SiteKind.FIREWALL, False),
        (lambda: judged(standing(INDEPENDENT), seen=OUTER, own=("1.2.3.4",)), SiteKind.CONNECTED, None),
        (lambda: judged(standing(DEPENDENT), mapped=("utp://1.2.3.4:5483", "")), SiteKind.MAPPED, True),
        (lambda: judged(standing(DEPENDENT), mapped=("utp://100.64.0.9:5483", "cgnat")), SiteKind.SYMMETRIC, False),
        (lambda: judged(standing(DEPENDENT), mapped=("utp://1.2.3.4:5483", "closed")), SiteKind.SYMMETRIC, False),
    ],
)
def test_the_verdict(make: Callable[[], crust.NatVerdict], kind: SiteKind, public: bool | None) -> None:
    """What is known comes to a word, and to yes, no or unknown."""
    found = make()
    assert (found.kind, found.public) == (kind, public) and found.text


def test_what_is_known_of_each_transport() -> None:
    found = protocols(
        [Standing(TransportCode.UTP, 4, DEPENDENT, 0, 4000, 4063, True), standing(9)],
        {("tcp", 4): (OUTER_TCP,)},
        {("tcp", 4): False, ("tcp", 6): True},
    )
    assert [(each.transport, each.family, each.mapping, each.filtering) for each in found] == [
        ("tcp", 4, "unknown", "closed"),
        ("tcp", 6, "unknown", "open"),
        ("utp", 4, "unknown", "unknown"),
    ]
    assert found[0].seen == (OUTER_TCP,)


# --- sections ---------------------------------------------------------------------------------------------------------


def test_parts_add_sections() -> None:
    """In their order, the last word counts, and who has nothing to say has no section."""
    sections = Sections()
    sections.add("cache", lambda: {"entries": 1})
    sections.add("lan", lambda: None)
    sections.add("groups", lambda: {"groups": []})
    sections.add("cache", lambda: {"entries": 2})
    assert sections.all() == {"cache": {"entries": 2}, "groups": {"groups": []}}
    assert list(sections.all()) == ["cache", "groups"]
