"""The order and the times of the attempts to reach one peer."""

from __future__ import annotations

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.peers.race import URGENT, Candidate, Race

START = 100.0


def endpoints(*texts: str) -> list[Endpoint]:
    return [Endpoint.parse(text) for text in texts]


def run(race: Race, until: float = START + 60, failures: dict[str, float] | None = None) -> list[tuple[float, str]]:
    """What is begun when: seconds after the start, and the endpoint; ``failures`` says when which attempt fails."""
    begun: list[tuple[float, str]] = []
    now = START
    left = {START + seconds: text for text, seconds in (failures or {}).items()}
    while now <= until:
        while (candidate := race.take(now)) is not None:
            begun.append((round(now - START, 6), str(candidate.endpoint)))
        due = race.next_at()
        assert due is None or due > now, "it says that there is something, and gives nothing"
        times = [each for each in (due, *left) if each is not None]
        if not times:
            assert race.is_empty
            return begun
        now = max(now, min(times))
        if now in left:
            race.failed(Endpoint.parse(left.pop(now)), now)
    raise AssertionError("it does not end")


A_TCP, A_UTP = "tcp://192.0.2.1:1", "utp://192.0.2.1:2"
B_TCP, B_UTP = "tcp://192.0.2.2:1", "utp://192.0.2.2:1"


def test_tcp_first_and_utp_after_it_to_the_same_host() -> None:
    """Each host's µTP 0.2 s after its TCP; TCP to the next host after 0.25 s, whatever the order given."""
    race = Race(endpoints(A_UTP, B_UTP, A_TCP, B_TCP))
    assert run(race) == [(0.0, A_TCP), (0.2, A_UTP), (0.25, B_TCP), (0.45, B_UTP)]


def test_a_host_without_tcp_comes_last_in_the_row() -> None:
    """It is nobody's follower, and waits for its turn only."""
    race = Race(endpoints(B_UTP, A_TCP, A_UTP))
    assert run(race) == [(0.0, A_TCP), (0.2, A_UTP), (0.25, B_UTP)]
    assert run(Race(endpoints(A_UTP, B_UTP))) == [(0.0, A_UTP), (0.25, B_UTP)]


def test_a_failure_ends_the_waits() -> None:
    """The next in the row, and the other transport to that host, go at once."""
    race = Race(endpoints(A_TCP, A_UTP, B_TCP, B_UTP))
    assert run(race, failures={A_TCP: 0.05}) == [(0.0, A_TCP), (0.05, A_UTP), (0.05, B_TCP), (0.25, B_UTP)]


def test_on_the_link_they_follow_faster() -> None:
    """Addresses that are valid on the own link only have their answer in no time."""
    texts = [f"tcp://[fe80::{number}%eth0]:1" for number in (1, 2, 3)]
    assert run(Race(endpoints(*texts))) == [(0.0, texts[0]), (0.1, texts[1]), (0.2, texts[2])]


def test_more_addresses_may_come_later() -> None:
    """Those that wait, or are under way, are not begun twice; others take their place in the row."""
    race = Race(endpoints(A_TCP, B_TCP))
    assert race.take(START) == Candidate(Endpoint.parse(A_TCP))
    race.add(endpoints(A_TCP, A_UTP, B_TCP, B_UTP), under_way=endpoints(A_TCP))
    begun = []
    now = START
    while not race.is_empty:
        due = race.next_at()
        assert due is not None
        now = max(now, due)
        while (candidate := race.take(now)) is not None:
            begun.append((round(now - START, 6), str(candidate.endpoint)))
    assert begun == [(0.2, A_UTP), (0.25, B_TCP), (0.45, B_UTP)]


