"""
A peer that has others send where it likes, for programs of the laboratory: importing it turns a node into one.

Where it says that it is, there is ``VICTIM``, at many ports; or, if that ends with a dot, one machine of that network
after the other. Its words to the methods at the other end say so, too. Its router counts by ``STEP``; 0: it has no
order. It begins one attempt after the other, as often as it is listened to, and dials nobody itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from typing import Any

from crust import limits
from crust.nat.punch import birthday_udp, predict_tcp, predict_udp, punch_udp
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Terrain
from crust.service.network import outlook, relocation
from crust.service.traversal import traversal, traversals
from crust.wire.frames import Candidates, Place, PlaceKind, Standing, TransportCode

VICTIM = os.environ["VICTIM"]
STEP = int(os.environ.get("STEP", "1"))

STANDINGS = tuple(Standing(code, 4, 2, STEP, 0, 0, False) for code in (TransportCode.TCP, TransportCode.UTP))

_ports = itertools.count(2000)
_hosts = itertools.cycle(range(30, 130))
_carried = traversal.Traversal._carried


def _victim() -> str:
    return f"{VICTIM}{next(_hosts)}" if VICTIM.endswith(".") else VICTIM


def _places(*_: Any, **__: Any) -> tuple[Place, ...]:
    """Other ports each time; half of them are said to take strangers."""
    kinds = itertools.cycle((PlaceKind.CONFIGURED, PlaceKind.INTERFACE, PlaceKind.MAPPED, PlaceKind.REFLEXIVE))
    return tuple(
        Place(next(kinds), code, number % 2 == 0, (_victim(), next(_ports)))
        for number in range(limits.CANDIDATES_MAX // 2)
        for code in (TransportCode.TCP, TransportCode.UTP)
    )


def _telling(build: Any) -> Any:
    def tell(signal: Any) -> Any:
        address = getattr(signal, "address", None)
        return build(signal if address is None else dataclasses.replace(signal, address=(_victim(), address[1])))

    return tell


def _offer(self: Any) -> None:
    """Twice in each attempt, with other ports: the second time there is more to be learned."""
    link = self.conversation.link
    for _ in range(2):
        if link is not None:
            link.write_control(Candidates(self._generation, STANDINGS, _places()))


def _on_any_link(self: Any, link: Any) -> None:
    """Where it is also counts when it is gone."""
    link.write_control(Candidates(relocation.NO_ATTEMPT, (), _places()))
    _carried(self, link)


def _again(self: Any) -> None:
    """Whoever leads, and whatever the path."""
    self._host.io.call_later(0.05, lambda _: self._serial.do(lambda: None if self._over else _begin(self)))


def _begin(self: Any) -> None:
    link = self.conversation.link
    if link is not None:
        self._begin(self._generation + 1, link)


outlook.places = _places
outlook.Terrain = lambda *_: Terrain(STANDINGS, _places())  # type: ignore[attr-defined]
for _module in (birthday_udp, predict_tcp, predict_udp, punch_udp):
    _module.build_signal = _telling(_module.build_signal)  # type: ignore[attr-defined]
traversals.could_be_better = lambda conversation: True  # type: ignore[attr-defined]
traversal.Traversal._offer = _offer  # type: ignore[method-assign]
traversal.Traversal._carried = _on_any_link  # type: ignore[method-assign]
traversal.Traversal._retry_later = _again  # type: ignore[method-assign]
Allowance.syn = lambda self, host, count=1: False  # type: ignore[method-assign, assignment]
Allowance.probe = lambda self, host, count=1: False  # type: ignore[method-assign, assignment]
