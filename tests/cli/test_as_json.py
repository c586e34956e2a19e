"""Events and errors as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

import crust
from crust.cli.as_json import error_as_json, event_as_json, snake_case, value_as_json
from crust.cli.node import EVENTS
from tests.cli.fakes import ALICE, BOB, PATH, FakePeer

ATTEMPT = crust.Attempt("direct", "tcp://192.0.2.7:1", 0.25, "refused", "Connection refused")
ENDPOINT = crust.Endpoint.parse("tcp://[2001:db8::7]:5483")
PATH_AS_JSON = {
    "class": "direct-tcp",
    "transport": "tcp",
    "local": "tcp://127.0.0.1:1",
    "remote": "tcp://127.0.0.1:2",
    "cipher": "AEGIS-256",
    "inbound": False,
    "since": 1.0,
    "rtt": None,
}

CASES: list[tuple[Any, dict[str, Any]]] = [
    (
        crust.NewMessage(FakePeer(), b"\0hi", 7, None),
        {"peer": str(BOB), "data": "AGhp", "priority": 7, "proof": None},
    ),
    (crust.ConnectSuccess(FakePeer(), True, PATH), {"peer": str(BOB), "inbound": True, "path": PATH_AS_JSON}),
    (crust.LostPeer(FakePeer(), crust.LostReason.GONE, (3, 4)), {"reason": "gone", "unacknowledged": [3, 4]}),
    (crust.AddressesChanged((ENDPOINT,)), {"addresses": ["tcp://[2001:db8::7]:5483"]}),
    (crust.BootstrapFailed((ATTEMPT,)), {"attempts": [dataclasses.asdict(ATTEMPT)]}),
    (crust.PathChanged(FakePeer(), None, PATH), {"old": None, "new": PATH_AS_JSON}),
    (
        crust.ConnectionInfoPrepared(crust.ConnectionInfo(crust.Contact(ALICE), bytes(8))),
        {"info": f"crust1:{'0' * 16}:{ALICE}"},
    ),
    (
        crust.ConnectFailure(BOB, (ATTEMPT,), crust.NoRoute("no address")),
        {
            "peer_id": str(BOB),
            "attempts": [dataclasses.asdict(ATTEMPT)],
            "error": "no_route",
            "text": "no address",
        },
    ),
]


@pytest.mark.parametrize(("event", "fields"), CASES, ids=lambda value: type(value).__name__)
def test_an_event_is_its_name_and_its_fields(event: Any, fields: dict[str, Any]) -> None:
    found = event_as_json(event)
    assert found["event"] == snake_case(type(event).__name__)
    assert {name: found[name] for name in fields} == fields
    assert json.loads(json.dumps(found)) == found


def test_every_field_of_an_event_is_there() -> None:
    for event, _ in CASES:
        names = event._fields if isinstance(event, tuple) else [f.name for f in dataclasses.fields(event)]
        assert set(event_as_json(event)) >= {"event", *names}


def test_the_node_tells_of_every_event_that_there_is() -> None:
    """A new kind of event must be added to the channel."""
    public = [getattr(crust, name) for name in crust.__all__]
    kinds = {k for k in public if isinstance(k, type) and issubclass(k, crust.Event)} - {crust.Event}
    assert set(EVENTS) == kinds | {crust.NewMessage}
    assert len(EVENTS) == len(set(EVENTS))


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(TypeError, match="not an event"):
        event_as_json(7)


@pytest.mark.parametrize(
    ("name", "snake"),
    [("NewMessage", "new_message"), ("NoRoute", "no_route"), ("OSError", "os_error"), ("A", "a")],
)
def test_names_become_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


def test_errors_tell_what_they_know() -> None:
    assert error_as_json(crust.WouldBlock("full")) == {"error": "would_block", "text": "full"}
    assert error_as_json(crust.Denied("no", (ATTEMPT,), "busy", ("x",))) == {
        "error": "denied",
        "text": "no",
        "attempts": [dataclasses.asdict(ATTEMPT)],
        "reason": "busy",
        "alternates": ["x"],
    }
    assert error_as_json(crust.PeerLost("gone", "restarted"))["reason"] == "restarted"
    assert error_as_json(OSError())["text"]


def test_values_keep_their_shape() -> None:
    assert value_as_json({"a": (b"x", {1.5})}) == {"a": ["eA==", [1.5]]}
