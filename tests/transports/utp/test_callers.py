"""SYNs from wherever they say: who is answered, and who waits."""

from __future__ import annotations

from collections import Counter

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports.utp.callers import Callers
from crust.transports.utp.packet import Packet, PacketType
from crust.transports.utp.transport import UtpTransport


def test_so_many_are_answered_in_a_second() -> None:
    """From however many networks: as many at once as may wait, and a rate."""
    callers: Callers[int] = Callers()
    answered = 0
    for number in range(30_000):
        limit = callers.limit(f"10.{number >> 8}.{number & 255}.1", 8, 1000.0 + number / 10_000)
        assert limit in ("", "UTP_SYNS_PER_SECOND")
        answered += not limit
    assert answered == pytest.approx(3 * limits.UTP_SYNS_PER_SECOND + limits.UTP_SYNS_AT_ONCE, rel=0.01)


def test_one_network_uses_up_nothing_but_its_own() -> None:
    """Those whom it may not have wait are not counted among those who are answered."""
    callers: Callers[int] = Callers()
    told: Counter[str] = Counter()
    for number in range(10_000):
        limit = callers.limit(f"192.0.2.{number & 255}", 8, 1000.0)
        told[limit] += 1
        if not limit:
            callers.add(number, "192.0.2.1", 1000.0)
    assert told == {"": 8, "limits.utp_half_open_per_network": 9_992}
    assert callers.limit("198.51.100.1", 8, 1000.0) == ""
    assert callers.forget(0) and not callers.forget(0)
    assert callers.limit("192.0.2.9", 8, 1000.0) == ""


def test_the_oldest_makes_room() -> None:
    """And none where there is room."""
    callers: Callers[int] = Callers()
    for number in range(3):
        assert callers.displaced("10.0.9.1", 3, 1) == ("", None)
        callers.add(number, f"10.0.{number}.1", 1000.0)
    assert callers.displaced("10.0.9.1", 3, 1) == ("limits.utp_half_open", 0)
    assert list(callers) == [0, 1, 2]


def test_a_neighbour_makes_room_who_has_had_time_to_answer() -> None:
    """What others send in a network's name keeps its callers out for no longer than an answer may take."""
    callers: Callers[int] = Callers()
    for number in range(4):
        callers.add(number, f"192.0.{number // 2}.1", 1000.0 + number)
    just = 1002.0 + limits.UTP_HALF_OPEN_LEAST_SECONDS
    assert callers.limit("192.0.1.9", 2, just - 0.001) == "limits.utp_half_open_per_network"
    assert callers.limit("192.0.1.9", 2, just) == ""
    assert callers.displaced("192.0.1.9", 4, 2) == ("limits.utp_half_open_per_network", 2)


def test_a_flood_in_the_name_of_a_network(utp: UtpTransport) -> None:
    """A caller has a place half a second later although all of them are taken by those who never answer."""
    listener = utp.listen(Endpoint("utp", "127.0.0.1", 0))
    now = utp.io.now()
    for number in range(limits.UTP_HALF_OPEN_PER_NETWORK + 5):
        syn = Packet(PacketType.SYN, number, 1, 0, 1 << 20, 7, 0)
        listener.called(syn, ("127.0.0.9", 9), None, now)
    assert len(listener._half_open) == limits.UTP_HALF_OPEN_PER_NETWORK
    listener.called(
        Packet(PacketType.SYN, 5000, 1, 0, 1 << 20, 7, 0),
        ("127.0.0.8", 8),
        None,
        now + limits.UTP_HALF_OPEN_LEAST_SECONDS,
    )
    assert [stream.remote.host for stream in listener._half_open][-1] == "127.0.0.8"
    assert len(listener._half_open) == limits.UTP_HALF_OPEN_PER_NETWORK
    listener.close()


def test_a_listener_tells_of_those_it_does_not_answer(utp: UtpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of dozens at once: to tell of each would cost more than it does."""
    monkeypatch.setattr(limits, "UTP_SYNS_PER_SECOND", 1e-6)
    told: Counter[tuple[str, str]] = Counter()
    utp.on_limit = lambda limit, host, count: told.update({(limit, host): count})
    utp.half_open = (10_000, 10_000)
    listener = utp.listen(Endpoint("utp", "127.0.0.1", 0))
    for number in range(limits.UTP_SYNS_AT_ONCE + 130):
        syn = Packet(PacketType.SYN, number, 1, 0, 1 << 20, 7, 0)
        listener.called(syn, ("127.0.0.1", 9), None, utp.io.now())
    assert told["UTP_SYNS_PER_SECOND", ""] == 128
    assert listener.hub.population == limits.UTP_SYNS_AT_ONCE
    listener.close()
