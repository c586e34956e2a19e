"""Which connections groups keep, on a clock that the test moves; with properties of whatever may happen."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import PeerId, limits
from tests.service.groups.core_world import World, make_ids

BOUND = 5.0
"""Seconds within which a group is full again, if there are enough who live."""


def taken(world: World, name: str = "g") -> list[PeerId]:
    return list(world.core._groups[name].taken)


def is_full(world: World, name: str = "g") -> bool:
    return len(world.core.sessions(name)) == world.wants[name]


# --- keeping up -------------------------------------------------------------------------------------------------------


def test_it_fills_with_no_more_dials_than_places() -> None:
    world = World(make_ids(50))
    world.open("g", 8)
    assert len(world.dials) == 8
    assert world.run(1.0, lambda: is_full(world)) < 0.1
    assert [each[1:] for each in world.fullness] == [("g", True)]
    world.run(60.0)
    assert len(world.dials) == 8 and world.cuts == []


@pytest.mark.parametrize("known_after", [0.0, 120.0])
@pytest.mark.parametrize("silent", [False, True])
def test_one_is_killed_every_two_seconds(known_after: float, silent: bool) -> None:
    """Of the group itself, for two minutes; those that were are back ten seconds later."""
    world = World(make_ids(50), seed=7)
    world.open("g", 8)
    world.run(1.0)
    for _ in range(60):
        victim = world.random.choice(taken(world))
        world.die(victim, silent=silent, known_after=known_after)
        world.later(10.0, lambda victim=victim: world.live(victim))
        assert world.run(BOUND, lambda: is_full(world)) < BOUND
        world.run(2.0)


def test_a_short_break_costs_nobody_the_place() -> None:
    world = World(make_ids(9))
    world.open("g", 8)
    world.run(1.0)
    one = taken(world)[0]
    session = world.suspend(one)
    assert len(world.core.sessions("g")) == 7 and world.core.is_full("g")
    world.run(limits.GROUP_PATIENCE - 0.01)
    world.core.connected(one, session, world.now, inbound=False, network="")
    world.run(10.0)
    assert len(world.dials) == 8 and world.cuts == []
    assert [each[1:] for each in world.fullness] == [("g", True)]


def test_who_comes_back_too_late_finds_no_place() -> None:
    """What the group had dialled ends then; the place is another's, and nobody is dropped for it."""
    world = World(make_ids(9))
    world.open("g", 8)
    world.run(1.0)
    one = taken(world)[0]
    session = world.suspend(one)
    world.run(10.0)
    assert is_full(world) and one not in taken(world)
    world.core.connected(one, session, world.now, inbound=False, network="")
    world.step()
    assert world.cuts == [(session, False)] and is_full(world)


def test_where_nothing_listens_any_more_nobody_is_waited_for() -> None:
    """A program that was killed is replaced sooner than one that is only out of reach."""
    world = World(make_ids(9))
    world.open("g", 8)
    world.run(1.0)
    one = taken(world)[0]
    world.core.refused(one, world.now)  # one of its addresses; it has a link
    world.step()
    world.suspend(one)
    assert world.run(10.0, lambda: is_full(world)) >= limits.GROUP_PATIENCE
    other = taken(world)[0]
    world.suspend(other)
    world.core.refused(other, world.now)
    world.step()
    world.lose(one)
    assert limits.GROUP_REFUSED <= world.run(10.0, lambda: is_full(world)) < limits.GROUP_PATIENCE


def test_a_refusal_that_comes_late_or_again_wins_no_time() -> None:
    """A peer whose addresses refuse one by one does not keep its place by that."""
    world = World(make_ids(9))
    world.open("g", 8)
    world.run(1.0)
    one = taken(world)[0]
    world.suspend(one)
    for _ in range(4):
        world.run(limits.GROUP_PATIENCE / 4 - 0.01)
        world.core.refused(one, world.now)
        world.step()
    world.run(0.04)
    assert one not in taken(world)
    other = taken(world)[0]
    world.suspend(other)
    world.run(limits.GROUP_PATIENCE - 0.01)
    world.core.refused(other, world.now)
    world.step()
    world.run(0.01)
    assert other not in taken(world)


