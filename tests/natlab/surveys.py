"""
``punch-test report`` at every kind of site, beside what that kind is known to be.

``make surveys`` (``python -m tests.natlab.surveys [--runs N] [--delay MS] [--loss PERCENT]``) counts how often it is.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

from crust import limits
from tests.natlab import needs
from tests.natlab.lab import Lab
from tests.natlab.nodes import Node
from tests.natlab.routers.kinds import KINDS, Behaviour, Kind
from tests.natlab.routers.sites import Site
from tests.natlab.server import Server

AT_ONCE = 4  # reports: more would wait for the processor, not for the network
PATIENCE = 60.0

SITE_KINDS = {
    "none": "open",
    "full": "full_cone",
    "addr": "address_restricted",
    "port": "port_restricted",
    "sym": "symmetric",
    "symseq": "sequential",
    "cgnat": "carrier",
    "udpblock": "udp_blocked",
    "strict": "web_only",
    "rst": "resetting",
    "tcpblock": "tcp_blocked",
}
"""What the report calls them."""

WORDS = {
    "none": "independent",
    "independent": "independent",
    "address": "address",
    "port": "address_and_port",
    "dependent": "address_and_port",
}
"""The words of the table of kinds, and those of the report."""


class Sites:
    """
    Sites of all kinds, a server with coturn, and for each kind a node that calls back.

    Args:
        home: A folder for the nodes.
        settings: Of every site's line.
    """

    def __init__(self, home: pathlib.Path, kinds: Mapping[str, Kind] = KINDS, **settings: Any) -> None:
        self._home, self._settings = home, settings
        self.kinds = tuple(kinds)

    def __enter__(self) -> Sites:
        with contextlib.ExitStack() as stack:
            lab = stack.enter_context(Lab())
            server, helping = lab.server("srv"), lab.server("helping")
            self.stun = server.coturn()
            self.sites: dict[str, Site] = {
                kind: lab.site(f"{kind}_site", kind, **self._settings) for kind in self.kinds
            }
            self._contacts = dict(stack.enter_context(_helpers(helping, self._home, self.kinds)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def report(self, kind: str, *more: str, greenlets: bool = False) -> dict[str, Any]:
        """What the command says there, as JSON."""
        contact = self._contacts.get(kind)
        words = () if contact is None else ("--contact", contact)
        host = self.sites[kind].host
        python = ("python", "-m", "gevent.monkey") if greenlets else ("python",)
        program = host.start(*python, "tools/punch-test", "report", "--json", "--stun", self.stun, *words, *more)
        found: dict[str, Any] = json.loads(program.wait_for(r'^\{"schema.*\}$', PATIENCE)[0])
        program.process.wait(PATIENCE)
        return found

    def reports(self) -> dict[str, dict[str, Any]]:
        """Of all kinds, some at once."""
        with futures.ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(self.kinds, pool.map(self.report, self.kinds), strict=True))


@contextlib.contextmanager
def _helpers(host: Server, home: pathlib.Path, kinds: tuple[str, ...]) -> Iterator[list[tuple[str, str]]]:
    """A node for each: one alone would find all of them too many."""
    listen = ("tcp://{host.ipv4}:0", "utp://{host.ipv4}:0")
    with contextlib.ExitStack() as stack, futures.ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [kind for kind in kinds if kind != "strict"]  # which reaches no port of theirs
        nodes = [stack.push(Node(host, home, listen=listen)) for _ in asked]
        list(pool.map(Node.__enter__, nodes))
        yield [(kind, node.contact) for kind, node in zip(asked, nodes, strict=True)]


def faults(kind: str, found: dict[str, Any]) -> list[str]:
    """What a report says that is not so, or leaves out."""
    known = KINDS[kind]
    protocols = {each["protocol"]: each for each in found["survey"]["protocols"] if each["family"] == 4}
    wrong = [*_differences(known.udp, protocols["udp"]), *_differences(known.tcp, protocols["tcp"], known)]
    if found["assessment"]["kind"] != SITE_KINDS[kind]:
        wrong.append(f"it is called {found['assessment']['kind']}, not {SITE_KINDS[kind]}")
    if found["survey"]["seconds"] > 3 * limits.PROBE_SECONDS:
        wrong.append(f"it took {found['survey']['seconds']:.1f} s")
    return wrong


def _differences(known: Behaviour, told: dict[str, Any], tcp: Kind | None = None) -> Iterator[str]:
    expected: dict[str, Any] = {"reachable": known.mapping != "blocked"}
    if tcp is not None and tcp.tcp_only:
        expected = {"reachable": True, "open_ports": sorted(tcp.tcp_only, reverse=True)}
    elif known.mapping != "blocked":
        expected["translated"] = known.mapping != "none"
        expected["mapping"] = WORDS[known.mapping]
        expected["filtering"] = WORDS[known.filtering]
        expected["ports"] = known.ports
        expected["step"] = 1 if known.ports == "sequential" else None
        expected["unsolicited"] = None if tcp is None else tcp.stranger
        expected["hairpin"] = None if known.mapping == "none" else False
        expected["mtu"] = 1500 if tcp is None else None
    for name, value in expected.items():
        if told[name] != value:
            yield f"{told['protocol']} {name}: {told[name]!r}, not {value!r}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.natlab.surveys", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="of each kind; 20")
    parser.add_argument("--delay", type=float, default=0, metavar="MS", help="milliseconds each way")
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT", help="of the packets, each way")
    options = parser.parse_args()
    if reason := needs.missing() or needs.absent("turnserver"):
        parser.exit(1, f"{reason}; {needs.ADVICE}\n")
    wrong: dict[str, list[str]] = collections.defaultdict(list)
    seconds: list[float] = []
    settings = {"delay": options.delay / 1000, "loss": options.loss / 100}
    with (
        contextlib.redirect_stdout(io.StringIO()),  # what the programs wrote, which is for tests that fail
        tempfile.TemporaryDirectory() as home,
        Sites(pathlib.Path(home), **settings) as sites,
    ):
        for run in range(options.runs):
            for kind, found in sites.reports().items():
                seconds.append(found["survey"]["seconds"])
                wrong[kind].extend(f"run {run + 1}: {each}" for each in (faults(kind, found) or [""])[:1] if each)
    sys.stdout.write(f"{'site':<10} right of {options.runs}\n")
    for kind in KINDS:
        sys.stdout.write(f"{kind:<10} {options.runs - len(wrong[kind])}\n")
        sys.stdout.writelines(f"    {each}\n" for each in wrong[kind])
    sys.stdout.write(f"slowest survey: {max(seconds):.1f} s\n")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
