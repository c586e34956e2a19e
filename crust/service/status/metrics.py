"""A snapshot as Prometheus reads it: the text format 0.0.4. (sans-IO)"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from .snapshot import Status

__all__ = ["as_text"]

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")

_Labels = Mapping[str, str]
_Sample = tuple[_Labels, float]


def as_text(status: Status) -> str:
    """The page; docs/metrics.md lists what is in it."""
    lines: list[str] = []
    told: set[str] = set()
    for name, kind, text, samples in (*_node(status), *_peers(status), *_traffic(status), *_counters(status)):
        lines += _family(name, kind, text, samples)
        told.add(name)
    for name, kind, text, samples in _sections(status):
        if name not in told:
            lines += _family(name, kind, text, samples)
            told.add(name)
    return "\n".join(lines) + "\n"


_Family = tuple[str, str, str, Iterable[_Sample]]


def _gauge(name: str, text: str, *samples: _Sample) -> _Family:
    return f"crust_{name}", "gauge", text, samples


def _counter(name: str, text: str, *samples: _Sample) -> _Family:
    return f"crust_{name}_total", "counter", text, samples


def _one(value: float) -> _Sample:
    return {}, value


def _node(status: Status) -> Iterator[_Family]:
    info = {
        "version": status.version,
        "peer": str(status.id),
        "network": status.network or "",
        "role": status.role,
    }
    yield _gauge("info", "Who this node is; always 1.", (info, 1))
    yield _gauge("nat_info", "The network around it, in a word; always 1.", ({"kind": status.nat.kind.value}, 1))
    yield _gauge("uptime_seconds", "Since the start of the node.", _one(status.uptime))
    yield _gauge("listeners", "Addresses on which it listens.", _one(len(status.listeners)))
    yield _gauge("addresses", "Addresses that strangers are told.", _one(len(status.addresses)))
    yield _gauge("mapped_ports", "Ports that the router has opened for it.", _one(len(status.mappings)))
    if status.nat.public is not None:  # absent while it is not known
        yield _gauge("reachable", "1: strangers can be expected to get in. Absent: not known.", _one(status.nat.public))
    yield _gauge("introducers", "Peers that introduce others to it.", _one(len(status.via)))


def _peers(status: Status) -> Iterator[_Family]:
    states = [each.state for each in status.peers]
    yield _gauge("peers", "Sessions.", *(({"state": name}, states.count(name)) for name in ("connected", "suspended")))
    classes = [each.path.path_class for each in status.peers if each.path is not None and each.state == "connected"]
    ways = ("direct-tcp", "direct-utp", "punched-tcp", "punched-utp", "predicted", "birthday", "relay")
    counts: list[_Sample] = [({"class": way}, classes.count(way)) for way in (*ways, *sorted(set(classes) - set(ways)))]
    yield _gauge("paths", "Connected peers by the class of their path.", *counts)
    trips = sorted(each.path.rtt for each in status.peers if each.path is not None and each.path.rtt is not None)
    if trips:
        marks = (("shortest", trips[0]), ("median", trips[len(trips) // 2]), ("longest", trips[-1]))
        text = "To peers and back. Absent while none is measured."
        yield _gauge("round_trip_seconds", text, *(({"which": mark}, trip) for mark, trip in marks))
    queued = sum(each.unacknowledged_messages for each in status.peers)
    yield _gauge("unacknowledged_messages", "Messages queued or under way.", _one(queued))
    yield _gauge(
        "unacknowledged_bytes", "Their size, with overheads.", _one(sum(p.unacknowledged_bytes for p in status.peers))
    )
    yield _gauge(
        "unread_bytes", "Messages that wait for the application.", _one(sum(p.unread_bytes for p in status.peers))
    )


def _traffic(status: Status) -> Iterator[_Family]:
    done = status.traffic
    yield _counter(
        "bytes",
        "On the wire of sessions, headers and resends included.",
        ({"direction": "sent"}, done.bytes_sent),
        ({"direction": "received"}, done.bytes_received),
    )
    yield _counter(
        "messages",
        "Accepted by send, or arrived whole.",
        ({"direction": "sent"}, done.messages_sent),
        ({"direction": "received"}, done.messages_received),
    )


def _counters(status: Status) -> Iterator[_Family]:
    stats, gate, circuits = status.stats, status.stats.gate, status.stats.circuits
    yield _gauge("buffered_bytes", "Held for all peers, of limits.total_buffers.", _one(stats.buffered_bytes))
    yield _gauge("callbacks_waiting", "Calls that wait for the dispatcher.", _one(stats.callbacks_waiting))
    yield _counter("callback_errors", "Callbacks of the application that raised.", _one(stats.callback_errors))
    yield _counter("crashes", "Failures inside crust; each is in the log.", _one(stats.crashes))
    yield _counter("log_records_dropped", "Given up: handlers were too slow.", _one(stats.log_records_dropped))
    yield _counter("accept_pauses", "Stops of a listener for lack of descriptors.", _one(stats.accept_pauses))
    yield _gauge("handshakes_current", "Inbound, under way.", _one(gate.current))
    yield _counter(
        "handshakes",
        "Inbound, by what became of them at the gate.",
        ({"result": "admitted"}, gate.admitted),
        ({"result": "evicted"}, gate.evicted),
        ({"result": "refused_by_rate"}, gate.refused_by_rate),
        ({"result": "refused_by_slots"}, gate.refused_by_slots),
    )
    yield _gauge("circuits_current", "Of others, through this node, now.", _one(circuits.current))
    yield _counter(
        "circuits",
        "Of others, asked of this node.",
        ({"result": "opened"}, circuits.opened),
        ({"result": "refused"}, circuits.refused),
    )
    yield _counter("circuit_bytes", "Carried for others.", _one(circuits.carried_bytes))
    bitten: list[_Sample] = [({"limit": name}, count) for name, count in stats.refusals.items()]
    yield _counter("refusals", "How often each limit has bitten.", *bitten)


def _sections(status: Status) -> Iterator[_Family]:
    """Numbers of the sections, by a common rule: what comes later is there without a word here."""
    for section, said in status.sections.items():
        for name, value in said.items():
            if isinstance(value, (bool, int, float)):
                full = _NOT_IN_NAMES.sub("_", f"crust_{section}_{name}")
                kind = "counter" if full.endswith("_total") else "gauge"
                yield full, kind, f"See {section} in docs/status.md.", [({}, value)]
            elif isinstance(value, list):
                full = _NOT_IN_NAMES.sub("_", f"crust_{section}_{name}")
                yield full, "gauge", f"How many; see {section} in docs/status.md.", [({}, len(value))]


def _family(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(said)}"' for label, said in labels.items())
        yield f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))
