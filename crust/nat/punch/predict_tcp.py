"""
``predict-tcp``: where a router gives each connection the next port, the next port is guessed.

The side behind such a router has a server tell which port it has got just now, says so to the other end, and dials:
that takes the next one, unless somebody else behind the router was quicker. It dials from a fresh port, for the router
may remember what it gave to an earlier attempt. The other end dials that one, and some after it, from its listening
port. So a round lasts little longer than a question to the server, and if it was in vain there is another.

If both routers count, both ports are asked for at the same moment, and both ends dial at the same moment: the n-th
connection from here goes to the port that the n-th one from there should get. Each port that others take in between
moves the row of one end, so one end leaves some out now and then: whatever the two have been moved by together, there
is a place in the rows where it fits.

A router that answers by a reset what comes too early ends the attempt of the side that came. So towards such a one, who
has been told where to dial says when it has; and if both do so, later rounds try other moments.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from ... import limits
from ...exceptions import MalformedMessage
from ...wire.frames import PlaceKind, TransportCode
from .contract import Action, Address, Close, Connect, Context, Finish, Sample, Tell, Win, family_of
from .punch_tcp import NOT_ALLOWED, is_tcp
from .standing import counts, keeps
from .tcp_signals import Dialled, Guess, Hit, Round, build_signal, parse_signal_untrusted

__all__ = ["NAME", "PredictTcp", "can_predict", "easy_address"]

NAME = "predict-tcp"

_NEVER = float("inf")
_PORTS = range(1, 65_536)


def easy_address(context: Context, family: int) -> Address | None:
    """Where the other end's listening port is seen, if the introducer sees the other end there."""
    for place in context.targets:
        if is_tcp(place) and family_of(place.address) == family and place.address[0] in context.seen:
            return place.address
    return None


def can_predict(context: Context) -> int | None:
    """The family for which at least one router counts and the other one can be told where to go."""
    for family in (4, 6):
        ours = context.ours.standing(TransportCode.TCP, family)
        theirs = context.theirs.standing(TransportCode.TCP, family)
        if not any(family_of((host, 1)) == family for host in context.seen):
            continue
        if (counts(ours) or counts(theirs)) and all(counts(each) or keeps(each) for each in (ours, theirs)):
            return family
    return None


