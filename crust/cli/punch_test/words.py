"""
Findings in plain words: the rows that every form of the report shows, and the stops on the way to the Internet.

The terms of the RFCs stand in brackets behind, for whoever knows them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import crust

__all__ = ["MEETING", "PRIVACY", "Group", "Row", "Stop", "answers", "date_of", "groups", "host_of", "remarks", "stops"]

MEETING = "Two machines meet if one of the two can call the other. By the kind of network that a peer is in:"
PRIVACY = "This report contains your public addresses: give it to people you trust."

_KINDS = {
    crust.InterfaceKind.ETHERNET: "cable",
    crust.InterfaceKind.WIRELESS: "Wi-Fi",
    crust.InterfaceKind.MOBILE: "mobile network",
    crust.InterfaceKind.VPN: "VPN",
    crust.InterfaceKind.CONTAINER: "containers",
    crust.InterfaceKind.OTHER: "",
}
_OFFERS = {"igd": "UPnP", "natpmp": "NAT-PMP", "pcp": "PCP"}
_MAPPING = {
    crust.Behaviour.INDEPENDENT: ("the same for every destination (endpoint-independent mapping)", "good"),
    crust.Behaviour.ADDRESS: ("another one for each address that is called (address-dependent mapping)", "bad"),
    crust.Behaviour.ADDRESS_AND_PORT: (
        "another one for each destination (address- and port-dependent mapping)",
        "bad",
    ),
}
_FILTERING = {
    crust.Behaviour.INDEPENDENT: ("everybody (endpoint-independent filtering)", "good"),
    crust.Behaviour.ADDRESS: ("who was called before, from any port (address-dependent filtering)", "plain"),
    crust.Behaviour.ADDRESS_AND_PORT: (
        "only answers, from exactly where was called (address- and port-dependent filtering)",
        "plain",
    ),
}
_STRANGERS = {
    crust.Unsolicited.ACCEPTED: ("let in", "good"),
    crust.Unsolicited.DROPPED: ("ignored (dropped)", "plain"),
    crust.Unsolicited.RESET: ("refused at once (RST)", "plain"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One finding."""

    label: str
    text: str
    mark: str = "plain"
    """``good``, ``bad``, ``plain`` or ``unknown``."""

    lasting: str | None = None
    """What of it stays the same from one survey to the next; None: all of the text."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Findings on one subject."""

    title: str
    rows: tuple[Row, ...]


def groups(survey: crust.NetworkSurvey) -> tuple[Group, ...]:
    """All findings, subject by subject."""
    found = [Group("This machine", tuple(_machine(survey))), Group("The router", tuple(_router(survey)))]
    found += [
        Group(f"{finding.protocol.upper()} over IPv{finding.family}", tuple(_protocol(finding)))
        for finding in survey.protocols
        if finding.family == 4 or finding.reachable or finding.servers
    ]
    six = [finding for finding in survey.protocols if finding.family == 6]
    if six and not any(finding.reachable or finding.servers for finding in six):
        row = Row("works", six[0].reason or "not tried", "unknown")
        if six[0].reachable is False:
            row = Row("works", f"no: {six[0].reason or 'no answer'}")
        found.append(Group("IPv6", (row,)))
    return tuple(group for group in found if group.rows)


# --- machine and router -----------------------------------------------------------------------------------------------


def _machine(survey: crust.NetworkSurvey) -> Iterator[Row]:
    shown = [each for each in survey.interfaces if each.default] or list(survey.interfaces)
    for each in shown:
        kind = f", {_KINDS[each.kind]}" if _KINDS[each.kind] else ""
        yield Row(f"{each.name}{kind}", ", ".join(_telling(each.addresses)) or "no address")
    if not shown:
        yield Row("network", "none", "bad")
    for word, text, mark in (
        ("vpn", "traffic leaves through a VPN: what follows is about its network", "bad"),
        ("captive_portal", "something else answers in place of the servers that were asked", "bad"),
        ("dns_lies", "names lead to addresses that cannot be right", "bad"),
        ("no_dns", "no server's name could be looked up", "bad"),
        ("several_ways_out", "there is more than one network", "plain"),
    ):
        if word in survey.hints:
            yield Row("note", text, mark, lasting=word)


def _telling(addresses: Sequence[str]) -> Sequence[str]:
    """Without those of the link, which every interface has; unless there are no others."""
    return [address for address in addresses if not address.startswith("fe80:")] or addresses


