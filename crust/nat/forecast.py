"""Whom a machine reaches: each kind of peer, by which method, in which direction, how fast."""

from __future__ import annotations

from collections.abc import Iterator

from ..assessment import Forecast
from ..findings import Behaviour, NetworkSurvey, PortAllocation, Unsolicited
from ..values import dataclass
from .methods import Entrance, Side, Way, best
from .sides import local_side, side_of

__all__ = ["LOCAL", "PEERS", "Peer", "forecasts"]

LOCAL = "local"


@dataclass(frozen=True)
class Peer:
    """A kind of network that peers are in."""

    name: str
    title: str
    side: Side


def _ways(
    entrance: Entrance,
    *,
    mapping: Behaviour = Behaviour.INDEPENDENT,
    ports: PortAllocation = PortAllocation.PRESERVED,
    udp: bool = True,
    out_ports: tuple[int, ...] = (),
    families: tuple[int, ...] = (4,),
) -> Iterator[Way]:
    public = entrance in (Entrance.OPEN, Entrance.MAPPED)
    for family in families:
        for transport in ("tcp", "utp"):
            out = transport == "tcp" or udp
            yield Way(
                transport,
                family,
                out,
                entrance if out else Entrance.CLOSED,
                out_ports=out_ports if transport == "tcp" else (),
                mapping=mapping,
                filtering=Behaviour.INDEPENDENT if public else Behaviour.ADDRESS_AND_PORT,
                ports=ports,
                unsolicited=Unsolicited.ACCEPTED if public else Unsolicited.DROPPED,
            )


_CLOSED = Entrance.CLOSED
_OFFICE = _ways(_CLOSED, mapping=Behaviour.ADDRESS_AND_PORT, ports=PortAllocation.RANDOM)

PEERS: tuple[Peer, ...] = (
    Peer(
        "open",
        "a server, or a machine with an open port",
        Side(tuple(_ways(Entrance.OPEN, families=(4, 6)))),
    ),
    Peer("home_mapped", "a home whose router opens ports when asked (UPnP on)", Side(tuple(_ways(Entrance.MAPPED)))),
    Peer("home", "a home whose router opens none (UPnP off)", Side(tuple(_ways(_CLOSED)))),
    Peer("carrier", "a phone on a mobile network, or a line that shares its address", Side(tuple(_ways(_CLOSED)))),
    Peer("office", "an office with a strict firewall", Side(tuple(_OFFICE))),
    Peer("udp_blocked", "a network that blocks UDP", Side(tuple(_ways(_CLOSED, udp=False)))),
    Peer(
        "web_only",
        "a network that lets only web traffic out",
        Side(tuple(_ways(_CLOSED, udp=False, out_ports=(443, 80)))),
    ),
)

_IPV6 = Peer(
    "ipv6",
    "a home with IPv6, behind its router's firewall",
    Side(tuple(_ways(_CLOSED, families=(4, 6)))),
)


def forecasts(survey: NetworkSurvey) -> tuple[Forecast, ...]:
    """What to expect with each kind of peer, peers in the same network last."""
    ours = side_of(survey)
    peers = list(PEERS)
    if any(way.family == 6 and way.out for way in ours.ways):
        peers.insert(3, _IPV6)
    found = [_forecast(ours, peer) for peer in peers]
    near = local_side(survey)
    if near.ways:
        reach = best(near, near)
        note = "unless a firewall on one of the two, or a guest Wi-Fi, keeps them apart"
        found.append(Forecast(LOCAL, "another machine in your own network", reach, reach, note))
    return tuple(found)


def _forecast(ours: Side, peer: Peer) -> Forecast:
    note = ""
    limited = next((way.out_ports for way in ours.ways if way.out_ports), ())
    if limited and _listens_anywhere(peer.side):
        note = f"only if it listens on port {' or '.join(str(port) for port in limited)}"
    theirs = next((way.out_ports for way in peer.side.ways if way.out_ports), ())
    if theirs and _listens_anywhere(ours):
        note = f"only if you listen on port {' or '.join(str(port) for port in theirs)}"
    return Forecast(peer.name, peer.title, best(ours, peer.side), best(peer.side, ours), note)


def _listens_anywhere(side: Side) -> bool:
    """On a port of the web, too: those are never asked of a router."""
    return any(way.transport == "tcp" and way.entrance in (Entrance.OPEN, Entrance.LIKELY) for way in side.ways)
