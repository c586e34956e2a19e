"""What is verified in one turn, so that nobody's flood keeps others waiting; and what a node does without a thread."""

from __future__ import annotations

import collections
import os
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from crust import Identity, limits
from crust.addresses import network_id
from crust.crypto.proofs import Numbers, Signatory
from crust.peers.session import Delivery
from crust.peers.verifying import Verifier, _part_of
from crust.runtime.clock import Clock
from crust.wire.frames import Kind
from tests.support.threads import Background


def delivery(kind: int, count: int, size: int) -> Delivery:
    return Delivery(kind, 1, [bytes(size)] * count, count * (size + limits.MESSAGE_OVERHEAD))


def parts(*deliveries: Delivery) -> list[list[Delivery]]:
    """Turn by turn."""
    waiting = collections.deque(deliveries)
    found = []
    while waiting:
        found.append(_part_of(waiting))
    return found


def test_few_messages_at_a_time() -> None:
    """However they came; none is lost, and each holds the credit of its own bytes."""
    most = limits.VERIFIED_PER_TURN
    for deliveries in ([delivery(Kind.SIGNED, 3 * most + 1, 200)], [delivery(Kind.SIGNED, 1, 200)] * (3 * most + 1)):
        found = parts(*deliveries)
        assert [sum(len(each.messages) for each in part) for part in found] == [most, most, most, 1]
        assert sum(each.cost for part in found for each in part) == sum(each.cost for each in deliveries)


def test_few_bytes_at_a_time() -> None:
    """But one message at least, however long."""
    half = limits.VERIFIED_BYTES_PER_TURN // 2
    found = parts(*[delivery(Kind.SIGNED, 1, half)] * 4, delivery(Kind.SIGNED, 1, 10 * half))
    assert [len(part) for part in found] == [2, 2, 1]


def test_what_is_not_signed_counts_as_one() -> None:
    """It is only handed over: as it came."""
    plain = delivery(Kind.MESSAGE, 10 * limits.VERIFIED_PER_TURN, 1)
    assert parts(plain, delivery(Kind.SIGNED, 1, 1)) == [[plain, delivery(Kind.SIGNED, 1, 1)]]


# --- with threads that the test makes ---------------------------------------------------------------------------------

NEAR, FAR = Identity.generate(), Identity.generate()


class Talk:
    """A session, as far as a verifier sees it, with what its peer signs."""

    link = None
    peer_id = NEAR.peer_id

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.desk: Any = None
        self.session_id = os.urandom(16)
        self.numbers = Numbers(self.session_id, os.urandom)
        self.freed = 0
        self.ends: list[str] = []

    def consumed(self, size: int) -> None:
        self.freed += size

    discard_locked = consumed

    def end(self, reason: str, goodbye: object) -> None:
        self.ends.append(reason)

    def signed(self, *payloads: bytes) -> Delivery:
        signatory = Signatory(NEAR, network_id(None))
        own = FAR.peer_id.public_key
        made = [signatory.sign_message(own, self.numbers.next(1), 1, each) for each in payloads]
        return Delivery(Kind.SIGNED, 1, made, sum(map(len, made)) + limits.MESSAGE_OVERHEAD * len(made))


class World:
    """A verifier, and its node."""

    def __init__(self, *, strict: bool = False) -> None:
        self.clock = Clock()
        self.signatory = Signatory(FAR, network_id(None), takes_signed_only=strict)
        self.able = True
        self.threads: list[Callable[[], object]] = []
        self.logged = 0
        self.handed: list[bytes] = []
        self.accused: list[Exception] = []
        self.refusals: list[tuple[int, int, int]] = []
        self.verifier = Verifier(self, self.spawn, self)  # type: ignore[arg-type]

    def spawn(self, name: str, target: Callable[[], object]) -> None:
        if not self.able:
            raise RuntimeError("can't start new thread")
        self.threads.append(target)

    def exception(self, message: str, *_: object) -> None:
        self.logged += 1

    def hand_over(self, talk: Talk, deliveries: list[Delivery]) -> None:
        self.handed += [message for delivery in deliveries for message in delivery.messages]

    def refused(self, talk: Talk, count: int, size: int, parts: int) -> None:
        self.refusals.append((count, size, parts))

    def violated(self, talk: Talk, error: Exception) -> None:
        self.accused.append(error)

    def take(self, talk: Talk, *deliveries: Delivery) -> bool:
        return self.verifier.take(talk, list(deliveries))  # type: ignore[arg-type]

    def finish(self, talk: Talk, then: Callable[[], object]) -> None:
        self.verifier.finish(talk, then)  # type: ignore[arg-type]

    def close(self) -> None:
        """With its thread, if there is one."""
        running = [Background(each) for each in self.threads]
        self.verifier.close(self.clock.deadline(60.0))
        for each in running:
            each.result()


