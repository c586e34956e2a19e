"""From a survey to what it means: the kind of network, a grade, whom one reaches, what helps, what is not known."""

from __future__ import annotations

from collections.abc import Iterator

from ..assessment import Assessment, Forecast, SiteKind
from ..findings import NetworkSurvey, ProtocolFinding
from .forecast import LOCAL, forecasts
from .hints import hints_for
from .methods import Entrance, Side
from .sides import side_of
from .site import WORDS, kind_of

__all__ = ["verdict_on"]

_MOST = 0.6  # of the kinds of peers: what "most" means
_NEARLY_ALL = 0.8


def verdict_on(survey: NetworkSurvey) -> Assessment:
    """See :func:`crust.assess`."""
    kind = kind_of(survey)
    title, text = WORDS[kind]
    expected = forecasts(survey)
    grade, reason = _grade(kind, side_of(survey), expected)
    return Assessment(kind, title, text, grade, reason, expected, hints_for(survey, kind), tuple(_gaps(survey, kind)))


# --- the grade --------------------------------------------------------------------------------------------------------


def _grade(kind: SiteKind, side: Side, expected: tuple[Forecast, ...]) -> tuple[str, str]:
    peers = [forecast for forecast in expected if forecast.peer != LOCAL]
    reached = [forecast for forecast in peers if forecast.best is not None and forecast.best.likely]
    share = len(reached) / len(peers)
    direct = [each for each in reached if "direct" in {way.method for way in (each.call, each.called) if way}]
    lasting = any(way.entrance in (Entrance.OPEN, Entrance.MAPPED) for way in side.ways)
    if len(direct) / len(peers) >= _NEARLY_ALL and lasting:
        return "A", "nearly everybody can call you, and you can call everybody who can be called"
    if share >= _MOST:
        return "B", "you connect with most kinds of peers, one way or the other"
    if reached:
        transports = {way.transport for way in side.ways if way.out}
        whom = f"you can call peers that have an open port, but {_who_calls(peers)}"
        if len(transports) > 1:
            return "C", whom
        known = {way.transport for way in side.ways if way.out is not None}
        works = "works" if len(known) > 1 else "is known to work"
        return "D", f"{whom}, and only {'TCP' if 'tcp' in transports else 'UDP'} {works}"
    if any(way.out_ports for way in side.ways):
        return "E", "only peers that listen on a port of the web can be called, and nobody can call you"
    if kind is SiteKind.UNKNOWN:
        return "", "not graded: nobody outside was asked"
    return "F", "nobody outside this network can be reached"


def _who_calls(peers: list[Forecast]) -> str:
    called = [forecast.called for forecast in peers if forecast.called is not None]
    if any(reach.likely for reach in called):
        return "only some kinds of peers can call you"
    return "whether anybody can call you is not known" if called else "nearly nobody can call you"


# --- what was not found out -------------------------------------------------------------------------------------------


def _gaps(survey: NetworkSurvey, kind: SiteKind) -> Iterator[str]:
    if kind in (SiteKind.NO_NETWORK, SiteKind.CAPTIVE_PORTAL):
        return
    if survey.offline:
        yield "How this machine appears from outside, and who gets in: nobody outside was asked (offline)."
    else:
        for finding in survey.protocols:
            yield from _gaps_of(finding, survey)
    if survey.gateway is None:
        yield "Whether the router opens ports: it was not asked."
    yield from _silent_servers(survey)


def _gaps_of(finding: ProtocolFinding, survey: NetworkSurvey) -> Iterator[str]:
    what = f"{finding.protocol.upper()} over IPv{finding.family}"
    if finding.reachable is None:
        yield f"{what}: {finding.reason.rstrip('.') or 'not tried'}."
    if not finding.reachable or finding.intercepted:
        return
    if finding.open_ports:
        return
    if not finding.mapped:
        yield f"The outer address of {what}: connections work, but no server told it."
        return
    if finding.mapping is None:
        yield f"{what}, whether every destination sees the same address: two servers have to answer, or one with two."
    if finding.protocol == "udp" and finding.filtering is None:
        yield f"{what}, who may send to this machine: no server that answered can test it (RFC 5780)."
    if finding.protocol == "tcp" and finding.unsolicited is None and finding.filtering is None:
        yield (
            f"{what}, what becomes of a stranger's call: no crust node outside has tried it; punch-test report "
            f"--contact names one, which must have an IPv{finding.family} address."
        )


def _silent_servers(survey: NetworkSurvey) -> Iterator[str]:
    """Servers that answered by no protocol, while others did."""
    answered: set[str] = set()
    errors: dict[str, str] = {}
    for finding in survey.protocols:
        for server in finding.servers:
            if server.rtt is not None:
                answered.add(server.name)
            elif server.name not in errors or server.error:
                errors[server.name] = server.error
    for name, error in errors.items():
        if name not in answered:
            yield f"What the server {name} sees: {error.rstrip('.') or 'no answer'}."
