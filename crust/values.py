"""
Frozen dataclasses that are quick to make.

The standard library compiles six methods for each frozen dataclass: 0.4 ms a class, of which ``import crust`` makes
eighty. Here one is compiled, the constructor, and all classes share the rest. What comes of it is a dataclass like any
other to ``dataclasses.fields``, ``replace`` and ``asdict``, to ``match`` and to type checkers.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["dataclass"]

T = TypeVar("T")

_set = object.__setattr__


def _frozen(self: object, name: str, value: object = None) -> None:
    raise dataclasses.FrozenInstanceError(f"a {type(self).__name__} is immutable: cannot change {name!r}")


def _repr(self: Any) -> str:
    shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({shown})"


def _equal(self: Any, other: Any) -> Any:
    if self.__class__ is not other.__class__:
        return NotImplemented
    return self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _getstate(self: Any) -> list[object]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _setstate(self: Any, state: list[object]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        _set(self, field.name, value)


_SHARED = {
    "__setattr__": _frozen,
    "__delattr__": _frozen,
    "__repr__": _repr,
    "__eq__": _equal,
    "__hash__": _hash,
}


def _constructor(cls: Any, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    """What ``dataclasses`` would compile as ``__init__`` of a frozen class."""
    known: dict[str, Any] = {"_set": _set, "_missing": dataclasses.MISSING}
    parameters, lines = ["self"], []
    for number, field in enumerate(fields):
        if not field.init:
            continue  # the class sets it itself
        value = field.name
        if field.default_factory is not dataclasses.MISSING:
            known[f"_made{number}"] = field.default_factory
            parameters.append(f"{value}=_missing")
            value = f"_made{number}() if {value} is _missing else {value}"
        elif field.default is not dataclasses.MISSING:
            known[f"_default{number}"] = field.default
            parameters.append(f"{value}=_default{number}")
        else:
            parameters.append(value)
        lines.append(f" _set(self, {field.name!r}, {value})\n")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()\n")
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines) or ' pass'}", known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.__annotations__ = {**{field.name: field.type for field in fields if field.init}, "return": None}
    return made


def _nothing(_: object) -> tuple[()]:
    return ()


def _dataclass(*, frozen: bool, slots: bool = False) -> Callable[[type[T]], type[T]]:
    if not frozen:
        raise TypeError("these are frozen: use dataclasses.dataclass for others")

    def make(cls: type[T]) -> type[T]:
        own = set(vars(cls))
        made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        fields = dataclasses.fields(made)
        compared = [field.name for field in fields if field.compare]
        made._compared = operator.attrgetter(*compared) if compared else staticmethod(_nothing)
        if "__init__" not in own:
            made.__init__ = _constructor(made, fields)
        for name, method in _SHARED.items():
            if name not in own:
                setattr(made, name, method)
        if slots:
            made.__getstate__, made.__setstate__ = _getstate, _setstate
        return made  # type: ignore[no-any-return]

    return make


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _dataclass