def _router(survey: crust.NetworkSurvey) -> Iterator[Row]:
    gateway = survey.gateway
    if gateway is None:
        yield Row("asked", "no", "unknown")
        return
    if not gateway.address:
        yield Row("address", gateway.reason or "none was found on this network", "unknown")
        return
    yield Row("address", f"{gateway.address}{f', {gateway.model}' if gateway.model else ''}")
    works = [offer for offer in gateway.offers if offer.works]
    for offer in works:
        seconds = "" if offer.seconds is None else " at once" if offer.seconds < 0.1 else f" in {offer.seconds:.1f} s"
        granted = "" if offer.lease is None else f", for {_span(offer.lease)}" if offer.lease else ", for good"
        lasting = f"yes, by {_OFFERS.get(offer.protocol, offer.protocol)}"
        text = f"{lasting}{seconds}{granted}"
        mark = "plain" if gateway.layers else "good"
        yield Row("opens ports", text, mark, lasting=f"{lasting}, {offer.external}")
    if gateway.offers and not works:
        errors: dict[str, list[str]] = {}
        for offer in gateway.offers:
            errors.setdefault(offer.error or "no answer", []).append(_OFFERS.get(offer.protocol, offer.protocol))
        told = "; ".join(f"{', '.join(names)}: {error}" for error, names in errors.items())
        mark = "plain" if _translated(survey) is False else "bad"  # there is nothing to open
        yield Row("opens ports", f"no ({told})", mark, lasting="no")
    elif not gateway.offers:
        yield Row("opens ports", "was not asked to", "unknown")
    if gateway.layers:
        what = "the provider's (carrier-grade NAT)" if gateway.layers == "carrier" else "a second router (double NAT)"
        yield Row("behind it", f"{what}{f': {gateway.reason}' if gateway.reason else ''}", "bad", lasting=what)


# --- protocols --------------------------------------------------------------------------------------------------------


def _protocol(finding: crust.ProtocolFinding) -> Iterator[Row]:
    if finding.intercepted:
        yield Row("works", f"no: {finding.intercepted}", "bad")
        return
    if finding.reachable is None:
        yield Row("works", finding.reason or "not tried", "unknown")
        return
    if finding.open_ports:
        ports = " and ".join(str(port) for port in finding.open_ports)
        yield Row("works", f"only to port {ports}, which web pages use", "bad")
        return
    if not finding.reachable:
        yield Row("works", f"no: {finding.reason or 'no answer'}", "bad", lasting="no")
        return
    rtt = "" if finding.rtt is None else f", {_milliseconds(finding.rtt)} to the nearest server"
    yield Row("works", f"yes{rtt}", "good", lasting="yes")
    yield from _outside(finding)
    yield from _who_gets_in(finding)
    yield from _details(finding)


def _outside(finding: crust.ProtocolFinding) -> Iterator[Row]:
    if not finding.mapped:
        yield Row("outer address", "no server told it", "unknown")
        return
    lasting = host_of(finding.mapped)
    if finding.translated is False:
        yield Row("outer address", f"{finding.mapped}, its own: nothing translates", "good", lasting=lasting)
        return
    if finding.mapping is None:
        yield Row("outer address", f"{finding.mapped}; whether always is not known", "unknown", lasting=lasting)
    else:
        text, mark = _MAPPING[finding.mapping]
        yield Row("outer address", f"{finding.mapped}, {text}", mark, lasting=f"{lasting}, {text}")
    if finding.ports is crust.PortAllocation.PRESERVED:
        yield Row("outer port", "the same number as inside (preserved)")
    elif finding.ports is crust.PortAllocation.SEQUENTIAL:
        step = "" if finding.step in (None, 1) else f", in steps of {finding.step}"
        yield Row("outer port", f"one after the other{step} (sequential)")
    elif finding.ports is crust.PortAllocation.RANDOM:
        yield Row("outer port", "by chance (random)")


def _who_gets_in(finding: crust.ProtocolFinding) -> Iterator[Row]:
    if finding.filtering is not None:
        yield Row("who gets in", *_FILTERING[finding.filtering])
    elif finding.protocol == "udp":
        yield Row("who gets in", "not known: no server that answered can test it", "unknown")
    if finding.unsolicited is not None:
        text, mark = _STRANGERS[finding.unsolicited]
        yield Row("strangers' calls", text, mark)
    elif finding.protocol == "tcp" and finding.filtering is None:
        yield Row("strangers' calls", "not known: no crust node outside has tried", "unknown")


def _details(finding: crust.ProtocolFinding) -> Iterator[Row]:
    if finding.hairpin is not None:
        able = "can" if finding.hairpin else "cannot"
        yield Row("inside to inside", f"machines here {able} meet at the outer address (hairpin)")
    if finding.lifetime is not None:
        surely, gone = finding.lifetime
        end = f", and is forgotten after {_span(gone)}" if gone is not None else ""
        yield Row("memory", f"a quiet connection is remembered for {_span(surely)} at least{end}")
    if finding.mtu is not None:
        yield Row("largest packet", f"{finding.mtu} bytes")


# --- the way to the Internet ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stop:
    """One station between this machine and the Internet."""

    title: str
    lines: tuple[str, ...]
    mark: str
    """As in `Row`."""


def stops(survey: crust.NetworkSurvey, assessment: crust.Assessment) -> tuple[Stop, ...]:
    """Machine, router, carrier, Internet, each with what was found there."""
    return (_machine_stop(survey), _router_stop(survey), _carrier_stop(survey), _internet_stop(survey, assessment))


