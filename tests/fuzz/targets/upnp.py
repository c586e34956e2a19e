"""What UPnP routers, or others in their name, say: answers to the search, and what the library reads of descriptions.

An answer leads to a description at the sender's own address, by http, or nowhere; the plan comes to rest whatever the
calls of the router give back, and claims only ports and addresses that can be.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterable
from typing import Any

from crust.nat.mapping.igd import IgdError, IgdInfo, IgdRouter, refusal_of
from crust.nat.mapping.igd_way import Job
from crust.nat.mapping.layers import usable_ipv4
from crust.nat.mapping.ssdp import read_answer
from crust.nat.mapping.ways import Wanted
from tests.fuzz.source import Source, noise
from tests.nat.mapping.simulated import ANSWER, GATEWAY, Bench

ROUNDS = 40
SIZE_MAX = 2048
TOKENS = [b"HTTP/1.1 200 OK\r\n", b"LOCATION: ", b"http://", b"https://", b"@", b"[::1]", b":0", b"\r\n"]

_SOURCE = "192.168.1.7"
_TEXTS = ("Invalid Args", "ConflictInMappingEntry", "Success", "Action Failed", "Miniupnpc Socket error", "x\x1b[0m")


class _Library:
    """In the place of miniupnpc: whatever a router makes it say."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def _maybe(self) -> None:
        if not self.source.number(0, 3):
            raise Exception(self.source.pick(_TEXTS))

    def externalipaddress(self) -> object:
        self._maybe()
        return self.source.pick((None, "", "203.0.113.9", "0.0.0.0", "no address", "100.64.0.1", 7, "::1"))

    def statusinfo(self) -> Any:
        self._maybe()
        return self.source.pick((("Connected", 7, ""), ("", 0, ""), ("Connected", "7", ""), (None, None, None)))

    def addportmapping(self, *arguments: object) -> object:
        self._maybe()
        return self.source.chance()

    def getspecificportmapping(self, *arguments: object) -> object:
        self._maybe()
        ours = (GATEWAY.local, 4711, "x", True, 0)
        return self.source.pick((ours, None, (), ("192.168.1.99", 1, "", True, 0), ("x",), (None, "y", None), ours))

    def deleteportmapping(self, *arguments: object) -> object:
        self._maybe()
        return True


def run(data: bytes) -> None:
    found = read_answer(data, _SOURCE, GATEWAY.address)
    if found is not None:
        parts = urllib.parse.urlsplit(found.url)
        assert parts.scheme == "http" and parts.hostname in (_SOURCE, GATEWAY.address) and parts.port != 0
        assert found.url.isascii() and found.url.isprintable() and found.server.isprintable()
    source = Source(data)
    _info(source)
    bench = Bench(protocols=("igd",))
    bench.answers = [ANSWER]
    library: Any = _Library(source)

    def call(job: Job) -> object:
        router = IgdRouter("http://192.168.1.1:5000/desc.xml", GATEWAY.local, "crust test")
        router._upnp = library
        try:
            if job.what == "open":
                return router.status()
            method = getattr(router, job.what)
            return method() if job.ask is None else method(job.ask)
        except IgdError as error:
            return error

    bench.call = call
    bench.want(Wanted("tcp", 4711))
    for _ in range(6):
        bench.run(source.pick((1.0, 60.0, 2000.0)))
        for address, port, _ in bench.held().values():
            assert 0 < port <= 65535 and (not address or ipaddress.IPv4Address(address))
    bench.close()


def _info(source: Source) -> None:
    error = refusal_of(Exception(source.some(60).decode("latin-1")))
    assert str(error).isprintable()
    told = usable_ipv4(source.some(16).decode("latin-1"))
    assert not told or ipaddress.IPv4Address(told)
    assert IgdInfo(told, False, 0).external_ip == told


def seeds() -> Iterable[bytes]:
    yield ANSWER
    yield ANSWER.replace(b"192.168.1.1:5000", b"192.168.1.7")
    other = ANSWER.replace(b"192.168.1.1:5000", b"user@203.0.113.9:80")
    yield other.replace(b"ST: x", b"ST: urn:x:InternetGatewayDevice:1")
    yield from noise(10, 200)
