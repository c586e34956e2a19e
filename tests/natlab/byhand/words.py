"""What is said on the command line of ``tools/natlab``, as calls of a `Lab`: ``home:port,upnp,delay=40``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tests.natlab.lab import Lab
from tests.natlab.routers.kinds import KINDS
from tests.natlab.routers.router import Router
from tests.natlab.routers.sites import Carrier, Site
from tests.natlab.server import Server

SERVER, CARRIER = "server", "carrier"
MADE = {
    SERVER: "a host with two addresses of each family, and coturn",
    CARRIER: "a provider with one address for all its subscribers",
}

Part = Site | Server | Carrier


def _flag(value: str) -> bool:
    if value:
        raise ValueError("takes no value")
    return True


def _list(value: str) -> Any:
    return value.split("+") if value else True


def _milli(value: str) -> float:
    return float(value) / 1000


_LINK: dict[str, tuple[Callable[[str], Any], str]] = {
    "delay": (_milli, "milliseconds on the way, in one direction"),
    "jitter": (_milli, "up to so many milliseconds more"),
    "loss": (lambda value: float(value) / 100, "percent of the packets that get lost, in one direction"),
    "rate": (lambda value: float(value) * 1e6, "Mbit/s"),
    "queue": (int, "bytes before the bottleneck; without it what leaves in 100 ms"),
    "mtu": (int, "bytes of the biggest packet"),
    "silent": (lambda value: not _flag(value), "what is too big vanishes without a word"),
    "drops": (lambda value: tuple(value.split("+")), "protocols that the link drops: tcp, udp, tcp+udp"),
}
_SITE: dict[str, tuple[Callable[[str], Any], str]] = {
    "hosts": (int, "how many machines; they are NAME, NAME_2 and so on"),
    "hairpin": (_flag, "what is sent to the outer address from inside is led back"),
    "upnp": (_list, "miniupnpd on the router; some of it: upnp=igd, upnp=natpmp+pcp"),
    "rst": (_flag, "TCP that comes unasked is answered by RST"),
    "ipv6": (str, "firewall or open: global addresses, with a firewall or without"),
    "mapping_timeout": (int, "seconds that a UDP mapping lasts unused"),
    "step": (int, "between the ports of symseq"),
    "lan": (str, "the network inside, as 192.168.1.0/24"),
    "behind": (str, "the carrier, which must come before it"),
}
_CARRIER: dict[str, tuple[Callable[[str], Any], str]] = {
    "kind": (str, "what its NAT does: full, addr or port (the default)"),
    "hairpin": (_flag, "subscribers reach each other at the public address"),
    "open": (lambda value: not _flag(value), "subscribers reach each other at their inner addresses"),
}
_SERVER: dict[str, tuple[Callable[[str], Any], str]] = {
    "port": (int, "of coturn: 3478 unless said"),
    "alternate": (int, "its other port: the next unless said"),
}
OPTIONS = {"of a site": _SITE, "of a carrier": _CARRIER, "of a server": _SERVER, "of any line": _LINK}
_RENAMED = {"silent": "tells", "open": "isolates"}


@dataclasses.dataclass(frozen=True)
class Word:
    """One thing to make."""

    name: str
    kind: str
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Word:
        """ValueError with what is wrong with it."""
        first, *rest = text.split(",")
        name, _, kind = first.partition(":")
        kind = kind or SERVER
        if not name.isidentifier():
            raise ValueError(f"{text}: {name!r} is no name: letters, digits and _")
        if kind not in KINDS and kind not in MADE:
            raise ValueError(f"{text}: there is no kind {kind!r}, but {', '.join([*KINDS, *MADE])}")
        known = {SERVER: _SERVER, CARRIER: _CARRIER}.get(kind, _SITE) | _LINK
        return cls(name, kind, _options(text, rest, known, kind))


def _options(text: str, words: list[str], known: Mapping[str, tuple[Callable[[str], Any], str]], whose: str) -> Any:
    options = {}
    for each in words:
        key, _, value = each.partition("=")
        if key not in known:
            raise ValueError(f"{text}: {whose} has no option {key!r}, but {', '.join(known)}")
        try:
            options[_RENAMED.get(key, key)] = known[key][0](value)
        except ValueError as error:
            raise ValueError(f"{text}: {key}: {error}") from error
    return options


def make(lab: Lab, words: list[Word]) -> dict[str, Part]:
    """Make all of them, in this order."""
    made: dict[str, Part] = {}
    for word in words:
        options = dict(word.options)
        if word.kind == SERVER:
            coturn = {each: options.pop(each) for each in _SERVER if each in options}
            server = made[word.name] = lab.server(word.name, **options)
            server.coturn(**coturn)
        elif word.kind == CARRIER:
            made[word.name] = lab.carrier(word.name, **options)
        else:
            if behind := options.pop("behind", None):
                carrier = made.get(behind)
                if not isinstance(carrier, Carrier):
                    raise ValueError(f"{word.name}: there is no carrier {behind} before it")
                options["behind"] = carrier
            made[word.name] = lab.site(word.name, word.kind, **options)
    return made


EVENTS = {
    "cut": "nothing passes the line to the provider",
    "restore": "it does again",
    "reboot": "the router forgets all mappings",
    "rebind": "the same, and what goes on gets other ports",
    "renumber": "the provider gives another address of IPv4",
}


def change(part: Part, text: str) -> None:
    """Let one of `EVENTS` happen to it, or set its line: ``delay=100,loss=5``. ValueError if that cannot be."""
    edge = part.edge if isinstance(part, Site) else part.router if isinstance(part, Carrier) else part
    if text == "cut":
        edge.link.cut()
    elif text == "restore":
        edge.link.restore()
    elif text == "renumber" and not isinstance(part, Server):
        edge.renumber()
    elif text == "reboot" and isinstance(edge, Router):
        edge.reboot()
    elif text == "rebind" and isinstance(edge, Router):
        edge.rebind()
    elif text in EVENTS:
        raise ValueError(f"there is nothing to {text}")
    else:
        edge.link.set(**_options(text, text.split(","), _LINK, "a line"))


def help_text() -> str:
    """The kinds and options, as lists."""
    lines = ["kinds:"]
    lines += [f"  {name:<10}{kind.says}" for name, kind in KINDS.items()]
    lines += [f"  {name:<10}{says}" for name, says in MADE.items()]
    for title, options in OPTIONS.items():
        lines += ["", f"options {title}:", *(f"  {name:<17}{says}" for name, (_, says) in options.items())]
    lines += ["", "what may happen to a site (`do`), beside other options of its line:"]
    lines += [f"  {name:<17}{says}" for name, says in EVENTS.items()]
    return "\n".join(lines)
