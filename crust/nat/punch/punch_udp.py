"""
``punch-udp``: both ends send to all addresses of the other one, again and again, until something gets through.

A router lets in what answers what it has let out. So each end's probes open its own router for the other's, and nobody
need know which router does what: whatever comes is answered where it came from (:mod:`crust.nat.punch.encounter`).

One trap is left. Some routers remember a probe that came too early, against the socket that it was for, and give that
socket another port when it sends there itself. So after a while both ends use fresh sockets as well, tell each other
where these are seen, and let the first probes from them die on the way, past their own routers and before the other's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ... import limits
from ...wire.frames import Place, TransportCode
from .contract import Action, Address, Context, Finish, OpenUdp, Sample, Tell, family_of
from .encounter import Encounter
from .udp_signals import Fresh, build_signal, parse_signal_untrusted

__all__ = ["NAME", "PunchUdp"]

NAME = "punch-udp"


@dataclasses.dataclass(slots=True)
class _Target:
    """A socket of ours and an address to try from it."""

    socket: str
    address: Address
    since: float
    full_from: float
    """When its probes stop dying on the way."""
    times: tuple[float, ...] | None
    """Seconds when it is tried, for one that nobody saw there; None: the usual schedule."""
    due: float
    sent: int = 0


class PunchUdp:
    """See :class:`crust.nat.punch.contract.Plan`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._actions: list[Action] = []
        self._encounter = Encounter(context, NAME, self._actions)
        self._targets: dict[tuple[str, Address], _Target] = {}
        self._unseen: dict[str, int] = {}  # probes to hosts that nobody saw
        self._began = self._end = 0.0
        self._tokens, self._tokens_at = float(limits.PUNCH_RATE_BURST), 0.0
        self._trap_at: float | None = None
        self._traps: dict[str, bool] = {}  # fresh sockets, and whether it is known where they are seen
        self._their_fresh: dict[int, Address] = {}  # by family

    # --- what happens -------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        self._began = self._tokens_at = now
        self._end = now + self._context.timeout
        self._trap_at = now + limits.PUNCH_TRAP_AFTER
        self._encounter.begin(now)
        self._aim(self._context.targets, now)
        self.handle_timer(now)

    def learned(self, context: Context, now: float) -> None:
        self._context = context
        if self._encounter.won is None:
            self._aim(context.targets, now)

    def _aim(self, places: Iterable[Place], now: float) -> None:
        for place in places:
            if place.transport is TransportCode.UTP:
                self._add(f"udp{family_of(place.address)}", place.address, now, now)

    def _add(self, socket: str, address: Address, now: float, full_from: float) -> None:
        if (socket, address) in self._targets or len(self._targets) >= 4 * limits.CANDIDATES_MAX:
            return
        times = None if address[0] in self._context.seen else limits.PUNCH_UNSEEN_TIMES
        self._targets[socket, address] = _Target(socket, address, now, full_from, times, now)

    def receive_signal(self, body: bytes, now: float) -> None:
        signal = parse_signal_untrusted(body)
        if isinstance(signal, Fresh):
            self._their_fresh.setdefault(family_of(signal.address), signal.address)
            self._aim_fresh(now)

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        self._encounter.receive(socket, source, data, now)

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        if socket in self._traps and address is not None:
            self._traps[socket] = True
            self._actions.append(Tell(build_signal(Fresh(address))))
            self._aim_fresh(now)

    def connected(self, name: str, now: float) -> None:
        """It makes no connections."""

    def failed(self, name: str, number: int, now: float) -> None:
        self._traps.pop(name, None)

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        if self._encounter.won is not None:
            return self._encounter.get_timer()  # the end of the attempt no longer matters
        times = [self._end]
        if self._targets:
            due = min((target.due for target in self._targets.values()), default=float("inf"))
            if due != float("inf"):
                times.append(max(due, self._tokens_at + (1 - self._tokens) / limits.PUNCH_RATE))
        times += [self._trap_at] if self._trap_at is not None else []
        timer = self._encounter.get_timer()
        return min([*times, timer] if timer is not None else times)

    def handle_timer(self, now: float) -> None:
        self._encounter.handle_timer(now)
        if self._encounter.won is not None:
            return
        if now >= self._end:
            self._actions.append(Finish("nothing came through"))
            return
        if self._trap_at is not None and now >= self._trap_at:
            self._trap_at = None
            self._open_fresh()
        self._send(now)

    def _send(self, now: float) -> None:
        """What is due, as far as the rate allows; those that were tried least often first, then the best."""
        self._tokens = min(
            float(limits.PUNCH_RATE_BURST), self._tokens + (now - self._tokens_at) * limits.PUNCH_RATE
        )
        self._tokens_at = now
        due = sorted((each for each in self._targets.values() if each.due <= now), key=lambda target: target.sent)
        for target in due:
            if self._tokens < 0.999:  # times are rounded
                return
            if self._may_send(target):
                self._tokens -= 1
                ttl = limits.PUNCH_TRAP_TTL if now < target.full_from else None
                self._encounter.probe(target.socket, target.address, now, ttl)
            target.sent += 1
            target.due = self._next(target, now)

    def _may_send(self, target: _Target) -> bool:
        if target.times is None:
            return True
        host = target.address[0]
        self._unseen[host] = self._unseen.get(host, 0) + 1
        return self._unseen[host] <= len(limits.PUNCH_UNSEEN_TIMES)

    def _next(self, target: _Target, now: float) -> float:
        if target.times is not None:
            return target.since + target.times[target.sent] if target.sent < len(target.times) else float("inf")
        elapsed = now - target.since
        if target.sent < limits.PUNCH_FIRST:
            gap = limits.PUNCH_FIRST_GAP
        elif elapsed < limits.PUNCH_DENSE:
            gap = limits.PUNCH_DENSE_GAP
        elif elapsed < limits.PUNCH_SPARSE:
            gap = limits.PUNCH_SPARSE_GAP
        else:
            return float("inf")
        return now + gap * (1 + limits.PUNCH_JITTER * (2 * self._context.uniform() - 1))

    # --- fresh sockets ------------------------------------------------------------------------------------------------

    def _open_fresh(self) -> None:
        """For each family whose routers may have been too quick to remember."""
        if self._encounter.met:
            return
        targets = [target.address for target in self._targets.values()]
        for family in (4, 6):
            standings = [
                terrain.standing(TransportCode.UTP, family) for terrain in (self._context.ours, self._context.theirs)
            ]
            useless = any(each is not None and each.mapping > 1 for each in standings)  # no port stays the same there
            if useless or not any(a[0] in self._context.seen and family_of(a) == family for a in targets):
                continue
            name = f"fresh{family}"
            self._traps[name] = False
            self._actions += [OpenUdp(name, family), Sample(name)]

    def _aim_fresh(self, now: float) -> None:
        """Both ends have a fresh socket: try these."""
        for name, is_known in self._traps.items():
            theirs = self._their_fresh.get(int(name[-1]))
            if is_known and theirs is not None and theirs[0] in self._context.seen:
                self._add(name, theirs, now, now + limits.PUNCH_TRAP_SECONDS)

    def actions(self) -> Iterable[Action]:
        asked = tuple(self._actions)
        self._actions.clear()
        return asked
