"""Who is asked about a peer, and what comes of it, without a node: the thread runs when the test says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import pytest

from crust import Endpoint, Identity, limits
from crust.peers.judging import Judging, JudgingHost, Predicate, Verdict
from crust.peers.views import PeerView


@dataclasses.dataclass
class Way:
    remote: str = "tcp://192.0.2.7:5"


@dataclasses.dataclass
class View:
    id: Any
    address: str | None = "192.0.2.7"
    path: Way = dataclasses.field(default_factory=Way)


class World:
    """Judging, and its node."""

    def __init__(self) -> None:
        self.time = 100.0
        self.clock = self.access = self
        self.threads: list[Callable[[], object]] = []
        self.able = True
        self.ended: list[Any] = []
        self.banned: dict[Any, float] = {}
        self.raised: list[BaseException] = []
        self.verdicts: list[Verdict] = []
        self.took: list[tuple[Predicate, float]] = []
        self.crashes = 0
        self.judging = Judging(cast(JudgingHost, self))

    def now(self) -> float:
        return self.time

    def condemn(self, peer_id: Any, standing: object, *, now: float, until: float) -> bool:
        is_new = peer_id not in self.banned
        self.banned[peer_id] = until
        return is_new

    def spawn(self, name: str, target: Callable[[], object]) -> None:
        if not self.able:
            raise RuntimeError("can't start new thread")
        self.threads.append(target)

    def condemned(self, peer_id: Any) -> None:
        self.ended.append(peer_id)

    def judge_raised(self, predicate: Predicate, view: PeerView, error: BaseException) -> None:
        self.raised.append(error)

    def judge_took(self, predicate: Predicate, seconds: float) -> None:
        self.took.append((predicate, seconds))

    def crashed(self, name: str, error: BaseException) -> None:
        self.crashes += 1

    def ask(self, peer_id: Any) -> None:
        self.judging.ask(object(), cast(PeerView, View(peer_id)), self.verdicts.append)

    def run(self) -> None:
        threads, self.threads = self.threads, []
        for thread in threads:
            thread()


PEER, OTHER = (Identity.generate().peer_id for _ in range(2))
EVER = float("inf")


def test_one_thread_asks_about_all_who_have_come() -> None:
    """In the order of the predicates, until one is true of a peer; then that is banned, and everything of it ends."""
    world, asked = World(), list[tuple[str, Any]]()

    def first(view: PeerView) -> bool:
        asked.append(("first", view.id))
        return view.id == PEER

    def second(view: PeerView) -> bool:
        asked.append(("second", view.id))
        return False

    world.judging.add(first, 200.0)
    world.judging.add(second, EVER)
    world.ask(PEER)
    world.ask(OTHER)
    assert len(world.threads) == 1 and asked == []
    world.run()
    assert asked == [("first", PEER), ("first", OTHER), ("second", OTHER)]
    assert world.verdicts == [Verdict.CONDEMNED, Verdict.WELCOME]
    assert world.banned == {PEER: 200.0} and world.ended == [PEER]
    world.ask(OTHER)
    assert len(world.threads) == 1  # a new one: that one had ended


def test_who_has_gone_is_not_asked_about() -> None:
    """Others would wait for that, and it is kept no longer than who waits; the others have their turn as before."""
    world, asked, gone = World(), list[Any](), object()

    def judge(view: PeerView) -> bool:
        asked.append(view.id)
        return False

    world.judging.add(judge, EVER)
    world.ask(PEER)
    world.judging.ask(gone, cast(PeerView, View(OTHER)), world.verdicts.append)
    world.ask(PEER)
    for _ in range(2):
        world.judging.withdraw(gone)
    world.run()
    assert asked == [PEER, PEER] and world.verdicts == [Verdict.WELCOME] * 2


def test_addresses_take_turns() -> None:
    """Those who come with many keys do not have everybody else wait for the answers about all of them."""
    world, asked = World(), list[Any]()

    def judge(view: PeerView) -> bool:
        asked.append(view.id)
        return False

    world.judging.add(judge, EVER)
    for number, address in enumerate(["192.0.2.7"] * 50 + ["198.51.100.1", "192.0.2.9", "2001:db8::1", "2001:db8::2"]):
        view = View(number, address, Way(str(Endpoint("tcp", address, 5))))
        world.judging.ask(view.id, cast(PeerView, view), world.verdicts.append)
        world.judging.ask(view.id, cast(PeerView, view), world.verdicts.append)  # it still waits
    world.run()
    assert asked[:6] == [0, 50, 51, 52, 1, 53] and sorted(asked) == list(range(54))


def test_an_introducer_has_one_turn_wherever_those_are_whom_it_brings() -> None:
    """It may lie; and if it does not, those at one address behind it keep nobody else there waiting."""
    world, asked = World(), list[Any]()

    def judge(view: PeerView) -> bool:
        asked.append(view.id)
        return False

    world.judging.add(judge, EVER)
    liar, introducer = Way("relay://203.0.113.1:5"), Way("relay://203.0.113.2:5")
    views = [View(number, f"192.0.2.{number}" if number % 2 else None, liar) for number in range(20)]
    views += [View(number, "198.51.100.1", introducer) for number in range(20, 40)]
    views += [View(40, "198.51.100.2", introducer), View(41, "192.0.2.7")]
    for view in views:
        world.judging.ask(view.id, cast(PeerView, view), world.verdicts.append)
    world.run()
    assert asked[:6] == [0, 20, 41, 1, 40, 3] and sorted(asked) == list(range(42))


def test_who_has_passed_has_passed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one session, and all that is in force when it begins; and not too many are remembered."""
    world = World()
    world.judging.add(lambda view: False, EVER)
    world.ask(PEER)
    world.run()
    assert world.judging.has_passed(PEER) and not world.judging.has_passed(PEER)
    world.ask(PEER)
    world.run()
    world.judging.add(lambda view: True, EVER)
    assert not world.judging.has_passed(PEER)
    assert not world.judging.has_passed(OTHER)
    monkeypatch.setattr(limits, "JUDGED_MAX", 3)
    many = World()
    for number in range(5):
        many.ask(number)
    many.run()
    assert [many.judging.has_passed(cast(Any, number)) for number in range(5)] == [False] * 2 + [True] * 3
    for number in (0, 1, 2, 0, 3):
        many.ask(number)
    many.run()
    assert [many.judging.has_passed(cast(Any, number)) for number in range(4)] == [True, False, True, True]


