"""µTP keeps the contract of all transports."""

from __future__ import annotations

from crust.transports.contract import Transport
from crust.transports.utp.transport import UtpTransport
from tests.support.threads import Crew
from tests.transports.conformance import TransportConformance


class TestUtp(TransportConformance):
    scheme = "utp"
    needs_threads = False

    def make_transport(self, crew: Crew) -> Transport:
        return UtpTransport(crew.io, crew.spawn, crew.crashed)
