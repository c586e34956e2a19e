"""
``birthday-tcp``: where a router gives each connection a port that nobody can guess, many are opened, and one is hit.

The *hard* side is the one behind such a router. It begins connections from hundreds of fresh ports to the one port of
the other side, and leaves them under way: each has a port outside that lets in what comes from there. The *easy* side
connects from its one port to ports of the hard side's address, one after the other, until it hits one of them: then the
two SYNs have crossed. As with birthdays, that takes far fewer attempts than there are ports.

Routers that answer by a reset what they do not let in are not for this: what the hard side has under way would end.
"""

from __future__ import annotations

from collections.abc import Iterable

from ... import limits
from ...exceptions import MalformedMessage
from ...wire.frames import Standing, TransportCode
from .contract import Action, Address, Close, Connect, Context, Finish, Tell, Win, family_of
from .predict_tcp import easy_address
from .punch_tcp import NOT_ALLOWED, SHORTAGE
from .standing import is_random, keeps
from .tcp_signals import Hit, Opened, build_signal, parse_signal_untrusted

__all__ = ["NAME", "BirthdayTcp", "can_search"]

NAME = "birthday-tcp"

_NEVER = float("inf")
_PORTS = range(*limits.BIRTHDAY_PORTS)


def can_search(context: Context) -> tuple[int, bool] | None:
    """The family in which one side is hard and the other one easy, and whether we are the hard one."""
    for family in (4, 6):
        ours = context.ours.standing(TransportCode.TCP, family)
        theirs = context.theirs.standing(TransportCode.TCP, family)
        resets = any(each is not None and each.resets for each in (ours, theirs))
        if resets or not any(family_of((host, 1)) == family for host in context.seen):
            continue
        for one, other, hard in ((ours, theirs, True), (theirs, ours, False)):
            if is_random(one) and keeps(other):
                return family, hard
    return None


def block_of(standing: Standing | None) -> tuple[int, int] | None:
    """The ports among which a router chooses, the last one included, if those that were seen are close together."""
    if standing is None or not standing.low or standing.high - standing.low >= limits.BIRTHDAY_TCP_BLOCK_MAX:
        return None
    margin = (standing.high - standing.low) // 4 + 1  # what was seen are not the first and the last themselves
    return max(_PORTS[0], standing.low - margin), min(_PORTS[-1], standing.high + margin)


class BirthdayTcp:
    """
    See :class:`crust.nat.punch.contract.Plan`. The easy side goes on after a hit of which the other end does not know:
    it may be somebody else's port.

    Args:
        context: See there.
        family: See :func:`can_search`.
        hard: See there.
    """

    def __init__(self, context: Context, family: int, hard: bool) -> None:
        self._context = context
        self._family = family
        self._hard = hard
        side = context.ours if hard else context.theirs
        self._block = block_of(side.standing(TransportCode.TCP, family))
        self._host = next((each for each in sorted(context.seen) if family_of((each, 1)) == family), "")
        self._actions: list[Action] = []
        self._open: dict[str, tuple[Address, float]] = {}  # and when it is given up
        self._tried: set[int] = set()
        self._left = limits.BIRTHDAY_PROBES
        if hard:
            self._left = limits.BIRTHDAY_SOCKETS if self._block is None else limits.BIRTHDAY_BLOCK_SOCKETS
        self._told = False
        self._batch_at = self._end = _NEVER
        self._wins = self._dials = 0
        self._heard_hit = False

    # --- what happens -------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        self._end = now + min(
            limits.BIRTHDAY_SECONDS + limits.BIRTHDAY_TCP_DIAL, self._context.timeout - limits.PUNCH_TCP_GOODBYE
        )
        if self._hard:
            self._batch_at = now

    def learned(self, context: Context, now: float) -> None:
        self._context = context

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        """It sends none."""

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        """It takes no samples."""

    def receive_signal(self, body: bytes, now: float) -> None:
        signal = parse_signal_untrusted(body)
        if isinstance(signal, Opened):
            if not self._hard and self._batch_at == _NEVER and self._left == limits.BIRTHDAY_PROBES:
                self._batch_at = now
        elif isinstance(signal, Hit):
            self._heard_hit = True
            self._batch_at = _NEVER
            self._maybe_over()
        else:
            raise MalformedMessage(f"{type(signal).__name__} does not belong to {NAME}")

    def connected(self, name: str, now: float) -> None:
        found = self._open.pop(name, None)
        if found is None or self._wins >= limits.BIRTHDAY_TCP_WINS:
            return
        self._actions.append(Win(name, found[0]))
        self._wins += 1
        if self._hard or self._wins == 1:
            self._actions.append(Tell(build_signal(Hit())))
        self._maybe_over()

    def failed(self, name: str, number: int, now: float) -> None:
        if self._open.pop(name, None) is None:
            return
        if number in NOT_ALLOWED:
            self._left = 0
            if not self._open:
                self._actions.append(Finish("no more may be sent there"))
        elif number in SHORTAGE:
            if self._hard:
                self._left = 0  # with fewer it takes longer
            elif self._batch_at != _NEVER:
                self._batch_at = now + limits.BIRTHDAY_TCP_DIAL
        elif self._hard and self._told and not self._open:
            self._actions.append(Finish("the way there is closed"))

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        first = next(iter(self._open.values()), None)  # they are in the order of time
        return min(self._end, self._batch_at, first[1] if first is not None else _NEVER)

    def handle_timer(self, now: float) -> None:
        if now >= self._end:
            self._finish()
            return
        while self._open:
            name, (_, until) = next(iter(self._open.items()))
            if now < until:
                break
            del self._open[name]
            self._actions.append(Close(name))
        if now >= self._batch_at:
            self._send_batch(now)
        if not (self._hard or self._left or self._open):
            self._finish()

    def _send_batch(self, now: float) -> None:
        count = min(self._left, int(limits.BIRTHDAY_RATE * limits.BIRTHDAY_TCP_BATCH) * (8 if self._hard else 1))
        self._left -= count
        easy = easy_address(self._context, self._family)
        if easy is None and self._hard:
            self._actions.append(Finish("it is not known where the other end can be reached"))
            return
        for _ in range(count):
            name = f"birthday-{self._dials}"
            self._dials += 1
            if self._hard:
                assert easy is not None
                self._open[name] = easy, _NEVER
                self._actions.append(Connect(name, easy))
            else:
                address = (self._host, self._draw())
                self._open[name] = address, now + limits.BIRTHDAY_TCP_DIAL
                self._actions.append(Connect(name, address, f"tcp{self._family}"))
        self._batch_at = now + limits.BIRTHDAY_TCP_BATCH if self._left else _NEVER
        if self._hard and not self._left and not self._told:
            self._told = True
            self._actions.append(Tell(build_signal(Opened(len(self._open)))))

    def _draw(self) -> int:
        """A port that has not been tried."""
        uniform = self._context.uniform
        within = self._block is not None and uniform() < limits.BIRTHDAY_TCP_BLOCK_SHARE
        first, last = self._block if within and self._block is not None else (_PORTS[0], _PORTS[-1])
        for _ in range(64):
            port = first + int(uniform() * (last - first + 1))
            if port not in self._tried:
                break
        self._tried.add(port)
        return port

    def actions(self) -> Iterable[Action]:
        actions, self._actions = self._actions, []
        return actions

    # --- the end ------------------------------------------------------------------------------------------------------

    def _maybe_over(self) -> None:
        """Both have a connection: it is the same one."""
        if self._wins and self._heard_hit:
            self._finish()

    def _finish(self) -> None:
        self._actions.append(Finish("" if self._wins else f"none of {self._dials} connections came to stand"))