def test_who_comes_back_takes_a_free_place_unasked() -> None:
    """The application has said yes to that session already."""
    world = World(make_ids(2))
    world.open("g", 2, asks=True)
    world.run(1.0)
    one = taken(world)[0]
    session = world.suspend(one)
    world.run(10.0)
    assert not is_full(world)
    world.core.connected(one, session, world.now, inbound=False, network="")
    world.run(1.0)
    assert is_full(world) and len(world.offers) == 2


def test_slow_ones_are_not_waited_for() -> None:
    """Those that do not answer hold up nobody, and are given up when the places are taken."""
    ids = make_ids(40)
    world = World(ids, seed=3)
    world.silent = set(ids[:15])
    world.open("g", 8)
    assert world.run(10.0, lambda: is_full(world)) < BOUND
    world.step()
    assert world.dialled == {}


def test_as_many_as_there_are() -> None:
    """Fewer live than are wanted: the dead are dialled ever more seldom, and taken as soon as they live."""
    ids = make_ids(5)
    world = World(ids)
    world.alive = set(ids[:3])
    world.open("g", 4, members=ids)
    world.run(600.0)
    assert sorted(taken(world)) == ids[:3]
    counts = collections.Counter(peer_id for _, peer_id in world.dials)
    assert all(12 <= counts[each] <= 20 for each in ids[3:]), counts
    world.live(ids[4])
    assert world.run(2 * limits.KEEP_DELAY_MAX, lambda: is_full(world)) < 1.3 * limits.KEEP_DELAY_MAX


# --- back-off ---------------------------------------------------------------------------------------------------------


def pauses(world: World, peer_id: PeerId) -> list[float]:
    times = [when for when, who in world.dials if who == peer_id]
    return [later - earlier for earlier, later in zip(times, times[1:], strict=False)]


def test_back_off_doubles_and_begins_anew() -> None:
    (one,) = make_ids(1)
    world = World([one])
    world.dial_seconds = 0.001
    world.alive.clear()
    world.core.keep(one)
    world.step()
    world.run(300.0)
    found = pauses(world, one)
    for number, pause in enumerate(found):
        expected = min(limits.KEEP_DELAY * 2 ** (number + 1), limits.KEEP_DELAY_MAX)
        assert expected * (1 - limits.JITTER) <= pause <= expected * (1 + limits.JITTER) + 0.01
    assert len(found) >= 8
    world.live(one)
    world.run(100.0, lambda: one in world.sessions)
    for _ in range(3):  # once it has been there, it is the first pause again
        world.dials.clear()
        lost_at = world.now
        world.lose(one)
        world.run(10.0, lambda: one in world.sessions)
        assert world.dials[0][0] - lost_at <= limits.KEEP_DELAY * (1 + limits.JITTER)
        assert world.dials[0][0] > lost_at


def test_two_programs_with_one_identity_do_not_fight_for_ever() -> None:
    """Who is replaced again and again comes back ever more slowly; who stays for a while begins anew."""
    (one,) = make_ids(1)
    world = World([one])
    world.core.keep(one)
    world.step()

    def replaced() -> float:
        world.run(100.0, lambda: one in world.sessions)
        world.dials.clear()
        lost_at = world.now
        world.lose(one, replaced=True)
        world.run(100.0, lambda: bool(world.dials))
        return world.dials[0][0] - lost_at

    found = [replaced() for _ in range(limits.KEEP_REPLACED + 12)]
    for number, pause in enumerate(found):
        expected = min(limits.KEEP_DELAY * 2 ** max(0, number + 1 - limits.KEEP_REPLACED), limits.KEEP_DELAY_MAX)
        assert expected * (1 - limits.JITTER) <= pause <= expected * (1 + limits.JITTER) + 0.01
    world.run(100.0, lambda: one in world.sessions)
    world.run(limits.KEEP_STEADY + 1.0)
    assert replaced() <= limits.KEEP_DELAY * (1 + limits.JITTER) + 0.01


def test_pauses_differ() -> None:
    """Many that lost the same server do not come back in step."""
    ids = make_ids(16)
    world = World(ids)
    for each in ids:
        world.core.keep(each)
    world.step()
    world.run(1.0)
    world.dials.clear()
    for each in ids:
        world.lose(each)
    world.run(2.0)
    times = sorted(when for when, _ in world.dials)
    assert len(times) == 16 and times[-1] - times[0] > limits.KEEP_DELAY * limits.JITTER


