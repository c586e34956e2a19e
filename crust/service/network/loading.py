"""What a node needs only now and then is loaded when it begins: without descriptors no file can be opened later."""

from __future__ import annotations

import importlib

__all__ = ["LATER", "load"]

LATER = ("nat.punch.tcp_ways", "nat.punch.udp_ways", "nat.stun.definition", "transports.utp.definition")
"""Modules of crust that ``import crust`` does not load, to be quick, and no import of a node's parts."""


def load() -> None:
    """Import them. What was imported before costs nothing."""
    for name in LATER:
        importlib.import_module(f"...{name}", __package__)
