"""One session's traversals: generations, what both ends tell each other, which methods run and when, and the end."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from crust import limits
from crust.nat.methods import Method
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Context, Terrain
from crust.nat.punch.runner import Runner
from crust.wire.frames import Candidates, Signal, build_record
from tests.service.traversal.one_end import (
    BIRTHDAY,
    EASY,
    KEYS,
    PLACE,
    PREDICT,
    PUNCH,
    PUNCH_UDP,
    SYMMETRIC,
    WHERE,
    End,
)


def test_a_circuit_begins_a_generation() -> None:
    """Both ends say where they are, as soon as it carries the session."""
    end = End()
    end.begin()
    assert end.sent == [Candidates(1, (EASY,), (PLACE,))]


def test_other_links_begin_nothing() -> None:
    """What is direct needs no traversal."""
    end = End()
    end.move("direct-tcp")
    assert end.sent == []


def test_when_both_have_spoken_the_work_begins() -> None:
    """Dials and the methods that punch at once, searches later."""
    end = End([PUNCH, PUNCH_UDP, PREDICT])
    end.begin()
    assert end.log == []
    end.hear(1, EASY)
    assert end.log == ["punch-tcp started", "punch-udp started"]
    assert [str(candidate.endpoint) for candidate in end.pursued] == ["tcp://198.51.100.7:5483"]
    end.io.advance(limits.SEARCH_AFTER - 0.01)
    assert len(end.log) == 2
    end.io.advance(0.02)
    assert end.log[2:] == ["predict-udp started"]


def test_a_network_that_calls_for_a_search_gets_it_early() -> None:
    """A port for each destination is not punched."""
    end = End([PUNCH, PREDICT])
    end.begin()
    end.hear(1, SYMMETRIC)
    end.io.advance(limits.SEARCH_AFTER_KNOWN + 0.01)
    assert end.log[-1] == "predict-udp started"


def test_searches_come_one_after_the_other() -> None:
    """And the turn is given back after the last one."""
    end = End([PREDICT, BIRTHDAY])
    end.begin()
    end.hear()
    end.io.advance(limits.SEARCH_AFTER + 0.01)
    assert end.search.is_taken
    end.signal("predict-udp", "stop")
    assert end.log[-1] == "birthday-udp started"
    end.signal("birthday-udp", "stop")
    assert not end.search.is_taken


def test_a_node_looks_for_so_many_paths_at_once() -> None:
    """Whoever comes too late stays on the relay, and tries again by its schedule."""
    end = End([PUNCH])
    end.free = False
    end.begin()
    end.hear()
    assert end.log == [] and end.pursued == []
    end.free = True
    end.io.advance(5 * (1 + limits.JITTER))
    assert end.generations() == [1, 2]
    end.hear(2)
    assert end.log == ["punch-tcp started"]


def test_a_search_that_a_better_path_ended_was_not_in_vain() -> None:
    """Else it would be missing when that path is lost again."""
    end = End([BIRTHDAY])
    end.begin()
    end.hear()
    end.io.advance(limits.SEARCH_AFTER + 0.01)
    assert end.log == ["birthday-udp started"]
    end.move("punched-tcp")
    assert end.vain == [] and [note.verdict for note in end.notes] == ["cancelled"]


def test_punching_waits_for_anothers_search_behind_a_router_that_counts() -> None:
    """It would take the ports that are predicted just now; but it does not wait for long."""
    for standing, waits in ((SYMMETRIC, True), (EASY, False)):
        end = End([PUNCH])
        end.ours = Terrain((standing,), (PLACE,))
        end.search.ask("another session", WHERE, lambda: None)
        end.begin()
        end.hear()
        end.hear(places=(PLACE, dataclasses.replace(PLACE, address=("198.51.100.7", 9))))
        assert (end.log == []) is waits
        end.traversal.terrain_changed()
        end.search.done("another session")
        end.io.advance(limits.SEARCH_LOOK)
        assert end.log.count("punch-tcp started") == 1
    end = End([PUNCH])
    end.ours = Terrain((SYMMETRIC,), (PLACE,))
    end.search.ask("another session", WHERE, lambda: None)
    end.begin()
    end.hear()
    end.io.advance(limits.SEARCH_QUIET + 2 * limits.SEARCH_LOOK)
    assert end.log == ["punch-tcp started"]


def test_what_was_in_vain_rests() -> None:
    """A search that found nothing is told; one that rests is left out."""
    end = End([PREDICT, BIRTHDAY])
    end.begin()
    end.hear()
    end.resting.add("predict-udp")
    end.io.advance(limits.SEARCH_AFTER + 0.01)
    assert end.log == ["birthday-udp started"]
    end.signal("birthday-udp", "stop")
    assert end.vain == ["birthday-udp"] and not end.search.is_taken


def test_two_sessions_do_not_search_at_once() -> None:
    """They would spoil each other's predictions."""
    end = End([PREDICT])
    end.search.ask("another session", WHERE, lambda: None)
    end.begin()
    end.hear()
    end.io.advance(limits.SEARCH_AFTER + 1)
    assert end.log == []
    end.search.done("another session")
    assert end.log == ["predict-udp started"]


