"""What is done to nodes and their sites, and how each of it ends."""

from __future__ import annotations

import collections
import heapq
import itertools
import signal
from collections.abc import Callable, Iterable, Iterator

from tests.natlab.routers.sites import LanHost, Site
from tests.soak.member import Member
from tests.soak.mesh import Mesh
from tests.soak.places import DELAY
from tests.soak.schedule import KINDS, Blow

SLOWER = 2.0  # seconds of delay for each part of the packets that a poor line loses: 0.1 at 5 %


def victims(members: list[Member], without: Iterable[str] = ()) -> dict[str, list[int]]:
    """To whom each kind of thing may happen."""
    mortal = [each.number for each in members if not each.steady]
    called = [each for each in members if each.site is not None]  # whoever bootstraps must find the servers
    sites = [each.number for each in called]
    routers = [each.number for each in called if each.site and each.site.router]
    both = [each.number for each in called if len(_passing(each)) == 2]
    owners = [each.number for each in called if each.site and not each.site.carrier]
    # A router keeps what it has opened to an address until the lease is over: the table at the end would tell nothing.
    inner = [number for number in routers if not _opens(members[number])]
    found = {
        **dict.fromkeys(("kill", "stop"), mortal),
        **dict.fromkeys(("freeze", "clock", "descriptors", "memory"), [each.number for each in members]),
        **dict.fromkeys(("cable", "away", "poor"), sites),
        **dict.fromkeys(("no-tcp", "no-udp"), both),
        **dict.fromkeys(("reboot", "rebind"), routers),
        **dict.fromkeys(("ports", "goodbye"), sites),
        "outside": owners,
        "inside": inner,
        "disk": [each.number for each in members if not _opens(each)],  # they could not note which ports are open
    }
    assert found.keys() == KINDS.keys()
    return {kind: numbers for kind, numbers in found.items() if kind not in without}


def _passing(member: Member) -> set[str]:
    """The transports that the node has, and its site lets through."""
    assert member.site is not None
    kind = member.site.kind
    passing = {"tcp": kind.tcp.ports != "blocked", "utp": kind.udp.ports != "blocked"}
    ours = {address.partition(":")[0] for address in member.config["listen"]["addresses"]}
    return {name for name in ours if passing[name]}


def _opens(member: Member) -> bool:
    return member.site is not None and member.site.router is not None and member.site.router.gateway is not None