def test_who_is_no_member_rests_after_three_failures() -> None:
    (one,) = ids = make_ids(1)
    world = World(ids)
    world.alive.clear()
    world.open("g", 1)
    world.run(limits.DROPPED_SECONDS - 1)
    assert len(world.dials) == limits.GROUP_FAILURES
    world.live(one)
    world.run(20.0)
    assert is_full(world)


def test_a_refusal_for_good_is_not_asked_again_soon() -> None:
    (one,) = ids = make_ids(1)
    world = World(ids)
    world.silent.add(one)
    world.open("g", 1, members=ids)
    world.core.failed(one, world.now, for_good=True)
    world.dialled.clear()
    world.run(limits.DROPPED_SECONDS - 1)
    assert len(world.dials) == 1


def test_another_network_ends_all_pauses() -> None:
    (one,) = ids = make_ids(1)
    world = World(ids)
    world.alive.clear()
    world.open("g", 1)
    world.run(100.0)
    world.live(one)
    world.core.hurry(world.now)
    world.step()
    assert world.run(10.0, lambda: is_full(world)) < 1.0


# --- who counts -------------------------------------------------------------------------------------------------------


def test_who_is_there_counts_whoever_began() -> None:
    ids = make_ids(10)
    world = World(ids)
    for each in ids[:3]:
        world.call(each)
    world.open("g", 4)
    world.run(1.0)
    assert set(ids[:3]) <= set(taken(world)) and len(world.dials) == 1


def test_who_calls_a_full_group_stays_and_does_not_count() -> None:
    ids = make_ids(4)
    world = World(ids)
    world.open("g", 2)
    world.run(1.0)
    caller = next(each for each in ids if each not in world.sessions)
    world.call(caller)
    world.run(10.0)
    assert caller not in taken(world) and caller in world.sessions and world.cuts == []
    world.die(taken(world)[0])
    assert caller in taken(world)  # at once: nobody has to be dialled
    assert len(world.dials) == 2


def test_only_members() -> None:
    ids = make_ids(10)
    world = World(ids)
    world.call(ids[9])
    world.open("g", 4, members=ids[:3])
    world.run(100.0)
    assert sorted(taken(world)) == ids[:3]
    assert {peer_id for _, peer_id in world.dials} == set(ids[:3])


def test_members_first() -> None:
    ids = make_ids(30)
    world = World(ids)
    world.wants["g"] = 5
    world.core.open("g", 5, ids[10:13], others=True, asks=False)
    world.step()
    world.run(1.0)
    assert is_full(world) and set(ids[10:13]) <= set(taken(world))


def test_networks_are_spread_over() -> None:
    """Forty are in one network, and six elsewhere: those six are in it, and whoever replaces one is from elsewhere."""
    ids = make_ids(46)
    world = World(ids, seed=5)
    world.networks = {each: "crowd" if number < 40 else f"net {number}" for number, each in enumerate(ids)}
    world.open("g", 7)
    world.run(1.0)
    assert collections.Counter(world.networks[each] for each in taken(world))["crowd"] == 1
    world.open("other", 3, members=ids[:10])  # no choice, no hindrance
    world.run(1.0)
    assert is_full(world, "other")


# --- the application decides ------------------------------------------------------------------------------------------


def test_a_session_is_offered_once_and_dropped_when_refused() -> None:
    ids = make_ids(20)
    world = World(ids, seed=1)
    world.verdicts = lambda name, peer_id: "too odd" if ids.index(peer_id) % 2 else None
    world.open("g", 5, asks=True)
    world.run(5.0)
    assert is_full(world)
    assert all(ids.index(each) % 2 == 0 for each in taken(world))
    offered = [session for _, session in world.offers]
    assert len(set(offered)) == len(offered)
    assert all(dropped for _, dropped in world.cuts) and world.cuts
    counts = collections.Counter(peer_id for _, peer_id in world.dials)
    assert max(counts.values()) == 1


