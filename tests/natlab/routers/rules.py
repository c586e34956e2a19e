"""
The rules of nftables that make a router of some kind.

Two things make them more than ``masquerade``. The kernel has no mapping of its own that outlives a flow, so what is
open to others than those sent to is a map that the rules fill (`_MAPPINGS`). And what comes unasked is dropped before
the router's own sockets see it: the kernel would remember it as a flow, and a later one from inside got another port.
"""

from __future__ import annotations

import dataclasses

TCP_TIMEOUT = 7440  # seconds, RFC 5382
UDP_TIMEOUT = 120  # seconds, RFC 4787
FIRST, COUNT = 40_000, 3_000  # ports of a sequential NAT

SHUFFLES = (0x0A55, 0x0D33, 0x0393, 0x0E6C, 0x05C9, 0x0B1A, 0x07E5, 0x0C8F)  # of bits 0 to 11, a subscriber each


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the rules of one router depend on."""

    kind: str
    wan: str
    """Its outer IPv4 address."""

    lan: str
    """Its inner network, as ``192.168.1.0/24``."""

    hairpin: bool = False
    upnp: bool = False
    resets: bool = False
    """Whether TCP that comes unasked is answered by RST, not dropped."""

    udp_timeout: int = UDP_TIMEOUT
    step: int = 1
    turn: int = 0
    """Bits of the outer ports that are turned round, once more than usual; where it counts, it begins so much later."""

    subscribers: tuple[str, ...] = ()
    """Of a carrier: the addresses of those behind it, each in its place."""

    open_ipv6: bool = False
    """Whether what comes unasked over IPv6 passes."""

    isolates: bool = False
    """Of a carrier: whether subscribers do not reach each other's inner addresses."""


def filters(plan: Plan) -> str:
    """The table of what passes; IPv6 as well. It stays as long as the router runs, with the chains of miniupnpd."""
    lines = ["table inet filter {"]
    if plan.kind == "addr":
        lines += ["set sent_to {", "type inet_proto . ipv4_addr . inet_service . ipv4_addr", *_DYNAMIC, "}"]
    if plan.upnp:
        lines += _UPNP
    lines += ["chain input {", "type filter hook input priority 0; policy accept;"]
    lines += ['iifname "wan" ct state established,related accept', *_HARMLESS]
    lines += ['iifname "wan" meta l4proto tcp reject with tcp reset'] if plan.resets else []
    lines += ['iifname "wan" drop', "}", "chain forward {", "type filter hook forward priority 0; policy accept;"]
    lines += _BLOCKS.get(plan.kind, ())
    lines += ['iifname "lan" oifname "lan" ct status dnat accept'] if plan.hairpin else []
    lines += ['iifname "lan" oifname "lan" drop'] if plan.isolates else []
    lines += ["jump miniupnpd"] if plan.upnp else []
    if plan.kind == "addr":
        ours, theirs = "meta l4proto . ip saddr . th sport . ip daddr", "meta l4proto . ip daddr . th dport . ip saddr"
        for protocol, timeout in _timeouts(plan):
            lines += [f'oifname "wan" ip protocol {protocol} update @sent_to {{ {ours} timeout {timeout}s }}']
        lines += [f'iifname "wan" {theirs} @sent_to accept']
    elif plan.kind == "full":
        lines += ['iifname "wan" meta nfproto ipv4 ct status dnat accept']
    lines += ['iifname "wan" ct state established,related accept', *_HARMLESS]
    lines += ['iifname "wan" meta nfproto ipv6 accept'] if plan.open_ipv6 else []
    lines += ['iifname "wan" meta l4proto tcp reject with tcp reset'] if plan.resets else []
    return "\n".join([*lines, 'iifname "wan" drop', "}", "}", ""])


