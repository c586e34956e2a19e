"""The searches of UDP: ports that are predicted, and ports that are met by chance."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable

import pytest

from crust import limits
from crust.findings import Behaviour
from crust.nat.punch.birthday_udp import BirthdayUdp, Part, _shuffled, part_in
from crust.nat.punch.contract import Context, Finish, Plan, Probe, Terrain
from crust.nat.punch.predict_udp import PredictUdp, family_to_predict
from crust.nat.punch.punch_udp import PunchUdp
from crust.nat.punch.udp_signals import Aim, Guess, Ready, Roles, Round, build_signal
from crust.nat.punch.udp_ways import birthday, predict
from crust.wire.frames import Place, PlaceKind, Standing, TransportCode
from tests.nat.punch.world import DEPENDENT, RANDOM, SEQUENTIAL, Nat, World, times
from tests.simulation.runs import seeds

RUNS = seeds(20)


def counting(step: int = 1, foreign: float = 0.0, mapping: Behaviour = DEPENDENT) -> Nat:
    return Nat(mapping, DEPENDENT, SEQUENTIAL, step=step, foreign=foreign)


def hard(block: tuple[int, int] = (1024, 65_536)) -> Nat:
    return Nat(DEPENDENT, DEPENDENT, RANDOM, block=block)


# --- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("foreign", "seconds", "share"), [(0, 4.0, 0.95), (1, 6.0, 0.85), (5, 10.0, 0.60)])
@pytest.mark.parametrize("pair", ["easy x counting", "counting x easy", "counting x counting"])
def test_ports_are_predicted(pair: str, foreign: float, seconds: float, share: float) -> None:
    """Over 40 ms and 5 % loss, whatever others behind the same routers do; in fact much sooner than must be."""

    def nats() -> tuple[Nat, Nat]:
        one, other = (counting(foreign=foreign) if word == "counting" else Nat() for word in pair.split(" x "))
        return one, other

    for skew in (0.0, 0.4):
        found = times(predict, nats, RUNS, loss=0.05, skew=skew)
        assert sum(each <= seconds for each in found) >= share * RUNS
        assert found[RUNS * 3 // 4] < 1.0 + skew  # what it really takes, so that it is noticed when it gets worse


@pytest.mark.parametrize("step", [-7, -1, 2, 256])
def test_routers_count_in_steps(step: int) -> None:
    """In either direction; both of them."""
    found = times(predict, lambda: (counting(step, 1.0), counting(1, 1.0)), 20, loss=0.05)
    assert len(found) == 20 and found[-1] < 4.0


@pytest.mark.parametrize("rtt", [0.002, 0.2, 0.4])
def test_near_and_far(rtt: float) -> None:
    """The farther, the more flows of others come in between."""
    found = times(predict, lambda: (counting(foreign=3.0), counting(foreign=3.0)), 20, rtt=rtt, loss=0.05)
    assert len(found) >= 19 and found[10] < 0.5 + 8 * rtt


def test_a_port_for_each_address() -> None:
    """Routers that look at the address only, not at the port, are predicted too: all we send has one port there."""
    by_address = Behaviour.ADDRESS
    for nats in (
        lambda: (counting(mapping=by_address), counting()),
        lambda: (Nat(), counting(mapping=by_address)),
        lambda: (counting(), counting(mapping=by_address)),
    ):
        assert len(times(predict, nats, 20, loss=0.05)) == 20


def test_a_crowded_router_is_given_up_in_time() -> None:
    """What cannot be predicted ends, with a bounded number of datagrams, and its reason."""
    world = World(counting(foreign=3000.0), counting(foreign=3000.0), predict, seed=2).run()
    assert world.met_at is None and world.now <= 15.5
    assert all(end.finished and "no guess was right" in end.finished for end in world.ends[:1])
    assert all(len(end.probes) <= 1200 for end in world.ends)
    assert all(end.most_open <= 4 for end in world.ends)


def test_an_unknown_side_may_be_one_or_the_other() -> None:
    """Two answers show in each round whether it has a port for each destination."""

    def make(context: Context) -> Plan | None:
        """The leading end's own network is not known to anybody; the other one is known to count."""
        ours, theirs = context.ours.standings[0], context.theirs.standings[0]
        if context.leads:
            ours = dataclasses.replace(ours, mapping=0, step=0)
        else:
            theirs = dataclasses.replace(theirs, mapping=0, step=0)
        return predict(
            dataclasses.replace(
                context,
                ours=Terrain((ours,), context.ours.places),
                theirs=Terrain((theirs,), context.theirs.places),
            )
        )

    for nats in (lambda: (Nat(), counting()), lambda: (counting(), counting())):
        assert len(times(make, nats, 20, loss=0.05)) == 20