def test_a_better_path_ends_what_is_not_better_than_it() -> None:
    """TCP is favoured: it goes on."""
    end = End([PUNCH, PUNCH_UDP, PREDICT])
    end.begin()
    end.hear()
    end.move("punched-utp")
    assert [(note.method, note.verdict, note.error) for note in end.notes] == [
        ("punch-udp", "cancelled", "a better path was found")
    ]
    end.io.advance(limits.SEARCH_AFTER + 1)
    assert "predict-udp started" not in end.log
    end.signal("punch-tcp", "speak")
    assert end.sent[-1] == Signal(1, "punch-tcp", b"hello")


def test_an_attempt_ends_in_time() -> None:
    """Whatever its methods do; what was tried is kept, with the reason."""
    end = End([PUNCH])
    end.begin()
    end.hear()
    end.io.advance(15.1)
    assert [(note.method, note.verdict, note.error) for note in end.notes] == [
        ("punch-tcp", "failed", "nothing better was found in time")
    ]


def test_the_leading_end_tries_again_from_a_relay() -> None:
    """The other one waits to be asked."""
    for leads in (True, False):
        end = End([PUNCH], leads)
        end.begin()
        end.hear()
        end.io.advance(15.1 + 5 * (1 + limits.JITTER))
        assert end.generations() == ([1, 2] if leads else [1])


def test_it_waits_while_another_session_searches() -> None:
    """New flows would spoil that; as soon as it is over it is tried again, not much later."""
    end = End([PUNCH])
    end.begin()
    end.hear()
    end.io.advance(15.1)
    end.search.ask("another session", WHERE, lambda: None)
    end.io.advance(12)
    assert end.generations() == [1]
    end.search.done("another session")
    end.io.advance(limits.UPGRADE_FIRST)
    assert end.generations() == [1, 2]


def test_it_does_not_wait_for_ever_while_others_search() -> None:
    """One after the other, without end: they are strangers to each other, and to us."""
    end = End([PUNCH])
    end.begin()
    end.hear()
    end.io.advance(15.1)
    end.search.ask("another session", WHERE, lambda: None)
    end.io.advance((1 + limits.UPGRADE_WAITS) * limits.UPGRADE_FIRST * (1 + limits.JITTER))
    assert end.generations() == [1, 2]


def test_who_gives_way_tries_again_by_its_schedule() -> None:
    """Its methods end at once; another attempt is none the worse for it."""
    end = End([PUNCH])
    end.traversal.give_way()
    end.begin()
    end.hear()
    end.traversal.give_way()
    assert [note.error for note in end.notes] == ["too many other sessions look for a path at the moment"]
    end.io.advance(5 * (1 + limits.JITTER))
    assert end.generations() == [1, 2]