def test_what_comes_into_force_meanwhile_is_still_to_be_asked() -> None:
    """Whoever has been asked about by the others alone has not passed."""
    world = World()

    def one(view: PeerView) -> bool:
        world.judging.add(other, EVER)
        return False

    def other(view: PeerView) -> bool:
        return True

    world.judging.add(one, EVER)
    world.ask(PEER)
    world.run()
    assert world.verdicts == [Verdict.WELCOME] and not world.judging.has_passed(PEER)


def test_who_was_banned_meanwhile_is_not_let_in() -> None:
    """Though the predicate that is true of it is not the first to ban it."""
    world = World()
    world.banned[PEER] = EVER
    world.judging.add(lambda view: True, EVER)
    world.ask(PEER)
    world.run()
    assert world.verdicts == [Verdict.CONDEMNED] and world.ended == [PEER]


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(1)])
def test_a_predicate_that_raises_lets_nobody_in(error: BaseException) -> None:
    """Whatever it raises; the next peer is asked about as ever, and nothing is remembered of that one."""
    world = World()

    def fails(view: PeerView) -> bool:
        if view.id == PEER:
            raise error
        return False

    world.judging.add(fails, EVER)
    world.judging.add(lambda view: False, EVER)
    world.ask(PEER)
    world.ask(OTHER)
    world.run()
    assert world.verdicts == [Verdict.FAILED, Verdict.WELCOME] and world.raised == [error]
    assert not world.judging.has_passed(PEER) and world.banned == {}


def test_an_interrupt_is_no_fault_of_a_predicate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C that struck a greenlet is the program's, which gets it; the peer is refused."""
    world, forwarded = World(), list[BaseException]()
    monkeypatch.setattr("crust.peers.judging.forward_interrupt", lambda error: forwarded.append(error) is None)

    def struck(view: PeerView) -> bool:
        raise KeyboardInterrupt

    world.judging.add(struck, EVER)
    world.ask(PEER)
    world.run()
    assert world.verdicts == [Verdict.FAILED] and len(forwarded) == 1 and world.raised == []