def _machine_stop(survey: crust.NetworkSurvey) -> Stop:
    leaving = [each for each in survey.interfaces if each.default] or list(survey.interfaces)
    if not leaving:
        return Stop("This machine", ("no network",), "bad")
    addresses = [address.partition("/")[0] for address in _telling(leaving[0].addresses)]
    kind = _KINDS[leaving[0].kind]
    vpn = "vpn" in survey.hints
    first = sorted(addresses, key=lambda address: ":" in address)[:1]
    name = f"{leaving[0].name}, {kind}" if kind else leaving[0].name
    return Stop("This machine", (*first, name), "bad" if vpn else "good")


def _translated(survey: crust.NetworkSurvey) -> bool | None:
    known = [finding.translated for finding in survey.protocols if finding.family == 4 and finding.mapped]
    return known[0] if known else None


def _router_stop(survey: crust.NetworkSurvey) -> Stop:
    gateway = survey.gateway
    if gateway is not None and not gateway.address:
        return Stop("Router", ("none found",), "unknown")
    name = [gateway.model or gateway.address] if gateway is not None else []
    if _translated(survey) is False:
        return Stop("Router", (*name, "passes all on"), "good")
    if gateway is None or not gateway.offers:
        return Stop("Router", (*name, "not asked"), "unknown")
    if any(offer.works for offer in gateway.offers):
        return Stop("Router", (*name, "opens ports"), "good")
    return Stop("Router", (*name, "opens no ports"), "bad")


def _carrier_stop(survey: crust.NetworkSurvey) -> Stop:
    layers = survey.gateway.layers if survey.gateway is not None else ""
    if layers == "carrier":
        return Stop("Provider", ("shares one address", "among customers"), "bad")
    if layers == "double":
        return Stop("Second router", ("translates again",), "bad")
    if _translated(survey) is None:
        return Stop("Provider", ("not known",), "unknown")
    if _translated(survey) and (survey.gateway is None or not survey.gateway.offers):
        return Stop("Provider", ("not known",), "unknown")
    return Stop("Provider", ("no second", "translation seen"), "good")


def _internet_stop(survey: crust.NetworkSurvey, assessment: crust.Assessment) -> Stop:
    lines = []
    for finding in survey.protocols:
        if finding.mapped and not finding.intercepted and host_of(finding.mapped) not in lines:
            lines.append(host_of(finding.mapped))
    works = [
        protocol.upper()
        for protocol in ("udp", "tcp")
        if any(each.reachable and not each.intercepted for each in survey.protocols if each.protocol == protocol)
    ]
    if assessment.kind is crust.SiteKind.WEB_ONLY:
        return Stop("Internet", (*lines, "web pages only"), "bad")
    if not works:
        known = assessment.kind not in (crust.SiteKind.UNKNOWN, crust.SiteKind.MAPPED)
        return Stop("Internet", ("out of reach" if known else "not asked",), "bad" if known else "unknown")
    return Stop("Internet", (*lines, f"by {' and '.join(works)}"), "good" if len(works) == 2 else "bad")


# --- little things ----------------------------------------------------------------------------------------------------


def answers(forecast: crust.Forecast) -> tuple[tuple[str, str], tuple[str, str]]:
    """A forecast in a few words and a mark for each direction: you call them, they call you."""
    return (
        _answer(forecast.call, forecast.note if forecast.note.startswith("only if it") else ""),
        _answer(forecast.called, forecast.note if forecast.note.startswith("only if you") else ""),
    )


def remarks(assessment: crust.Assessment) -> list[str]:
    """What stands below the forecasts: exceptions that are in none of the answers."""
    return [
        f"{forecast.title}: {forecast.note}"
        for forecast in assessment.forecasts
        if forecast.note and not forecast.note.startswith("only if")
    ]


def _answer(reach: crust.Reach | None, note: str) -> tuple[str, str]:
    if reach is None:
        return (note, "plain") if note else ("no", "bad")
    if reach.chance is None:
        return "not known", "unknown"
    sure = "yes" if reach.chance >= 0.9 else "probably" if reach.likely else "perhaps"
    transport = "UDP" if reach.path_class.endswith("utp") else "TCP"
    soon = "at once" if reach.seconds < 0.1 else f"{reach.seconds:.1f} s"
    return f"{sure}, {reach.method} {transport}, {soon}", "good" if reach.likely else "plain"


def host_of(address: str) -> str:
    """``192.0.2.7`` of ``192.0.2.7:41233``."""
    return address.rpartition(":")[0].strip("[]") or address


def date_of(survey: crust.NetworkSurvey) -> str:
    """When it began, by the clock of this machine."""
    import datetime

    return datetime.datetime.fromtimestamp(survey.started).astimezone().strftime("%d %B %Y, %H:%M %Z").strip()


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "under 1 ms"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
