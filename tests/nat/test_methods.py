"""The registry of methods: what this version has, and how the most promising one is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crust.findings import Behaviour
from crust.nat import methods
from crust.nat.methods import Entrance, Method, Prospect, Side, Way, best


def side(*ways: tuple[str, Entrance], out: bool | None = True, family: int = 4, rtt: float | None = None) -> Side:
    return Side(tuple(Way(transport, family, out, entrance, rtt=rtt) for transport, entrance in ways))


CLOSED = side(("tcp", Entrance.CLOSED), ("utp", Entrance.CLOSED))
OPEN = side(("tcp", Entrance.OPEN), ("utp", Entrance.OPEN))


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone after it."""
    monkeypatch.setattr(methods, "_METHODS", list(methods._METHODS))
    yield


def test_this_version_calls_addresses() -> None:
    """Nothing else is promised: no punching, no relay."""
    assert [(method.name, method.path_class) for method in methods.methods()] == [
        ("direct", "direct-tcp"),
        ("direct", "direct-utp"),
    ]


def test_an_open_peer_is_called_by_tcp() -> None:
    """Both transports would do: the better path class is chosen."""
    reach = best(CLOSED, OPEN)
    assert reach is not None and (reach.method, reach.path_class) == ("direct", "direct-tcp")
    assert reach.likely


@pytest.mark.parametrize("entrance", [Entrance.OPEN, Entrance.MAPPED, Entrance.KEPT, Entrance.LIKELY])
def test_whoever_has_an_entrance_is_reached(entrance: Entrance) -> None:
    """By µTP later than by TCP, which has a head start."""
    utp, tcp = best(CLOSED, side(("utp", entrance))), best(CLOSED, side(("tcp", entrance)))
    assert utp is not None and tcp is not None
    assert (utp.path_class, utp.likely, tcp.likely) == ("direct-utp", True, True)
    assert utp.seconds > tcp.seconds


def test_behind_a_filter_nobody_is_reached() -> None:
    assert best(OPEN, CLOSED) is None


def test_what_does_not_get_out_calls_nobody() -> None:
    """Neither by a blocked transport nor by another family, nor from where only web ports are let out."""
    assert best(side(("tcp", Entrance.OPEN), out=False), OPEN) is None
    assert best(side(("tcp", Entrance.OPEN), family=6), OPEN) is None
    assert best(Side((Way("tcp", 4, True, Entrance.CLOSED, out_ports=(443,)),)), OPEN) is None


def test_what_is_not_known_is_not_promised() -> None:
    """The chance is None, whichever side it is about; a certain way is preferred."""
    unknown = best(CLOSED, side(("tcp", Entrance.UNKNOWN)))
    assert unknown is not None and unknown.chance is None and not unknown.likely
    unsure = best(side(("tcp", Entrance.CLOSED), out=None), OPEN)
    assert unsure is not None and unsure.chance is None
    sure = best(CLOSED, side(("tcp", Entrance.UNKNOWN), ("utp", Entrance.OPEN)))
    assert sure is not None and sure.path_class == "direct-utp"


def test_a_long_way_takes_longer() -> None:
    """What was measured to servers counts, from either end; near servers do not make peers near."""
    far = side(("tcp", Entrance.OPEN), rtt=0.4)
    near = side(("tcp", Entrance.OPEN), rtt=0.001)
    times = [best(*pair) for pair in ((far, OPEN), (OPEN, far), (near, OPEN), (CLOSED, OPEN))]
    seconds = [reach.seconds for reach in times if reach is not None]
    assert seconds[0] == seconds[1] > seconds[2] == seconds[3]


@pytest.mark.usefixtures("_registered")
def test_a_new_method_is_one_registration() -> None:
    """It reaches whom the others do not, and gives way to a surer one."""

    def prospect(ours: Side, theirs: Side) -> Prospect | None:
        sides = [way for each in (ours, theirs) for way in each.ways if way.transport == "utp"]
        return Prospect(0.9, 1.0) if all(way.mapping is Behaviour.INDEPENDENT for way in sides) else None

    methods.register(Method("punch", "punched-utp", prospect))
    behind = Side((Way("utp", 4, True, Entrance.CLOSED, mapping=Behaviour.INDEPENDENT),))
    punched, direct = best(behind, behind), best(behind, OPEN)
    assert punched is not None and punched.path_class == "punched-utp"
    assert direct is not None and direct.method == "direct"
