"""The registry of methods: what this version has, and how the most promising one is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from crust import limits
from crust.findings import Behaviour, PortAllocation, Unsolicited
from crust.nat import methods
from crust.nat.methods import Entrance, Method, Prospect, Side, Way, best
from crust.peers.paths import CLASSES
from crust.wire.frames import Signal, build_record, parse_record_untrusted


def side(*ways: tuple[str, Entrance], out: bool | None = True, family: int = 4, rtt: float | None = None) -> Side:
    return Side(tuple(Way(transport, family, out, entrance, rtt=rtt) for transport, entrance in ways))


CLOSED = side(("tcp", Entrance.CLOSED), ("utp", Entrance.CLOSED))
OPEN = side(("tcp", Entrance.OPEN), ("utp", Entrance.OPEN))


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone after it."""
    monkeypatch.setattr(methods, "_METHODS", list(methods._METHODS))
    yield


def test_what_this_version_has() -> None:
    """By names and path classes; those that search come after those that do not."""
    found = methods.methods()
    assert [(method.name, method.path_class) for method in found] == [
        ("direct", "direct-tcp"),
        ("direct", "direct-utp"),
        ("punch-tcp", "punched-tcp"),
        ("punch-udp", "punched-utp"),
        ("predict-udp", "predicted"),
        ("predict-tcp", "predicted"),
        ("birthday-udp", "birthday"),
        ("birthday-tcp", "birthday"),
    ]
    assert [method.searches for method in found] == [False] * 4 + [True] * 4
    assert [method.plan is not None for method in found] == [False] * 2 + [True] * 6


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


def test_behind_a_filter_nobody_is_called() -> None:
    """Whether the two can meet depends on their routers, not known here; where nothing gets out, they cannot."""
    reach = best(OPEN, CLOSED)
    assert reach is not None and (reach.method, reach.chance) == ("punch-tcp", None)
    shut = Side(tuple(Way(transport, 4, False, Entrance.CLOSED) for transport in ("tcp", "utp")))
    assert best(OPEN, shut) is None and best(shut, CLOSED) is None


def tcp(mapping: Behaviour | None, ports: PortAllocation, unsolicited: Unsolicited = Unsolicited.DROPPED) -> Side:
    """Somebody behind a router of that kind, by TCP alone."""
    both = Behaviour.ADDRESS_AND_PORT
    return Side((Way("tcp", 4, True, Entrance.CLOSED, (), mapping, both, ports, unsolicited, 0.02),))


PRESERVED, RANDOM, SEQUENTIAL = PortAllocation.PRESERVED, PortAllocation.RANDOM, PortAllocation.SEQUENTIAL
HOME = tcp(Behaviour.INDEPENDENT, PRESERVED)
RESETTING = tcp(Behaviour.INDEPENDENT, PRESERVED, Unsolicited.RESET)
SYMMETRIC = tcp(Behaviour.ADDRESS_AND_PORT, RANDOM)
COUNTING = tcp(Behaviour.ADDRESS_AND_PORT, SEQUENTIAL)


@pytest.mark.parametrize(
    ("one", "other", "method"),
    [
        (HOME, HOME, "punch-tcp"),
        (HOME, RESETTING, "punch-tcp"),
        (COUNTING, HOME, "predict-tcp"),
        (COUNTING, RESETTING, "predict-tcp"),
        (COUNTING, COUNTING, "predict-tcp"),
        (COUNTING, SYMMETRIC, ""),
        (SYMMETRIC, HOME, "birthday-tcp"),
        (SYMMETRIC, RESETTING, ""),
        (SYMMETRIC, SYMMETRIC, ""),
    ],
)
def test_two_that_only_have_tcp(one: Side, other: Side, method: str) -> None:
    """What they can do together is the same from both ends, and likely; a search takes longer."""
    for reach in (best(one, other), best(other, one)):
        assert (reach.method if reach is not None else "") == method
        assert reach is None or (reach.likely and (reach.seconds > 2.0) is method.startswith("birthday"))


def test_who_looks_at_addresses_only_is_met_from_any_port() -> None:
    """Ports need not be known then."""
    lenient = dataclasses.replace(HOME.ways[0], filtering=Behaviour.ADDRESS)
    reach = best(Side((lenient,)), SYMMETRIC)
    assert reach is not None and reach.method == "punch-tcp"


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


def nothing(ours: Side, theirs: Side) -> Prospect | None:
    return None


@pytest.mark.usefixtures("_registered")
def test_a_name_is_taken_once() -> None:
    """Whoever registers it again is told so; when it has been taken away it is free."""
    methods.register(Method("knock", "punched-utp", nothing))
    for name in ("knock", "direct"):
        with pytest.raises(ValueError, match=name):
            methods.register(Method(name, "punched-utp", nothing))
    methods.unregister("knock")
    assert "knock" not in {method.name for method in methods.methods()}
    with pytest.raises(KeyError):
        methods.unregister("knock")
    methods.register(Method("knock", "punched-utp", nothing))


@pytest.mark.parametrize("name", ["", "two words", "x" * 33, "über", "a\n", "µ"])
@pytest.mark.usefixtures("_registered")
def test_a_name_that_the_wire_cannot_carry_is_refused(name: str) -> None:
    """The two ends' plans find each other by it, so it has to fit into a SIGNAL frame."""
    with pytest.raises(ValueError, match="name"):
        methods.register(Method(name, "punched-utp", nothing))


@pytest.mark.usefixtures("_registered")
def test_every_name_that_may_be_registered_can_be_sent() -> None:
    """The longest, and one of all characters that it may have."""
    allowed = "".join(map(chr, range(0x21, 0x7F)))
    for name in [allowed[at : at + limits.METHOD_NAME_MAX] for at in range(0, len(allowed), 32)]:
        methods.register(Method(name, "punched-utp", nothing))
        assert parse_record_untrusted(build_record((Signal(1, name, b""),))) == [Signal(1, name, b"")]


@pytest.mark.usefixtures("_registered")
def test_a_path_class_that_nobody_ranks_is_refused() -> None:
    """All that are ranked may be registered, but for circuits, which are no method's."""
    assert (*methods.PATH_CLASSES, "relay") == CLASSES
    with pytest.raises(ValueError, match="punched-tcp"):
        methods.register(Method("knock", "punched", nothing))
    for path_class in methods.PATH_CLASSES:
        methods.register(Method(f"to-{path_class}", path_class, nothing))
