"""What TCP plans reach between routers of all kinds, and what they send for it: seeded, on a clock that is turned."""

from __future__ import annotations

import dataclasses
import errno
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from crust import limits
from crust.exceptions import MalformedMessage
from crust.nat.punch.birthday_tcp import BirthdayTcp, block_of, can_search
from crust.nat.punch.contract import Connect, Context, Finish, Note, Plan, Tell, Win
from crust.nat.punch.predict_tcp import PredictTcp, can_predict
from crust.nat.punch.punch_tcp import PunchTcp
from crust.nat.punch.tcp_signals import (
    Dialled,
    Guess,
    Hit,
    Opened,
    Round,
    Sync,
    TcpSignal,
    build_signal,
    parse_signal_untrusted,
)
from crust.nat.punch.tcp_ways import birthday, predict, punch
from crust.wire.frames import Place, PlaceKind, Standing, TransportCode
from tests.nat.punch.tcp_world import Router, World, share
from tests.simulation.runs import seeds

DROP: dict[str, Any] = {}
RST: dict[str, Any] = {"resets": True}
SEQ: dict[str, Any] = {"dependent": True, "step": 1}
SYM: dict[str, Any] = {"dependent": True}
ADDR: dict[str, Any] = {"filtering": "address"}
FULL: dict[str, Any] = {"filtering": "none"}
SKEWS = [0.0, 0.005, 0.015, 0.03, 0.4]
RUNS = seeds(20)


def routers(one: dict[str, Any], other: dict[str, Any], **both: Any) -> tuple[Router, Router]:
    return Router("20.0.1.1", **one, **both), Router("20.0.2.1", **other, **both)


# --- punch-tcp --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [(DROP, DROP, 2.0), (DROP, RST, 2.0), (RST, DROP, 2.0), (RST, RST, 4.0)],
    ids=["drop-drop", "drop-rst", "rst-drop", "rst-rst"],
)
def test_homes_meet(one: dict[str, Any], other: dict[str, Any], seconds: float, loss: float, skew: float) -> None:
    """Whatever their routers do with what comes too early, and whoever hears late: 95 of 100, in time."""
    reached = share(
        RUNS, seconds, lambda seed: World(routers(one, other), PunchTcp, seed=seed, loss=loss, skew=skew)
    )
    assert reached >= 0.95


@pytest.mark.parametrize("delay", [0.001, 0.1, 0.25])
def test_near_and_far(delay: float) -> None:
    """Two that refuse each other meet at any distance."""
    assert share(RUNS, 4.0, lambda seed: World(routers(RST, RST), PunchTcp, seed=seed, delay=delay)) >= 0.95


