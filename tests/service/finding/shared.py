"""What several tests of this folder make: configurations, files of the cache, and peers that are not there."""

from __future__ import annotations

import pathlib
import time
from typing import Any

import crust
from crust import Config, Contact, Endpoint, Identity
from crust.discovery.cache.core import Entry
from crust.discovery.cache.form import build_cache
from tests.support import nodes as support
from tests.support.sockets import unused_port


def config(**changes: Any) -> Config:
    """Nodes hear of each other only as the test says."""
    return support.config(**{"gossip__enabled": False, **changes})


def caching(path: pathlib.Path, **changes: Any) -> Config:
    """The same, with a cache there."""
    return config(bootstrap__cache={"file": str(path), "max_peers": 200}, **changes)


def write_cache(path: pathlib.Path, *contacts: Contact) -> None:
    """A file as an earlier run has left it, the first seen last."""
    entries = [Entry(contact, time.time() - 60 - number, 0, "loopback") for number, contact in enumerate(contacts)]
    path.write_bytes(build_cache(entries, crust.addresses.network_id(None), time.time()))


def nobody(endpoint: Endpoint | None = None) -> Contact:
    """Somebody who is not there, or whoever is there."""
    return Contact(Identity.generate().peer_id, (endpoint or Endpoint("tcp", "127.0.0.1", unused_port()),))
