"""Questions to public nodes that no link leads to: what becomes of dials that overlap in time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import Endpoint, Identity, limits
from crust.discovery.gossip.events import Ask
from crust.service.finding.gossip import asking
from crust.service.finding.gossip.asking import Asking
from crust.wire import gossip as wire
from crust.wire.handshake import Capability
from tests.support.bitten import Bitten


class Dials:
    """Stands for the dialer: what was begun, and how each is told of its end."""

    def __init__(self) -> None:
        self.waiters: list[Callable[[Any, Any], object]] = []
        self.given_up: list[int] = []

    def __call__(
        self, node: Any, contact: Any, purpose: Any, seconds: float, waiter: Any, *_: Any, **__: Any
    ) -> Any:
        number = len(self.waiters)
        self.waiters.append(waiter)
        return SimpleNamespace(begin=lambda: None, lose_interest=lambda: self.given_up.append(number))


class Questions:
    """Those of one node, none of whose time passes by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dials = Dials()
        monkeypatch.setattr(asking, "Dialled", self.dials)
        self.timers: list[Callable[[float], object]] = []
        self.failed: list[bytes] = []
        self.keys = Identity.generate()
        self.bitten = Bitten()
        node = SimpleNamespace(
            refusals=SimpleNamespace(count=self.bitten),
            clock=SimpleNamespace(now=lambda: 0.0),
            io=SimpleNamespace(call_later=lambda seconds, call: self.timers.append(call)),
            registry=SimpleNamespace(get=lambda peer_id: None),
        )
        rules = SimpleNamespace(
            usable=lambda places, most: places,
            afford=lambda places: places,
            may_dial=lambda peer_id: True,
            avoid=None,
        )
        borrowed = SimpleNamespace(use=lambda peer_id: None)
        self.asking = Asking(
            cast(Any, node), cast(Any, rules), cast(Any, borrowed), lambda job: job(), self.failed.append
        )

    def ask(self) -> wire.GossipFrame:
        peer_id = self.keys.peer_id
        record = SimpleNamespace(
            peer_id=peer_id, node=peer_id.public_key, endpoints=(Endpoint("tcp", "45.0.0.1", 1),)
        )
        frame = wire.Request((len(self.dials.waiters),))
        self.asking.ask(Ask(cast(Any, record), frame))
        return frame


def test_the_end_of_an_earlier_dial_is_not_that_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that failed at once is given up when its time is over, and nothing else is."""
    made = Questions(monkeypatch)
    made.ask()
    made.dials.waiters[0](None, None)
    assert made.failed == [made.keys.peer_id.public_key]
    frame = made.ask()
    made.timers[0](0.0)
    assert made.dials.given_up == [0] and len(made.failed) == 1
    link = SimpleNamespace(circuit=None)
    conversation = SimpleNamespace(peer_id=made.keys.peer_id, link=link, capabilities=Capability.GOSSIP)
    made.dials.waiters[1](conversation, None)
    assert made.asking.frames() == [(conversation, frame)]
    made.timers[1](0.0)
    assert len(made.failed) == 1


def test_what_nobody_takes_in_time_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, whatever comes later."""
    made = Questions(monkeypatch)
    made.ask()
    made.timers[0](0.0)
    made.dials.waiters[0](None, None)
    assert made.failed == [made.keys.peer_id.public_key] and made.asking.frames() == []


def test_a_link_that_stands_has_the_question_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes out with the link; the end of the dial brings it no second time."""
    made = Questions(monkeypatch)
    frame = made.ask()
    link = SimpleNamespace(circuit=None)
    conversation = cast(
        Any, SimpleNamespace(peer_id=made.keys.peer_id, link=link, capabilities=Capability.GOSSIP)
    )
    made.asking.stands(conversation)
    made.dials.waiters[0](conversation, None)
    assert made.asking.frames() == [(conversation, frame)] and made.failed == []


def test_questions_that_are_not_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many links for them being made, or having been made."""
    made = Questions(monkeypatch)
    for _ in range(limits.GOSSIP_ASKS_AT_ONCE + 1):
        made.keys = Identity.generate()
        made.ask()
    assert made.bitten["GOSSIP_ASKS_AT_ONCE"] == len(made.failed) == 1
    for _ in range(limits.GOSSIP_ASKS_AT_ONCE, int(limits.GOSSIP_ASKS_BURST) + 1):
        made.asking._dials.clear()
        made.keys = Identity.generate()
        made.ask()
    assert made.bitten["GOSSIP_ASKS_PER_SECOND"] == 1 and len(made.failed) == 2