# --- birthday ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leads", [Part.EASY, Part.HARD])
def test_ports_meet_by_chance(leads: Part) -> None:
    """95 % within 15 seconds; half of them in a few."""
    nats: Callable[[], tuple[Nat, Nat]] = (
        (lambda: (Nat(), hard())) if leads is Part.EASY else (lambda: (hard(), Nat()))
    )
    found = times(birthday, nats, RUNS, loss=0.05, skew=0.1)
    assert sum(each <= 15.0 for each in found) >= 0.95 * RUNS
    assert found[RUNS // 2] < 3.0


def test_a_block_needs_few_sockets() -> None:
    """A router that takes its ports from a thousand: met within a second or two, with a quarter of the sockets."""
    found = []
    for seed in range(30):
        world = World(Nat(), hard((30_000, 31_000)), birthday, seed=seed, loss=0.05, blocks=True).run()
        assert world.met_at is not None and len(world.ends[1].sockets) <= limits.BIRTHDAY_BLOCK_SOCKETS + 1
        found.append(world.met_at)
    assert sorted(found)[27] < 2.0


def test_when_two_ports_have_met_the_search_ends() -> None:
    """No more probes; the other sockets are closed, but the one that won."""
    world = World(Nat(), hard(), birthday, seed=1).run()
    easy, other = world.ends
    won = other.wins[0][0]
    assert set(other.sockets) == {"udp4", other.wins[0][1].name} and other.most_open == limits.BIRTHDAY_SOCKETS + 1
    assert max(at for at, _ in easy.probes) < won + 0.1


def test_what_is_sent_in_vain_is_bounded() -> None:
    """2,048 probes at 200 a second within 12 seconds, to no port twice, and only where the other end was seen."""
    world = World(Nat(), hard(), birthday, loss=1.0).run()
    easy, other = world.ends
    ports = Counter(probe.to[1] for _, probe in easy.probes)
    assert len(ports) == limits.BIRTHDAY_PROBES and set(ports.values()) == {1}
    assert {probe.to[0] for _, probe in easy.probes} == {other.nat.outer}
    times_ = [at for at, _ in easy.probes]
    assert max(times_) - min(times_) <= limits.BIRTHDAY_SECONDS
    assert all(
        sum(start <= at < start + 1 for at in times_) <= limits.BIRTHDAY_RATE + 1 for start in range(int(max(times_)))
    )
    assert len(other.probes) <= 5 * limits.BIRTHDAY_SOCKETS
    assert world.now < limits.BIRTHDAY_SECONDS + 1.0 and easy.finished and "2048 probes" in easy.finished


def test_the_ports_are_in_no_order() -> None:
    """All different, all in range, from everywhere; a small range is used up."""
    chosen = _shuffled(range(1024, 65_536), 2048, random.Random(4).random)
    assert len(set(chosen)) == 2048 and 1024 <= min(chosen) < 1200 and 65_300 < max(chosen) < 65_536
    assert sum(later > sooner for sooner, later in zip(chosen, chosen[1:], strict=False)) in range(900, 1150)
    assert sorted(_shuffled(range(10, 20), 99, random.Random(4).random)) == list(range(10, 20))


# --- when to search ---------------------------------------------------------------------------------------------------


def terrain(mapping: int | None, step: int = 0) -> Terrain:
    if mapping is None:
        return Terrain()
    return Terrain((Standing(TransportCode.UTP, 4, mapping, step, 0, 0, False),))


def context(ours: Terrain, theirs: Terrain, *, leads: bool = True) -> Context:
    chance = random.Random(1)
    place = Place(PlaceKind.REFLEXIVE, TransportCode.UTP, False, ("20.0.1.1", 7000))
    return Context(
        leads, 0.04, Terrain(ours.standings, (place,)), theirs, (), frozenset({"20.0.2.1"}),
        bytes(32), bytes(31) + b"\x01", 15.0, chance.random, chance.randbytes,
    )  # fmt: skip


EASY, COUNTS, HARD, SHUT, UNKNOWN = (1, 0), (2, 1), (2, 0), (3, 0), (0, 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "predicts", "part"),
    [
        (EASY, EASY, False, None),
        (EASY, COUNTS, True, Part.EASY),
        (EASY, HARD, False, Part.EASY),
        (COUNTS, COUNTS, True, None),
        (COUNTS, HARD, False, None),
        (COUNTS, UNKNOWN, True, Part.HARD),
        (HARD, HARD, False, None),
        (HARD, UNKNOWN, False, Part.HARD),
        (UNKNOWN, EASY, False, Part.HARD),
        (UNKNOWN, UNKNOWN, False, Part.EASY),
        (SHUT, COUNTS, False, None),
        (SHUT, HARD, False, None),
    ],
)
def test_what_is_offered(
    ours: tuple[int, int], theirs: tuple[int, int], predicts: bool, part: Part | None
) -> None:
    """Both ends judge alike; what is not known may be."""
    here, there = terrain(*ours), terrain(*theirs)
    near, far = context(here, there), context(there, here, leads=False)
    assert (family_to_predict(near) == 4) == (family_to_predict(far) == 4) == predicts
    mine, yours = part_in(near), part_in(far)
    if part is None:
        assert mine is yours is None
    else:
        assert mine == (4, part) and yours is not None and yours[1] is not part


def test_without_standings() -> None:
    """A prediction is cheap, and tried if one router counts; the other search is not."""
    assert predict(context(terrain(None), terrain(2, 1))) is not None
    assert predict(context(terrain(None), terrain(None))) is None
    assert birthday(context(terrain(None), terrain(2))) is None


