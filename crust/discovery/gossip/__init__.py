"""
Signed records of nodes, and how they spread (docs/gossip.md): a core without I/O.

``record``: a record, made and verified. ``store``: those that are kept. ``gossip``: announce, pull, compare, with
``link``, ``announcing``, ``pulling``, ``giving``, ``replicas`` and ``clocks``. ``searching``: all searches, ``lookup``
one. ``around``: dialling others now and then, so that parts of a network find together. ``events``: what the driver
gets.
"""

from __future__ import annotations

from .events import Ask, Event, Found, Misbehaved, RecordLearned, Superseded
from .gossip import Gossip, GossipSettings
from .record import PUBLISH, Reader, Record, make_record, parse_record_untrusted, read_with

__all__ = [
    "PUBLISH",
    "Ask",
    "Event",
    "Found",
    "Gossip",
    "GossipSettings",
    "Misbehaved",
    "Reader",
    "Record",
    "RecordLearned",
    "Superseded",
    "make_record",
    "parse_record_untrusted",
    "read_with",
]
