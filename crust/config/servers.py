"""The short list of public STUN servers, for who names none: ``conf/stun-servers.yaml``; the wheel has it too."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

from .loader import read

__all__ = ["PublicServer", "public_servers"]

_NAME = "stun-servers.yaml"


class PublicServer(NamedTuple):
    """A STUN server that its operator offers to everybody."""

    address: str
    """``stun.example.org:3478``."""

    operator: str
    """Who runs it, and gets to know who asked."""

    tests_filtering: bool
    """It can answer from a second address (RFC 5780)."""


def public_servers() -> tuple[PublicServer, ...]:
    """
    The list; reads a file.

    Raises:
        ConfigError: The file is not there, or not what it should be: the installation is damaged.
    """
    here = pathlib.Path(__file__).parent
    path = here / _NAME
    if not path.exists():
        path = here.parents[1] / "conf" / _NAME  # a checkout
    data, _ = read(path)
    return tuple(
        PublicServer(str(each["address"]), str(each["operator"]), bool(each["tests_filtering"]))
        for each in data.get("servers", [])
    )