def test_a_fixed_pause_would_fail_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is random about the pauses is what makes two that refuse each other meet."""
    monkeypatch.setattr(limits, "PUNCH_TCP_PAUSE", (0.02, 0.02))
    monkeypatch.setattr(limits, "PUNCH_TCP_ROUNDS", 1)
    assert share(RUNS, 4.0, lambda seed: World(routers(RST, RST), PunchTcp, seed=seed, skew=0.03)) < 0.1


@pytest.mark.parametrize("leads", [0, 1])
@pytest.mark.parametrize("skew", [0.0, 0.03, 0.4])
@pytest.mark.parametrize(
    ("one", "other"),
    [(FULL, DROP), (FULL, SYM), (ADDR, SYM), ({**ADDR, **RST}, SYM), (ADDR, ADDR)],
    ids=["full-drop", "full-sym", "addr-sym", "addr rst-sym", "addr-addr"],
)
def test_who_lets_more_in_is_met_at_its_listening_port(
    one: dict[str, Any], other: dict[str, Any], skew: float, leads: int
) -> None:
    """Even by those whose own port nobody can know: in 1.5 s."""
    assert share(RUNS, 1.5, lambda seed: World(routers(one, other), PunchTcp, seed=seed, skew=skew, leads=leads)) == 1.0


def test_the_first_try_is_enough_where_routers_drop() -> None:
    """One SYN each."""
    world = World(routers(DROP, DROP), PunchTcp, seed=1)
    elapsed = world.run()
    assert elapsed is not None and elapsed < 0.15
    assert [sum(end.syns.values()) for end in world.ends] == [1, 1]


def test_in_vain_it_ends_in_time_and_says_what_it_tried() -> None:
    """Between routers that choose ports at random: soon, for a search needs the way."""
    world = World(routers(SYM, {**DROP, **RST}), PunchTcp, seed=1)
    assert world.run(16.0, until=lambda: all(end.finished is not None for end in world.ends)) is None
    for end in world.ends:
        assert end.finished == "no connection came to stand"
        assert len(end.notes) == 1 and end.notes[0].endpoint.startswith("tcp://20.0.")
        assert end.notes[0].duration < 2.0
        assert sum(end.syns.values()) < 20
    assert world.ends[0].notes[0].verdict == "refused" and world.ends[1].notes[0].verdict == "timeout"


def test_no_address_gets_more_than_two_hundred() -> None:
    """However long it is refused."""
    world = World(routers(DROP, RST), PunchTcp, seed=1, timeout=60.0)
    world.ends[1].plan = _Silent()
    world.run(61.0, until=lambda: world.ends[0].finished is not None)
    assert max(world.ends[0].syns.values()) == limits.PUNCH_TCP_SYNS
    assert [note.verdict for note in world.ends[0].notes] == ["refused"]


def test_an_address_that_nobody_saw_gets_four() -> None:
    """A peer that names a victim has it sent no more than that, and the rest goes on."""
    victim = Place(PlaceKind.REFLEXIVE, TransportCode.TCP, False, ("192.0.2.66", 80))
    other = Place(PlaceKind.REFLEXIVE, TransportCode.TCP, False, ("192.0.2.66", 443))
    world = World(routers(DROP, DROP), PunchTcp, seed=1, more=(victim, other))
    world.ends[1].plan = _Silent()
    world.run(16.0, until=lambda: world.ends[0].finished is not None)
    end = world.ends[0]
    assert sum(count for to, count in end.syns.items() if to[0] == "192.0.2.66") == limits.UNSEEN_SYNS
    assert {note.verdict for note in end.notes} == {"timeout", "failed"}
    assert any("nobody else has seen" in note.error for note in end.notes)


class _Silent:
    """The other end has no such method."""

    def __getattr__(self, name: str) -> Any:
        return (lambda *args: ()) if name == "actions" else (lambda *args: None)


def contexts(one: dict[str, Any], other: dict[str, Any]) -> list[Context]:
    """Those of the two ends."""
    made: list[Context] = []

    def make(context: Context) -> Plan:
        made.append(context)
        return _Silent()

    World(routers(one, other), make, seed=1)
    return made


def context(**changes: Any) -> Context:
    """That of an end which has one target."""
    return dataclasses.replace(contexts(DROP, DROP)[1], **changes)


def acts(plan: Plan, kind: type[Any] = object) -> list[Any]:
    return [each for each in plan.actions() if isinstance(each, kind)]


def test_the_other_connection_is_in_the_way_for_a_while() -> None:
    """Our listener may have accepted it; if nothing comes of that, it is tried again, and a shortage alike."""
    plan = PunchTcp(context(leads=False))
    plan.start(0.0)
    plan.receive_signal(build_signal(Sync(1)), 0.1)
    now = 0.1
    for number in (errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EMFILE):
        assert len(acts(plan, Connect)) == 1
        plan.failed("punch-0", number, now)
        due = plan.get_timer()
        assert due == now + limits.PUNCH_TCP_HOLD
        now = due
        plan.handle_timer(now)
    assert len(acts(plan, Connect)) == 1


def test_the_other_end_dials_by_itself_if_no_word_comes() -> None:
    """Half a second and two round trips later."""
    plan = PunchTcp(context(leads=False))
    plan.start(5.0)
    assert acts(plan) == [] and plan.get_timer() == 5.0 + limits.PUNCH_TCP_PATIENCE + 0.08
    plan.handle_timer(6.0)
    assert len(acts(plan, Connect)) == 1


def test_the_leading_end_learns_how_long_a_word_takes() -> None:
    """Rounds after the first begin by what was measured."""
    plan = PunchTcp(context(leads=True, rtt=0.04))
    plan.start(0.0)
    assert [parse_signal_untrusted(each.body) for each in acts(plan, Tell)] == [Sync(1)]
    plan.handle_timer(0.02)
    assert len(acts(plan, Connect)) == 1
    plan.receive_signal(build_signal(Dialled(1)), 0.5)
    plan.failed("punch-0", errno.EADDRNOTAVAIL, 0.6)
    plan.handle_timer(2.04)
    assert Sync(2) in [parse_signal_untrusted(each.body) for each in acts(plan, Tell)]
    plan.failed("punch-0", errno.EADDRNOTAVAIL, 2.05)
    assert plan.get_timer() == pytest.approx(2.04 + 0.25)


def test_a_connection_that_proves_to_be_nobodys_is_not_the_end() -> None:
    """For a while nothing is dialled; then again, but not for ever."""
    plan = PunchTcp(context(leads=False))
    plan.start(0.0)
    plan.receive_signal(build_signal(Sync(1)), 0.0)
    now = 0.0
    for number in range(limits.PUNCH_TCP_WINS):
        assert len(acts(plan, Connect)) == 1
        plan.connected("punch-0", now)
        assert len(acts(plan, Win)) == 1
        plan.receive_signal(build_signal(Sync(min(number + 2, limits.PUNCH_TCP_ROUNDS))), now)
        assert acts(plan, Connect) == []
        now += limits.PUNCH_TCP_REST
        plan.handle_timer(now)
    assert acts(plan, Connect) == []
    plan.handle_timer(now + 20.0)
    assert acts(plan) == [Finish("")]


def test_more_is_learned_on_the_way() -> None:
    """A new address is dialled at once, if the two have begun; one that is known not again."""
    first = context(leads=False)
    plan = PunchTcp(dataclasses.replace(first, targets=()))
    plan.start(0.0)
    plan.learned(first, 0.1)
    assert acts(plan, Connect) == []
    plan.receive_signal(build_signal(Sync(1)), 0.2)
    assert len(acts(plan, Connect)) == 1
    more = Place(PlaceKind.INTERFACE, TransportCode.TCP, True, ("2001:db8::7", 5483))
    utp = Place(PlaceKind.INTERFACE, TransportCode.UTP, True, ("20.0.2.1", 7))
    plan.learned(dataclasses.replace(first, targets=(*first.targets, more, utp)), 0.3)
    assert acts(plan) == [Connect("punch-1", ("2001:db8::7", 5483), "tcp6")]


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EAFNOSUPPORT])
def test_where_there_is_no_way_nothing_is_repeated(number: int) -> None:
    """That is said once."""
    plan = PunchTcp(context(leads=False))
    plan.start(0.0)
    plan.receive_signal(build_signal(Sync(1)), 0.0)
    acts(plan)
    plan.failed("punch-0", number, 0.1)
    assert [note.verdict for note in acts(plan, Note)] == ["unreachable"]
    plan.receive_signal(build_signal(Sync(2)), 2.0)
    assert acts(plan, Connect) == []


# --- predict-tcp ------------------------------------------------------------------------------------------------------


CONDITIONS = list(itertools.product([0, 1], [0.0, 0.03], [0.0, 0.05]))
"""Who leads, how much later the other one begins, and what is lost."""


@pytest.mark.parametrize(
    ("foreign", "seconds", "least"), [(0.0, 4.0, 0.95), (1.0, 6.0, 0.85), (5.0, 10.0, 0.6)], ids=["0", "1", "5"]
)
@pytest.mark.parametrize(
    ("one", "other"),
    [(SEQ, DROP), (SEQ, RST), ({**SEQ, **RST}, DROP), (SEQ, SEQ), ({**SEQ, "step": 3}, {**SEQ, "step": -2})],
    ids=["seq-drop", "seq-rst", "seq rst-drop", "seq-seq", "steps"],
)
def test_the_next_port_is_guessed(
    one: dict[str, Any], other: dict[str, Any], foreign: float, seconds: float, least: float
) -> None:
    """With others who open connections meanwhile, too; under each of the conditions as often."""

    def world(seed: int) -> World:
        leads, skew, loss = CONDITIONS[seed % len(CONDITIONS)]
        both = routers(one, other, foreign=foreign)
        return World(both, predict, seed=seed, loss=loss, skew=skew, leads=leads)

    assert share(seeds(5) * len(CONDITIONS), seconds, world) >= least


@pytest.mark.parametrize("leads", [0, 1])
@pytest.mark.parametrize(("skew", "seconds", "least"), [(0.0, 6.0, 0.9), (0.03, 11.0, 0.8)], ids=["even", "skewed"])
def test_two_that_count_and_refuse(skew: float, seconds: float, least: float, leads: int) -> None:
    """The hardest of all: both have to be met neither too early nor at another port."""
    both = {**SEQ, **RST}
    world = lambda seed: World(routers(both, both), predict, seed=seed, leads=leads, skew=skew)  # noqa: E731
    assert share(RUNS, seconds, world) >= least


@pytest.mark.parametrize("leads", [0, 1])
def test_who_does_not_know_its_own_router_is_told(leads: int) -> None:
    """One end thinks that both count, the other one that only its own router does."""
    both = routers(SEQ, SEQ)
    world = World(both, predict, seed=3, leads=leads)
    plain = Standing(TransportCode.TCP, 4, 1, 0, 0, 0, False)
    end = world.ends[0]
    wrong = dataclasses.replace(end.plan._context.theirs, standings=(plain,))  # type: ignore[attr-defined]
    end.plan = PredictTcp(dataclasses.replace(end.plan._context, theirs=wrong), 4)  # type: ignore[attr-defined]
    elapsed = world.run(6.0)
    assert elapsed is not None


def test_both_ends_stop_when_both_have_it() -> None:
    """Neither begins another round."""
    world = World(routers(SEQ, DROP), predict, seed=1)
    world.run(5.0, until=lambda: all(end.finished is not None for end in world.ends))
    assert [end.finished for end in world.ends] == ["", ""]
    assert [len(end.wins) for end in world.ends] == [1, 1]


def test_guessing_in_vain_ends() -> None:
    """And is bounded in what it sends."""
    world = World(routers(SEQ, {**DROP, **RST}), predict, seed=1)
    world.ends[1].plan = _Silent()
    world.run(16.0, until=lambda: world.ends[0].finished is not None)
    assert "in vain" in str(world.ends[0].finished)
    assert sum(world.ends[0].syns.values()) < 60 and world.now - 1000 < 12


@pytest.mark.parametrize(
    ("one", "other", "family"),
    [(SEQ, DROP, 4), (DROP, SEQ, 4), (SEQ, SEQ, 4), (SEQ, SYM, None), (DROP, DROP, None), (SYM, DROP, None)],
)
def test_where_guessing_helps(one: dict[str, Any], other: dict[str, Any], family: int | None) -> None:
    """Not where a port is a random one, nor where all is known."""
    found = contexts(one, other)
    assert [can_predict(each) for each in found] == [family, family]
    assert [predict(each) is None for each in found] == [family is None] * 2


def test_only_the_address_that_the_introducer_sees_is_searched() -> None:
    """A peer cannot have the ports of others dialled."""
    seen = context(leads=False)
    standing = Standing(TransportCode.TCP, 4, 2, 1, 0, 0, False)
    theirs = dataclasses.replace(seen.theirs, standings=(standing,))
    plan = predict(dataclasses.replace(seen, theirs=theirs))
    assert plan is not None
    plan.start(0.0)
    plan.receive_signal(build_signal(Guess(1, ("192.0.2.66", 4000), 1)), 0.1)
    assert acts(plan, Connect) == []
    plan.receive_signal(build_signal(Guess(1, ("20.0.1.1", 65_533), 1)), 0.1)
    assert [each.to[1] for each in acts(plan, Connect)] == [65_534, 65_535]


# --- birthday-tcp -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("leads", [0, 1])
def test_one_of_many_ports_is_hit(loss: float, leads: int) -> None:
    """In twelve seconds, and with no more sockets, SYNs, and SYNs a second than is allowed."""
    times = []
    for seed in range(12):
        world = World(routers(SYM, DROP), birthday, seed=seed, loss=loss, leads=leads)
        times.append(world.run(13.0))
        hard, easy = world.ends
        assert hard.most <= limits.BIRTHDAY_SOCKETS and easy.most <= 200
        assert sum(easy.syns.values()) <= limits.BIRTHDAY_PROBES + 1
        assert set(hard.syns) == {("20.0.2.1", 5483)} and {to[0] for to in easy.syns} == {"20.0.1.1"}
    assert sum(each is not None and each <= 12.0 for each in times) >= 11
    assert sum(each is not None and each <= 4.0 for each in times) >= 6


def test_in_a_known_block_less_is_enough() -> None:
    """64 ports, hit within a second or two."""
    block = {**SYM, "block": (20_000, 22_047)}
    for seed in range(12):
        world = World(routers(block, DROP), birthday, seed=seed)
        elapsed = world.run(13.0)
        assert elapsed is not None and elapsed < 3.0 and world.ends[0].most == limits.BIRTHDAY_BLOCK_SOCKETS


def test_a_block_is_what_was_seen_and_some_more() -> None:
    """If it is far apart there is none."""
    standing = Standing(TransportCode.TCP, 4, 2, 0, 20_000, 22_000, False)
    assert block_of(standing) == (19_499, 22_501)
    assert block_of(dataclasses.replace(standing, high=60_000)) is None
    assert block_of(dataclasses.replace(standing, low=0)) is None and block_of(None) is None


def test_a_search_in_vain_ends() -> None:
    """With everything that was allowed, and no more; both say so."""
    world = World(routers(SYM, DROP), birthday, seed=1)
    world.ends[1].router.filtering = "nobody"
    world._arrive = lambda packet: None  # type: ignore[method-assign]
    world.run(16.0, until=lambda: all(end.finished is not None for end in world.ends))
    hard, easy = world.ends
    assert "none of 256" in str(hard.finished) and "none of 2048" in str(easy.finished)
    assert sum(easy.syns.values()) == limits.BIRTHDAY_PROBES
    assert sum(hard.syns.values()) <= limits.SEARCH_SYNS
    assert world.now - 1000 < 15.0


def test_it_is_not_for_routers_that_refuse() -> None:
    """They would end all that is under way; nor where ports are known, or can be guessed."""
    cases = [(SYM, DROP, True), ({**SYM, **RST}, DROP, False), (SYM, RST, False)]
    for one, other, is_used in [*cases, (DROP, DROP, False), (SEQ, DROP, False), (SYM, SYM, False)]:
        found = [can_search(each) for each in contexts(one, other)]
        assert found == ([(4, True), (4, False)] if is_used else [None, None])


def test_a_port_of_somebody_else_is_not_the_end() -> None:
    """What answers at the router's address may be the router: the search goes on until the other end has a hit, too."""
    seen = context(leads=False)
    theirs = dataclasses.replace(seen.theirs, standings=(Standing(TransportCode.TCP, 4, 2, 0, 0, 0, False),))
    plan = BirthdayTcp(dataclasses.replace(seen, theirs=theirs), 4, hard=False)
    plan.start(0.0)
    plan.receive_signal(build_signal(Opened(256)), 0.1)
    plan.handle_timer(0.1)
    first = acts(plan, Connect)
    assert len(first) == 5
    plan.connected(first[0].name, 0.15)
    assert len(acts(plan, Win)) == 1
    plan.handle_timer(0.2)
    second = acts(plan, Connect)
    assert len(second) == 5
    plan.connected(second[0].name, 0.3)
    plan.receive_signal(build_signal(Hit()), 0.3)
    assert [type(each).__name__ for each in acts(plan)] == ["Win", "Finish"]