def translation(plan: Plan) -> str:
    """The table of IPv4's addresses and ports."""
    mapped = plan.kind in ("full", "addr")
    lines = ["table ip nat {", *_MAPPINGS]
    lines += ["chain remember {", "type filter hook forward priority 10; policy accept;"]
    for protocol, timeout in _timeouts(plan):
        for source, port in _outer_ports(plan, protocol):
            ours = f"ip saddr . {protocol} sport"
            update = f"update @mappings {{ meta l4proto . {port} timeout {timeout}s : {ours} }}"
            lines += [f'oifname "wan" {source} meta l4proto {protocol} {update}'] if mapped or plan.hairpin else []
    lines += ["}", "chain prerouting {", "type nat hook prerouting priority dstnat; policy accept;"]
    if mapped:
        lines += [f'iifname "wan" ip daddr {plan.wan} dnat to meta l4proto . th dport map @mappings']
    if plan.hairpin:
        lines += [f'iifname "lan" ip daddr {plan.wan} dnat to meta l4proto . th dport map @mappings']
    lines += ["}", "chain postrouting {", "type nat hook postrouting priority srcnat; policy accept;"]
    lines += _sources(plan)
    return "\n".join([*lines, "}", "}", ""])


def _sources(plan: Plan) -> list[str]:
    """The address and port that what goes out gets; to another inside as to the world (RFC 4787, REQ-9)."""
    if plan.kind == "sym":
        return ['oifname "wan" masquerade random,fully-random']
    lines = []
    for protocol, _ in _timeouts(plan):
        for source, port in _outer_ports(plan, protocol):
            if plan.kind == "symseq":
                count = min(COUNT, (65_536 - FIRST) // plan.step)
                outer = [FIRST + (each + plan.turn) % count * plan.step for each in range(count)]
                numbers = ", ".join(f"{place} : {each}" for place, each in enumerate(outer))
                port = f"numgen inc mod {count} map {{ {numbers} }}"
            to = "" if port == f"{protocol} sport" else f" to :{port}"
            lines += [f'oifname "wan" {source} meta l4proto {protocol} masquerade{to}']
            if plan.hairpin:
                inside = f'oifname "lan" ct status dnat {source} meta l4proto {protocol}'
                lines += [f"{inside} snat to {plan.wan}{to.removeprefix(' to ')}"]
    return [*lines, 'oifname "wan" masquerade']


def _outer_ports(plan: Plan, protocol: str) -> list[tuple[str, str]]:
    """
    Sources, and the outer port of each, as expressions.

    A carrier's subscribers use the same ports at home, so it gives each other ones: some bits turned around, which
    every later flow from the same port gets again, and which can be told before any went.
    """
    if not plan.subscribers:
        return [(f"ip saddr {plan.lan}", f"{protocol} sport ^ {plan.turn:#x}" if plan.turn else f"{protocol} sport")]
    pairs = zip(plan.subscribers, SHUFFLES, strict=False)
    return [(f"ip saddr {each}", f"{protocol} sport ^ {shuffle:#x}") for each, shuffle in pairs if each]


def _timeouts(plan: Plan) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("udp", plan.udp_timeout), ("tcp", TCP_TIMEOUT)


_DYNAMIC = ["flags dynamic,timeout", "timeout 300s", "size 65536"]

# Which inner address and port an outer port is, as long as something went out from there now and then.
_MAPPINGS = ["map mappings {", "type inet_proto . inet_service : ipv4_addr . inet_service", *_DYNAMIC, "}"]

_HARMLESS = [
    'iifname "wan" icmp type echo-request accept',
    'iifname "wan" icmpv6 type echo-request accept',
]

_BLOCKS = {
    "udpblock": ["meta l4proto udp drop"],
    "tcpblock": ["meta l4proto tcp drop"],
    "strict": ['oifname "wan" ct state new tcp dport != { 80, 443 } drop', 'oifname "wan" meta l4proto != tcp drop'],
}

# What miniupnpd fills. Its own script for that does not work in Debian's 2.3.1.
_UPNP = [
    *("chain miniupnpd {", "}", "chain miniupnpd_in {", "}", "chain miniupnpd_out {", "}"),
    *("chain miniupnpd_prerouting {", "type nat hook prerouting priority dstnat - 1; policy accept;"),
    *("jump miniupnpd_in", "}"),
    *("chain miniupnpd_postrouting {", "type nat hook postrouting priority srcnat - 1; policy accept;"),
    *("jump miniupnpd_out", "}"),
]