def test_what_is_being_decided_has_a_place() -> None:
    """A slow application is not given more to decide than there are places."""
    world = World(make_ids(20))
    world.answer_seconds = 30.0
    world.open("g", 3, asks=True)
    world.run(29.0)
    assert len(world.offers) == 3 and len(world.dials) == 3 and taken(world) == []
    world.run(2.0)
    assert is_full(world)


def test_a_caller_that_is_refused_is_ended_but_not_what_the_application_asked_for() -> None:
    ids = make_ids(2)
    world = World([])
    world.verdicts = lambda name, peer_id: "no"
    world.core.claim(ids[0])
    own = world.call(ids[0])
    world.core.unclaim(ids[0])
    other = world.call(ids[1])
    world.open("g", 2, asks=True)
    world.run(1.0)
    assert [session for session, _ in world.cuts] == [other]
    assert world.sessions == {ids[0]: own}
    world.run(700.0)
    assert len(world.offers) == 2  # it is asked about once, however long it stays


def test_whom_a_group_refused_it_does_not_dial_though_nobody_dropped_that_peer() -> None:
    """The application had asked for it itself, so its session went on; when that ends the group leaves it alone."""
    (one,) = ids = make_ids(1)
    world = World(ids)
    world.verdicts = lambda name, peer_id: "no"
    world.core.claim(one)
    world.call(one)
    world.core.unclaim(one)
    world.open("g", 1, asks=True)
    world.run(10.0)
    assert world.cuts == [] and len(world.offers) == 1
    world.lose(one)
    world.run(limits.DROPPED_SECONDS - 11.0)
    assert world.dials == []
    world.run(100.0)
    assert [peer_id for _, peer_id in world.dials] == [one]


def test_an_answer_about_a_session_that_is_over_means_nothing() -> None:
    (one,) = ids = make_ids(1)
    world = World(ids)
    world.answer_seconds = 5.0
    world.open("g", 1, asks=True)
    world.run(1.0)
    world.lose(one)
    world.run(3.0)
    assert len(world.offers) == 2
    world.run(1.5)
    assert taken(world) == []  # the first answer came
    world.run(5.0)
    assert is_full(world)


# --- several groups ---------------------------------------------------------------------------------------------------


def test_a_peer_in_two_groups_is_held_once() -> None:
    ids = make_ids(3)
    world = World(ids)
    world.open("g", 3, members=ids)
    world.open("h", 2, members=ids[:2])
    world.run(1.0)
    assert len(world.dials) == 3 and is_full(world) and is_full(world, "h")
    world.core.close("g")
    del world.wants["g"]
    world.step()
    assert sorted(world.sessions) == ids[:2]
    world.core.keep(ids[0])
    world.core.close("h")
    del world.wants["h"]
    world.step()
    assert sorted(world.sessions) == ids[:1]
    world.core.unkeep(ids[0])  # from then on it is the application's
    world.step()
    assert sorted(world.sessions) == ids[:1]


def test_less_is_wanted() -> None:
    """The newest that we dialled leave first; those who called us stay connected."""
    ids = make_ids(8)
    world = World(ids)
    callers = [world.call(each) for each in ids[:2]]
    world.open("g", 6)
    world.run(1.0)
    world.want("g", 3)
    assert len(taken(world)) == 3 and {each.peer_id for each in callers} <= set(taken(world))
    assert len(world.cuts) == 3 and not any(dropped for _, dropped in world.cuts)
    world.want("g", 0)
    assert sorted(world.sessions) == ids[:2] and world.core.is_full("g")
    world.want("g", 5)
    world.run(2.0)
    assert is_full(world)


def test_when_less_is_wanted_those_leave_whom_we_dialled_though_they_came_first() -> None:
    """Only of those sessions are ours to end: the caller's would go on without its place."""
    ids = make_ids(4)
    world = World(ids)
    world.open("g", 4)
    world.forbidden = set(ids[2:])
    world.alive -= set(ids[2:])
    world.run(1.0)
    for each in ids[2:]:
        world.call(each)
    world.want("g", 2)
    assert taken(world) == ids[2:] and sorted(world.sessions) == ids[2:]


