"""What tests between two ends may find, for the forms in which it is shown."""

from __future__ import annotations

import crust
from crust.cli.punch_test.pair.meeting import Address, End, Measurement, Meeting

BEGAN = 1_700_000_000.0
OTHER = str(crust.PeerId(bytes([2]) * 32))
METHODS = {
    "direct-tcp": ("direct", "tcp://203.0.113.9:5483"),
    "direct-utp": ("direct", "utp://203.0.113.9:5483"),
    "punched-tcp": ("punch-tcp", "tcp://203.0.113.9:40001"),
    "punched-utp": ("punch-udp", "utp://203.0.113.9:40001"),
    "predicted": ("predict-udp", "utp://203.0.113.9:40007"),
    "birthday": ("birthday-udp", "utp://203.0.113.9:51811"),
    "relay": ("circuit", "relay://198.51.100.1:443"),
}
"""By class of path: what leads to it, and where to."""


def attempt(path_class: str, verdict: str, at: float = 0.0, error: str = "") -> crust.Attempt:
    """One that would have led to such a path."""
    method, endpoint = METHODS[path_class]
    return crust.Attempt(method, endpoint, 0.5, verdict, error, "", BEGAN + at)


def path(path_class: str, since: float) -> crust.Path:
    """One of that class."""
    remote = METHODS[path_class][1]
    transport = remote.partition("://")[0]
    local = f"{transport}://192.168.1.20:41000"
    return crust.Path(path_class, transport, local, remote, "AEGIS-256", False, BEGAN + since, 0.02)


def end(role: str, *attempts: crust.Attempt, router: str = "failed") -> End:
    """At home, behind a router."""
    addresses = (
        Address("interface", "tcp://192.168.1.20:41000"),
        Address("interface", "utp://192.168.1.20:41000"),
        Address("reflexive", "utp://203.0.113.5:41000"),
    )
    text = {"failed": "no answer", "opened": "tcp://203.0.113.5:41000 by pcp"}.get(router, "")
    return End(role, "0.1.0", addresses, router, text, True, attempts)


def reached(path_class: str, *, router: str = "failed") -> Meeting:
    """All that is better was tried in vain from both ends, then this worked; a relay came first, but for direct TCP."""
    order = list(METHODS)
    failed = [
        attempt(name, "timeout", 1.0 + number / 10) for number, name in enumerate(order[: order.index(path_class)])
    ]
    first = [] if path_class == "direct-tcp" else [attempt("relay", "connected")]
    mine = [*first, *failed] if path_class == "relay" else [*first, *failed, attempt(path_class, "connected", 2.0)]
    measured = [Measurement(path_class, METHODS[path_class][1], 0.0234, 1.25e6, 8.4e6, 3_000_000)]
    if first and path_class != "relay":
        measured.insert(0, Measurement("relay", METHODS["relay"][1], 0.08, None, 4e5, 98_304))
    return Meeting(
        started=BEGAN,
        seconds=5.2,
        peer=OTHER,
        here=end("connect", *mine, router=router),
        there=end("listen", *failed),
        path=path(path_class, 0.1 if path_class in ("relay", "direct-tcp") else 2.5),
        connected=0.1,
        best=0.1 if path_class in ("relay", "direct-tcp") else 2.5,
        measurements=tuple(measured),
    )


def missed(*, rendezvous: bool = True) -> Meeting:
    """Nothing worked."""
    here = end("connect", attempt("direct-tcp", "timeout"), attempt("direct-utp", "timeout", 0.2))
    if not rendezvous:
        here = End(here.role, here.version, here.addresses, here.router, here.router_text, False, here.attempts)
    error = "None of the ways led to the other end."
    return Meeting(BEGAN, 10.3, OTHER, here, None, None, None, None, (), error)


MEETINGS = {name: reached(name) for name in METHODS} | {"none": missed(), "no rendezvous": missed(rendezvous=False)}
"""By class of path, and without one."""
