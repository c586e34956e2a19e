"""
For packages that add a way through NATs: what a method is made of, and where it is registered.

    from crust import traversal

    traversal.register(traversal.Method("knock", "punched-utp", prospect=..., plan=...))

docs/add-a-method.md has a complete package. Import it by name; ``import crust`` does not load it.

A plan decides and does nothing else: it has no socket, thread or clock. One runner carries out what the plans of all
methods ask for, within what may be sent to addresses that a peer has named. What a plan raises ends its own attempt;
but it runs on threads of the node, so it must never block.
"""

from __future__ import annotations

from .nat.methods import PATH_CLASSES, Entrance, Method, Prospect, Side, Way, methods, register, unregister
from .nat.punch.contract import (
    Action,
    Address,
    Close,
    Connect,
    Context,
    Finish,
    Note,
    OpenUdp,
    Plan,
    Probe,
    Proven,
    Sample,
    Tell,
    Terrain,
    Win,
)
from .nat.punch.encounter import Encounter
from .nat.punch.probe_packet import PROBE_MAX, PROBE_MIN, tag_of
from .wire.frames import Place, PlaceKind, Standing, TransportCode

__all__ = [
    "PATH_CLASSES",
    "PROBE_MAX",
    "PROBE_MIN",
    "Action",
    "Address",
    "Close",
    "Connect",
    "Context",
    "Encounter",
    "Entrance",
    "Finish",
    "Method",
    "Note",
    "OpenUdp",
    "Place",
    "PlaceKind",
    "Plan",
    "Probe",
    "Prospect",
    "Proven",
    "Sample",
    "Side",
    "Standing",
    "Tell",
    "Terrain",
    "TransportCode",
    "Way",
    "Win",
    "methods",
    "register",
    "tag_of",
    "unregister",
]
