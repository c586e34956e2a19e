"""What the two ends of a test say to each other: bounded, and believed only as far as it has a form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crust
from crust.cli.punch_test.pair import measure
from crust.cli.punch_test.pair.meeting import (
    ATTEMPTS_MAX,
    End,
    MalformedReport,
    end_as_json,
    measurements_as_json,
    parse_end_untrusted,
    parse_measurements_untrusted,
)
from crust.cli.punch_test.pair.messages import (
    CHUNK,
    LOAD_MAX,
    MESSAGE_MAX,
    Load,
    NotOurLanguage,
    Said,
    build,
    chunks,
    parse_untrusted,
)
from crust.cli.punch_test.pair.talk import Talk
from tests.cli.fakes import FakePeer
from tests.support.meetings import MEETINGS, METHODS, attempt

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


class Line(FakePeer):
    """A peer that says what it was told to, then nothing; ``answer`` may add to it."""

    def __init__(self, *said: bytes, answer: Callable[[Said | Load], list[bytes]] = lambda heard: []) -> None:
        super().__init__()
        self.said = list(said)
        self.answer = answer

    def send(self, data: Any, **options: Any) -> int:
        self.said += self.answer(parse_untrusted(data))
        return super().send(data)

    def recv(self, timeout: float | None = None) -> bytes:
        if not self.said:
            raise crust.Timeout("no message")
        return self.said.pop(0)


# --- messages ---------------------------------------------------------------------------------------------------------


def test_what_is_built_can_be_parsed() -> None:
    assert parse_untrusted(build("ping", number=7)) == Said("ping", {"punch_test": 1, "kind": "ping", "number": 7})
    assert [parse_untrusted(each) for each in chunks(CHUNK + 5)] == [Load(CHUNK), Load(5)]
    assert sum(map(len, chunks(LOAD_MAX))) == LOAD_MAX and chunks(0) == []


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    """With the one error."""
    try:
        found = parse_untrusted(data)
    except NotOurLanguage:
        return
    assert isinstance(found, Said | Load)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"kind":"hello"}',
        b'{"punch_test":1,"kind":7}',
        b'{"punch_test":2,"kind":"hello"}',
        b'{"punch_test":1,"kind":"hello","crust":"' + b"x" * MESSAGE_MAX + b'"}',
        bytes(CHUNK + 1),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(NotOurLanguage):
        parse_untrusted(data)


@pytest.mark.parametrize("value", [None, "7", True, 1.5, -1, LOAD_MAX + 1, 10**400])
def test_numbers_are_checked(value: Any) -> None:
    with pytest.raises(NotOurLanguage, match="without a proper bytes"):
        Said("load", {"bytes": value}).number("bytes", LOAD_MAX)
    if value not in (1.5, LOAD_MAX + 1):
        with pytest.raises(NotOurLanguage, match="without a proper seconds"):
            Said("loaded", {"seconds": value}).seconds("seconds")


def test_too_long_a_message_is_not_built() -> None:
    with pytest.raises(ValueError, match="too long"):
        build("report", text="x" * MESSAGE_MAX)


# --- talking ----------------------------------------------------------------------------------------------------------


def test_answers_belong_to_their_requests() -> None:
    """What comes late, of a request that was given up, is passed over."""
    late = [build("pong", number=5), *chunks(10), build("something else")]
    talk = Talk(Line(*late, build("pong", number=1)))
    assert talk.ping(1.0) >= 0
    with pytest.raises(crust.Timeout):
        talk.ping(0.0)


def test_a_load_is_as_long_as_announced() -> None:
    """Not longer, and nothing else in between."""
    for wrong in ([*chunks(90), *chunks(90)], [build("ping", number=1)]):
        talk = Talk(Line(build("load", number=1, bytes=100), *wrong))
        with pytest.raises(NotOurLanguage, match="something else than it had announced"):
            talk.ask_for_load(100, 1.0)
    assert Talk(Line(build("load", number=1, bytes=100), *chunks(100))).ask_for_load(100, 1.0) >= 0


def test_a_test_takes_so_much_and_no_more() -> None:
    """Whoever asks for one load after the other is refused before it has cost more than 64 MiB."""
    peer = Line()
    talk = Talk(peer)
    asked = Said("give", {"number": 1, "bytes": LOAD_MAX})
    for _ in range(8):
        assert talk.answer(asked, 1.0)
    with pytest.raises(NotOurLanguage, match="more data"):
        talk.answer(asked, 1.0)
    assert sum(len(data) for data in peer.outgoing if data[:1] == b"\0") == 8 * LOAD_MAX


def test_what_nobody_knows_is_no_request() -> None:
    assert not Talk(Line()).answer(Said("sing", {}), 1.0)


@pytest.mark.parametrize(("path_class", "most"), [("relay", 256 * 1024), ("direct-tcp", 16 * 1024 * 1024)])
def test_a_relay_is_measured_gently(path_class: str, most: int) -> None:
    """However quick the other end says that it is: an eighth of a MiB at once, a quarter in all, each way."""
    sizes: list[int] = []

    def answer(heard: Said | Load) -> list[bytes]:
        if not isinstance(heard, Said):
            return []
        number = heard.fields.get("number")
        if heard.kind == "ping":
            return [build("pong", number=number)]
        sizes.append(heard.number("bytes", LOAD_MAX))
        if heard.kind == "load":
            return [build("loaded", number=number, bytes=sizes[-1], seconds=0.01)]
        return [build("load", number=number, bytes=sizes[-1]), *chunks(sizes[-1])]

    peer = Line(answer=answer)
    peer.path = MEETINGS[path_class].path  # type: ignore[assignment]
    found = measure.measure(Talk(peer))
    assert found is not None and found.path_class == path_class
    assert found.volume == sum(sizes) <= 2 * most
    assert found.rtt is not None and found.sent is not None and found.sent == (max(sizes) - CHUNK) / 0.01
    if path_class == "relay":
        assert max(sizes) == 128 * 1024


# --- reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(METHODS))
def test_a_report_arrives_as_it_was(name: str) -> None:
    meeting = MEETINGS[name]
    told = json.loads(json.dumps(end_as_json(meeting.here)))
    assert parse_end_untrusted(told) == meeting.here
    [*_, best] = parse_measurements_untrusted(json.loads(json.dumps(measurements_as_json(meeting.measurements))))
    mine = meeting.measurements[-1]
    assert (best.path_class, best.rtt) == (mine.path_class, mine.rtt)
    assert (best.sent, best.received) == (mine.received, mine.sent)


def test_the_longest_report_fits_into_a_message() -> None:
    """However much was tried, and however long the errors are; the newest attempts are kept."""
    attempts = tuple(attempt("birthday", "failed", float(n), "🌍" * 5000) for n in range(ATTEMPTS_MAX * 2))
    end = End("connect", "0.1.0", MEETINGS["relay"].here.addresses * 100, "failed", "\ud800" * 5000, True, attempts)
    data = build("report", end=end_as_json(end), measurements=[])
    said = parse_untrusted(data)
    assert isinstance(said, Said)
    found = parse_end_untrusted(said.fields["end"])
    assert [each.started for each in found.attempts] == [each.started for each in attempts[-ATTEMPTS_MAX:]]


@given(JSON)
def test_any_report_is_one_or_refused(value: Any) -> None:
    for parse in (parse_end_untrusted, parse_measurements_untrusted):
        try:
            parse(value)
        except MalformedReport:
            continue


def broken(**changes: Any) -> dict[str, Any]:
    told = json.loads(json.dumps(end_as_json(MEETINGS["relay"].here)))
    assert isinstance(told, dict)
    return {**told, **changes}


@pytest.mark.parametrize(
    "told",
    [
        broken(role="a b"),
        broken(version=7),
        broken(version="x" * 301),
        broken(addresses={}),
        broken(addresses=[{"kind": "interface", "endpoint": "x"}] * 33),
        broken(attempts=[{}]),
        broken(attempts=broken()["attempts"] * (ATTEMPTS_MAX + 1)),
        broken(attempts=[{**broken()["attempts"][0], "duration": -1.0}]),
        broken(attempts=[{**broken()["attempts"][0], "duration": float("nan")}]),
        broken(attempts=[{**broken()["attempts"][0], "verdict": "<b>"}]),
    ],
)
def test_a_report_that_is_none_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(MalformedReport):
        parse_end_untrusted(told)
