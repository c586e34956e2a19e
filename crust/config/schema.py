"""
The configuration: every key with its default, what it may be and what it means.

``Config()`` is the default configuration; ``conf/crust.yaml`` spells the same out. Durations are in seconds, sizes in
bytes. Objects are frozen, hashable and picklable, and every object that exists is valid: whatever makes one raises
``ConfigError`` otherwise. Lists are tuples. Addresses, contacts and ids are kept as text in their one canonical form.
The sections stand in ``areas``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from ..exceptions import ConfigError
from ..limits import RELOAD_INTERVAL
from ..values import dataclass
from . import loader
from .areas.finding import BootstrapConfig, GossipConfig, LanConfig
from .areas.identity import IdentityConfig, NetworkConfig
from .areas.listening import ListenConfig
from .areas.protection import AccessConfig, LimitsConfig
from .areas.sessions import CallbacksConfig, SessionConfig, SigningConfig, UtpConfig
from .areas.shapes import PATH, SECONDS
from .areas.status import StatusConfig
from .areas.traversal import NatConfig, RelayConfig
from .kinds import Invalid, Number, OrNull
from .sections import Section, check_names, key, section
from .source import Source, overridden

__all__ = ["Config"]


@dataclass(frozen=True, slots=True)
class Config(Section):
    """
    Everything that can be set.

    Make one with ``Config()``, ``Config(session=SessionConfig(connect_timeout=5))``, ``Config.load(path)`` or
    ``Config.from_dict(…)``; change one with ``replace``.

    Raises:
        ConfigError: names the key, what is allowed there and what was found.
    """

    KEY: ClassVar[str] = ""

    version: int = key(1, Number("", 1, 1), "Version of this format.")
    identity: IdentityConfig = section(IdentityConfig, "Who this node is.")
    network: NetworkConfig = section(NetworkConfig, "Which network this node belongs to, and as what.")
    listen: ListenConfig = section(ListenConfig, "Where others can reach this node.")
    bootstrap: BootstrapConfig = section(BootstrapConfig, "How this node finds its first peer.")
    lan: LanConfig = section(LanConfig, "Finding nodes on the same link.")
    nat: NatConfig = section(NatConfig, "Translators and filters on the way (NATs and firewalls).")
    relay: RelayConfig = section(RelayConfig, "Circuits: streams between two peers through a third.")
    session: SessionConfig = section(SessionConfig, "Conversations with peers.")
    utp: UtpConfig = section(UtpConfig, "µTP, the reliable transport over UDP.")
    signing: SigningConfig = section(SigningConfig, "Messages and files that are proof of what was said.")
    limits: LimitsConfig = section(LimitsConfig, "What strangers and peers can cost this node at most.")
    access: AccessConfig = section(AccessConfig, "Who may connect to this node.")
    gossip: GossipConfig = section(GossipConfig, "Signed records by which any node is found by its key.")
    callbacks: CallbacksConfig = section(CallbacksConfig, "The application's callbacks.")
    status: StatusConfig = section(StatusConfig, "How others on this machine see what this node does.")
    reload_interval: float | None = key(
        RELOAD_INTERVAL,
        OrNull(SECONDS, "only when told to"),
        "Seconds between two looks at the file this came from; what can change while running then does. null: only"
        " reload(), or SIGHUP to crust node.",
        live=True,
    )
    write_contact_to: str | None = key(
        None, OrNull(PATH, "none"), "File that receives this node's contact at each start. null: none."
    )
    source: Source | None = dataclasses.field(default=None, init=False, repr=False, compare=False)
    """The file that it was loaded from, and what was changed since by :meth:`replace`; None: it came from no file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", None)
        Section.__post_init__(self)  # a class with slots is made anew: super() without arguments looks at the old one

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Config:
        """
        Read a YAML file; keys that it leaves out have their defaults.

        Raises:
            ConfigError: ``file:line: key: expected …, found …``; also if the file cannot be read.
        """
        return cls.load_with_origins(path)[0]

    @classmethod
    def load_with_origins(cls, path: str | os.PathLike[str]) -> tuple[Config, dict[str, str]]:
        """The same, and for each key in the file where it stands: ``{"session.connect_timeout": "crust.yaml:12"}``."""
        return cls.from_content(loader.read_file(path), path)

    @classmethod
    def from_content(cls, content: bytes, path: str | os.PathLike[str]) -> tuple[Config, dict[str, str]]:
        """
        The same of a file that has been read already.

        Raises:
            ConfigError: as ``load``.
        """
        name = os.fspath(path)
        data, document = loader.parse(content, name)
        try:
            config = cls.from_dict(data)
        except ConfigError as error:
            cause = error.__cause__
            if not isinstance(cause, Invalid):
                raise
            place = document.locate(cause.key, *cause.related)
            raise ConfigError(f"{place}: {error}") from cause
        return config.with_source(Source.of(name, content)), document.origins()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """
        Make one from nested dicts, in the shape of the YAML file.

        Raises:
            ConfigError: an unknown key (with the nearest one) or a value that is not allowed.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"expected a mapping of keys to values, found {type(data).__name__}")
        try:
            check_names(cls, data)
        except Invalid as error:
            raise ConfigError(str(error)) from error
        return cls(**data)

    def as_dict(self) -> dict[str, Any]:
        """The same as nested dicts, for ``from_dict``."""
        data = dataclasses.asdict(self)
        del data["source"]
        return data

    def with_source(self, source: Source | None) -> Config:
        """The same as if it came from there."""
        copy = type(self)(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init})
        object.__setattr__(copy, "source", source)
        return copy

    def replace(self, **changes: Any) -> Config:
        """
        A changed copy: ``config.replace(**{"session.connect_timeout": 5})`` or ``config.replace(session=…)``.

        A section can be given as an object, or as a dict of what changes in it. All changes are made before
        anything is checked. What was changed so stays when a node reads the file of the original again.

        Raises:
            ConfigError: as ``from_dict``.
        """
        data = self.as_dict()
        for name, value in changes.items():
            place = data
            *parents, last = name.split(".")
            for depth, parent in enumerate(parents, 1):
                inner = place.get(parent)
                if inner is None:
                    inner = place[parent] = {}  # an unknown section, told below, or one that is null
                if not isinstance(inner, dict):
                    raise ConfigError(f"{name}: {'.'.join(parents[:depth])} has no keys below it")
                place = inner
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                value = dataclasses.asdict(value)
            elif isinstance(value, Mapping) and isinstance(place.get(last), dict):
                value = {**place[last], **value}
            place[last] = value
        changed = type(self).from_dict(data)
        if self.source is None:
            return changed
        return changed.with_source(self.source.with_overrides(overridden(changed, changes)))