def test_how_long_each_took_is_told() -> None:
    """In seconds, also of one that raises."""
    world = World()

    def slow(view: PeerView) -> bool:
        world.time += 2.5
        return False

    def fails(view: PeerView) -> bool:
        world.time += 4.0
        raise ValueError("a bug")

    world.judging.add(slow, EVER)
    world.judging.add(fails, EVER)
    world.ask(PEER)
    world.run()
    assert world.took == [(slow, 2.5), (fails, 4.0)]


def test_without_a_thread_nobody_is_let_in() -> None:
    """Nobody waits for ever; and the next one who comes is asked about."""
    world = World()
    world.able = False
    world.judging.add(lambda view: False, EVER)
    world.ask(PEER)
    assert world.verdicts == [Verdict.FAILED] and world.crashes == 1
    world.able = True
    world.ask(OTHER)
    world.run()
    assert world.verdicts[1:] == [Verdict.WELCOME]


@pytest.mark.parametrize("able", [True, False])
def test_a_bug_of_ours_keeps_nobody_waiting(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a verdict is told, with a thread or without: it is a crash, and those who wait behind are told theirs."""
    world, late = World(), [OTHER]
    world.able = able

    def fails(verdict: Verdict) -> None:
        raise ZeroDivisionError(verdict)

    def spawn(name: str, target: Callable[[], object]) -> None:
        if late:
            world.ask(late.pop())  # while the thread is being started
        World.spawn(world, name, target)

    monkeypatch.setattr(world, "spawn", spawn)
    world.judging.ask(object(), cast(PeerView, View(PEER)), fails)
    world.run()
    assert world.verdicts == [Verdict.WELCOME if able else Verdict.FAILED]
    assert world.crashes == (1 if able else 2)  # one is that there is no thread
    world.able = True
    world.ask(OTHER)
    world.ask(PEER)
    world.run()
    assert world.verdicts[1:] == [Verdict.WELCOME] * 2


def test_a_bug_of_ours_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a peer is judged: it is refused, and the next one is asked about."""
    world = World()
    monkeypatch.setattr(world, "condemned", lambda peer_id: 1 / 0)
    world.judging.add(lambda view: view.id == PEER, EVER)
    world.ask(PEER)
    world.ask(OTHER)
    world.run()
    assert world.verdicts == [Verdict.FAILED, Verdict.WELCOME] and world.crashes == 1


def test_what_was_lifted_meanwhile_bans_nobody() -> None:
    """Also if it was being asked just then."""
    world = World()

    def changes_its_mind(view: PeerView) -> bool:
        world.judging.remove(changes_its_mind)
        return True

    world.judging.add(changes_its_mind, EVER)
    world.ask(PEER)
    world.run()
    assert world.banned == {} and world.ended == [] and not world.judging.in_force


def test_predicates_end_and_are_made_longer() -> None:
    """Never shorter; the oldest stands first; what is over is neither asked nor kept."""
    world = World()

    def one(view: PeerView) -> bool:
        return False

    def other(view: PeerView) -> bool:
        return False

    world.judging.add(one, 200.0)
    world.judging.add(other, 120.0)
    standing, is_new = world.judging.add(one, 150.0)
    assert not is_new and standing.until == 200.0
    assert [each.predicate for each in world.judging.all(100.0)] == [one, other]
    assert [each.predicate for each in world.judging.all(120.0)] == [one]
    world.time = 200.0
    assert not world.judging.in_force
    assert world.judging.add(other, 300.0)[1]
    assert world.judging.remove(one) is None


def test_after_the_end_nobody_is_asked_about() -> None:
    """Neither who comes nor who waits; whoever runs ends."""
    world = World()
    world.judging.add(lambda view: True, EVER)
    world.ask(PEER)
    world.judging.close()
    world.ask(OTHER)
    world.run()
    assert world.verdicts == [] and world.banned == {} and not world.judging._cases


def test_a_forked_child_asks_about_nobody() -> None:
    """Whatever was held at the time; a greenlet that it has inherited ends."""
    world = World()
    world.judging.add(lambda view: True, EVER)
    world.ask(PEER)
    with world.judging._lock:
        world.judging.abandon()
        world.ask(OTHER)
        world.run()
    assert world.verdicts == [] and world.banned == {} and not world.judging._works
