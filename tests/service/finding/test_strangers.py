"""How often an address is dialled that others alone have told of."""

from __future__ import annotations

from crust import Endpoint, limits
from crust.service.finding.strangers import Strangers


def at(host: str, port: int = 5483, transport: str = "tcp") -> Endpoint:
    return Endpoint(transport, host, port)


def test_an_address_is_dialled_once_until_somebody_answers() -> None:
    """By each transport once, at whichever port, and again only after a long rest."""
    strangers = Strangers()
    places = [at("8.8.8.8"), at("8.8.8.8", 443), at("8.8.8.8", transport="utp"), at("9.9.9.9")]
    assert strangers.can_afford(places, 5.0)
    assert strangers.afford(places, 5.0) == (places[0], places[2], places[3])
    assert not strangers.can_afford(places, 6.0) and strangers.afford(places, 6.0) == ()
    assert strangers.afford([at("8.8.8.8", 1)], 5.0 + limits.HEARSAY_REST - 1) == ()
    assert strangers.afford([at("8.8.8.8", 1)], 5.0 + limits.HEARSAY_REST) == (at("8.8.8.8", 1),)


def test_where_somebody_has_answered_there_may_be_others() -> None:
    """But not without end, however often it answers."""
    strangers = Strangers()
    assert strangers.afford([at("8.8.8.8")], 0.0)
    strangers.answered(at("8.8.8.8", 1))
    dialled = 0
    for port in range(1, 1000):
        dialled += len(strangers.afford([at("8.8.8.8", port)], 0.0))
        strangers.answered(at("8.8.8.8", port))
    assert dialled == limits.HEARSAY_ANSWERED_AT_ONCE
    assert len(strangers.afford([at("8.8.8.8")], 100.0)) == 1


def test_of_this_machine_each_program_counts() -> None:
    strangers = Strangers()
    assert len(strangers.afford([at("127.0.0.1", 1), at("127.0.0.1", 2), at("::1", 1)], 0.0)) == 3
    assert not strangers.can_afford([at("127.0.0.1", 1)], 0.0)


def test_what_is_remembered_is_bounded() -> None:
    strangers = Strangers()
    for number in range(limits.HEARSAY_ADDRESSES + 9):
        host = f"8.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        strangers.afford([at(host)], float(number))
        strangers.answered(at(host))
        strangers.afford([at(f"9{host[1:]}")], float(number))
    assert len(strangers._known) == len(strangers._unknown) == limits.HEARSAY_ADDRESSES
