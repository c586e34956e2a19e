"""TCP keeps the contract of transports without what other systems lack."""

from __future__ import annotations

import pytest

from crust.addresses import Endpoint
from crust.transports.tcp import TcpTransport
from tests.support import absences
from tests.support.threads import Crew
from tests.transports.conformance import TransportConformance

ANY = Endpoint("tcp", "127.0.0.1", 0)
IN_PLAIN_SIGHT = {absences.no_ipv6_in_python, absences.no_ipv6_in_the_system}
TAKES_CALLERS = {absences.no_listener_shutdown, absences.windows}


class Without(TransportConformance):
    """The suite on TCP, with something taken away by the fixture ``absence``."""

    scheme = "tcp"

    @pytest.fixture(autouse=True)
    def _taken_away(
        self, absence: object, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parameters = request.node.callspec.params
        if absence in IN_PLAIN_SIGHT and parameters.get("family") == 6:
            pytest.skip("there is no IPv6")
        if absence in TAKES_CALLERS and "although_its_thread_is_busy" in request.node.name:
            pytest.skip("the socket takes callers until its thread has closed it")
        assert callable(absence)
        absence(monkeypatch)

    def make_transport(self, crew: Crew) -> TcpTransport:
        return TcpTransport(crew.io, crew.crashed)


@pytest.mark.parametrize("absence", [absences.windows], ids=["windows"])
class TestTcpOnWindows(Without):
    """Without all that Windows lacks at once."""


@pytest.mark.slow
@pytest.mark.parametrize("absence", absences.ABSENCES, ids=[each.__name__ for each in absences.ABSENCES])
class TestTcp(Without):
    """Without each thing alone."""