def test_removed_and_added_again() -> None:
    ids = make_ids(4)
    world = World(ids)
    world.open("g", 4)
    world.run(1.0)
    world.core.remove("g", ids[0])
    world.step()
    world.run(30.0)
    assert sorted(taken(world)) == ids[1:] and ids[0] not in world.sessions
    world.core.add("g", ids[0])
    world.run(5.0)
    assert is_full(world)


def test_what_was_given_up_comes_all_the_same() -> None:
    """It answered at the moment it was given up: it is ended, as nobody has a place for it."""
    (one,) = ids = make_ids(1)
    world = World(ids)
    world.silent.add(one)
    world.open("g", 1)
    world.want("g", 0)
    assert world.dialled == {}
    session = world._connect(one, inbound=False)
    world.step()
    assert world.cuts == [(session, False)]


def test_names_are_taken_once() -> None:
    world = World([])
    world.open("g", 1)
    with pytest.raises(ValueError, match="there is a group 'g' already"):
        world.core.open("g", 2, (), others=True, asks=False)


# --- whatever may happen ----------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("run"), st.floats(0.0, 20.0)),
    st.tuples(st.just("die"), st.integers(0, 11), st.sampled_from([0.0, 3.0, 120.0]), st.booleans()),
    st.tuples(st.just("live"), st.integers(0, 11)),
    st.tuples(st.just("call"), st.integers(0, 11)),
    st.tuples(st.just("lose"), st.integers(0, 11)),
    st.tuples(st.just("want"), st.sampled_from("gh"), st.integers(0, 6)),
    st.tuples(st.just("add"), st.sampled_from("gh"), st.integers(0, 11)),
    st.tuples(st.just("remove"), st.sampled_from("gh"), st.integers(0, 11)),
    st.tuples(st.just("keep"), st.integers(0, 11)),
    st.tuples(st.just("unkeep"), st.integers(0, 11)),
    st.tuples(st.just("forbid"), st.integers(0, 11)),
    st.tuples(st.just("allow"), st.integers(0, 11)),
)


@given(st.lists(STEP, max_size=40), st.integers(0, 2**32), st.booleans())
@settings(deadline=None)
def test_the_rules_hold_whatever_happens(steps: list[tuple[object, ...]], seed: int, asks: bool) -> None:
    """See ``World.check``, which runs after each step; and in the end both groups are full again."""
    ids = make_ids(12)
    world = World(ids, seed)
    world.answer_seconds = 0.2
    world.verdicts = lambda name, peer_id: "no" if asks and world.random.random() < 0.2 else None
    world.open("g", 3, asks=asks)
    world.open("h", 2, members=ids[:6])
    for what, *arguments in steps:
        perform(world, ids, str(what), arguments)
    world.verdicts = lambda name, peer_id: None
    for each in ids:
        world.live(each)
        world.forbidden.discard(each)
        world.core.add("h", each)
        world.core.add("g", each)
    world.core.hurry(world.now)
    world.run(2 * limits.DROPPED_SECONDS)
    assert is_full(world) and is_full(world, "h")
    held = {*taken(world), *taken(world, "h"), *world.core.kept}
    assert all(session.inbound or peer_id in held or peer_id in world.core._own
               for peer_id, session in world.sessions.items())


def perform(world: World, ids: list[PeerId], what: str, arguments: list[object]) -> None:
    first = arguments[0]
    if what == "run":
        assert isinstance(first, float)
        world.run(first)
        return
    if isinstance(first, str):
        number = arguments[1]
        assert isinstance(number, int)
        if what == "want":
            world.want(first, number)
        else:
            getattr(world.core, what)(first, ids[number])
            world.step()
        return
    assert isinstance(first, int)
    one = ids[first]
    if what == "die":
        _, after, silent = arguments
        assert isinstance(after, float)
        world.die(one, known_after=after, silent=bool(silent))
    elif what == "live":
        world.live(one)
    elif what == "call" and one not in world.sessions:
        world.live(one)
        world.call(one)
    elif what == "lose" and one in world.sessions:
        world.lose(one)
    elif what == "forbid" and one not in world.dialled:
        world.forbidden.add(one)
    elif what == "allow":
        world.forbidden.discard(one)
    elif what in ("keep", "unkeep"):
        getattr(world.core, what)(one)
        world.step()
