"""How a tree of frozen dataclasses checks itself, is made from a dict, and is listed key by key."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, cast

from ..exceptions import ConfigError
from .kinds import Invalid, Kind, OrNull

__all__ = [
    "Section",
    "check_names",
    "field_keys",
    "key",
    "kind_of",
    "live_keys",
    "optional_section",
    "section",
    "values",
]

T = TypeVar("T")
S = TypeVar("S", bound="Section")


def key(default: T, kind: Kind, doc: str, *, live: bool = False) -> T:
    """
    A field of a section: its default, what it may be, and the sentence that documents it.

    Args:
        live: A node takes a changed value while it runs (``crust.service.reloading``).
    """
    return dataclasses.field(default=default, metadata={"kind": kind, "doc": doc, "live": live})


def section(cls: type[S], doc: str) -> S:
    """A field that is a section itself."""
    return dataclasses.field(default_factory=cls, metadata={"kind": SectionKind(cls), "doc": doc})


def optional_section(cls: type[S], null_means: str, doc: str) -> S | None:
    """A field that is a section by default and may be null."""
    kind = OrNull(SectionKind(cls), null_means)
    return dataclasses.field(default_factory=cls, metadata={"kind": kind, "doc": doc})


class Section:
    """Base of all sections: every object that exists is valid."""

    __slots__ = ()

    KEY: ClassVar[str] = ""
    """Where the section stands in the whole: ``session.drop``; empty for the whole."""

    def __post_init__(self) -> None:
        try:
            for field in _fields(type(self)):
                value = kind_of(field).read(_join(self.KEY, field.name), getattr(self, field.name))
                object.__setattr__(self, field.name, value)
            for problem in self.problems():
                raise problem
        except Invalid as error:
            raise ConfigError(str(error)) from error

    def problems(self) -> Iterable[Invalid]:
        """What is wrong between fields that are each right by themselves."""
        return ()


class SectionKind(Kind):
    """A section, or the mapping it can be made from."""

    expected = "a mapping (key: value)"

    def __init__(self, cls: type[Section]) -> None:
        self.cls = cls

    def read(self, key: str, value: object) -> Section:
        if isinstance(value, self.cls):
            return value
        if not isinstance(value, Mapping):
            raise self.wrong(key, value)
        check_names(self.cls, value)
        return self.cls(**value)


def kind_of(field: dataclasses.Field[Any]) -> Kind:
    return cast(Kind, field.metadata["kind"])


def _section_of(field: dataclasses.Field[Any]) -> type[Section] | None:
    """The section that a field holds, or None if it holds a value."""
    kind = kind_of(field)
    if isinstance(kind, OrNull):
        kind = kind.inner
    return kind.cls if isinstance(kind, SectionKind) else None


def _fields(cls: type[Section]) -> tuple[dataclasses.Field[Any], ...]:
    """Those that are keys: what a section remembers beside them has no kind."""
    return tuple(field for field in dataclasses.fields(cls) if "kind" in field.metadata)  # type: ignore[arg-type]


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def field_keys(cls: type[Section]) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every key below ``cls``, sections before what is in them, in the order of the file."""
    for field in _fields(cls):
        yield _join(cls.KEY, field.name), field
        inner = _section_of(field)
        if inner is not None:
            yield from field_keys(inner)


def live_keys(cls: type[Section]) -> frozenset[str]:
    """Those below ``cls`` that a node takes while it runs."""
    return frozenset(name for name, field in field_keys(cls) if field.metadata.get("live"))


def values(tree: Section) -> Iterator[tuple[str, object]]:
    """Every key that has a value (a section does not, unless it is null) with that value."""
    for field in _fields(type(tree)):
        value = getattr(tree, field.name)
        if isinstance(value, Section):
            yield from values(value)
        else:
            yield _join(tree.KEY, field.name), value


def check_names(root: type[Section], data: Mapping[str, object]) -> None:
    """
    Refuse keys that do not exist.

    Raises:
        Invalid: names the nearest key that does.
    """
    _check_names(root, data, [name for name, _ in field_keys(root)])


def _check_names(cls: type[Section], data: Mapping[str, object], everywhere: list[str]) -> None:
    known = {field.name: field for field in _fields(cls)}
    for name, value in data.items():
        if not isinstance(name, str):
            raise Invalid(_join(cls.KEY, str(name)), "a key is text")
        if name not in known:
            suggestion = _suggestion(cls.KEY, name, list(known), everywhere)
            raise Invalid(_join(cls.KEY, name), f"unknown key; {suggestion}")
        inner = _section_of(known[name])
        if inner is not None and isinstance(value, Mapping):
            _check_names(inner, value, everywhere)


def _suggestion(prefix: str, name: str, here: list[str], everywhere: list[str]) -> str:
    """The same name in another section, else the nearest in this one, else in another one, else what there is."""
    import difflib  # for mistakes only

    by_last = {full.rpartition(".")[2]: full for full in reversed(everywhere)}
    if name in by_last:
        return f"did you mean {by_last[name]}?"
    near = [_join(prefix, found) for found in difflib.get_close_matches(name, here, 1)]
    near += [by_last[found] for found in difflib.get_close_matches(name, by_last, 1, 0.8)]
    if near:
        return f"did you mean {near[0]}?"
    return f"{prefix or 'the configuration'} has {', '.join(here)}"