# --- what the other end may do ----------------------------------------------------------------------------------------


def test_an_end_that_does_not_join_is_not_waited_for() -> None:
    """Neither plan waits for ever, nor sends anything to the network meanwhile."""
    for leads in (True, False):
        near = context(terrain(2, 1), terrain(1), leads=leads)
        plans: list[Plan] = [PredictUdp(near, 4), BirthdayUdp(near, 4, Part.EASY)]
        for plan in plans:
            plan.start(0.0)
            now, reason = 0.0, None
            while reason is None:
                asked = tuple(plan.actions())
                assert not any(isinstance(each, Probe) for each in asked)
                reason = next((each.reason for each in asked if isinstance(each, Finish)), None)
                timer = plan.get_timer()
                if reason is None:
                    assert timer is not None
                    now = max(now, timer)
                    plan.handle_timer(now)
            assert reason == "the other end did not begin the same" and now == limits.SEARCH_JOIN


def test_ports_that_others_took_meanwhile_are_passed_over() -> None:
    """At a router that counts: the next port and those after it, as far as the limit says, at the first shot."""
    plan = PredictUdp(context(terrain(1), terrain(2, 3)), 4)
    plan.start(0.0)
    plan.receive_signal(build_signal(Ready()), 0.0)
    for _ in range(2):
        plan.sampled("predict1", ("20.0.1.1", 7000), 0.1)
    plan.receive_signal(build_signal(Guess(1, ("20.0.2.1", 5000), 3)), 0.1)
    aims = {each.to for each in plan.actions() if isinstance(each, Probe)}
    assert aims == {("20.0.2.1", 5000 + 3 * ahead) for ahead in range(1, 17)}


def test_nobody_is_searched_at_an_address_that_the_introducer_did_not_see() -> None:
    """The other end names a victim: the attempt ends before a datagram."""
    victim = ("192.0.2.66", 7000)
    predicting = PredictUdp(context(terrain(2, 1), terrain(2, 1)), 4)
    predicting.start(0.0)
    predicting.receive_signal(build_signal(Ready()), 0.0)
    predicting.sampled("predict1", ("20.0.1.1", 5000), 0.1)
    predicting.receive_signal(build_signal(Guess(1, victim, 1)), 0.2)
    hard_side = BirthdayUdp(context(terrain(2), terrain(1), leads=False), 4, Part.HARD)
    hard_side.start(0.0)
    hard_side.receive_signal(build_signal(Roles(True)), 0.0)
    hard_side.receive_signal(build_signal(Aim(victim)), 0.1)
    for plan in (predicting, hard_side):
        asked = tuple(plan.actions())
        assert not any(isinstance(each, Probe) for each in asked)
        assert any(isinstance(each, Finish) and "192.0.2.66" in each.reason for each in asked)


def test_signals_in_any_order_do_no_harm() -> None:
    """Rounds that run backwards or never end, guesses for others, roles that change: all is bounded."""
    chance = random.Random(6)
    for leads in (True, False):
        near = context(terrain(2, 1), terrain(2, 1), leads=leads)
        plans: list[Plan] = [PredictUdp(near, 4), BirthdayUdp(near, 4, Part.EASY)]
        for plan in plans:
            plan.start(0.0)
            sent, now = 0, 0.0
            for _ in range(2000):
                now += 0.004
                signal = chance.choice(
                    [
                        Ready(),
                        Round(chance.randrange(40)),
                        Roles(chance.random() < 0.5),
                        Guess(chance.randrange(20), ("20.0.2.1", chance.randrange(1, 65_536)), chance.randrange(-9, 9)),
                        Aim(("20.0.2.1", chance.randrange(1, 65_536))),
                    ]
                )
                plan.receive_signal(build_signal(signal), now)
                plan.sampled(f"predict{chance.randrange(20)}", ("20.0.1.1", chance.randrange(1, 65_536)), now)
                plan.sampled("udp4", ("20.0.1.1", 7), now)
                timer = plan.get_timer()
                if timer is not None and timer <= now:
                    plan.handle_timer(now)
                asked = tuple(plan.actions())
                sent += sum(isinstance(each, Probe) for each in asked)
                if any(isinstance(each, Finish) for each in asked):
                    break
            assert sent <= limits.BIRTHDAY_PROBES + 100


@pytest.mark.parametrize("make", [PunchUdp, predict, birthday])
def test_who_wins_at_the_last_moment_is_in_no_haste(make: Callable[[Context], Plan | None]) -> None:
    """The time of the attempt is up while a repeated choice is still answered: no timer is in the past for that."""
    counts = counting() if make is predict else hard() if make is birthday else Nat()
    world = World(Nat(), counts, make)
    _, other = world.ends
    assert other.plan is not None
    while not other.wins:
        world.step()
    now = other.plan._end = world.now + 0.1  # type: ignore[attr-defined]
    other.plan.handle_timer(now)
    timer = other.plan.get_timer()
    assert timer is not None and timer > now
    assert world.run().met_at is not None