def test_who_has_been_let_in_again_does_not_give_way() -> None:
    """It had ended by itself when it was told to, and begun anew."""
    end = End([PUNCH])
    end.begin()
    end.hear()
    end.let_in_again = True
    end.traversal.give_way()
    assert end.notes == [] and end.log == ["punch-tcp started"]


def test_the_other_end_joins() -> None:
    """A higher generation is answered with our candidates of the same, and the work begins at once."""
    end = End([PUNCH], leads=False)
    end.begin()
    end.hear()
    end.io.advance(20)
    end.hear(2)
    assert end.generations() == [1, 2]
    assert end.log == ["punch-tcp started", "punch-tcp started"]


def test_the_other_ends_word_may_come_first() -> None:
    """Both begin the same generation, whichever of the two hears first that the circuit carries the session."""
    end = End([PUNCH])
    end.hear()
    end.begin()
    assert end.generations() == [1]
    assert end.log == ["punch-tcp started"]


def test_generations_cannot_be_asked_for_all_the_time() -> None:
    """They cost packets. The last one that was asked for is joined after a while, so that both ends agree."""
    end = End([PUNCH], leads=False)
    end.begin()
    end.hear()
    for number in range(2, 100):
        end.hear(number)
    assert end.generations() == [1]
    end.io.advance(limits.GENERATION_GAP + 0.1)
    assert end.generations() == [1, 99]


def test_nobody_has_us_look_for_a_better_path_than_the_best() -> None:
    """It would only cost packets."""
    end = End([PUNCH])
    end.move("direct-tcp")
    end.hear()
    assert end.sent == [] and end.log == []


def test_late_finds_trickle_in() -> None:
    """Both ways: ours are told, theirs are learned and dialled."""
    end = End([PUNCH])
    end.begin()
    end.hear()
    more = dataclasses.replace(PLACE, address=("198.51.100.7", 9))
    end.hear(1, EASY, places=(PLACE, more))
    assert end.log[-1] == "punch-tcp learned 2"
    assert len(end.pursued) == 2
    end.ours = Terrain((EASY,), (PLACE, more))
    end.traversal.terrain_changed()
    assert end.sent[-1] == Candidates(1, (EASY,), (PLACE, more))


def test_signals_that_come_early_are_kept() -> None:
    """The other end may have had its turn first; but only so many, and only of methods that exist."""
    end = End([PUNCH, PREDICT])
    end.begin()
    end.hear()
    for _ in range(100):
        end.signal("predict-udp", "hi")
    end.signal("of no such method", "hi")
    end.io.advance(limits.SEARCH_AFTER + 0.01)
    assert end.log.count("predict-udp heard hi") == limits.SIGNALS_KEPT
    assert end.bitten["SIGNALS_KEPT"] == 100 - limits.SIGNALS_KEPT


