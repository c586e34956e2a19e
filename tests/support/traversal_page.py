"""
The generated parts of docs/nat-traversal.md: what the code's tables and `crust.limits` say, for people.

Numbers outside these parts are claims (`CLAIMS`), so that every number of the page is the code's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from crust import limits
from crust.config import Config
from crust.config.render import effective_rows
from crust.config.sections import field_keys
from crust.nat.punch.probe_packet import PROBE_MAX, PROBE_MIN
from crust.peers.paths import CLASSES
from tests.natlab.matrix.table import FIRST_MESSAGE, GIVE_UP, LETTERS, SPECIAL, TABLE


def number(value: float) -> str:
    """As people write it."""
    return f"{value:,}" if isinstance(value, int) or value >= 1000 else f"{value:g}"


class _Number:
    """A limit in a template: as it is, or (``:ms``, ``:minutes``, ``:%``) in another unit."""

    UNITS = {"": 1.0, "ms": 1000.0, "minutes": 1 / 60, "%": 100.0}

    def __init__(self, value: float) -> None:
        self._value = value

    def __format__(self, unit: str) -> str:
        scaled = self._value * self.UNITS[unit]
        return number(round(scaled) if scaled == round(scaled) else round(scaled, 3))


def filled(template: str) -> str:
    """The text with numbers for the names of limits in it: ``{PUNCH_RATE}``, ``{PUNCH_FIRST_GAP:ms}``."""
    known = {name: value for name, value in vars(limits).items() if isinstance(value, int | float)}
    known |= {"PROBE_MIN": PROBE_MIN, "PROBE_MAX": PROBE_MAX}
    known["REACH"] = max(
        limits.PREDICT_REACH, limits.PREDICT_SHIFTS * limits.PREDICT_REPEATS + limits.PREDICT_MARGIN
    )
    known["SENDS"], known["LAST_SEND"] = len(limits.PREDICT_SENDS), limits.PREDICT_SENDS[-1]
    known["PAUSE_MIN"], known["PAUSE_MAX"] = limits.PUNCH_TCP_PAUSE
    known["UNSEEN_ALL"] = limits.UNSEEN_PROBES + limits.UNSEEN_SYNS
    known["KNOWN_BYTES"] = 1 + limits.PUNCH_TAG_SIZE
    known |= {"FIRST_MESSAGE": FIRST_MESSAGE, "GIVE_UP": GIVE_UP}
    return template.format_map({name: _Number(value) for name, value in known.items()})


def _rows(*rows: Iterable[str]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    lines.insert(1, "|" + "---|" * lines[0].count(" | ") + "---|")
    return "\n".join(lines) + "\n"


def classes() -> str:
    """The order of paths, from the table by which sessions move."""
    return "```text\nbest  " + "  >  ".join(CLASSES) + "  last\n```\n"


def course() -> str:
    """When what happens in an attempt."""
    steps = (
        ("0", "a circuit carries the session; both ends tell what they know: CANDIDATES, through the circuit"),
        ("", "an end that has heard: direct dials from fresh ports; punch-tcp and punch-udp begin"),
        ("{SEARCH_AFTER_KNOWN}", "the first search, if a router is known to give each destination a port"),
        ("{PUNCH_TRAP_AFTER}", "punch-udp uses fresh sockets as well"),
        ("{SEARCH_AFTER}", "the first search in any case; the others one after the other"),
        ("{PUNCH_SPARSE}", "punch-udp sends no more"),
        ("{PUNCH_TIMEOUT}", "nat.punch.timeout: all that is left ends"),
        ("+{UPGRADE_FIRST}, +{UPGRADE_SECOND}", "the next attempts, if the session is on a relay still"),
        ("+{UPGRADE_MIN} to +{UPGRADE_MAX}", "each later one; from another path that is not TCP, the first as well"),
    )
    lines = ["seconds", *(f"{filled(when):>12}   {what}" for when, what in steps)]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def packets() -> str:
    """What goes from where to where, how often and for how long."""
    rows = (
        (
            "direct dial",
            "a fresh port; µTP to an address that is said to take strangers: the listening UDP port",
            "each address of the peer that may be tried, at most {DIRECT_DIALS_MAX}",
            "TCP: {DIRECT_SYNS} SYNs; µTP: {DIRECT_PROBES} datagrams; given up after {DIRECT_DIAL_TIMEOUT} s",
        ),
        (
            "`punch-tcp`",
            "the listening TCP port",
            "each TCP address that may be tried",
            "SYNs, which the kernel repeats; begun at one moment, up to {PUNCH_TCP_ROUNDS} times,"
            " {PUNCH_TCP_ROUND} s and a"
            " round trip apart. Where a reset comes back: again after {PAUSE_MIN:ms} to {PAUSE_MAX:ms} ms, at most"
            " {PUNCH_TCP_SYNS} times to one address",
        ),
        (
            "`punch-udp`",
            "the listening UDP port; after {PUNCH_TRAP_AFTER} s a fresh port as well",
            "each UDP address that may be tried, and wherever an answer came from",
            "UDP, {PROBE_MIN} to {PROBE_MAX} bytes: {PUNCH_FIRST} of them {PUNCH_FIRST_GAP:ms} ms apart, then"
            " one every"
            " {PUNCH_DENSE_GAP:ms} ms to {PUNCH_DENSE} s, every {PUNCH_SPARSE_GAP:ms} ms to {PUNCH_SPARSE} s,"
            " each pause"
            " {PUNCH_JITTER:%} % longer or shorter; all together {PUNCH_RATE} a second. The first ones from the"
            " fresh port"
            " have a TTL of {PUNCH_TRAP_TTL}, for {PUNCH_TRAP_SECONDS:ms} ms",
        ),
        (
            "`predict-tcp`",
            "the listening TCP port; fresh ports where the own router counts",
            "a question by TCP to the introducer; then the ports that come next at the peer's address",
            "in rounds: up to {PREDICT_TCP_DIAGONAL} SYNs at once, given up after {PREDICT_TCP_ROUND:ms} ms or"
            " three round"
            " trips; for {PREDICT_TCP_SECONDS} s",
        ),
        (
            "`predict-udp`",
            "a fresh port in each round",
            "a question by UDP to the introducer; then the ports that come next at the peer's address",
            "in at most {PREDICT_ROUNDS} rounds, {PREDICT_PAUSE:ms} ms and two round trips apart: UDP as in"
            " `punch-udp`, to"
            " up to {REACH} ports, {SENDS} times within {LAST_SEND:ms} ms; in every second round once before"
            " with a TTL of"
            " {PUNCH_TRAP_TTL}",
        ),
        (
            "`birthday-tcp`",
            "at the side with random ports {BIRTHDAY_SOCKETS} fresh ports, {BIRTHDAY_BLOCK_SOCKETS} if they"
            " come from"
            " a known block; at the other side the listening TCP port",
            "the other side's one port; random ports of the peer's address",
            "a SYN from each, which the kernel repeats; up to {BIRTHDAY_PROBES} SYNs, {BIRTHDAY_RATE} a"
            " second, each"
            " given up after {BIRTHDAY_TCP_DIAL} s; for {BIRTHDAY_SECONDS} s",
        ),
        (
            "`birthday-udp`",
            "at the side with random ports {BIRTHDAY_SOCKETS} fresh ports, {BIRTHDAY_BLOCK_SOCKETS} if they"
            " come from a"
            " known block; at the other side the listening UDP port",
            "the other side's one port; random ports of the peer's address",
            "UDP as in `punch-udp`: one from each, again every {BIRTHDAY_AGAIN} s; up to {BIRTHDAY_PROBES},"
            " {BIRTHDAY_RATE} a second; for {BIRTHDAY_SECONDS} s",
        ),
    )
    return filled(_rows(("method", "from", "to", "packets"), *rows))


def bounds() -> str:
    """What keeps this from being a weapon."""
    rows = (
        ("datagrams to an address that the introducer did not see, over all its ports", "{UNSEEN_PROBES}"),
        ("SYNs to one, those that the kernel repeats counted", "{UNSEEN_SYNS}"),
        ("minutes after the last of them until that is counted anew", "{ALLOWANCE_MEMORY:minutes}"),
        ("addresses of one family that a peer may name at once", "{CANDIDATES_MAX}"),
        ("addresses that the introducer did not see, in those minutes", "{UNSEEN_HOSTS_MAX}"),
        ("private ones of them", "{UNSEEN_PRIVATE_MAX}"),
        ("datagrams to where the introducer sees the peer, all methods together", "{SEARCH_PROBES}"),
        ("SYNs to there", "{SEARCH_SYNS}"),
        ("datagrams to an address where nobody has answered, for all peers together", "{UNPROVEN_PROBES}"),
        ("SYNs to there; of either, half for those that one introducer names", "{UNPROVEN_SYNS}"),
        ("minutes until these are counted anew; at once where the peer has answered", "{SEARCH_MEMORY:minutes}"),
        ("direct dials under way in all sessions, from which number on each has one at most", "{PURSUITS_MAX}"),
        ("seconds between two attempts that the other end begins, at least", "{GENERATION_GAP}"),
        ("answers to an address that a valid probe came from, until it has answered one of ours", "{PUNCH_ANSWERS}"),
        ("connections under way or sockets of one method at once", "{PUNCH_SOCKETS_MAX}"),
    )
    return filled(_rows(("bound", "number"), *rows))


def lent() -> str:
    """What an introducer lends."""
    rows = (
        ("bytes, both ways together", "{CIRCUIT_SIGNAL_BYTES}", "{CIRCUIT_BYTES}"),
        ("seconds", "{CIRCUIT_SIGNAL_SECONDS}", "{CIRCUIT_SECONDS}"),
        ("circuits at once", "{CIRCUITS_MAX}", "`relay.max_circuits`: {RELAY_CIRCUITS}"),
        ("of those, opened by one peer", "{CIRCUITS_PER_PEER}", "one in {RELAY_PEER_SHARE}"),
        ("of those, opened by all peers at one address", "one in 4", "one in 4 (`limits.peers_per_address`)"),
        ("bytes a second on all", "", "`relay.bytes_per_second`: {RELAY_BYTES_PER_SECOND}"),
        ("of those, for one peer", "", "{RELAY_PEER_RATE:%} %"),
        ("bytes under way, each way", "{CIRCUIT_CREDIT}", "{CIRCUIT_CREDIT}"),
        ("seconds for the called peer to consent", "{CIRCUIT_OFFER_SECONDS}", "{CIRCUIT_OFFER_SECONDS}"),
        ("opened a second by one peer", "{CIRCUIT_OPENS_PER_SECOND}", "in these"),
    )
    return filled(_rows(("", "signalling alone", "with messages, if `relay.serve`"), *rows))


def keys() -> str:
    """The keys of the configuration that concern all this."""
    defaults = {row.key: row.value for row in effective_rows(Config())}
    wanted = ("nat.port_mapping", "nat.echo_for_others", "nat.serve_stun", "nat.punch.", "relay.")
    rows = [
        (f"`{key}`", f"`{defaults[key]}`", field.metadata["doc"])
        for key, field in field_keys(Config)
        if key in defaults and key.startswith(wanted)
    ]
    return _rows(("key", "default", "meaning"), *rows)


def acceptance() -> str:
    """What every pair of networks must come to."""
    kinds = list(TABLE)
    cells = [(f"`{kind}`", *[""] * at, *TABLE[kind].split()) for at, kind in enumerate(kinds)]
    table = _rows(("", *(f"`{kind}`" for kind in kinds)), *cells)
    letters = [
        (each.letter, f"`{each.path_class}`{f', by {each.transport}' if each.transport else ''}", number(each.seconds))
        for each in LETTERS.values()
    ]
    pairs = [(each.letter, f"`{name}`: `{each.path_class}`", number(each.seconds)) for name, each in SPECIAL.items()]
    return table + "\n" + _rows(("", "the path at both ends, or a better one", "within, s"), *letters, *pairs)


PARTS: dict[str, Callable[[], str]] = {
    "path classes": classes,
    "course of an attempt": course,
    "packets": packets,
    "bounds": bounds,
    "what an introducer lends": lent,
    "keys": keys,
    "acceptance": acceptance,
}

CLAIMS = (
    "At most {UNSEEN_ALL} packets go",
    "up to {CIRCUIT_INTRODUCERS} of them",
    "{CIRCUIT_HEADSTART} seconds after the first dial",
    "at most {CANDIDATES_MAX} of each family",
    "{ECHO_PORTS_UDP} more UDP ports and {ECHO_PORTS_TCP} more TCP ports",
    "after {KEEPALIVE} seconds of silence",
    "every {HOLD_INTERVAL} seconds at the latest",
    "The first {KNOWN_BYTES} bytes",
    "up to {PUNCH_PADDING_MAX} random bytes",
    "within {FIRST_MESSAGE} seconds",
    "after {GIVE_UP} seconds",
    "{OFFER_PATIENCE} seconds for the other end",
    "{RECENT_ATTEMPTS} attempts",
    "{PUNCH_CHOICE:ms} milliseconds",
)
"""What the prose of the page says, with the numbers in it."""


def prose(page: str) -> str:
    """The page without generated parts, blocks of code, and what other tests hold: names of protocols and of"
    " fields."""
    page = re.sub(r"<!-- generated: (.*?) -->.*?<!-- end: \1 -->", "", page, flags=re.DOTALL)
    page = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"RFC \d+|IPv[46]|ChaCha20-Poly1305|0x80|UDP/IP|`[^`]*`|\]\([^)]*\)", "", page)
