"""One end of a session, with everything around its traversal made up: time, the plans of its methods, the other end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

from crust.addresses import Endpoint
from crust.nat.methods import Method
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Action, Context, Finish, Tell, Terrain
from crust.paths import Attempt
from crust.peers.race import Candidate
from crust.peers.session import State
from crust.runtime.timers import Timer
from crust.service.traversal.search import SearchTurns
from crust.service.traversal.traversal import Traversal
from crust.wire.frames import Candidates, Place, PlaceKind, Signal, Standing, TransportCode
from tests.support.bitten import Bitten

PLACE = Place(PlaceKind.REFLEXIVE, TransportCode.TCP, False, ("198.51.100.7", 5483))
WHERE = (b"introducer", b"address")
KEYS = (b"o" * 32, b"i" * 32)
SYMMETRIC = Standing(TransportCode.UTP, 4, 2, 1, 0, 0, False)
EASY = Standing(TransportCode.UTP, 4, 1, 0, 0, 0, False)
PUNCH = ("punch-tcp", "punched-tcp", False)
PUNCH_UDP = ("punch-udp", "punched-utp", False)
PREDICT = ("predict-udp", "predicted", True)
BIRTHDAY = ("birthday-udp", "birthday", True)


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.time = 100.0
        self.timers: list[tuple[float, Timer, Callable[[float], object]]] = []

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[float], object]) -> Timer:
        timer = Timer(when, callback)
        self.timers.append((when, timer, callback))
        return timer

    def call_later(self, delay: float, callback: Callable[[float], object]) -> Timer:
        return self.call_at(self.time + delay, callback)

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while due := [each for each in self.timers if each[0] <= end]:
            first = min(due, key=lambda each: each[0])
            self.timers.remove(first)
            self.time = max(self.time, first[0])
            if first[1].active:
                first[2](self.time)
        self.time = end


class Script:
    """A plan that notes what happens to it, and asks for what it is told."""

    def __init__(self, context: Context, log: list[str], name: str) -> None:
        self.context, self.log, self.name = context, log, name
        self.asked: list[Action] = []

    def start(self, now: float) -> None:
        self.log.append(f"{self.name} started")

    def receive_signal(self, body: bytes, now: float) -> None:
        self.log.append(f"{self.name} heard {body.decode()}")
        if body == b"fault":
            raise ValueError("a fault of the method's own")
        if body == b"stop":
            self.asked.append(Finish("it was told to"))
        if body == b"speak":
            self.asked.append(Tell(b"hello"))

    def learned(self, context: Context, now: float) -> None:
        self.log.append(f"{self.name} learned {len(context.targets)}")

    def get_timer(self) -> float | None:
        return None

    def actions(self) -> Iterable[Action]:
        asked, self.asked = self.asked, []
        return asked


class End:
    """One end of a session, with everything around its traversal made up."""

    def __init__(self, methods: Iterable[tuple[str, str, bool]] = (), leads: bool = True) -> None:
        self.io = Clock()
        self.search = SearchTurns()
        self.punch_timeout = 15.0
        self.transports: Any = {"tcp": SimpleNamespace(dialling=None)}
        self.log: list[str] = []
        self.crashes: list[BaseException] = []
        self.pursued: list[Candidate] = []
        self.notes: list[Attempt] = []
        self.vain: list[str] = []
        self.free, self.left = True, 0
        self.let_in_again = False
        self.resting: set[str] = set()
        self.bites = self.bitten = Bitten()
        self.ours = Terrain((EASY,), (PLACE,))
        self._leads = leads
        self._methods = tuple(
            Method(name, path_class, lambda a, b: None, self._planner(name), searches)
            for name, path_class, searches in methods
        )
        self.sent: list[Any] = []
        self.link: Any = SimpleNamespace(
            connection=SimpleNamespace(
                transport="relay", observed=("198.51.100.7", 4000), remote=Endpoint("tcp", "192.0.2.1", 443)
            ),
            write_control=self.sent.append,
            exports=KEYS,
            rtt=0.04,
        )
        self.conversation: Any = SimpleNamespace(
            link=self.link,
            path=SimpleNamespace(path_class="relay"),
            session=SimpleNamespace(srtt=0.05, state=State.CONNECTED),
        )
        self.traversal = Traversal(cast(Any, self), self.conversation)

    def _planner(self, name: str) -> Callable[[Context], Any]:
        return lambda context: Script(context, self.log, name)

    # --- TraversalHost ---

    def wall(self) -> float:
        return 1_700_000_000.0

    def crashed(self, name: str, error: BaseException) -> None:
        self.crashes.append(error)

    def leads(self, conversation: object) -> bool:
        return self._leads

    def terrain(self) -> Terrain:
        return self.ours

    def targets(self, ours: Terrain, theirs: Terrain, seen: frozenset[str]) -> tuple[Place, ...]:
        return theirs.places

    def methods(self) -> tuple[Method, ...]:
        return self._methods

    def allowance(self, conversation: object, seen: frozenset[str], introducer: object) -> Allowance:
        allowance = Allowance()
        allowance.begin(seen)
        return allowance

    def may_begin(self, traversal: object, where: object) -> bool:
        return self.free

    def looks(self, traversal: object) -> bool:
        return self.let_in_again

    def ended(self, traversal: object) -> None:
        self.left += 1

    def in_vain(self, conversation: object, method: Method) -> None:
        self.vain.append(method.name)

    def rests(self, conversation: object, method: Method) -> bool:
        return method.name in self.resting

    def pursue(self, conversation: object, candidate: Candidate) -> None:
        self.pursued.append(candidate)

    def note(self, conversation: object, attempt: Attempt) -> None:
        self.notes.append(attempt)

    def hands(self, *_: object) -> tuple[Any, ...]:
        return ()

    # --- what the test does ---

    def begin(self) -> None:
        self.traversal.carried(self.link)

    def hear(self, generation: int = 1, *standings: Standing, places: tuple[Place, ...] = (PLACE,)) -> None:
        self.traversal.received(self.link, Candidates(generation, standings, places))

    def signal(self, method: str, body: str, generation: int = 1) -> None:
        self.traversal.received(self.link, Signal(generation, method, body.encode()))

    def move(self, path_class: str) -> None:
        self.conversation.path = SimpleNamespace(path_class=path_class)
        self.traversal.carried(
            cast(Any, SimpleNamespace(connection=SimpleNamespace(transport="tcp"), exports=KEYS))
        )

    def generations(self) -> list[int]:
        return [frame.generation for frame in self.sent if isinstance(frame, Candidates)]