def test_without_descriptors_there_is_a_pause() -> None:
    """The easy side goes on a little later; the hard one with what it has."""
    seen = context(leads=False)
    plan = BirthdayTcp(seen, 4, hard=True)
    plan.start(0.0)
    plan.handle_timer(0.0)
    names = [each.name for each in acts(plan, Connect)]
    for name in names[10:]:
        plan.failed(name, errno.EMFILE, 0.01)
    plan.handle_timer(0.05)
    assert [parse_signal_untrusted(each.body) for each in acts(plan, Tell)] == [Opened(10)]
    plan = BirthdayTcp(seen, 4, hard=False)
    plan.start(0.0)
    plan.receive_signal(build_signal(Opened(10)), 0.0)
    plan.handle_timer(0.0)
    for each in acts(plan, Connect):
        plan.failed(each.name, errno.EMFILE, 0.01)
    assert plan.get_timer() == 0.01 + limits.BIRTHDAY_TCP_DIAL


# --- what the ends tell each other ------------------------------------------------------------------------------------

SIGNALS: list[TcpSignal] = [
    Sync(1),
    Dialled(65_535),
    Round(7),
    Guess(2, ("192.0.2.7", 65_535), -1024),
    Guess(2, ("2001:db8::7", 1), 0),
    Opened(256),
    Hit(),
]


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: type(signal).__name__)
def test_a_signal_comes_back_as_it_was(signal: TcpSignal) -> None:
    """And with one byte less or more it is none."""
    data = build_signal(signal)
    assert parse_signal_untrusted(data) == signal
    for broken in (data[:-1], data + b"\0", b"\xff" + data[1:]):
        with pytest.raises(MalformedMessage):
            parse_signal_untrusted(broken)


