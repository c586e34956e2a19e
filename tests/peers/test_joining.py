"""Several that want one peer share an effort: what each adds, and when it ends. Without a network or a clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import limits
from crust.addresses import Endpoint, PeerId, network_id
from crust.crypto.handshake import HandshakeConfig
from crust.crypto.identity import KeyPair
from crust.crypto.keys import supported_aeads
from crust.exceptions import CrustError
from crust.peers.dialer import Dialer
from crust.peers.effort import Effort, Try
from crust.peers.race import Candidate
from crust.peers.session import State
from crust.wire.handshake import DenialCode, Manner, Purpose

HERE, THERE = (Endpoint("tcp", f"198.51.100.{number}", 5000) for number in (1, 2))
PEER = KeyPair(bytes(31) + b"\2").peer_id


class World:
    """A node whose attempts end when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.tries: list[Try] = []
        self.sought: list[PeerId] = []
        self.failed: list[CrustError] = []
        self.told: list[tuple[Any, CrustError | None]] = []
        transport = SimpleNamespace(dialling=lambda endpoint, seconds, local_port: SimpleNamespace(cancel=lambda: None))
        timer = SimpleNamespace(cancel=lambda: None)
        host = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: self.now),
            wall=lambda: 1_700_000_000.0,
            io=SimpleNamespace(call_at=lambda *_: timer, call_later=lambda *_: timer),
            registry=SimpleNamespace(get=lambda peer_id: None),
            handshake=HandshakeConfig(KeyPair(bytes(31) + b"\1"), network_id(None), (), supported_aeads()),
            access=SimpleNamespace(is_banned=lambda *_: False),
            look_for=self._look_for,
            transport_for=lambda endpoint: transport,
            local_port=lambda endpoint: None,
            circuits_to=lambda peer_id, besides=(): (),
            spawn=lambda name, target, handed_over: self.tries.append(handed_over[0]),
            attempted=lambda *_: None,
            dial_failed=lambda peer_id, purpose, error: self.failed.append(error),
        )
        self.dialer = Dialer(cast(Any, host), 10.0)

    def _look_for(self, peer_id: PeerId, tell: object, patient: bool) -> None:
        self.sought.append(peer_id)  # nobody is there to ask

    def dial(
        self,
        *endpoints: Endpoint,
        timeout: float | None = 10.0,
        quiet: bool = False,
        seek: bool = False,
        purpose: Purpose = Purpose.CONNECT,
    ) -> None:
        self.dialer.dial(
            PEER,
            endpoints,
            purpose,
            timeout,
            lambda conversation, error: self.told.append((conversation, error)),
            quiet=quiet,
            seek=seek,
        )

    def deny(self, attempt: Try, code: DenialCode, purpose: Purpose) -> None:
        """The other side refuses what that attempt asked for; its link still stands."""
        link = SimpleNamespace(owner_data=attempt, introduction=SimpleNamespace(purpose=purpose))
        self.dialer.link_denied(cast(Any, link), code, "no", ())

    @property
    def effort(self) -> Effort:
        return self.dialer._efforts[PEER]

    def refuse_all(self) -> list[Endpoint]:
        """Until nothing more is tried at once; where was tried."""
        tried = []
        while self.tries:
            attempt = self.tries.pop(0)
            tried.append(attempt.candidate.endpoint)
            self.dialer._try_ended(attempt, "refused", "nobody is there")
        return tried


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_failure_is_told_if_one_of_them_wants_it_told(first: bool, second: bool) -> None:
    """What a group dials quietly is no event; but it is if the application asks for that peer meanwhile."""
    world = World()
    world.dial(HERE, quiet=first)
    world.dial(HERE, quiet=second)
    world.refuse_all()
    assert len(world.told) == 2 and all(isinstance(error, CrustError) for _, error in world.told)
    assert len(world.failed) == (0 if first and second else 1)


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True), (False, False)])
def test_others_are_asked_if_one_of_them_wants_that(first: bool, second: bool) -> None:
    """Gossip dials whom it has in its records without asking about them; whoever else comes has that done."""
    world = World()
    world.dial(HERE, seek=first)
    world.dial(HERE, seek=second)
    world.refuse_all()
    assert world.sought == ([PEER] if first or second else [])


