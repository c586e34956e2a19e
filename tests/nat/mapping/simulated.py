"""A mapper with a simulated router and a clock that the test turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from crust.nat.mapping.gateway import Gateway
from crust.nat.mapping.igd import IgdError, IgdInfo, IgdRouter
from crust.nat.mapping.igd_http import Route
from crust.nat.mapping.igd_way import Job
from crust.nat.mapping.mapper import Failed, Mapped, Mapper, Unmapped
from crust.nat.mapping.ways import Refusal, Wanted
from tests.nat.mapping.router import Router, SoapError

TCP, UDP = Wanted("tcp", 4711), Wanted("udp", 4711)
GATEWAY = Gateway("192.168.1.1", "eth0", "192.168.1.10")
ANSWER = b"HTTP/1.1 200 OK\r\nST: x\r\nSERVER: Fake/1.0\r\nLOCATION: http://192.168.1.1:5000/desc.xml\r\n\r\n"

_KINDS = {
    725: Refusal.PERMANENT_ONLY,
    402: Refusal.PERMANENT_ONLY,
    718: Refusal.CONFLICT,
    501: Refusal.CONFLICT,
}


class FakeIgd(IgdRouter):
    """A router's methods without miniupnpc: straight into the table."""

    def __init__(self, router: Router, local: str) -> None:
        super().__init__(Route("", 1), local, "crust test")
        self._upnp = _Upnp(router)

    def open(self) -> IgdInfo:
        return self.status()


class _Upnp:
    """The part of miniupnpc that is used."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def _do(self, action: str, **arguments: object) -> dict[str, object]:
        texts = {
            402: "Invalid Args",
            501: "Action Failed",
            606: "Action not authorized",
            714: "NoSuchEntryInArray",
        }
        texts |= {
            718: "ConflictInMappingEntry",
            724: "SamePortValuesRequired",
            725: "OnlyPermanentLeasesSupported",
        }
        texts |= {727: "ExternalPortOnlySupportsWildcard", 401: "Invalid Action"}
        try:
            return self._router.soap(action, {name: str(value) for name, value in arguments.items()})
        except SoapError as error:
            raise Exception(texts.get(error.code, "UnknownError")) from error

    def externalipaddress(self) -> object:
        return self._do("GetExternalIPAddress")["NewExternalIPAddress"]

    def statusinfo(self) -> tuple[object, ...]:
        found = self._do("GetStatusInfo")
        return found["NewConnectionStatus"], int(str(found["NewUptime"])), ""

    def addportmapping(
        self,
        external: int,
        protocol: str,
        client: str,
        internal: int,
        description: str,
        remote: str,
        lease: int,
    ) -> bool:
        self._do(
            "AddPortMapping",
            NewRemoteHost=remote,
            NewExternalPort=external,
            NewProtocol=protocol,
            NewInternalPort=internal,
            NewInternalClient=client,
            NewPortMappingDescription=description,
            NewLeaseDuration=lease,
        )
        return True

    def getspecificportmapping(self, external: int, protocol: str) -> tuple[object, ...]:
        found = self._do("GetSpecificPortMappingEntry", NewExternalPort=external, NewProtocol=protocol)
        return (
            found["NewInternalClient"],
            found["NewInternalPort"],
            found["NewPortMappingDescription"],
            True,
            0,
        )

    def deleteportmapping(self, external: int, protocol: str) -> bool:
        self._do("DeletePortMapping", NewExternalPort=external, NewProtocol=protocol)
        return True


class Bench:
    """
    Args:
        router: Whom the mapper speaks to.
        protocols: What it may speak.
    """

    def __init__(
        self,
        router: Router | None = None,
        protocols: Sequence[str] = ("pcp", "natpmp", "igd"),
        lifetime: int = 3600,
    ) -> None:
        self.router = router or Router()
        self.now = 1000.0
        self.mapper = Mapper(GATEWAY, protocols, lifetime, random.Random(1), lambda size: bytes(range(size)))
        self.changes: list[Mapped | Unmapped | Failed] = []
        self.lossy: Callable[[bytes], bool] = lambda data: False  # what does not arrive
        self.answers = [ANSWER] if self.router.igd else []
        self.sent: list[tuple[float, bytes]] = []
        self.igd = FakeIgd(self.router, GATEWAY.local)
        self.call: Callable[[Job], object] = self._call

    def _call(self, job: Job) -> object:
        method = getattr(self.igd, job.what)
        try:
            return method() if job.ask is None else method(job.ask)
        except IgdError as error:
            return error

    def want(self, *wanted: Wanted) -> None:
        self.mapper.want(wanted, self.now)
        self.settle()

    def settle(self) -> None:
        """Everything that can happen at this moment."""
        for _ in range(200):
            self.mapper.handle_timer(self.now)
            self.changes += self.mapper.changes()
            busy = False
            for data in self.mapper.datagrams():
                busy = True
                self.sent.append((self.now, data))
                if not self.lossy(data):
                    for answer in self.router.answer(data, self.now):
                        self.mapper.receive(answer, self.now)
            if self.mapper.searches():
                busy = True
                for answer in self.answers:
                    self.mapper.receive_answer(answer, GATEWAY.address, self.now)
            job = self.mapper.next_job(self.now)
            if job is not None:
                busy = True
                self.mapper.job_done(job, self.call(job), self.now)
            self.changes += self.mapper.changes()
            if not busy:
                return
        raise AssertionError("it does not come to rest")

    def run(self, seconds: float) -> None:
        """Let time pass, from timer to timer."""
        end = self.now + seconds
        for _ in range(20_000):
            self.settle()
            due = self.mapper.get_timer()
            if due is None or due > end:
                self.now = end
                self.settle()
                return
            assert due > self.now - 1e-9, "a timer that is due stays due: the owner would spin"
            self.now = max(self.now, due) + 1e-6
        raise AssertionError("timers without end")

    def held(self) -> dict[Wanted, tuple[str, int, str]]:
        """What is mapped, by the changes: address, outer port, protocol."""
        found: dict[Wanted, tuple[str, int, str]] = {}
        for change in self.changes:
            if isinstance(change, Mapped):
                found[change.wanted] = (change.external_ip, change.external, change.protocol)
            elif isinstance(change, Unmapped):
                found.pop(change.wanted, None)
        return found

    def failures(self) -> list[str]:
        return [change.reason for change in self.changes if isinstance(change, Failed)]

    def close(self) -> None:
        self.mapper.close(self.now)
        self.run(1.0)