def test_what_was_tried_before_may_be_added_again() -> None:
    """Somebody else asks for it: it has another turn, with TCP first."""
    race = Race(endpoints(A_TCP))
    assert race.take(START) is not None
    race.failed(Endpoint.parse(A_TCP), START + 1)
    race.add(endpoints(A_TCP, A_UTP))
    assert race.take(START + 2) == Candidate(Endpoint.parse(A_TCP))
    assert race.take(START + 2) is None
    assert race.next_at() == START + 2 + limits.UTP_HEADSTART
    assert race.take(START + 2 + limits.UTP_HEADSTART) == Candidate(Endpoint.parse(A_UTP))
    assert race.is_empty


def test_another_secret_goes_before_all_others() -> None:
    """As soon as the row goes on."""
    race = Race(endpoints(A_TCP, B_TCP))
    assert race.take(START) is not None
    race.again(Candidate(Endpoint.parse(A_TCP), 1))
    assert race.take(START) is None
    race.failed(Endpoint.parse(A_TCP), START + 0.1)
    assert race.take(START + 0.1) == Candidate(Endpoint.parse(A_TCP), 1)


@pytest.mark.parametrize("given", [[], [A_TCP, A_UTP, B_UTP]])
def test_nothing_is_left_after_clearing(given: list[str]) -> None:
    """It neither gives nor promises anything."""
    race = Race(endpoints(*given))
    race.clear()
    assert (race.is_empty, race.next_at(), race.take(START)) == (True, None, None)


def test_many_hosts_do_not_hold_up_utp() -> None:
    """µTP to the first host need not wait until TCP to the last one was tried."""
    hosts = [f"192.0.2.{number}" for number in range(1, 9)]
    race = Race(endpoints(*(f"{name}://{host}:1" for name in ("tcp", "utp") for host in hosts)))
    begun = dict((text, seconds) for seconds, text in run(race))
    for position, host in enumerate(hosts):
        assert begun[f"tcp://{host}:1"] == pytest.approx(position * limits.DIAL_STAGGER)
        assert begun[f"utp://{host}:1"] == pytest.approx(position * limits.DIAL_STAGGER + limits.UTP_HEADSTART)


# --- in a hurry -------------------------------------------------------------------------------------------------------


def test_a_session_without_a_link_tries_all_at_once() -> None:
    """µTP with TCP, the next host a moment later, circuits when what is near has answered."""
    circuit = Candidate(Endpoint("relay", "192.0.2.9", 1), prepare=lambda _: None)  # type: ignore[arg-type, return-value]
    race = Race(endpoints(A_TCP, A_UTP, B_TCP, B_UTP), [circuit], URGENT)
    stagger = limits.REDIAL_STAGGER
    assert run(race) == [
        (0.0, A_TCP),
        (0.0, A_UTP),
        (stagger, B_TCP),
        (stagger, B_UTP),
        (limits.REDIAL_CIRCUIT_HEADSTART, "relay://192.0.2.9:1"),
    ]


def test_a_circuit_that_comes_later_is_tried_at_once() -> None:
    """Once: not what waits already, nor what is under way."""
    one, other = (
        Candidate(Endpoint("relay", f"192.0.2.{number}", 1), prepare=lambda _: None)  # type: ignore[arg-type, return-value]
        for number in (8, 9)
    )
    race = Race(endpoints(A_TCP), [one], URGENT)
    race.add_circuits([one, other], [other.endpoint])
    assert run(race) == [(0.0, A_TCP), (limits.REDIAL_CIRCUIT_HEADSTART, "relay://192.0.2.8:1")]
    race.add_circuits([other])
    assert race.take(START) == other and race.is_empty


def test_what_waits_already_has_one_more_turn_only() -> None:
    """Also if a round has begun meanwhile in which it is, too; another secret is another try."""
    race = Race(endpoints(A_TCP, B_TCP))
    for _ in range(2):
        race.again(Candidate(Endpoint.parse(B_TCP)))
    race.again(Candidate(Endpoint.parse(B_TCP), 1))
    assert [where for _, where in run(race)] == [B_TCP, B_TCP, A_TCP]