def test_a_flood_of_words_is_not_listened_to() -> None:
    """The same again is no news; and no end may say more than another is ever told."""
    end = End([PUNCH])
    end.begin()
    end.hear()
    for number in range(1000):
        end.hear(1, EASY, places=(dataclasses.replace(PLACE, address=("198.51.100.7", 1 + number // 2)),))
        end.signal("punch-tcp", "hi")
    assert sum(line.startswith("punch-tcp learned") for line in end.log) < limits.CANDIDATES_HEARD_MAX
    assert end.log.count("punch-tcp heard hi") == limits.PLAN_SIGNALS_MAX
    assert end.bitten["PLAN_SIGNALS_MAX"] > 0 and end.bitten["CANDIDATES_HEARD_MAX"] > 0
    assert len(end.pursued) <= limits.DIRECT_DIALS_MAX
    end.io.advance(20)
    end.hear(2)
    end.signal("punch-tcp", "another attempt", generation=2)
    assert end.log[-1] == "punch-tcp heard another attempt"


def test_signals_of_other_generations_count_for_nothing() -> None:
    """They are about sockets that are no more, or not yet."""
    end = End([PUNCH])
    end.begin()
    end.hear()
    end.signal("punch-tcp", "hi", generation=2)
    end.signal("punch-tcp", "hi", generation=0)
    assert end.log == ["punch-tcp started"]


def test_a_faulty_method_fails_alone() -> None:
    """Another package's fault ends its own attempt, and is reported."""
    end = End([("by-pigeon", "punched-tcp", False), PUNCH])
    end.begin()
    end.hear()
    end.signal("by-pigeon", "fault")
    assert [str(error) for error in end.crashes] == ["a fault of the method's own"]
    assert [note.method for note in end.notes] == ["by-pigeon"]
    end.signal("punch-tcp", "hi")
    assert end.log[-1] == "punch-tcp heard hi"


def test_a_method_that_cannot_even_begin_fails_alone() -> None:
    """The others begin."""
    end = End([("by-pigeon", "punched-tcp", False), PUNCH])

    def broken(context: Context) -> Any:
        raise RuntimeError("no pigeon")

    end._methods = (dataclasses.replace(end._methods[0], plan=broken), end._methods[1])
    end.begin()
    end.hear()
    assert [str(error) for error in end.crashes] == ["no pigeon"]
    assert end.log == ["punch-tcp started"]


def test_an_end_that_says_nothing_is_not_waited_for_long() -> None:
    """The leading end tries again later."""
    end = End([PUNCH])
    end.begin()
    end.io.advance(limits.OFFER_PATIENCE + 0.1)
    end.hear()
    assert end.log == []
    end.io.advance(5 * (1 + limits.JITTER))
    assert end.generations() == [1, 2]


def test_another_network_begins_anew() -> None:
    """At either end."""
    end = End([PUNCH], leads=False)
    end.begin()
    end.hear()
    end.traversal.network_changed()
    assert end.generations() == [1, 2]
    assert [note.error for note in end.notes] == ["another attempt began"]


def test_the_end_of_the_session_ends_everything() -> None:
    """Nothing happens afterwards."""
    end = End([PUNCH, PREDICT])
    end.begin()
    end.hear()
    end.io.advance(limits.SEARCH_AFTER + 0.01)
    end.traversal.close()
    assert not end.search.is_taken
    log, sent = list(end.log), list(end.sent)
    end.hear(5)
    end.traversal.terrain_changed()
    end.io.advance(1000)
    assert (end.log, end.sent) == (log, sent)


@pytest.mark.parametrize("transport", ["relay", "utp"])
def test_whom_a_search_may_go_to(transport: str) -> None:
    """Where the introducer saw the other end; without an introducer, where we see it."""
    end = End([PUNCH])
    contexts: list[Context] = []

    def keep(context: Context) -> Any:
        contexts.append(context)
        return None

    end._methods = (dataclasses.replace(end._methods[0], plan=keep),)
    end.begin()
    end.link.connection.transport = transport
    end.hear()
    assert contexts[0].seen == {"198.51.100.7" if transport == "relay" else "192.0.2.1"}
    assert (contexts[0].key_out, contexts[0].key_in) == KEYS


def test_the_last_generation_is_no_end() -> None:
    """Whoever names the highest number there is harms neither the wire nor the next attempt."""
    end = End([PUNCH], leads=True)
    end.begin()
    end.hear(2**32 - 1)
    end.io.advance(100)
    for frame in end.sent:
        assert build_record([frame])
    assert not end.crashes


def test_runners_are_named_after_their_methods() -> None:
    """Signals find them by it."""
    end = End([PUNCH])
    made: list[Runner] = []

    def hands(traversal: object, method: Method, runner: Runner, allowance: Allowance) -> tuple[Any, ...]:
        made.append(runner)
        return ()

    end.hands = hands  # type: ignore[method-assign, assignment]
    end.begin()
    end.hear()
    assert [runner.name for runner in made] == ["punch-tcp"]
