"""What of another configuration a running node takes. Sans-IO."""

from __future__ import annotations

from typing import NamedTuple

from ...config import Config
from ...config.sections import live_keys, values

__all__ = ["Merged", "merge"]

_ABSENT = object()


class Merged(NamedTuple):
    """What becomes of a running configuration and a wanted one."""

    config: Config
    """The wanted one, but for what needs a restart: that is as it was."""

    applied: tuple[str, ...]
    """The keys that are others than in the running one, in the order of the file."""

    needs_restart: tuple[str, ...]
    """The keys that stay others than wanted."""


def merge(running: Config, wanted: Config) -> Merged:
    """
    Bring the two together.

    Raises:
        ConfigError: What is wanted is valid only together with what needs a restart.
    """
    before, live = dict(values(running)), live_keys(Config)
    differing = {key: value for key, value in values(wanted) if before.get(key, _ABSENT) != value}
    applied = {key: value for key, value in differing.items() if key in live}
    config = running.replace(**applied).with_source(wanted.source)
    return Merged(config, tuple(applied), tuple(key for key in differing if key not in live))
