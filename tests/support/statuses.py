"""Snapshots of nodes, made up: for the forms in which they are shown."""

from __future__ import annotations

import dataclasses
from typing import Any

import crust
from crust.peers.circuits.introducing import CircuitCounters
from crust.peers.gate import GateCounters
from crust.peers.refusals import LIMITS

__all__ = ["a_peer", "a_status"]

STARTED = 1_700_000_000.0


def peer_id(number: int) -> crust.PeerId:
    return crust.PeerId(bytes([number]) * 32)


def a_peer(number: int, **changes: Any) -> crust.PeerStatus:
    """A connected peer; ``path_class``, ``rtt`` and ``remote`` go into its path."""
    path = crust.Path(
        path_class=changes.pop("path_class", "direct-tcp"),
        transport="tcp",
        local="tcp://192.168.1.5:40112",
        remote=changes.pop("remote", f"tcp://198.51.100.{number}:5483"),
        cipher="AEGIS-256",
        inbound=False,
        since=STARTED - 90.0,
        rtt=changes.pop("rtt", 0.0123),
    )
    made = crust.PeerStatus(
        id=peer_id(number),
        state="connected",
        role="node",
        inbound=False,
        relays=False,
        path=path,
        traffic=crust.Traffic(1_000_000 * number, 2_000, 30, 4),
        unacknowledged_messages=0,
        unacknowledged_bytes=0,
        unread_bytes=0,
    )
    return dataclasses.replace(made, **changes)


def a_status(**changes: Any) -> crust.Status:
    """A node behind a router, with peers of three kinds."""
    tcp, utp = (crust.Endpoint.parse(f"{name}://0.0.0.0:5483") for name in ("tcp", "utp"))
    outer = crust.Endpoint.parse("utp://203.0.113.9:61234")
    inner = crust.Endpoint.parse("tcp://192.168.1.5:5483")
    seen = crust.NatProtocol("utp", 4, "independent", 0, None, "closed", False, (outer,))
    made = crust.Status(
        version="0.1.0",
        process=4242,
        at=STARTED,
        uptime=3723.0,
        id=peer_id(1),
        contact=crust.Contact(peer_id(1), (inner,)),
        network="home",
        closed=True,
        role="node",
        accepts_bootstrap=True,
        serves_relay=False,
        listeners=(tcp, utp),
        addresses=(inner,),
        candidates=(
            crust.Candidate(crust.CandidateKind.INTERFACE, inner, tcp, True),
            crust.Candidate(crust.CandidateKind.REFLEXIVE, outer, utp, False),
        ),
        mappings=(crust.MappedPort(tcp, crust.Endpoint.parse("tcp://100.64.0.9:5483"), "pcp", 7200, "another NAT"),),
        mapping_failure="",
        nat=crust.NatVerdict(crust.SiteKind.TRANSLATED, "behind a router that keeps one outer port", False, (seen,)),
        peers=(
            a_peer(2),
            a_peer(3, path_class="relay", rtt=0.08, remote=f"relay://{peer_id(2)}"),
            a_peer(4, state="suspended"),
        ),
        via=(crust.Contact(peer_id(2), (crust.Endpoint.parse("tcp://198.51.100.2:5483"),)),),
        traffic=crust.Traffic(123_456_789, 9_876, 543, 21),
        stats=crust.Stats(
            *(2, 1, 4096, 1, 0, 0, 0, 0),
            GateCounters(0, 7, 1, 2, 0),
            CircuitCounters(1, 2, 3, 4_000),
            dict.fromkeys(LIMITS, 0),
        ),
        sections={
            "cache": {"entries": 12, "file": "/home/me/.local/state/crust/home.json", "verified_total": 3},
            "groups": {"groups": [{"name": "mirrors", "want": 8, "connected": 7}]},
        },
        socket="/run/user/1000/crust/aeaqcaib.sock",
        metrics=None,
    )
    return dataclasses.replace(made, **changes)
