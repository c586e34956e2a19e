"""How many attempts may be under way for sessions that stand: each is a thread and a socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from crust import limits
from crust.addresses import Endpoint, PeerId
from crust.paths import Attempt
from crust.peers.attempts import Attempts
from crust.peers.dialer import Dialer
from crust.peers.race import Candidate
from tests.support.bitten import Bitten


class Tarpits:
    """A node whose attempts never end, and its sessions."""

    def __init__(self) -> None:
        self.begun = 0
        self.attempts: list[Attempt] = []
        host = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: 100.0),
            wall=lambda: 1_700_000_000.0,
            access=SimpleNamespace(is_banned=lambda *_: False),
            spawn=self._spawn,
            attempted=lambda peer_id, attempt: self.attempts.append(attempt),
        )
        self.dialer = Dialer(cast(Any, host), 10.0)
        self.dialer.bites = self.bitten = Bitten()

    def _spawn(self, *_: object) -> None:
        self.begun += 1

    def session(self, number: int) -> Any:
        return SimpleNamespace(
            peer_id=PeerId(number.to_bytes(32, "big")),
            redial=(),
            inbound=False,
            attempts=Attempts(),
            would_gain=lambda path_class: True,
        )

    def pursue(self, session: Any, port: int, method: str = "direct") -> bool:
        endpoint = Endpoint("tcp", "198.51.100.7", port)
        candidate = Candidate(endpoint, method=method, prepare=lambda seconds: cast(Any, SimpleNamespace()))
        return self.dialer.pursue(session, candidate)


def test_one_session_has_only_so_many() -> None:
    """However often its peer names other places."""
    tarpits = Tarpits()
    session = tarpits.session(1)
    taken = [tarpits.pursue(session, port) for port in range(1, 1000)]
    assert sum(taken) == tarpits.begun == limits.PURSUITS_PER_PEER
    assert {attempt.error for attempt in tarpits.attempts} == {"too many attempts for this session are under way"}
    assert tarpits.bitten["PURSUITS_PER_PEER"] == 999 - limits.PURSUITS_PER_PEER
    assert tarpits.pursue(tarpits.session(2), 1)


def test_a_thousand_peers_at_once() -> None:
    """Each has twelve places that swallow what comes: when there are many, each session has one attempt at a time."""
    tarpits, count = Tarpits(), 1000
    sessions = [tarpits.session(number) for number in range(count)]
    for port in range(1, limits.DIRECT_DIALS_MAX + 1):
        for session in sessions:
            tarpits.pursue(session, port)
    assert tarpits.begun == count and tarpits.bitten["PURSUITS_MAX"] == (limits.DIRECT_DIALS_MAX - 1) * count
    late = tarpits.session(count)
    assert tarpits.pursue(late, 1) and not tarpits.pursue(late, 2)
    assert tarpits.pursue(late, 3, "punch-tcp"), "what has been punched stands already"


def test_few_peers_are_not_held_up() -> None:
    """Up to the bound for all, each has all of its own."""
    tarpits = Tarpits()
    for number in range(limits.PURSUITS_MAX // limits.DIRECT_DIALS_MAX):
        session = tarpits.session(number)
        assert all(tarpits.pursue(session, port) for port in range(1, limits.DIRECT_DIALS_MAX + 1))
