"""What is done to whoever a verdict is about, and how many verdicts are remembered: on a clock that the test turns."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crust
import crust.testing
from crust import Action, Endpoint, Identity, limits
from crust.addresses import address_key
from crust.peers.accounts import Burden
from crust.peers.misdeeds import KINDS
from crust.service.misbehaviour import _Case
from crust.testing import Network


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as network:
        yield network


def test_so_many_verdicts_are_remembered(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more the one that is oldest is forgotten; one that is decided anew is new."""
    inner = net.service()._running()
    monkeypatch.setattr(limits, "MISDEEDS_KEPT", 3)
    for place in ("a", "b", "c", "a", "d"):
        inner.misbehaviour._note_verdict(_Case(KINDS["protocol"], place, None, None), Action.BAN)
    assert [place for *_, place in inner.misbehaviour._verdicts] == ["c", "a", "d"]


def test_what_neighbours_cost_hides_no_verdict(net: Network) -> None:
    """Of those at one address who flood by themselves, and those who are held back for them, each has its own."""
    inner = net.service()._node
    assert inner is not None
    kind = KINDS["tiny-records"]
    own, shared = (_Case(each, b"1234", None, None) for each in (kind, dataclasses.replace(kind, attributable=False)))
    for case in (own, shared, own, shared):
        inner.misbehaviour._decided(Action.BAN, case, None)
        assert inner.misbehaviour._standing(own) is Action.BAN
        assert inner.misbehaviour._standing(shared) is Action.THROTTLE