def test_without_a_thread_nothing_is_lost_until_the_next_message() -> None:
    """It tries again then; all is verified in its order."""
    world, talk = World(), Talk()
    world.able = False
    assert world.take(talk, talk.signed(b"one")) and world.logged == 1
    assert world.take(talk, talk.signed(b"two")) and world.logged == 2
    world.able = True
    assert world.take(talk, delivery(Kind.MESSAGE, 1, 5)) and len(world.threads) == 1
    world.close()
    assert world.handed == [b"one", b"two", bytes(5)] and talk.ends == []
    assert talk.freed == sum(len(talk.signed(b"").messages[0]) for _ in range(2))


def test_a_close_without_a_thread_tells_the_ends_all_the_same() -> None:
    """Nobody verifies what is left, and nobody waits for it; what comes later is dropped."""
    world, talk, told = World(), Talk(), list[str]()
    world.able = False
    world.take(talk, talk.signed(b"one"))
    world.finish(talk, lambda: told.append("over"))
    assert told == []
    world.close()
    assert told == ["over"] and world.handed == []
    assert world.take(talk, talk.signed(b"two"))
    world.finish(talk, lambda: told.append("again"))
    assert told == ["over", "again"]


def test_a_close_that_has_no_time_tells_the_ends() -> None:
    """The worker looks at nothing any more."""
    world, talk, told = World(), Talk(), list[str]()
    world.take(talk, talk.signed(b"one"))
    world.finish(talk, lambda: told.append("over"))
    world.verifier.close(world.clock.deadline(0.0))
    [work] = world.threads
    work()
    assert told == ["over"] and world.handed == []


def test_what_comes_while_one_is_verified_waits_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does the end."""
    world, talk, told = World(), Talk(), list[str]()
    check = world.signatory.open_message

    def slow(sender: bytes, signed: bytes) -> Any:
        assert world.take(talk, delivery(Kind.MESSAGE, 1, 5))
        world.finish(talk, lambda: told.append("over"))
        assert told == []
        return check(sender, signed)

    monkeypatch.setattr(world.verifier, "_signatory", types.SimpleNamespace(open_message=slow, takes_signed_only=False))
    world.take(talk, talk.signed(b"one"))
    assert world.verifier._turn() and told == []
    assert world.verifier._turn() and told == ["over"]
    assert world.handed == [b"one", bytes(5)] and talk.desk.idle


def test_behind_what_is_wrong_nothing_comes() -> None:
    """
    Neither what waits nor what comes later; all of its credit is given back. Without a link the session is ended as one
    that has a link is.
    """
    world, talk, told = World(), Talk(), list[str]()
    right, late = talk.signed(b"right"), talk.signed(*[b"late"] * (2 * limits.VERIFIED_PER_TURN))
    came = [right, talk.signed(b"wrong")._replace(messages=[b"no statement"]), late]
    world.take(talk, *came)
    assert world.verifier._turn()
    for each in (talk.signed(b"later"), delivery(Kind.MESSAGE, 1, 5)):
        came.append(each)
        assert world.take(talk, each) and not world.verifier._ready
    assert talk.freed == sum(each.cost for each in came) - len(b"right") - limits.MESSAGE_OVERHEAD
    world.finish(talk, lambda: told.append("over"))
    world.close()
    assert world.handed == [b"right"] and told == ["over"]
    assert talk.ends == ["protocol"] and len(world.accused) == 1
    assert talk.desk.idle and talk.desk.failed


def test_a_bug_costs_one_session_all_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it strikes when more of it is in line again; its end is told, and nothing of it comes later."""
    world, talk, told = World(), Talk(), list[str]()
    monkeypatch.setattr(talk, "consumed", lambda size: 1 / 0)
    world.take(talk, talk.signed(*[b"x"] * (2 * limits.VERIFIED_PER_TURN)))
    world.finish(talk, lambda: told.append("over"))
    [work] = world.threads
    with pytest.raises(ZeroDivisionError):
        work()
    assert told == ["over"] and talk.ends == ["disconnected"]
    assert len(world.threads) == 1 and not world.verifier._ready and talk.desk.idle
    assert world.take(talk, talk.signed(b"later")) and not world.verifier._ready


def test_every_message_that_is_refused_counts() -> None:
    """However many came in one part; all of their credit is given back."""
    world, talk = World(strict=True), Talk()
    several, one = delivery(Kind.MESSAGE, 3, 5), delivery(Kind.MESSAGE, 1, 7)
    world.take(talk, several, one)
    world.close()
    size = several.cost + one.cost
    assert world.refusals == [(4, size, 2)] and talk.freed == size and world.handed == []


def test_a_forked_child_verifies_nothing() -> None:
    """Whatever was held at the time; a greenlet that it has inherited ends."""
    world, talk, told = World(), Talk(), list[str]()
    world.take(talk, talk.signed(b"one"))
    world.finish(talk, lambda: told.append("over"))
    [work] = world.threads
    with world.verifier._lock:
        world.verifier.abandon()
        assert world.take(talk, talk.signed(b"two"))
        work()
    assert world.handed == [] and told == []
