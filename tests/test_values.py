"""crust's own dataclasses against the standard library's: only quicker to make."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import crust.values


class Base:
    """What a class may inherit, as sections of the configuration do."""

    __slots__ = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "both", self.both * 2)

    both: int


def _declare(decorate: Callable[[type], type], base: type = object, name: str = "Value") -> Any:
    """The same class, made by either decorator."""
    fields = {
        "first": int,
        "hidden": bytes,
        "both": int,
        "many": list,
    }
    namespace = {
        "__doc__": "A value.",
        "__module__": __name__,
        "__annotations__": fields,
        "hidden": dataclasses.field(default=b"key", repr=False, compare=False),
        "both": 2,
        "many": dataclasses.field(default_factory=list),
    }
    return decorate(type(name, (base,), namespace))


PAIRS = {
    f"slots={slots}, {base.__name__}": (
        _declare(crust.values.dataclass(frozen=True, slots=slots), base),
        _declare(dataclasses.dataclass(frozen=True, slots=slots), base),
    )
    for slots in (False, True)
    for base in (object, Base)
}


@pytest.fixture(params=PAIRS.values(), ids=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Ours, and the standard library's."""
    ours, theirs = request.param
    return ours, theirs


def test_they_are_made_alike(pair: tuple[Any, Any]) -> None:
    """Positions, names, defaults and factories mean the same, and the signature says so."""
    for arguments, names in [((1,), {}), ((1, b"x", 3, [4]), {}), ((), {"first": 1, "many": [5]})]:
        ours, theirs = (cls(*arguments, **names) for cls in pair)
        assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
        assert repr(ours) == repr(theirs)
    ours, theirs = pair
    assert ours(1).many is not ours(1).many
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    for cls in pair:
        with pytest.raises(TypeError, match="first"):
            cls()
        with pytest.raises(TypeError, match="other"):
            cls(1, other=2)


def test_they_compare_alike(pair: tuple[Any, Any]) -> None:
    """Equal are values of one class whose compared fields are; equal ones have one hash."""
    for cls in pair:
        assert cls(1, b"x") == cls(1, b"y")
        assert cls(1) != cls(2)
        assert hash(cls(1, b"x", many=())) == hash(cls(1, b"y", many=()))
        with pytest.raises(TypeError):
            hash(cls(1))  # of a list
    ours, theirs = pair
    assert ours(1) != theirs(1)


def test_they_are_frozen(pair: tuple[Any, Any]) -> None:
    """Nothing of a value can be set or deleted."""
    for cls in pair:
        value = cls(1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.first = 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            del value.first
        assert value.first == 1


def test_they_are_dataclasses(pair: tuple[Any, Any]) -> None:
    """The functions of ``dataclasses``, and ``match``, take them."""
    for cls in pair:
        assert dataclasses.is_dataclass(cls)
        assert cls.__match_args__ == ("first", "hidden", "both", "many")
        assert dataclasses.replace(cls(1), first=3).first == 3
        assert copy.copy(cls(1, many=[2])).many == [2]
        assert copy.deepcopy(cls(1, many=[2])) == cls(1, many=[2])


@crust.values.dataclass(frozen=True, slots=True)
class Slotted:
    """One that pickle finds by its name."""

    first: int
    second: str = "two"


@crust.values.dataclass(frozen=True)
class Empty:
    """One without fields."""


@crust.values.dataclass(frozen=True)
class Own(Empty):
    """One that brings methods, and inherits."""

    first: int

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "first", int(text))

    def __repr__(self) -> str:
        return "mine"


def test_with_slots_they_pickle() -> None:
    """A frozen class with slots cannot be filled by ``setattr``."""
    assert not hasattr(Slotted(1), "__dict__")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(Slotted(1, "x"), protocol)) == Slotted(1, "x")


def test_a_class_keeps_its_own_methods_and_may_be_empty() -> None:
    """What the class defines stays; one without fields equals itself."""
    assert repr(Own("1")) == "mine"
    assert Own("1") == Own("1") != Own("2")
    assert Empty() == Empty() != Own("1")
    assert hash(Empty()) == hash(Empty())
    assert repr(Empty()) == "Empty()"


def test_others_are_refused() -> None:
    """One that is not frozen needs the standard library's."""
    with pytest.raises(TypeError, match="frozen"):
        crust.values.dataclass(frozen=False)
