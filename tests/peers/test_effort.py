"""What is tried again when the attempt that introduced us comes to nothing."""

from types import SimpleNamespace
from typing import Any, cast

from crust.addresses import Endpoint, PeerId
from crust.peers.effort import Effort, Try
from crust.peers.race import Candidate
from crust.wire.handshake import Purpose

FIRST = Endpoint.parse("tcp://192.0.2.1:1000")
OTHER = Endpoint.parse("tcp://192.0.2.2:1000")
PEER = PeerId(bytes(range(32)))


def an_effort(*endpoints: Endpoint) -> Effort:
    return Effort(PEER, endpoints, Purpose.CONNECT, 60.0, None)


def begin(effort: Effort, now: float, *, verdict: str = "") -> Try:
    """The next attempt of the race, whose link stands and may have got a verdict."""
    candidate = effort.race.take(now)
    assert candidate is not None
    return begin_with(effort, candidate, now, verdict=verdict)


def begin_with(effort: Effort, candidate: Candidate, now: float, *, verdict: str = "") -> Try:
    attempt = Try(effort, candidate, cast(Any, None), now)
    connection = SimpleNamespace(remote=candidate.endpoint)
    attempt.link = cast(Any, SimpleNamespace(connection=connection, rtt=0.01, verdict=verdict))
    effort.tries.add(attempt)
    return attempt


def introduce_the_first_of_two(effort: Effort) -> tuple[Try, Try]:
    """Two are answered, and one of them introduces us: it, and the one that has lost and is over."""
    effort.answered = [begin(effort, 0.0), begin(effort, 10.0)]
    first = effort.choose(20.0)
    assert first is not None
    (loser,) = effort.losers()
    effort.ended(loser)
    return first, loser


def endpoints_left(effort: Effort) -> list[Endpoint]:
    left = []
    for now in range(100, 200, 10):
        if (candidate := effort.race.take(float(now))) is not None:
            left.append(candidate.endpoint)
    return left


def test_who_has_lost_races_again() -> None:
    effort = an_effort(FIRST, OTHER)
    first, loser = introduce_the_first_of_two(effort)
    assert endpoints_left(effort) == []
    effort.ended(first)
    assert endpoints_left(effort) == [loser.candidate.endpoint]


def test_who_has_lost_races_again_once() -> None:
    effort = an_effort(FIRST, OTHER)
    first, loser = introduce_the_first_of_two(effort)
    effort.ended(first)
    assert endpoints_left(effort) == [loser.candidate.endpoint]
    effort.introduced = begin_with(effort, first.candidate, 200.0)
    effort.ended(effort.introduced)
    assert endpoints_left(effort) == []


def test_who_is_dialled_anew_meanwhile_does_not_race_beside_it() -> None:
    effort = an_effort(FIRST, OTHER)
    first, loser = introduce_the_first_of_two(effort)
    begin_with(effort, loser.candidate, 30.0)  # another round
    effort.ended(first)
    assert endpoints_left(effort) == []


def test_who_was_dialled_anew_in_vain_races_again() -> None:
    effort = an_effort(FIRST, OTHER)
    first, loser = introduce_the_first_of_two(effort)
    begin_with(effort, loser.candidate, 30.0, verdict="refused")  # it has failed, and is not over yet
    effort.ended(first)
    assert endpoints_left(effort) == [loser.candidate.endpoint]


def test_nobody_races_again_after_a_session() -> None:
    effort = an_effort(FIRST, OTHER)
    first, _ = introduce_the_first_of_two(effort)
    first.welcomed = True
    effort.ended(first)
    assert endpoints_left(effort) == []
