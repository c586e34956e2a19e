"""
What a stream of messages suffers when the network around it changes: ``python -m tests.natlab.mobility [--event NAME]
[--path direct|relay|punched] [--runs N]``. The exit code says whether every run lost, doubled and reordered nothing,
and went on.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import pathlib
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from tests.natlab import needs
from tests.natlab.lab import Lab
from tests.natlab.matrix.places import node, rendezvous
from tests.natlab.matrix.run import idle, link
from tests.natlab.recorder import Recorder
from tests.natlab.routers.sites import LanHost, Site
from tests.natlab.server import Server
from tests.natlab.stream import Damage, Stream
from tests.natlab.watched import WatchedNode

DELAY = 0.01  # seconds on each site's line, one way
CALL = 20.0  # seconds until the path is there
OFF = 2.0  # seconds that a router takes to come up again
PULLED = 5.0  # seconds without a cable
AFTERWARDS = 0.5  # seconds more: what comes again may come twice


@dataclasses.dataclass(frozen=True)
class Way:
    """How the two nodes of a scene are joined."""

    home: str
    """The kind of the site that things happen to; its node calls, and sends."""

    other: str
    classes: tuple[str, ...]
    """What the path must be before anything happens."""

    addresses: bool = False
    """Whether the caller knows the addresses of the other, not its id alone."""


WAYS = {
    "direct": Way("port", "none", ("direct-tcp",), addresses=True),
    "relay": Way("sym", "sym", ("relay",)),
    "punched": Way("port", "port", ("punched-tcp", "punched-utp")),
}


@dataclasses.dataclass
class Scene:
    """Two nodes that talk, and what is around them."""

    home: Site
    other: Site
    sender: WatchedNode
    receiver: WatchedNode
    servers: list[Server]
    middles: list[WatchedNode]
    """The rendezvous, one on each server; both nodes are linked to all."""

    def router(self) -> None:
        """Take the router off the line, and bring it up without memory and with other ports."""
        self.home.cut()
        _pass(OFF)
        assert self.home.router is not None
        self.home.router.rebind()
        self.home.restore()

    def ports(self) -> None:
        """Change the outer ports of all flows."""
        assert self.home.router is not None
        self.home.router.rebind()

    def inside(self) -> None:
        """Change the host's private address."""
        assert isinstance(self.home.host, LanHost)
        self.home.host.renumber()

    def outside(self) -> None:
        """Change the router's outer address."""
        self.home.renumber()

    def cable(self) -> None:
        """Cut the line for a while."""
        self.home.cut()
        _pass(PULLED)
        self.home.restore()

    def introducer(self) -> None:
        """Kill a rendezvous that the stream does not go through, if there is one."""
        self._kill(1 - self._busiest())

    def relaying(self) -> None:
        """Kill the rendezvous that the stream goes through, if it does through one."""
        self._kill(self._busiest())

    def tcp(self) -> None:
        """Drop TCP on the line, for good."""
        self.home.link.drop("tcp")

    def udp(self) -> None:
        """Drop UDP on the line, for good."""
        self.home.link.drop("udp")

    def _kill(self, number: int) -> None:
        self.middles[number].process.kill()
        self.middles[number].process.wait()

    def _busiest(self) -> int:
        before = [each.link.up.counts().bytes for each in self.servers]
        _pass(0.5)
        passed = [each.link.up.counts().bytes - old for each, old in zip(self.servers, before, strict=True)]
        return passed.index(max(passed))


EVENTS: dict[str, Callable[[Scene], None]] = {
    "reboot": Scene.router,
    "rebinding": Scene.ports,
    "private-address": Scene.inside,
    "public-address": Scene.outside,
    "cable": Scene.cable,
    "rendezvous-killed": Scene.introducer,
    "relay-killed": Scene.relaying,
    "tcp-blocked": Scene.tcp,
    "udp-blocked": Scene.udp,
}
"""What may happen: all of it to the site of the sender, and to the servers."""


def _pass(seconds: float) -> None:
    threading.Event().wait(seconds)


@contextlib.contextmanager
def scene(way: Way, home: pathlib.Path) -> Iterator[Scene]:
    """Make it, up to a path of the class that is wanted. AssertionError if there is none."""
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        servers = [lab.server(name) for name in ("srv", "srv_2")]
        sites = [lab.site("home", way.home, delay=DELAY), lab.site("office", way.other, delay=DELAY)]
        middles = [stack.enter_context(rendezvous(each, home)) for each in servers]
        sender, receiver = (stack.enter_context(node(each.host, home)) for each in sites)
        recorders = [stack.enter_context(Recorder(each.host)) for each in sites]
        for middle in middles:
            link((sender, receiver), middle)
        if not way.addresses:  # else nothing depends on what they learn of their network
            idle(recorders)
        reply = sender.ask("connect", peer=receiver.contact if way.addresses else receiver.peer, timeout=CALL)
        assert reply["ok"], reply
        if reply["path"]["class"] not in way.classes:
            sender.first(lambda line: line.get("event") == "path_changed" and line["new"]["class"] in way.classes)
        yield Scene(*sites, sender, receiver, servers, middles)


def suffered(way: Way, event: Callable[[Scene], None], home: pathlib.Path) -> Damage:
    """Have something happen to a stream; what became of it."""
    with scene(way, home) as made, Stream(made.sender, made.receiver) as stream:
        assert stream.flows(time.monotonic() + 0.5), "no messages arrive"
        began = time.monotonic()
        event(made)
        restored = time.monotonic()
        if stream.flows(restored):
            _pass(AFTERWARDS)
        return stream.end(began, restored)


def row(event: str, way: str, found: list[Damage]) -> str:
    """A line of the table."""
    sums = [sum(getattr(each, name) for each in found) for name in ("refused", "lost", "doubled", "reordered")]
    gap = max(each.gap for each in found)
    back = [each.back for each in found if each.back is not None]
    times = f"{statistics.median(back):.2f} | {max(back):.2f}" if len(back) == len(found) else "never | never"
    return f"| {event} | {way} | {len(found)} | " + " | ".join(map(str, sums)) + f" | {gap:.2f} | {times} |\n"


HEAD = """\
| event | path | runs | refused | lost | doubled | reordered | longest gap, s | back after, s | at most, s |
|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m tests.natlab.mobility", description=__doc__, allow_abbrev=False)
    made.add_argument("--event", choices=EVENTS, action="append", help="only this; may be repeated")
    made.add_argument("--path", choices=WAYS, action="append", help="only this; may be repeated")
    made.add_argument("--runs", type=int, default=3, metavar="N", help="of each; 3")
    options = made.parse_args()
    if reason := needs.missing():
        made.exit(2, f"{reason}; {needs.ADVICE}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the laboratory is taken down
    wrong = False
    sys.stdout.write(HEAD)
    for way in options.path or WAYS:
        for event in options.event or EVENTS:
            found, said = [], io.StringIO()
            try:
                for _ in range(options.runs):
                    with contextlib.redirect_stdout(said), tempfile.TemporaryDirectory() as home:
                        found.append(suffered(WAYS[way], EVENTS[event], pathlib.Path(home)))
                line = row(event, way, found)
            except AssertionError as error:
                line = f"| {event} | {way} | {len(found)} | {' '.join(str(error).split())[:300]} |\n"
                wrong = True
            wrong = wrong or not all(each.none for each in found)
            sys.stdout.write(line)
            sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
