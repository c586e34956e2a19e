"""
What answers to one listening port of ours, by those who see it from outside, show of the translators on the way:
whether all see one outer port, and if not, how the next one will be chosen. Sans-IO.

Two answers show the former, three the step of a translator that counts, eight the block that it draws from. Only
answers that came close together are compared: a translator forgets, and networks change.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Sequence

from ... import limits
from ...values import dataclass
from ...wire.frames import Standing, TransportCode
from .contract import Address

__all__ = [
    "DEPENDENT",
    "INDEPENDENT",
    "NOTHING",
    "UNKNOWN",
    "Soundings",
    "block_of",
    "counts",
    "is_random",
    "keeps",
    "step_of",
]

UNKNOWN, INDEPENDENT, DEPENDENT, NOTHING = 0, 1, 2, 3
"""The values of :attr:`crust.wire.frames.Standing.mapping`."""


def keeps(standing: Standing | None) -> bool:
    """One outer port for all destinations, as far as known."""
    return standing is None or standing.mapping in (UNKNOWN, INDEPENDENT)


def counts(standing: Standing | None) -> bool:
    """Each destination gets the next port."""
    return standing is not None and standing.mapping == DEPENDENT and standing.step != 0


def is_random(standing: Standing | None) -> bool:
    """Each destination gets a port of which no order is known."""
    return standing is not None and standing.mapping == DEPENDENT and standing.step == 0


_FOREIGN_MAX = 3  # steps from one port of ours to the next: others took those in between


@dataclass(frozen=True)
class _Answer:
    server: Address
    seen: Address
    at: float
    asked: float
    """When the question went out."""
    is_own: bool
    """It is about the port that listens, not about another one of ours."""


class Soundings:
    """
    About one listening port. Not thread-safe. Times are seconds on the caller's clock.

    Args:
        transport: By which it listens.
        family: 4 or 6.
    """

    def __init__(self, transport: TransportCode, family: int) -> None:
        self._transport = transport
        self._family = family
        self._numbers = 0
        self._asked: collections.OrderedDict[int, float] = collections.OrderedDict()
        self._answers: collections.OrderedDict[int, _Answer] = collections.OrderedDict()
        self._silent: dict[Address, float] = {}
        self._known = UNKNOWN, 0
        self._known_until = 0.0
        self.resets = False
        """Strangers' SYNs are answered with a reset."""

    def asked(self, now: float) -> int:
        """A question goes out: its number, by which answers are put into order."""
        self._numbers += 1
        self._asked[self._numbers] = now
        while len(self._asked) > 2 * limits.SOUNDINGS_MAX:
            self._asked.popitem(last=False)
        return self._numbers

    def answered(self, number: int, server: Address, seen: Address, now: float, *, is_own: bool = True) -> None:
        """
        An answer came.

        Args:
            number: Of the question.
            server: Who answered, at which port.
            seen: Where that one sees us.
            is_own: False: the question left from another port than the one that listens.
        """
        self._silent.pop(server, None)
        asked = self._asked.get(number, now)
        if is_own:  # whoever is asked again by the same port can only repeat or correct itself
            same = [key for key, each in self._answers.items() if each.is_own and each.server == server]
            for key in same:
                if self._answers[key].seen == seen:  # the flow of then is the flow of now: it has kept its place
                    number, asked = key, self._answers[key].asked
                del self._answers[key]
        self._answers[number] = _Answer(server, seen, now, asked, is_own)
        while len(self._answers) > limits.SOUNDINGS_MAX:
            self._answers.popitem(last=False)
        self._judge(now)

    def silent(self, server: Address, now: float) -> None:
        """Nothing came back from there, although it was asked several times."""
        self._silent[server] = now
        if len(self._silent) > limits.SOUNDINGS_MAX:
            del self._silent[next(iter(self._silent))]

    def forget(self) -> None:
        """Our network is another one."""
        self._answers.clear()
        self._silent.clear()
        self._known, self._known_until = (UNKNOWN, 0), 0.0
        self.resets = False

    def wants_more(self, now: float) -> bool:
        """Whether more ports would tell from which block they come: they are drawn at random, as it seems."""
        mapping, step = self._held(now)
        return mapping == DEPENDENT and not step and len(self._ports(now)) < limits.BLOCK_SAMPLES

    def latest(self, now: float) -> tuple[Address, ...]:
        """Where the port was seen lately: one address for each host, the newest first."""
        found: dict[str, Address] = {}
        fresh = [each for each in self._answers.values() if each.is_own and each.at > now - limits.REFLEXIVE_LIFE]
        for each in sorted(fresh, key=lambda each: -each.at):
            found.setdefault(each.seen[0], each.seen)
        return tuple(found.values())

    def standing(self, now: float, here: Collection[Address] = (), *, passes: bool = False) -> Standing | None:
        """
        What is known; None: nothing.

        Args:
            here: The port at the addresses of this machine: who sees one of these sees no translator.
            passes: Something is known to get through by this transport, such as a link.
        """
        mapping, step = self._held(now)
        seen = self.latest(now)
        if mapping == UNKNOWN and seen and all(each in here for each in seen):
            mapping = INDEPENDENT
        if not seen and not passes:
            silent = [server for server, at in self._silent.items() if at > now - limits.REFLEXIVE_LIFE]
            mapping = NOTHING if len(silent) > 1 else mapping
        if mapping == UNKNOWN and not seen:
            return None
        low, high = block_of(self._ports(now)) if mapping == DEPENDENT and not step else (0, 0)
        return Standing(self._transport, self._family, mapping, step, low, high, self.resets)

    def _held(self, now: float) -> tuple[int, int]:
        return self._known if now < self._known_until else (UNKNOWN, 0)

    def _ports(self, now: float) -> list[int]:
        """All outer ports that were seen lately, in the order of the questions."""
        ordered = sorted(self._answers.items())
        return [*dict.fromkeys(each.seen[1] for _, each in ordered if each.at > now - limits.REFLEXIVE_LIFE)]

    def _judge(self, now: float) -> None:
        close = [(key, each) for key, each in self._answers.items() if each.at > now - limits.SOUNDINGS_WINDOW]
        own = {each.server: each.seen for _, each in close if each.is_own}
        seen = set(own.values())
        if len(own) < 2:
            return
        if len(seen) == 1:
            self._known = INDEPENDENT, 0
        else:
            moments = _moments([each for _, each in sorted(close)])
            step = _step_over(_in_line(moments)) if self._transport is TransportCode.TCP else 0
            step = step or _step_over(moments)
            if not step and self._known[0] == DEPENDENT and now < self._known_until and len(own) < 3:
                step = self._known[1]  # too few of them to tell otherwise
            self._known = DEPENDENT, step
        self._known_until = now + limits.REFLEXIVE_LIFE