@pytest.mark.parametrize("kind", ["echo-flood", "ack-flood"])
def test_what_is_done_to_a_session(net: Network, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Its link rests for so long, unless it does for what it costs; a warning lets it go on until the next event."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    inner = far._running()
    [conversation] = inner.registry.all()
    account, case = conversation.meter.account, _Case(KINDS[kind], "somewhere", near.id, conversation)
    account.share = 0.001
    done: list[object] = []
    monkeypatch.setattr(inner.brake, "hold", lambda link, session, wait: done.append((link, session, wait)))
    monkeypatch.setattr(inner.brake, "flush", lambda: done.append("flush"))

    def do(action: Action) -> list[object]:
        done.clear()
        inner.misbehaviour._carry_out(action, case)
        net.advance(0.0)
        return done

    rests = kind == "echo-flood"
    assert do(Action.THROTTLE) == ([(conversation.link, conversation, limits.HOLD_SECONDS)] if rests else [])
    assert account.wait(inner.clock.now()) == (limits.HOLD_SECONDS if rests else 0.0)
    account.spend(Burden.TINY, 1e6)
    assert account.wait(inner.clock.now()) > 1000.0
    if rests:
        assert do(Action.WARN) == []  # it is told, and nothing else
        return
    assert do(Action.WARN) == ["flush"]
    assert account.wait(inner.clock.now() + limits.MISBEHAVIOUR_INTERVAL - 0.1) == 0.0
    account.spend(Burden.TINY, 1e6)
    assert account.wait(inner.clock.now() + limits.MISBEHAVIOUR_INTERVAL) > 1000.0


@pytest.mark.parametrize("kind", ["protocol", "protocol-again"])
def test_a_session_that_ends_by_itself_is_left_alone(net: Network, kind: str) -> None:
    """Else its end would be told with another reason, now and then."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    inner = far._running()
    [conversation] = inner.registry.all()
    for action in (Action.THROTTLE, Action.DROP):
        inner.misbehaviour._carry_out(action, _Case(KINDS[kind], "somewhere", near.id, conversation))
    net.advance(1.0)
    assert far.is_connected(near.id) and conversation.meter.account.wait(inner.clock.now()) == 0.0


def test_nothing_grave_is_done_before_the_application_has_decided(net: Network) -> None:
    """Whoever is told of is throttled at most; without an application that decides the table holds."""
    inner = net.service()._running()
    case = _Case(KINDS["protocol-again"], "somewhere", Identity.generate().peer_id, None)
    assert inner.misbehaviour._standing(case) is Action.BAN
    inner.misbehaviour._policy = lambda event: None
    assert inner.misbehaviour._standing(case) is Action.THROTTLE
    assert inner.misbehaviour._standing(case._replace(kind=KINDS["echo-flood"])) is Action.WARN
    inner.misbehaviour._note_verdict(case, Action.BAN)
    assert inner.misbehaviour._standing(case) is Action.BAN


@pytest.mark.parametrize("action", list(Action))
def test_what_is_done_to_an_address(
    net: Network, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    """Nothing; it may begin less for a while; its handshakes end, but for those of proven peers; it is banned."""
    node = net.service(crust.Config().replace(**{"limits.ban_seconds": 300.0}))
    inner, key = node._running(), address_key("192.0.2.1")
    ended: list[Callable[[Any, Any], bool]] = []
    monkeypatch.setattr(inner.acceptor, "end_of", ended.append)
    inner.misbehaviour._carry_out(action, _Case(KINDS["invalid-handshake"], key, None, None))
    net.advance(0.0)
    until = inner.clock.now() + limits.SLOWED_SECONDS
    assert inner.acceptor.gate._slowed == ({} if action is Action.WARN else {key: until})
    banned = [(str(ban.who), ban.seconds) for ban in node.bans]
    assert banned == ([("192.0.2.1/32", 300.0)] if action is Action.BAN else [])
    if action is Action.DROP:
        [ends] = ended
        one = Identity.generate().peer_id
        cases: list[Any] = [(None, "192.0.2.1"), (None, "192.0.2.2"), (None, None), (one, "192.0.2.1")]
        assert [ends(*each) for each in cases] == [True, False, False, False]


# --- what it counts as ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("circuit", "received", "spoken", "verdict", "evicted", "kind"),
    [
        (None, 0, False, "failed", False, "half-open"),
        (None, 9, True, "", False, "invalid-handshake"),
        (None, 2000, False, "failed", False, "invalid-handshake"),
        (None, 9, False, "timeout", False, "half-open"),
        (None, 0, False, "failed", True, None),
        ("one", 9, True, "", False, None),
    ],
)
def test_what_came_to_nothing(
    net: Network,
    monkeypatch: pytest.MonkeyPatch,
    circuit: Any,
    received: int,
    spoken: bool,
    verdict: str,
    evicted: bool,
    kind: Any,
) -> None:
    """Who said what is not valid did not know us; who has said nothing may; others count elsewhere."""
    inner = net.service()._running()
    noted: list[tuple[str, str]] = []
    monkeypatch.setattr(inner.misbehaviour, "by_address", lambda *what: noted.append(what))
    connection = types.SimpleNamespace(remote=Endpoint("tcp", "192.0.2.1", 4711))
    link: Any = types.SimpleNamespace(
        circuit=circuit, bytes_received=received, spoken=spoken, verdict=verdict, connection=connection
    )
    inner.misbehaviour._came_to_nothing(link, evicted)
    assert noted == ([] if kind is None else [("192.0.2.1", kind)])


def test_what_many_did_is_counted_by_its_number(net: Network) -> None:
    """Datagrams beyond the limit of all addresses are counted together, and told so."""
    node = net.service()
    inner, rule = node._running(), KINDS["udp-garbage"]
    assert rule.many is not None
    inner.misbehaviour._at_the_hub("UTP_RESETS_PER_SECOND", "", int(rule.many) - 1)
    inner.misbehaviour._at_the_hub("SIEVE_FROM", "", int(rule.many))  # who floods is told of by what gets through
    net.advance(0.0)
    assert net.heard(node, crust.PeerMisbehaved) == []
    inner.misbehaviour._at_the_hub("UTP_RESETS_PER_SECOND", "", 1)
    net.advance(0.0)
    [event] = net.heard(node, crust.PeerMisbehaved)
    assert (event.peer, event.address, event.kind, event.count) == (None, "", rule.name, rule.many)


def test_packets_of_no_use_are_told_once_by_where_they_say_they_are_from(net: Network) -> None:
    """Headers of µTP can be forged: no peer is named, and nothing is done to it."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    inner, rule = far._running(), KINDS["udp-garbage"]
    for _ in range(5):
        inner.misbehaviour._at_the_hub("UTP_USELESS_PER_SECOND", "192.0.2.1", int(rule.threshold))
    net.advance(0.0)
    [event] = net.heard(far, crust.PeerMisbehaved)
    assert (event.peer, event.address, event.kind) == (None, "192.0.2.1", rule.name)
    assert far.stats().refusals["UTP_USELESS_PER_SECOND"] == 5 * rule.threshold


def test_nobody_is_blamed_for_what_others_have_used_up(net: Network) -> None:
    """A newcomer's share may be gone before it asks for the first time."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    inner = far._running()
    [conversation] = inner.registry.all()
    for _ in range(int(KINDS["stun-flood"].threshold)):
        inner.misbehaviour.asked_too_often("STUN_ANSWERS_ALL_PER_SECOND", "192.0.2.1")
        inner.misbehaviour._beyond(conversation, "ECHOES_ALL_PER_MINUTE", "echo-flood")
    net.advance(0.0)
    assert net.heard(far, crust.PeerMisbehaved) == []
    for _ in range(int(KINDS["stun-flood"].threshold)):
        inner.misbehaviour.asked_too_often("STUN_ANSWERS_PER_SECOND", "192.0.2.2")
        inner.misbehaviour._beyond(conversation, "ECHOES_PER_MINUTE", "echo-flood")
    net.advance(0.0)
    told = {event.kind: (event.peer, event.address) for event in net.heard(far, crust.PeerMisbehaved)}
    assert told["stun-flood"] == (None, "192.0.2.2") and told["echo-flood"][0] is far.peers[0]
