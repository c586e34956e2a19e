"""What goes to other processes and queues: values and errors as they are; live objects and secrets not at all."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

import crust
from crust import exceptions

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ATTEMPT = crust.Attempt("direct", "tcp://192.0.2.7:5483", 0.25, "refused", "Connection refused")
PEER_ID = crust.Identity.generate().peer_id

SPECIAL: dict[str, tuple[Any, ...]] = {
    # Errors with more than a text.
    "Timeout": ("not in time", (ATTEMPT,)),
    "PeerLost": ("the session is over", "closed"),
    "ConnectError": ("cannot connect", (ATTEMPT,)),
    "NoRoute": ("no address", (ATTEMPT,)),
    "Denied": ("refused", (ATTEMPT,), "banned", ("somebody else",)),
    "ListenError": (98, "cannot listen on tcp://127.0.0.1:1: Address already in use"),
    "ContactSyntaxError": ("column 3: what is this?", "ab?", 3),
}

VALUES: list[object] = [
    PEER_ID,
    crust.Endpoint.parse("tcp://[2001:db8::1]:5483"),
    crust.Contact(PEER_ID, (crust.Endpoint.parse("tcp://192.0.2.7:5483"),)),
    crust.Config().replace(**{"session.send_timeout": 2.5, "limits.max_peers": 7}),
    ATTEMPT,
    crust.Path("direct-tcp", "tcp", "tcp://192.0.2.1:1", "tcp://192.0.2.2:2", "AEGIS-256", True, 1.5, None, (ATTEMPT,)),
    crust.ConnectionInfo(crust.Contact(PEER_ID), bytes(32)),
    crust.CONFIG,
    crust.LostReason.CLOSED,
]


def all_of(error: BaseException) -> tuple[object, ...]:
    return type(error), str(error), error.args, vars(error), getattr(error, "errno", None)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_error_survives(name: str) -> None:
    """Class, text and attributes; pickled, copied, and raised again by an executor on the other side."""
    error = getattr(crust, name, getattr(exceptions, name))(*SPECIAL.get(name, ("what went wrong",)))
    for protocol in PROTOCOLS:
        assert all_of(pickle.loads(pickle.dumps(error, protocol))) == all_of(error)
    assert all_of(copy.copy(error)) == all_of(error)
    for attribute in vars(error):
        assert getattr(pickle.loads(pickle.dumps(error)), attribute) == getattr(error, attribute)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_survive(value: object) -> None:
    """Equal, of the same class, usable as before."""
    for protocol in PROTOCOLS:
        other = pickle.loads(pickle.dumps(value, protocol))
        assert type(other) is type(value)
        assert other == value
        assert str(other) == str(value)


def test_values_that_come_back_can_be_used() -> None:
    """A configuration can be changed on, a contact be dialled by."""
    config = pickle.loads(pickle.dumps(VALUES[3]))
    assert config.replace(**{"limits.max_peers": 8}).limits.max_peers == 8
    assert dataclasses.asdict(config) == dataclasses.asdict(VALUES[3])  # type: ignore[call-overload]
    contact = pickle.loads(pickle.dumps(VALUES[2]))
    assert crust.Contact.parse(str(contact)) == contact
    assert hash(contact) == hash(VALUES[2])


@pytest.mark.parametrize(
    ("live", "advice"),
    [
        (crust.Service(), "pass its config, or make one node per process"),
        (crust.Identity.generate(), "load it from its file instead"),
        (crust.ProcessLocal(crust.Service), "keep it at the top of a module"),
    ],
    ids=["Service", "Identity", "ProcessLocal"],
)
def test_what_must_stay_says_what_to_do(live: object, advice: str) -> None:
    """Also inside of something else."""
    for protocol in PROTOCOLS:
        with pytest.raises(TypeError, match=advice):
            pickle.dumps({"node": [live]}, protocol)
    with pytest.raises(TypeError, match=advice):
        copy.deepcopy(live)
