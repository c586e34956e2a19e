"""When a node looks around, and whom it dials then: on a virtual clock."""

from __future__ import annotations

import random

from crust import Contact, Endpoint, Identity, limits
from crust.discovery.gossip.around import LookAround


def contact(host: str) -> Contact:
    return Contact(Identity.generate().peer_id, (Endpoint("tcp", host, 5483),))


def looks(core: LookAround, count: int, *known: list[Contact]) -> list[tuple[float, Contact | None]]:
    """When it looks, and whom it finds; everybody is reached."""
    found = []
    for _ in range(count):
        now = core.get_timer()
        assert now is not None
        found.append((now, core.handle_timer(now, *known)))
        core.reached()
    return found


def test_nothing_happens_before_the_first_link() -> None:
    core = LookAround(random.Random(1).random)
    assert core.get_timer() is None
    assert core.handle_timer(1000.0, [contact("45.0.0.1")]) is None


def test_once_a_minute_and_never_in_step() -> None:
    known = [contact(f"45.0.0.{number}") for number in range(1, 30)]
    firsts, seen = [], set()
    for seed in range(20):
        core = LookAround(random.Random(seed).random)
        core.begin(0.0)
        came = looks(core, 30, known)
        times = [when for when, _ in came]
        firsts.append(times[0])
        steps = [later - sooner for sooner, later in zip(times, times[1:], strict=False)]
        assert all(limits.LOOK_AROUND * 0.75 <= step <= limits.LOOK_AROUND * 1.25 for step in steps)
        assert len(set(steps)) > 20
        seen |= {each.peer_id for _, each in came if each is not None}
    assert max(firsts) - min(firsts) > limits.LOOK_AROUND / 2 and max(firsts) <= limits.LOOK_AROUND
    assert seen == {each.peer_id for each in known}, "everybody has a turn"


def test_a_second_beginning_changes_nothing_and_an_end_ends_it() -> None:
    core = LookAround(random.Random(1).random)
    core.begin(0.0)
    due = core.get_timer()
    core.begin(5.0)
    assert core.get_timer() == due
    core.end()
    assert core.get_timer() is None
    core.begin(100.0)
    assert (core.get_timer() or 0.0) >= 100.0


def test_who_is_not_there_is_followed_by_others_soon_but_not_for_ever() -> None:
    core, known = LookAround(random.Random(1).random), [contact(f"45.0.0.{number}") for number in range(1, 30)]
    core.begin(0.0)
    now = core.get_timer() or 0.0
    gone: list[Contact] = []
    while len(gone) < limits.LOOK_AROUND_TRIES:
        chosen = core.handle_timer(now, known)
        assert chosen is not None
        gone.append(chosen)
        core.missed(now)
        due = core.get_timer() or 0.0
        if len(gone) < limits.LOOK_AROUND_TRIES:
            assert due == now + limits.LOOK_AROUND_PAUSE
            now = due
    assert due >= now + limits.LOOK_AROUND * 0.75


def test_who_is_there_begins_the_count_anew() -> None:
    core, known = LookAround(random.Random(1).random), [contact("45.0.0.1")]
    core.begin(0.0)
    for _ in range(limits.LOOK_AROUND_TRIES - 1):
        now = core.get_timer() or 0.0
        assert core.handle_timer(now, known) is known[0]
        core.missed(now)
    now = core.get_timer() or 0.0
    assert core.handle_timer(now, known) is known[0]
    core.reached()
    now = core.get_timer() or 0.0
    assert core.handle_timer(now, known) is known[0]
    core.missed(now)
    assert core.get_timer() == now + limits.LOOK_AROUND_PAUSE


def test_where_nobody_is_known_it_only_waits() -> None:
    core = LookAround(random.Random(1).random)
    core.begin(0.0)
    now = core.get_timer() or 0.0
    assert core.handle_timer(now, []) is None
    assert (core.get_timer() or 0.0) >= now + limits.LOOK_AROUND * 0.75


def test_one_address_with_many_keys_is_one_of_those_that_are_looked_at() -> None:
    """So is a /48, however many networks it has."""
    honest = [contact(f"45.0.0.{number}") for number in range(1, 9)]
    liars = [contact("66.0.0.1") for _ in range(1000)] + [contact(f"2001:db8:1:{net:x}::1") for net in range(1000)]
    core = LookAround(random.Random(1).random)
    core.begin(0.0)
    seen = [each for _, each in looks(core, 300, [*liars, *honest])]
    assert sum(each in honest for each in seen) > 200
    assert {each for each in seen if each in honest} == set(honest)


def test_made_up_addresses_leave_half_of_the_looks_to_who_is_known_better() -> None:
    liars = [contact(f"66.{number // 250}.{number % 250}.1") for number in range(1000)]
    honest = [contact("45.0.0.1")]
    core = LookAround(random.Random(1).random)
    core.begin(0.0)
    seen = [each for _, each in looks(core, 300, [], honest, liars)]
    assert 100 < seen.count(honest[0]) < 200