def test_places_of_both_are_tried_and_tried_again() -> None:
    """Each once a round; a session that comes of it is redialled at all of them."""
    world = World()
    world.dial(HERE)
    world.dial(HERE, THERE)
    effort = world.effort
    assert effort.endpoints == (HERE, THERE)
    effort.retry_at = world.now + 1.0  # as when the other side has dialled us at that moment
    assert world.refuse_all() == [HERE, THERE] and not effort.done
    world.now += 1.0
    world.dialer._again(effort)
    assert world.refuse_all() == [HERE, THERE]


@pytest.mark.parametrize("late", [True, False])
def test_a_refusal_to_bootstrap_is_none_to_connect(late: bool) -> None:
    """Whether who wants more comes before the refusal, or while its link ends."""
    world = World()
    world.dial(HERE, purpose=Purpose.BOOTSTRAP)
    if not late:
        world.dial(HERE)
    [attempt] = world.tries
    world.deny(attempt, DenialCode.NOT_ACCEPTING, Purpose.BOOTSTRAP)
    if late:
        world.dial(HERE)
    world.refuse_all()
    assert not world.told
    world.dialer._again(world.effort)
    assert len(world.tries) == 1 and world.effort.purpose is Purpose.CONNECT


def test_another_refusal_holds_for_whoever_comes() -> None:
    """It was about us."""
    world = World()
    world.dial(HERE, purpose=Purpose.BOOTSTRAP)
    world.deny(world.tries[0], DenialCode.BANNED, Purpose.BOOTSTRAP)
    world.dial(HERE)
    world.refuse_all()
    assert [str(error).count("banned") > 0 for _, error in world.told] == [True, True]


@pytest.mark.parametrize(("first", "second"), [(1.0, 60.0), (60.0, 1.0), (1.0, None)])
def test_it_lasts_as_long_as_one_of_them_waits(first: float | None, second: float | None) -> None:
    """Another try that is due after the time of the one is made for the other."""
    world = World()
    world.dial(HERE, timeout=first)
    world.dial(HERE, timeout=second)
    effort = world.effort
    world.now += 30.0
    effort.retry_at = world.now + limits.DUPLICATE_RETRY
    world.refuse_all()
    assert not effort.done and world.told == []
    world.now += 60.0
    effort.retry_at = world.now
    world.dialer._again(effort)
    world.refuse_all()
    assert effort.done is (second is not None)


# --- a session that was to be resumed ---------------------------------------------------------------------------------


class Session:
    """One whose state changes between two looks."""

    def __init__(self, *states: State) -> None:
        self.states = list(states)
        self.suspected = False

    @property
    def state(self) -> State:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def resumed(world: World, *states: State) -> tuple[Effort, Any]:
    conversation: Any = SimpleNamespace(
        peer_id=PEER, session=Session(*states), keep=lambda attempts: attempts, would_gain=lambda path_class: True
    )
    effort = Effort(PEER, [HERE], Purpose.CONNECT, float("inf"), conversation, began=world.now)
    world.dialer._efforts[PEER] = effort
    return effort, conversation


def wait_for(world: World, effort: Effort) -> None:
    effort.waiters.append(lambda conversation, error: world.told.append((conversation, error)))


def test_who_waits_gets_the_session_though_it_ends_at_that_moment() -> None:
    """It was there, and its end is told as that; nobody hears that nothing came of it, without a reason."""
    world = World()
    effort, conversation = resumed(world, State.CONNECTED, State.LOST)
    wait_for(world, effort)
    assert world.dialer._settled(effort)
    assert world.told == [(conversation, None)]


@pytest.mark.parametrize("waits", [True, False])
def test_a_session_that_loses_its_link_again_at_that_moment_is_gone_on_with(waits: bool) -> None:
    world = World()
    effort, _ = resumed(world, State.SUSPENDED)
    if waits:
        wait_for(world, effort)
    assert not world.dialer._settled(effort)
    assert not effort.done and world.told == []


def test_nothing_goes_on_for_a_session_that_is_over() -> None:
    """An attempt through an introducer may be under way still, which holds up nothing."""
    world = World()
    effort, _ = resumed(world, State.LOST)
    cancelled: list[int] = []
    dialling: Any = SimpleNamespace(cancel=lambda: cancelled.append(1))
    effort.tries.add(Try(effort, Candidate(HERE, manner=Manner.RELAY), dialling, world.now))
    assert world.dialer._settled(effort)
    assert effort.done and effort.session is None and effort.tries == set()
    assert cancelled == [1] and not world.dialer._pursuits