def _moments(answers: Sequence[_Answer]) -> list[list[int]]:
    """The ports, those together whose questions went out at one moment."""
    groups: list[list[_Answer]] = []
    for each in answers:
        if groups and each.asked - groups[-1][-1].asked <= limits.SOUNDING_ONCE:
            groups[-1].append(each)
        else:
            groups.append([each])
    return [[each.seen[1] for each in group] for group in groups]


def _step_over(moments: Sequence[list[int]]) -> int:
    """Of all; else of the most questions that went out at one moment: the fewest others came in between."""
    return step_of([each for moment in moments for each in moment]) or step_of(max(moments, key=len))


def _in_line(moments: Sequence[list[int]]) -> list[list[int]]:
    """
    The same where questions of one moment overtake each other, as SYNs do, which threads send: as the ports of one
    moment rise, or fall, to the next. Of one alone it is said that they rise, as nearly all translators have it.
    """
    rising = sum(1 if min(later) > min(earlier) else -1 for earlier, later in zip(moments, moments[1:], strict=False))
    return [sorted(moment, reverse=rising < 0) for moment in moments]


def step_of(ports: Sequence[int]) -> int:
    """
    The distance from one outer port to the next, negative if they fall; 0: there is no pattern.

    Args:
        ports: Those of at least three new mappings, in the order in which these were made, as far as known. One that
            somebody else got in between, or one place where the count begins anew, does no harm.
    """
    ports = [*dict.fromkeys(ports)]
    if len(ports) < 3:
        return 0
    if step := _common(ports):
        return step
    rising = sum(1 if later > earlier else -1 for earlier, later in zip(ports, ports[1:], strict=False))
    step = _common(sorted(ports))  # some questions may have overtaken others
    return step if rising >= 0 else -step


def _common(ports: Sequence[int]) -> int:
    distances = [later - earlier for earlier, later in zip(ports, ports[1:], strict=False)]
    counts = collections.Counter(distances)
    step, count = min(counts.items(), key=lambda item: (-item[1], abs(item[0])))
    others = [each for each in distances if each != step]
    if abs(step) > limits.PORT_STEP_MAX or len(others) > max(1, len(distances) // 3):
        return 0
    foreign = sum(1 for each in others if each % step == 0 and 1 < each // step <= _FOREIGN_MAX)
    anew = sum(1 for each in others if each * step < 0 and abs(each) > limits.PORT_STEP_MAX)
    if foreign + anew < len(others) or anew > 1 or (anew and count == 1):
        return 0
    return step


def block_of(ports: Iterable[int]) -> tuple[int, int]:
    """The lowest and the highest of enough ports that are close together; (0, 0): they are few, or far apart."""
    found = sorted(set(ports))
    if len(found) < limits.BLOCK_SAMPLES or found[-1] - found[0] >= limits.BIRTHDAY_BLOCK:
        return 0, 0
    return found[0], found[-1]
