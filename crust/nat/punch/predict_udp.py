"""
``predict-udp``: a router that gives each destination a port of its own, one after the other, is outguessed.

Both ends work in rounds, which the leading end calls. In each, both open a fresh socket and have a server tell its
port, at the same moment; they tell each other, and fire at once at where the other one's next ports should be.

A side with one port for all destinations is hit where it is; it fires at the next ports of the other. If both count,
datagram ``j`` of one end leaves by its router's port ``j + f``, if others have begun ``f`` flows there meanwhile, and
the same at the other end. Let the leading end aim its datagram ``j`` at the other's port ``j``, and the other its
datagram ``i`` at the leading end's port ``i + s``. They meet on all ``j`` and ``i`` for which ``j = i + f'`` and
``i + s = j + f``, so if ``s = f + f'``: only the sum of others' flows matters. So the other end fires a few datagrams
for each ``s`` in turn. Each pair of ports that met lasts, so what is lost is made up for by sending the same again,
which takes no new port.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ... import limits
from ...wire.frames import Standing, TransportCode
from .contract import Action, Address, Close, Context, Finish, OpenUdp, Sample, Tell
from .encounter import Encounter
from .standing import DEPENDENT, counts, keeps
from .udp_signals import Guess, Ready, Round, UdpSignal, build_signal, parse_signal_untrusted

__all__ = ["NAME", "PredictUdp", "family_to_predict"]

NAME = "predict-udp"


def family_to_predict(context: Context) -> int | None:
    """The family in which a router counts, and the other one's ports can be known; None: in neither."""
    for family in (4, 6):
        ours = context.ours.standing(TransportCode.UTP, family)
        theirs = context.theirs.standing(TransportCode.UTP, family)
        if (counts(ours) or counts(theirs)) and all(counts(each) or keeps(each) for each in (ours, theirs)):
            return family
    return None


@dataclasses.dataclass(slots=True)
class _Round:
    """What is known of one."""

    number: int
    began: float
    socket: str
    samples: list[Address | None]
    wanted: int
    """Answers that are waited for."""
    ours: Guess | None = None
    theirs: Guess | None = None
    told: bool = False
    aims: tuple[Address, ...] = ()
    sends: list[tuple[float, int | None]] = dataclasses.field(default_factory=list)
    """When the aims are fired at, and how many routers that passes."""


