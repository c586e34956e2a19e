"""
``birthday-udp``: one side has a port by chance for each destination, the other the same one for all.

The hard side opens many sockets and sends from each to the other's one port, so that its router lets in the answers at
as many unknown ports. The easy side sends to ports by chance, none twice, until one of them is among those: with 256
sockets half of all runs have met after 180 probes. If the hard side's router takes its ports from a block that is
known, the block is tried first, and fewer sockets do.

The easy side sends only to addresses at which the introducer saw the other end: else it could be sent against anybody.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

from ... import limits
from ...wire.frames import Standing, TransportCode
from .contract import Action, Address, Close, Context, Finish, OpenUdp, Sample, Tell, family_of
from .encounter import Encounter
from .standing import DEPENDENT, INDEPENDENT, NOTHING, UNKNOWN
from .udp_signals import Aim, Ready, Roles, build_signal, parse_signal_untrusted

__all__ = ["NAME", "BirthdayUdp", "Part", "part_in"]

NAME = "birthday-udp"


class Part(enum.Enum):
    """What an end has to do."""

    HARD = "hard"
    """Its ports are unknown: many sockets."""
    EASY = "easy"
    """It has one port: many probes."""


def part_in(context: Context) -> tuple[int, Part] | None:
    """The family in which it may help, and what we have to do there; None: in neither."""
    for family in (4, 6):
        ours, theirs = (
            _mapping(terrain.standing(TransportCode.UTP, family)) for terrain in (context.ours, context.theirs)
        )
        if None in (ours, theirs) or NOTHING in (ours, theirs) or ours == theirs != UNKNOWN:
            continue  # nothing goes through; or both are hard, or both are easy
        if ours == theirs:
            return family, Part.EASY if context.leads else Part.HARD  # nothing is known: a guess, the same at both ends
        if ours == DEPENDENT or theirs == INDEPENDENT:
            return family, Part.HARD
        return family, Part.EASY
    return None


def _mapping(standing: Standing | None) -> int | None:
    return None if standing is None else standing.mapping


class BirthdayUdp:
    """See :class:`crust.nat.punch.contract.Plan`."""

    def __init__(self, context: Context, family: int, part: Part) -> None:
        self._context = context
        self._family = family
        self._part = part
        self._actions: list[Action] = []
        self._encounter = Encounter(context, NAME, self._actions)
        self._main = f"udp{family}"
        self._begun = False
        self._join_by = self._end = self._began = 0.0
        self._ready_at: float | None = None
        self._due: float | None = None
        self._aim: Address | None = None
        self._open: list[str] = []
        self._made = 0
        self._again_from = 0  # the next of the sockets that sends once more
        self._again_at = 0.0
        self._ports: list[int] = []  # the next one last
        self._host = ""
        self._probes = 0

    # --- what happens -------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        self._encounter.begin(now)
        self._end = now + min(self._context.timeout, limits.BIRTHDAY_SECONDS + limits.SEARCH_JOIN)
        self._join_by = now + limits.SEARCH_JOIN
        if not self._context.leads:
            self._ready_at = now
            self.handle_timer(now)

    def learned(self, context: Context, now: float) -> None:
        self._context = context

    def receive_signal(self, body: bytes, now: float) -> None:
        signal = parse_signal_untrusted(body)
        if self._encounter.won is not None:
            return
        if isinstance(signal, Ready) and self._context.leads and not self._begun:
            self._actions.append(Tell(build_signal(Roles(self._part is Part.EASY))))
            self._begin(now)
        elif isinstance(signal, Roles) and not self._context.leads and not self._begun:
            self._part = Part.HARD if signal.you_are_hard else Part.EASY
            self._ready_at = None
            self._begin(now)
        elif isinstance(signal, Aim) and self._part is Part.HARD and self._begun and self._aim is None:
            self._take_aim(signal.address, now)

    def _begin(self, now: float) -> None:
        self._begun = True
        self._began = now
        self._end = min(self._end, now + limits.BIRTHDAY_SECONDS)
        if self._part is Part.EASY:
            self._actions.append(Sample(self._main))  # the port that others know of may be an old one

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        if self._part is not Part.EASY or socket != self._main or self._ports or not self._begun:
            return
        address = address or self._told_address()
        hosts = [host for host in sorted(self._context.seen) if family_of((host, 0)) == self._family]
        if address is None or not hosts:
            self._actions.append(Finish("nobody told where this end is seen, or where the other one is"))
            return
        self._host = hosts[0]
        self._actions.append(Tell(build_signal(Aim(address))))
        self._ports = self._choose_ports()
        # The first probes would come before the other end has opened anything, and its router might hold them against
        # it.
        self._due = now + self._context.rtt / 2 + self._batches() * limits.BIRTHDAY_BATCH_GAP

    def _told_address(self) -> Address | None:
        for place in self._context.ours.places:
            if place.transport is TransportCode.UTP and family_of(place.address) == self._family:
                return place.address
        return None

    def _take_aim(self, address: Address, now: float) -> None:
        if address[0] not in self._context.seen:
            self._actions.append(Finish(f"the other end named {address[0]} as its own, where nobody saw it"))
            return
        self._aim = address
        self._due = now
        self.handle_timer(now)

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        self._encounter.receive(socket, source, data, now)
        if self._encounter.won is not None and self._open:
            self._close_all(self._encounter.won.socket)

    def connected(self, name: str, now: float) -> None:
        """It makes no connections."""

    def failed(self, name: str, number: int, now: float) -> None:
        """There is one chance less."""
        if name in self._open:
            self._open.remove(name)
            self._again_from = min(self._again_from, len(self._open))

    # --- the block ----------------------------------------------------------------------------------------------------

    def _block(self, standing: Standing | None) -> range | None:
        """Where a router's ports come from, if that is a small part of all; beyond what was seen on both sides."""
        if standing is None or not 0 < standing.low < standing.high:
            return None
        span = standing.high - standing.low
        if span > limits.BIRTHDAY_BLOCK // 2:
            return None
        first, last = limits.BIRTHDAY_PORTS
        return range(max(first, standing.low - span // 2), min(last, standing.high + span // 2 + 1))

    def _choose_ports(self) -> list[int]:
        """All that will be tried, the first one last."""
        everywhere = range(*limits.BIRTHDAY_PORTS)
        block = self._block(self._context.theirs.standing(TransportCode.UTP, self._family))
        chosen = [] if block is None else _shuffled(block, len(block), self._context.uniform)
        wanted = limits.BIRTHDAY_PROBES - len(chosen)
        if wanted > 0:
            tried = set(chosen)
            others = _shuffled(everywhere, wanted + len(chosen), self._context.uniform)
            chosen += [port for port in others if port not in tried][:wanted]
        return chosen[: limits.BIRTHDAY_PROBES][::-1]

    def _sockets(self, standing: Standing | None) -> int:
        return limits.BIRTHDAY_SOCKETS if self._block(standing) is None else limits.BIRTHDAY_BLOCK_SOCKETS

    def _batches(self) -> int:
        theirs = self._context.theirs.standing(TransportCode.UTP, self._family)
        return self._sockets(theirs) // limits.BIRTHDAY_BATCH

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        if self._encounter.won is not None:
            return self._encounter.get_timer()  # the end of the attempt no longer matters
        times = [self._end, self._encounter.get_timer()]
        times += [self._ready_at, self._due, None if self._begun else self._join_by]
        return min(each for each in times if each is not None)

    def handle_timer(self, now: float) -> None:
        self._encounter.handle_timer(now)
        if self._encounter.won is not None:
            return
        if now >= self._end:
            self._actions.append(Finish(f"no two ports met: {self._made} sockets, {self._probes} probes"))
        elif not self._begun and now >= self._join_by:
            self._actions.append(Finish("the other end did not begin the same"))
        elif self._ready_at is not None and now >= self._ready_at:
            self._ready_at = now + limits.SEARCH_JOIN_GAP
            self._actions.append(Tell(build_signal(Ready())))
        elif self._due is not None and now >= self._due:
            self._due = self._search(now) if not self._encounter.met else now + limits.PUNCH_NOMINATE_PATIENCE

    def _search(self, now: float) -> float | None:
        """Go on; when to go on again."""
        return self._knock(now) if self._part is Part.EASY else self._wait(now)

    def _knock(self, now: float) -> float | None:
        """(The easy side.) One more port."""
        if not self._ports:
            return None
        self._encounter.probe(self._main, (self._host, self._ports.pop()), now)
        self._probes += 1
        return now + 1 / limits.BIRTHDAY_RATE

    def _wait(self, now: float) -> float | None:
        """(The hard side.) More sockets; when all are there, each sends again now and then."""
        assert self._aim is not None
        wanted = self._sockets(self._context.ours.standing(TransportCode.UTP, self._family))
        if self._made < wanted:
            for number in range(self._made, min(self._made + limits.BIRTHDAY_BATCH, wanted)):
                name = f"birthday{number}"
                self._open.append(name)
                self._actions.append(OpenUdp(name, self._family))
                self._encounter.probe(name, self._aim, now)
            self._made = min(self._made + limits.BIRTHDAY_BATCH, wanted)
            self._again_at = now + limits.BIRTHDAY_AGAIN
            return now + limits.BIRTHDAY_BATCH_GAP if self._made < wanted else self._again_at
        batch = self._open[self._again_from : self._again_from + limits.BIRTHDAY_BATCH]
        for name in batch:
            self._encounter.probe(name, self._aim, now)
        self._again_from += len(batch)
        if self._again_from < len(self._open):
            return now + limits.BIRTHDAY_BATCH_GAP
        self._again_from = 0
        return now + limits.BIRTHDAY_AGAIN

    def _close_all(self, but: str) -> None:
        self._actions += [Close(name) for name in self._open if name != but]
        self._open = []

    def actions(self) -> Iterable[Action]:
        asked = tuple(self._actions)
        self._actions.clear()
        return asked


def _shuffled(ports: range, count: int, uniform: Callable[[], float]) -> list[int]:
    """So many of them, none twice, in any order: Fisher and Yates, of whose list only the changed places are kept."""
    moved: dict[int, int] = {}
    chosen = []
    size = len(ports)
    for at in range(min(count, size)):
        other = at + int(uniform() * (size - at))
        chosen.append(ports[moved.get(other, other)])
        moved[other] = moved.get(at, at)
    return chosen
