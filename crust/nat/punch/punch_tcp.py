"""
``punch-tcp``: both ends connect to each other from their listening ports at the same moment.

A router lets in what answers what it has let out: a SYN that comes after our own has left, from where that went. So it
is enough that the two SYNs cross. Where routers drop what comes too early, nothing more is needed: the later of the two
finds the way open, and the kernel repeats what is lost. Where they refuse it by a reset, the attempt fails at once, and
is made again and again, until two cross; after pauses that are random, for two ends that refuse each other by the same
beat would do so for ever.

To begin together, the leading end says so, and dials half a round trip later, as long as its word is under way. The
answer to it shows how long that was really.

Whoever takes strangers accepts the connection on its listening port: then the other end alone has one that stands.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable

from ... import limits
from ...addresses import Endpoint
from ...exceptions import MalformedMessage
from ...wire.frames import Place, TransportCode
from .contract import Action, Address, Close, Connect, Context, Finish, Note, Tell, Win, family_of
from .standing import DEPENDENT
from .tcp_signals import Dialled, Sync, build_signal, parse_signal_untrusted

__all__ = ["NAME", "NOT_ALLOWED", "NO_WAY", "SHORTAGE", "TAKEN", "PunchTcp", "is_tcp"]

NAME = "punch-tcp"

NOT_ALLOWED = frozenset({errno.EPERM, errno.EACCES})
"""No more SYNs may go there."""
TAKEN = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EALREADY})
"""There is a connection between these ports already: our listener may have accepted it."""
NO_WAY = frozenset({errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EINVAL})
SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_NEVER = float("inf")


def is_tcp(place: Place) -> bool:
    """Whether TCP goes there."""
    return place.transport is TransportCode.TCP


@dataclasses.dataclass(slots=True)
class _Target:
    """An address that is dialled."""

    name: str
    address: Address
    eager: bool
    """It is dialled anew as soon as it fails; else once a round."""
    brief: bool
    """The routers choose other ports for other destinations: it gets a short while, then a search needs the way."""
    due: float = _NEVER
    """When it is dialled next; while a connection is under way: when that is given up."""
    under_way: bool = False
    dials: int = 0
    refused: int = 0
    first: float = 0.0
    """When it was dialled first."""
    number: int = 0
    """Why it failed last."""
    wins: int = 0
    over: bool = False


class PunchTcp:
    """See :class:`crust.nat.punch.contract.Plan`. It goes on after a win, which may be somebody else's port."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._actions: list[Action] = []
        self._targets: dict[Address, _Target] = {}
        self._rtt = context.rtt
        self._round = 0
        self._told_at: float | None = None  # until there is an answer
        self._round_at = self._dial_at = _NEVER
        self._began = self._end = 0.0
        self._rest_until = 0.0  # a connection stands: whether it is the other end's will show until then
        self._brief_until = _NEVER

    # --- what happens -------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        self._began = now
        self._end = now + self._context.timeout - limits.PUNCH_TCP_GOODBYE
        self._aim(self._context.targets)
        if self._context.leads:
            self._begin_round(now)
        else:  # the word to dial comes; if not, at some time
            self._dial_at = now + limits.PUNCH_TCP_PATIENCE + 2 * self._rtt

    def learned(self, context: Context, now: float) -> None:
        self._context = context
        new = self._aim(context.targets)
        if self._brief_until != _NEVER:  # the two ends have begun to dial
            self._dial(new, now)

    def receive_signal(self, body: bytes, now: float) -> None:
        signal = parse_signal_untrusted(body)
        if isinstance(signal, Sync) and not self._context.leads:
            if self._round < signal.number <= limits.PUNCH_TCP_ROUNDS:
                self._round = signal.number
                self._actions.append(Tell(build_signal(Dialled(signal.number))))
                self._dial_all(now)
        elif isinstance(signal, Dialled) and self._context.leads:
            if signal.number == self._round and self._told_at is not None:
                self._rtt, self._told_at = min(now - self._told_at, limits.PUNCH_TCP_RTT_MAX), None
        else:
            raise MalformedMessage(f"{type(signal).__name__} does not belong to {NAME}")

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        """It sends none."""

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        """It takes no samples."""

    def connected(self, name: str, now: float) -> None:
        target = self._named(name)
        if target is None or not target.under_way:
            return
        target.under_way, target.due = False, _NEVER
        target.wins += 1
        target.over = target.wins >= limits.PUNCH_TCP_WINS
        self._actions.append(Win(name, target.address))
        self._rest_until = now + limits.PUNCH_TCP_REST

    def failed(self, name: str, number: int, now: float) -> None:
        target = self._named(name)
        if target is None or not target.under_way:
            return
        target.under_way, target.due, target.number = False, _NEVER, number
        if number in NOT_ALLOWED or number in NO_WAY:
            self._give_up(target, now)
        elif number in TAKEN or number in SHORTAGE:
            target.due = now + limits.PUNCH_TCP_HOLD
        elif target.eager:
            target.refused += 1
            low, high = limits.PUNCH_TCP_PAUSE
            target.due = now + low + (high - low) * self._context.uniform()
        else:
            target.refused += 1

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        times = [self._end, self._round_at, self._dial_at]
        rest = self._rest_until
        times += [each.due if each.under_way else max(each.due, rest) for each in self._targets.values()]
        return min(times)

    def handle_timer(self, now: float) -> None:
        if now >= self._end:
            self._finish(now)
            return
        if now >= self._dial_at:
            self._dial_all(now)
        for target in self._targets.values():
            if now < target.due:
                continue
            if target.under_way:  # a brief one, without an answer
                self._actions.append(Close(target.name))
                target.under_way, target.due = False, _NEVER
            self._dial([target], now)
        if now >= self._round_at:
            self._begin_round(now)

    def actions(self) -> Iterable[Action]:
        actions, self._actions = self._actions, []
        return actions

    # --- dialling -----------------------------------------------------------------------------------------------------

    def _begin_round(self, now: float) -> None:
        """Tell the other end to dial, and dial when it has heard that."""
        self._round += 1
        self._told_at = now
        self._actions.append(Tell(build_signal(Sync(self._round))))
        self._dial_at = now + self._rtt / 2
        last = self._round >= limits.PUNCH_TCP_ROUNDS
        self._round_at = _NEVER if last else now + self._rtt + limits.PUNCH_TCP_ROUND

    def _aim(self, places: Iterable[Place]) -> list[_Target]:
        """New addresses among these."""
        new = []
        for place in places:
            if not is_tcp(place) or place.address in self._targets or len(self._targets) >= 2 * limits.CANDIDATES_MAX:
                continue
            seen = place.address[0] in self._context.seen
            target = _Target(f"punch-{len(self._targets)}", place.address, seen, seen and self._is_brief(place.address))
            self._targets[place.address] = target
            new.append(target)
        return new

    def _is_brief(self, address: Address) -> bool:
        ours, theirs = self._context.ours, self._context.theirs
        both = (each.standing(TransportCode.TCP, family_of(address)) for each in (ours, theirs))
        return any(each is not None and each.mapping == DEPENDENT for each in both)

    def _dial_all(self, now: float) -> None:
        """Dial all to which nothing is under way."""
        self._dial_at = _NEVER
        if self._brief_until == _NEVER:
            self._brief_until = now + limits.PUNCH_TCP_BRIEF + 2 * self._rtt
        self._dial([each for each in self._targets.values() if not each.under_way], now)

    def _dial(self, targets: Iterable[_Target], now: float) -> None:
        for target in targets:
            target.due = _NEVER
            if target.over or target.under_way:
                continue
            if now < self._rest_until:
                target.due = self._rest_until
                continue
            if target.dials >= limits.PUNCH_TCP_SYNS or (target.brief and now >= self._brief_until):
                self._give_up(target, now)
                continue
            if not target.dials:
                target.first = now
            target.dials += 1
            target.under_way = True
            if target.brief:
                target.due = min(now + limits.PUNCH_TCP_BRIEF_DIAL, self._brief_until)
            self._actions.append(Connect(target.name, target.address, f"tcp{family_of(target.address)}"))

    def _named(self, name: str) -> _Target | None:
        return next((each for each in self._targets.values() if each.name == name), None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _give_up(self, target: _Target, now: float) -> None:
        target.over, target.due = True, _NEVER
        if not target.wins:
            self._note(target, now)

    def _note(self, target: _Target, now: float) -> None:
        times = f" ({target.dials} attempts)" if target.dials > 1 else ""
        if target.number in NOT_ALLOWED:
            verdict, error = "failed", "no more may be sent there: nobody else has seen the peer at that address"
        elif target.number in NO_WAY:
            verdict, error = "unreachable", "there is no way there"
        elif target.number in TAKEN:
            verdict, error = "failed", "another connection is in the way"
        elif target.number in SHORTAGE:
            verdict, error = "failed", "there are no descriptors left"
        elif target.refused and target.number == errno.ECONNREFUSED:
            verdict, error = "refused", "what comes there is answered with a reset"
        else:
            verdict, error = "timeout", "no SYN got through"
        endpoint = Endpoint("tcp", *target.address)
        self._actions.append(Note(str(endpoint), now - target.first if target.dials else 0.0, verdict, error + times))

    def _finish(self, now: float) -> None:
        for target in self._targets.values():
            if target.dials and not target.over and not target.wins:
                self._note(target, now)
        won = any(target.wins for target in self._targets.values())
        self._actions.append(Finish("" if won else "no connection came to stand"))