class PredictUdp:
    """See :class:`crust.nat.punch.contract.Plan`."""

    def __init__(self, context: Context, family: int) -> None:
        self._context = context
        self._family = family
        self._actions: list[Action] = []
        self._encounter = Encounter(context, NAME, self._actions)
        self._join_by = self._end = 0.0
        self._round: _Round | None = None
        self._last: _Round | None = None  # may still meet
        self._sample_at: float | None = None
        self._next_at: float | None = None
        self._ready_at: float | None = None
        self._fired = 0

    @property
    def _standing(self) -> Standing | None:
        return self._context.ours.standing(TransportCode.UTP, self._family)

    # --- what happens -------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        self._encounter.begin(now)
        self._end = now + self._context.timeout
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
        self._heard(signal, now)

    def _heard(self, signal: UdpSignal, now: float) -> None:
        if isinstance(signal, Ready) and self._context.leads and self._round is None:
            self._call(1, now)
        elif isinstance(signal, Round) and not self._context.leads:
            if signal.number <= limits.PREDICT_ROUNDS and (self._round is None or signal.number > self._round.number):
                self._ready_at = None
                self._begin(signal.number, now)
                self._sample(now)
        elif isinstance(signal, Guess) and self._round is not None and signal.number == self._round.number:
            self._round.theirs = signal
            self._fire(now)

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        self._encounter.receive(socket, source, data, now)

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        found = self._round
        if found is None or socket != found.socket or found.told:
            return
        found.samples.append(address)
        if len(found.samples) >= found.wanted:
            self._guess(found, now)

    def connected(self, name: str, now: float) -> None:
        """It makes no connections."""

    def failed(self, name: str, number: int, now: float) -> None:
        """Without that socket the round comes to nothing, and the next is tried."""

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _call(self, number: int, now: float) -> None:
        """(The leading end.) Begin a round: the other end hears of it half a round trip later, and we wait for that."""
        self._begin(number, now)
        self._actions.append(Tell(build_signal(Round(number))))
        self._sample_at = now + self._context.rtt / 2
        self._next_at = now + limits.PREDICT_ROUND_MAX + 2 * self._context.rtt

    def _begin(self, number: int, now: float) -> None:
        if self._last is not None:
            self._actions.append(Close(self._last.socket))
        self._last = self._round
        standing = self._standing
        # Two answers show whether there is a port for each destination; in every third round a step is doubted.
        wanted = 1 if counts(standing) and number % 3 else 2
        self._round = _Round(number, now, f"predict{number}", [], wanted)
        self._actions.append(OpenUdp(self._round.socket, self._family))

    def _sample(self, now: float) -> None:
        assert self._round is not None
        self._actions += [Sample(self._round.socket)] * self._round.wanted

    def _guess(self, found: _Round, now: float) -> None:
        """Say what our next ports are."""
        found.told = True
        known = [address for address in found.samples if address is not None]
        if not known:
            return
        standing = self._standing
        depends = standing is not None and standing.mapping == DEPENDENT
        step = standing.step if depends and standing is not None else 0
        ports = [address[1] for address in known]
        apart = abs(ports[-1] - ports[0])
        if apart and not step:
            step = ports[-1] - ports[0] if apart <= limits.PORT_STEP_MAX else 0
        # The newest is the one farthest on: answers may overtake each other.
        newest = max(ports) if step >= 0 else min(ports)
        found.ours = Guess(found.number, (known[0][0], newest), step if apart or depends else 0)
        self._actions.append(Tell(build_signal(found.ours)))
        self._fire(now)

    def _fire(self, now: float) -> None:
        """Both guesses are there: aim, and fire at once."""
        found = self._round
        if found is None or found.ours is None or found.theirs is None or found.sends:
            return
        host = found.theirs.address[0]
        if host not in self._context.seen:
            self._actions.append(Finish(f"the other end named {host} as its own, where nobody saw it"))
            return
        ports = [port for port in self._ports(found.ours, found.theirs) if 0 < port < 65_536]
        found.aims = tuple((host, port) for port in ports)
        self._fired += 1
        first: int | None = None
        delay = 0.0
        if found.number % 2 == 0:  # a router may hold early datagrams against us: ours first die on the way
            first, delay = limits.PUNCH_TRAP_TTL, max(self._context.rtt / 2, limits.PUNCH_FIRST_GAP)
            found.sends.append((now, first))
        found.sends += [(now + delay + seconds, None) for seconds in limits.PREDICT_SENDS]
        if self._context.leads:
            self._next_at = now + delay + limits.PREDICT_PAUSE + 2 * self._context.rtt
        self._shoot(found, now)

    def _ports(self, ours: Guess, theirs: Guess) -> list[int]:
        base, step = theirs.address[1], theirs.step
        if not step:
            return [base]
        if not ours.step:
            ahead: Iterable[int] = range(1, limits.PREDICT_REACH + 1)
        elif self._context.leads:
            ahead = range(1, limits.PREDICT_SHIFTS * limits.PREDICT_REPEATS + limits.PREDICT_MARGIN + 1)
        else:
            count = limits.PREDICT_SHIFTS * limits.PREDICT_REPEATS
            ahead = [i + 1 + i // limits.PREDICT_REPEATS for i in range(count)]
        return [base + step * each for each in ahead]

    def _shoot(self, found: _Round, now: float) -> None:
        while found.sends and found.sends[0][0] <= now:
            _, ttl = found.sends.pop(0)
            for address in found.aims:
                self._encounter.probe(found.socket, address, now, ttl)

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        if self._encounter.won is not None:
            return self._encounter.get_timer()  # the end of the attempt no longer matters
        times = [self._end, self._encounter.get_timer(), self._sample_at, self._ready_at]
        times += [self._join_by if self._round is None else self._next_at]
        times += [found.sends[0][0] for found in self._rounds() if found.sends]
        return min(each for each in times if each is not None)

    def _rounds(self) -> list[_Round]:
        return [each for each in (self._last, self._round) if each is not None]

    def handle_timer(self, now: float) -> None:
        self._encounter.handle_timer(now)
        if self._encounter.won is not None:
            return
        if now >= self._end or self._round is None and now >= self._join_by:
            self._give_up(now)
            return
        if self._ready_at is not None and now >= self._ready_at:
            self._ready_at = now + limits.SEARCH_JOIN_GAP
            self._actions.append(Tell(build_signal(Ready())))
        if self._sample_at is not None and now >= self._sample_at:
            self._sample_at = None
            self._sample(now)
        for found in self._rounds():
            self._shoot(found, now)
        if self._next_at is not None and now >= self._next_at:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """(The leading end.) The next round, unless this one has come to something."""
        assert self._round is not None
        if self._encounter.met:
            self._next_at = now + limits.PREDICT_PAUSE
        elif self._round.number < limits.PREDICT_ROUNDS:
            self._call(self._round.number + 1, now)
        else:
            self._give_up(now)

    def _give_up(self, now: float) -> None:
        if self._round is None:
            self._actions.append(Finish("the other end did not begin the same"))
        else:
            self._actions.append(Finish(f"no guess was right in {self._fired} rounds"))

    def actions(self) -> Iterable[Action]:
        asked = tuple(self._actions)
        self._actions.clear()
        return asked