class PredictTcp:
    """
    See :class:`crust.nat.punch.contract.Plan`. It goes on after a connection of which the other end does not know: it
    may be somebody else's port.

    Args:
        context: See there.
        family: For which :func:`can_predict`.
    """

    def __init__(self, context: Context, family: int) -> None:
        self._context = context
        self._family = family
        self._source = f"tcp{family}"
        self._actions: list[Action] = []
        ours = context.ours.standing(TransportCode.TCP, family)
        theirs = context.theirs.standing(TransportCode.TCP, family)
        self._step = ours.step if ours is not None and counts(ours) else 0
        self._both = bool(self._step) and counts(theirs)
        self._we_reset = ours is not None and ours.resets
        self._they_reset = theirs is not None and theirs.resets
        self._drives = bool(self._step) and (context.leads or not self._both)
        self._round = 0
        self._end = self._round_at = self._look_at = self._dial_at = _NEVER
        self._mine: Guess | None = None  # of this round
        self._theirs: Guess | None = None
        self._dialled = False  # in this round
        self._asked = False  # in this round, for our port
        self._asked_at = 0.0
        self._answer_time = limits.PREDICT_TCP_ANSWER  # seconds until it is asked for anew
        self._told_at = 0.0  # when the other end was told where to dial
        self._way = context.rtt  # seconds for our word, and for the answer to it
        self._open: dict[str, Address] = {}  # connections under way
        self._dials = self._wins = 0
        self._heard_hit = False

    # --- what happens -------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        self._end = now + min(limits.PREDICT_TCP_SECONDS, self._context.timeout - limits.PUNCH_TCP_GOODBYE)
        if self._drives:
            self._begin_round(now)
        else:
            self._wait_for_round(now)

    def learned(self, context: Context, now: float) -> None:
        self._context = context

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        """It sends none."""

    def receive_signal(self, body: bytes, now: float) -> None:
        signal = parse_signal_untrusted(body)
        if isinstance(signal, Round):
            if signal.number > self._round or (self._drives and not self._context.leads):
                self._follow(signal.number, now)
                self._look(now)
        elif isinstance(signal, Guess):
            if signal.number > self._round:
                self._follow(signal.number, now)
            if signal.number == self._round and signal.address[0] in self._context.seen:
                self._theirs = signal
                if self._step and signal.step:  # one of us may not have known that of the other
                    self._both = True
                    if not self._asked:
                        self._look(now)
                self._aim(now)
        elif isinstance(signal, Dialled):
            if signal.number == self._round and self._mine is not None:
                self._way = min(now - self._told_at, limits.PUNCH_TCP_RTT_MAX)
                if not (self._dialled or self._both or self._we_reset):
                    self._dial(now)
        elif isinstance(signal, Hit):
            self._heard_hit = True
            self._maybe_over()
        else:
            raise MalformedMessage(f"{type(signal).__name__} does not belong to {NAME}")

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        if socket != self._source or self._mine is not None:
            return
        if address is not None:
            self._answer_time = min(self._answer_time, 2 * (now - self._asked_at) + limits.PREDICT_TCP_ROUND / 4)
            self._found(Guess(self._round, address, self._step), now)
        elif self._drives:
            self._round_at = now + limits.PREDICT_TCP_ROUND

    def connected(self, name: str, now: float) -> None:
        address = self._open.pop(name, None)
        if address is None:
            return
        self._actions.append(Win(name, address))
        self._wins += 1
        if self._wins == 1:
            self._actions.append(Tell(build_signal(Hit())))
        self._maybe_over()

    def failed(self, name: str, number: int, now: float) -> None:
        if self._open.pop(name, None) is None:
            return
        if number in NOT_ALLOWED:
            self._actions.append(Finish("no more may be sent there"))

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _begin_round(self, now: float) -> None:
        """Have our port looked at; if the other one's is as well, then at the same moment."""
        self._drives = True
        self._clear(self._round + 1)
        self._round_at = now + self._answer_time + (1.5 * self._context.rtt if self._both else 0.0)
        if self._both:
            self._actions.append(Tell(build_signal(Round(self._round))))
            self._look_at = now + self._context.rtt / 2
        else:
            self._look(now)

    def _follow(self, number: int, now: float) -> None:
        """The other end has begun a round."""
        self._drives = False
        self._clear(number)
        self._wait_for_round(now)

    def _wait_for_round(self, now: float) -> None:
        """The other end drives. If it does not, it may not know its own router: then we do, if ours counts."""
        wait = limits.SAMPLE_SECONDS + 2 * self._context.rtt + self._patience
        self._round_at = now + wait if self._step else _NEVER

    @property
    def _patience(self) -> float:
        """Seconds for what has been dialled to come to stand."""
        return max(limits.PREDICT_TCP_ROUND, 3 * self._context.rtt)

    def _clear(self, number: int) -> None:
        if self._step:  # else what is under way may still be met: see _dial
            self._close_all()
        self._round = number
        self._mine = self._theirs = None
        self._dialled = self._asked = False
        self._look_at = self._dial_at = _NEVER

    def _close_all(self, but: Container[Address] = ()) -> None:
        """Give up what is under way."""
        for name, address in list(self._open.items()):
            if address not in but:
                del self._open[name]
                self._actions.append(Close(name))

    def _look(self, now: float) -> None:
        """See which port is ours; one that does not count is known."""
        self._look_at = _NEVER
        if self._step:
            self._asked, self._asked_at = True, now
            self._actions.append(Sample(self._source))
            return
        places = [each for each in self._context.ours.places if is_tcp(each) and each.kind is PlaceKind.REFLEXIVE]
        for place in places:
            if family_of(place.address) == self._family:
                self._found(Guess(self._round, place.address, 0), now)
                return

    def _found(self, seen: Guess, now: float) -> None:
        self._mine, self._told_at = seen, now
        self._actions.append(Tell(build_signal(seen)))
        self._aim(now)

    # --- dialling -----------------------------------------------------------------------------------------------------

    def _aim(self, now: float) -> None:
        """Dial as soon as all is known that is needed for it."""
        if self._dialled or self._dial_at != _NEVER or (self._step and self._mine is None):
            return
        if self._theirs is None and (self._both or not self._step):
            return
        pause = self._pause()
        if pause:
            self._dial_at = now + pause
        else:
            self._dial(now)

    def _pause(self) -> float:
        """Seconds to wait for a router that must not be met too early: until the other end's SYN has opened it."""
        if self._both:
            again = self._round > 1 and (self._we_reset or self._they_reset)
            return self._context.uniform() * self._way if again else 0.0
        if not self._step or not self._they_reset:
            return 0.0
        if not self._we_reset:
            return 2 * self._way + limits.PUNCH_TCP_PATIENCE  # it says when it has dialled, before that
        return self._context.uniform() * self._way if self._round > 1 else self._context.rtt / 2

    def _dial(self, now: float) -> None:
        self._dial_at = _NEVER
        self._dialled = True
        if self._drives:
            self._round_at = now + self._patience
        source = "" if self._step else self._source
        addresses = self._addresses()
        kept = {address: name for name, address in self._open.items() if address in addresses}
        self._close_all(kept)
        for address in addresses:
            if address in kept:
                continue
            name = f"predict-{self._dials}"
            self._dials += 1
            self._open[name] = address
            self._actions.append(Connect(name, address, source))
        if not self._step:
            self._actions.append(Tell(build_signal(Dialled(self._round))))

    def _addresses(self) -> list[Address]:
        """Where to, in order."""
        theirs = self._theirs
        if theirs is None or not theirs.step:
            easy = theirs.address if theirs is not None else easy_address(self._context, self._family)
            return [] if easy is None else [easy]
        numbers: Iterable[int]
        if not self._step:
            numbers = range(1, limits.PREDICT_TCP_WINDOW + 1)
        elif self._context.leads:
            numbers = range(1, limits.PREDICT_TCP_DIAGONAL + 1)
        else:
            numbers = (each + (each - 1) // limits.PREDICT_TCP_RUN for each in range(1, limits.PREDICT_TCP_DIAGONAL))
        host, port = theirs.address
        return [(host, port + each * theirs.step) for each in numbers if port + each * theirs.step in _PORTS]

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        return min(self._end, self._round_at, self._look_at, self._dial_at)

    def handle_timer(self, now: float) -> None:
        if now >= self._end:
            self._actions.append(Finish("" if self._wins else f"{self._round} rounds of guessing were in vain"))
            return
        if now >= self._look_at:
            self._look(now)
        if now >= self._dial_at:
            self._dial(now)
        if now >= self._round_at:
            self._begin_round(now)

    def actions(self) -> Iterable[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _maybe_over(self) -> None:
        """Both have a connection: it is the same one."""
        if self._wins and self._heard_hit:
            self._actions.append(Finish(""))