def test_signals_of_other_methods_end_the_attempt() -> None:
    """So do those of the wrong end."""
    plans: list[tuple[Plan, list[TcpSignal]]] = [
        (PunchTcp(context(leads=True)), [Sync(1), Round(1), Hit()]),
        (PunchTcp(context(leads=False)), [Dialled(1), Opened(1)]),
        (PredictTcp(context(), 4), [Sync(1), Opened(3)]),
        (BirthdayTcp(context(), 4, hard=False), [Sync(1), Guess(1, ("192.0.2.7", 7), 1)]),
    ]
    for plan, signals in plans:
        plan.start(0.0)
        for signal in signals:
            with pytest.raises(MalformedMessage):
                plan.receive_signal(build_signal(signal), 0.1)


def test_a_peer_that_says_anything_breaks_nothing() -> None:
    """All signals in all orders, and events of connections that never were: plans stand, and stay within bounds."""
    makers: list[Callable[[Context], Plan | None]] = [punch, lambda c: PredictTcp(c, 4)]
    for make in [*makers, lambda c: BirthdayTcp(c, 4, False), lambda c: BirthdayTcp(c, 4, True)]:
        for order in itertools.permutations(SIGNALS, 3):
            plan = make(context(leads=False))
            assert plan is not None
            plan.start(0.0)
            connects = 0
            for position, signal in enumerate(order):
                now = 0.1 * (position + 1)
                try:
                    plan.receive_signal(build_signal(signal), now)
                except MalformedMessage:
                    break
                plan.sampled("tcp4", ("20.0.9.9", 7), now)
                plan.connected("nothing", now)
                plan.failed("nothing", errno.ECONNREFUSED, now)
                due = plan.get_timer()
                if due is not None and due <= now:
                    plan.handle_timer(now)
                connects += len(acts(plan, Connect))
            assert connects <= 200


def test_tcp_is_punched_if_somebody_can_be_called() -> None:
    """Otherwise there is nothing to attempt."""
    some = context()
    nothing = dataclasses.replace(some.ours, places=())
    assert punch(some) is not None
    assert punch(dataclasses.replace(some, targets=(), ours=nothing)) is None
    assert birthday(some) is None and predict(some) is None
