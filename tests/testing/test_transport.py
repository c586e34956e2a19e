"""The transport in memory: the contract, and what its lines do."""

from __future__ import annotations

import errno

import pytest

from crust.addresses import Endpoint
from crust.exceptions import ListenError
from crust.runtime.clock import Clock
from crust.testing.cables import Cables
from crust.testing.transport import MemoryTransport
from tests.support.threads import Crew
from tests.transports.conformance import TransportConformance


class TestMemory(TransportConformance):
    """It keeps the contract of TCP; here on the system's clock, since this suite waits in real time."""

    scheme = "tcp"

    def make_transport(self, crew: Crew) -> MemoryTransport:
        cables = Cables(Clock())
        return MemoryTransport(cables, cables.add_host(), crew.io, crew.crashed)
