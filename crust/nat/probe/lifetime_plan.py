"""
How long a quiet mapping lives: the slow test (RFC 5780 section 4.6). No I/O.

For each age to be tested there is a socket of its own, all at once. It asks the server where it is seen, once more a
little later, as a conversation would, and is quiet from then on. When it has the age, another socket has the server
answer to the first one's outer port: if that comes in, the mapping and its filter were still there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import limits
from ..stun.message import Class, Message
from .actions import Close, Open
from .asking import AskingPlan
from .classes import Address
from .questions import Key
from .servers import Server

__all__ = ["LifetimePlan"]


class LifetimePlan(AskingPlan):
    """
    One family. Not thread-safe.

    Args:
        family: 4 or 6.
        server: One that answers to other ports (RFC 5780).
        random_bytes: Source of randomness.
        ages: Seconds to test.
    """

    protocol = "udp"

    def __init__(
        self,
        family: int,
        server: Server,
        random_bytes: Callable[[int], bytes],
        ages: Sequence[float] = limits.PROBE_LIFETIMES,
    ) -> None:
        super().__init__(random_bytes)
        self.family = family
        self.servers = (server,)
        self._ages = tuple(sorted(ages))
        self._mapped: dict[float, int] = {}
        self._due: list[tuple[float, str, float]] = []  # when, what, for which age
        self._alive: dict[float, bool] = {}
        self._slots: dict[str, Address] = {}

    def begin(self, now: float) -> None:
        """Open a mapping for each age."""
        self._begun = True
        server = self.servers[0].address
        for age in self._ages:
            self._actions.append(Open(f"age{age:g}", server))
            self._ask(("open", age), now)
            self._due.append((now + limits.PROBE_LIFETIME_TALK, "again", age))
        self._actions.append(Open("asker", server))
        self.handle_timer(now)

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due."""
        times = [when for when, _, _ in self._due]
        timer = super().get_timer()
        return min([*times, *([] if timer is None else [timer])], default=None)

    def handle_timer(self, now: float) -> None:
        """Ask what is due."""
        for entry in [each for each in self._due if each[0] <= now + 1e-9]:
            self._due.remove(entry)
            _, what, age = entry
            if age not in self._mapped:
                continue  # the server did not answer
            if what == "again":
                self._ask(("again", age), now)
                self._due.append((now + age, "alive", age))
            else:
                self._ask(("alive", age), now, response_port=self._mapped[age])
        super().handle_timer(now)

    def _ask(self, key: Key, now: float, response_port: int | None = None) -> None:
        slot = "asker" if key[0] == "alive" else f"age{key[1]:g}"
        request = Message(Class.REQUEST, b"", response_port=response_port)
        # The second one is sent once: a repetition would come too late to leave the age what it is.
        schedule = limits.PROBE_SCHEDULE if key[0] != "again" else (0.0, limits.PROBE_SCHEDULE[-1])
        self._questions.ask(key, slot, self.servers[0].address, now, schedule, request)

    @property
    def done(self) -> bool:
        """Nothing more will be learned."""
        return super().done and not self._due

    def opened(self, slot: str, local: Address, now: float) -> None:
        """A socket stands."""
        self._slots[slot] = local

    def failed(self, slot: str, reason: str, now: float) -> None:
        """A socket could not be made, or there is no way there: that age stays unknown."""
        self._due = [each for each in self._due if slot not in ("asker", f"age{each[2]:g}")]

    def received(self, slot: str, data: bytes, source: Address, now: float) -> None:
        """A datagram came in."""
        message = self._read(data)
        if message is None:
            return
        question = self._questions.waiting(message.transaction)
        if question is None or source != question.address or message.class_ is Class.REQUEST:
            return
        self._questions.answered(message.transaction, message)
        what, age = question.key
        if what == "open" and message.reflexive is not None:
            self._mapped[age] = message.reflexive[1]
        elif what == "alive":
            if slot == "asker":  # it cannot do this, or does not
                self._alive = {}
                self._mapped = {}
            else:
                self._alive[age] = True

    def lifetime(self) -> tuple[float, float | None] | None:
        """Seconds that a quiet mapping surely lives, and after which it has gone; None: not found out."""
        asked = [age for age in self._ages if age in self._mapped and self._questions.settled(("alive", age))]
        if not asked:
            return None
        lived = [age for age in asked if self._alive.get(age)]
        dead = [age for age in asked if not self._alive.get(age) and age > max(lived, default=0.0)]
        return max(lived, default=0.0), min(dead, default=None)

    def close(self) -> None:
        """Close all sockets."""
        self._actions.extend(Close(slot) for slot in self._slots)