class Chaos:
    """
    A schedule that is carried out, by one thread.

    Args:
        blows: What happens, in order.
    """

    def __init__(self, mesh: Mesh, blows: Iterator[Blow]) -> None:
        self._mesh = mesh
        self._blows = blows
        self._next: Blow | None = next(blows, None)
        self._numbers = itertools.count()
        self._ends: list[tuple[float, int, Callable[[], bool]]] = []
        self._places = itertools.count(2)
        self.counts: collections.Counter[str] = collections.Counter()
        self.log: list[str] = []

    def step(self, now: float) -> None:
        """Do what is due, `now` seconds from the beginning."""
        while self._next is not None and self._next.at <= now:
            blow = self._next
            member = self._mesh.members[blow.target]
            self.counts[blow.kind] += 1
            self.log.append(f"{now:8.1f} {member.name} {blow.kind} until {blow.until:.1f} ({blow.amount:g})")
            end = _ACTS[blow.kind](self, member, blow)
            if end is not None:
                heapq.heappush(self._ends, (blow.until, next(self._numbers), end))
            self._next = next(self._blows, None)
        while self._ends and self._ends[0][0] <= now:
            until, number, end = heapq.heappop(self._ends)
            if not end():  # not yet: its process must have ended before the next one begins
                heapq.heappush(self._ends, (now + 0.1, number, end))
                return

    @property
    def over(self) -> bool:
        """Whether nothing more will happen, and all is as it was."""
        return self._next is None and not self._ends

    def stop(self) -> None:
        """Nothing more is to begin."""
        self._next, self._blows = None, iter(())

    # --- the acts: each returns what ends it, which says whether it has -----------------------------------------------

    def _again(self, member: Member) -> bool:
        if self._mesh.bury(member):
            self._mesh.begin(member, sending=True)
            return True
        return False

    def kill(self, member: Member, blow: Blow) -> Callable[[], bool]:
        member.send_signal(signal.SIGKILL)
        return lambda: self._again(member)

    def finish(self, member: Member, blow: Blow) -> Callable[[], bool]:
        member.expected = True
        member.tell("close")
        return lambda: self._again(member)

    def freeze(self, member: Member, blow: Blow) -> Callable[[], bool]:
        member.send_signal(signal.SIGSTOP)
        return _always(lambda: member.send_signal(signal.SIGCONT))

    def cable(self, member: Member, blow: Blow) -> Callable[[], bool]:
        site = _site(member)
        site.cut()
        return _always(site.restore)

    def outside(self, member: Member, blow: Blow) -> None:
        edge = _site(member).edge
        edge.renumber(self._other(edge.ipv4))

    def inside(self, member: Member, blow: Blow) -> None:
        assert isinstance(member.machine, LanHost)
        member.machine.renumber(self._other(member.machine.ipv4))

    def _other(self, address: str) -> str:
        """Another address of the same /24, which none has had for long."""
        network, _, last = address.rpartition(".")
        return f"{network}.{20 + (int(last) + next(self._places)) % 200}"

    def reboot(self, member: Member, blow: Blow) -> Callable[[], bool]:
        site = _site(member)
        site.cut()
        assert site.router is not None
        return _always(site.router.reboot)

    def rebind(self, member: Member, blow: Blow) -> None:
        router = _site(member).router
        assert router is not None
        router.rebind()

    def poor(self, member: Member, blow: Blow) -> Callable[[], bool]:
        link = _site(member).link
        link.set(loss=blow.amount, delay=DELAY + blow.amount * SLOWER, jitter=blow.amount * SLOWER / 2)
        return _always(lambda: link.set(loss=0.0, delay=DELAY, jitter=0.0))

    def blocked(self, member: Member, blow: Blow) -> Callable[[], bool]:
        link = _site(member).link
        link.drop(blow.kind.removeprefix("no-"))
        return _always(link.drop)

    def clock(self, member: Member, blow: Blow) -> Callable[[], bool]:
        member.tell("clock", blow.amount)
        return _always(lambda: member.tell("clock", 0.0))

    def disk(self, member: Member, blow: Blow) -> Callable[[], bool]:
        member.disk.fill()
        return _always(member.disk.free)

    def starve(self, member: Member, blow: Blow) -> Callable[[], bool]:
        member.starve(blow.kind)
        return _always(lambda: member.feed(blow.kind))

    def told(self, member: Member, blow: Blow) -> None:
        member.tell(blow.kind)


def _site(member: Member) -> Site:
    assert member.site is not None
    return member.site


def _always(end: Callable[[], object]) -> Callable[[], bool]:
    def ended() -> bool:
        end()
        return True

    return ended


_ACTS: dict[str, Callable[[Chaos, Member, Blow], Callable[[], bool] | None]] = {
    "kill": Chaos.kill,
    "stop": Chaos.finish,
    "freeze": Chaos.freeze,
    "cable": Chaos.cable,
    "away": Chaos.cable,
    "outside": Chaos.outside,
    "inside": Chaos.inside,
    "reboot": Chaos.reboot,
    "rebind": Chaos.rebind,
    "poor": Chaos.poor,
    "no-tcp": Chaos.blocked,
    "no-udp": Chaos.blocked,
    "clock": Chaos.clock,
    "disk": Chaos.disk,
    "descriptors": Chaos.starve,
    "memory": Chaos.starve,
    "ports": Chaos.told,
    "goodbye": Chaos.told,
}
