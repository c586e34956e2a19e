"""
siege: strangers from two hundred addresses keep one port of a node busy, as fast as one process can.

Its sessions go on: told is what they carry, beside what they carry while the same strangers besiege a port of this
machine where nobody is; how much more memory the node takes; how many sessions broke; how long after its beginning the
application has heard of it; and how long after the end the node carries as much as before, a new peer's first message
included.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import crust

from ..contract import WAIT, wait_until
from ..peers import Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings, Stage, stage
from ..strangers import Strangers

__all__ = ["TRIAL"]

_KEPT = Metric("kept", "")
_SENT = Metric("strangers", "1/s", aside=True)
_MEMORY = Metric("memory", "MiB more", higher_is_better=False)
_AFTER = Metric("as before after", "s", higher_is_better=False)
_BROKEN = Metric("sessions broken", "", higher_is_better=False)
_ALERT = Metric("told after", "s", higher_is_better=False)
_LIMITS = {_ALERT.name: 1.0, _KEPT.name: 0.7, _MEMORY.name: 64.0, _AFTER.name: 12.0, _BROKEN.name: 0.0}
_OVER_TCP = ("crust-threads-callback", "crust-gevent-callback")
_OVER_UTP = ("crust-utp-callback", "crust-utp-gevent")
_KINDS = {
    "silent": (_OVER_TCP, "connections that say nothing"),
    "noise": (_OVER_TCP, "connections that send noise"),
    "calls": (_OVER_UTP, "first packets of µTP connections"),
    "strays": (_OVER_UTP, "packets of µTP connections that there are not"),
}
_PEERS = 8
_SIZE = 4096
_SECONDS = 4.0
_QUICK = 0.3
_LEAD = 0.5  # seconds of the siege before it is measured
_AS_BEFORE = 0.85  # of what the sessions carried before: two runs of the same differ by so much
_PATIENCE = 30.0
_PATIENCE_QUICK = 1.0  # then two moments differ by more than a siege leaves behind


def _cases(settings: Settings) -> list[Case]:
    return [
        Case(
            test="siege",
            title=f"{about}, {_PEERS} sessions beside",
            where={"kind": kind, "peers": _PEERS},
            metrics=(_KEPT, _SENT, _MEMORY, _ALERT, _AFTER, _BROKEN),
            contestants=contestants,
            target=lambda contestant, metric: Target(_LIMITS[metric], relative=False) if metric in _LIMITS else None,
        )
        for kind, (contestants, about) in _KINDS.items()
    ]


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    seconds = max(settings.seconds, _QUICK if settings.quick else _SECONDS)
    kind = case.where["kind"]
    with stage(settings, contestant, "besieged", placement="free", peers=_PEERS) as sides:
        sides.listen()
        sides.dial()
        sides.spokes[0].call("sink", WAIT, size=_SIZE)
        _carried(sides, seconds / 2)  # warms up
        before = _carried(sides, seconds)
        sides.hub.call("watch", WAIT)
        memory = sides.hub.call("memory", WAIT)
        beside, _, _ = _besieged(sides, kind, _deserted_port(kind), seconds)
        carried, sent, began = _besieged(sides, kind, crust.Contact.parse(sides.address).endpoints[0].port, seconds)
        taken = sides.hub.call("memory", WAIT) - memory
        seen = sides.hub.call("watched", WAIT)
        broken = max(seen["broken"], _PEERS - sides.hub.call("connections", WAIT))
        after = _as_before(sides, before, _PATIENCE_QUICK if settings.quick else _PATIENCE)
    return {
        _KEPT.name: carried / beside,
        _SENT.name: sent,
        _MEMORY.name: max(0.0, taken / 1024),
        _ALERT.name: _PATIENCE if seen["alerted"] is None else seen["alerted"] - began,
        _AFTER.name: after,
        _BROKEN.name: broken,
    }


def _carried(sides: Stage, seconds: float) -> float:
    """Messages a second."""
    outcome = sides.hub.call("stream", seconds + 2 * WAIT, size=_SIZE, seconds=seconds)
    rate: float = outcome["messages"] / outcome["seconds"]
    return rate


def _besieged(sides: Stage, kind: str, port: int, seconds: float) -> tuple[float, float, float]:
    """
    Messages a second while strangers are at that port, how many of them a second there were, and when they began
    (``time.monotonic``).
    """
    with Strangers(kind, port, 2 * _LEAD + seconds) as strangers:
        began = time.monotonic()
        time.sleep(_LEAD)
        carried = _carried(sides, seconds)
        return carried, strangers.rate(), began


def _as_before(sides: Stage, before: float, patience: float) -> float:
    """Seconds from the end of the siege until a new peer is met and the sessions carry what they did."""
    began = time.monotonic()
    sides.spokes[0].call("visit", _PATIENCE + WAIT, address=sides.address)
    wait_until(lambda: sides.hub.call("connections", WAIT) == _PEERS, "the end of a visit")
    while _carried(sides, 0.25) < _AS_BEFORE * before and time.monotonic() < began + patience:
        pass
    return time.monotonic() - began


def _deserted_port(kind: str) -> int:
    """Of 127.0.0.1: nobody answers there, and nobody takes it for a while."""
    datagrams = kind in ("calls", "strays")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


TRIAL = Trial("siege", "strangers from two hundred addresses at a node's port", _cases, _run)
