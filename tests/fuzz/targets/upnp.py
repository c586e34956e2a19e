"""What UPnP routers, or others in their name, say: answers to the search, and what the library reads of descriptions.

An answer leads to a description at the sender's own address, by http, or nowhere; what is read over HTTP is bounded,
and the same however it is cut, and no description leads to another machine; the plan comes to rest whatever the calls
of the router give back, and claims only ports and addresses that can be.
"""

from __future__ import annotations

import contextlib
import ipaddress
import urllib.parse
from collections.abc import Iterable
from typing import Any

from crust.nat.mapping.igd import IgdError, IgdInfo, IgdRouter, refusal_of
from crust.nat.mapping.igd_http import Answer, Route
from crust.nat.mapping.igd_way import Job
from crust.nat.mapping.layers import usable_ipv4
from crust.nat.mapping.ssdp import read_answer
from crust.nat.mapping.ways import Wanted
from tests.fuzz.source import Source, noise
from tests.nat.mapping.simulated import ANSWER, GATEWAY, Bench

ROUNDS = 40
SIZE_MAX = 2048
TOKENS = [b"HTTP/1.1 200 OK\r\n", b"LOCATION: ", b"http://", b"https://", b"@", b"[::1]", b":0", b"\r\n"]
TOKENS += [b"HTTP/1.1 200 OK\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked", b"0\r\n", b"\n\n"]

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
    _http(data, source)
    bench = Bench(protocols=("igd",))
    bench.answers = [ANSWER]
    library: Any = _Library(source)

    def call(job: Job) -> object:
        router = IgdRouter(Route("http://192.168.1.1:5000/desc.xml", 1), GATEWAY.local, "crust test")
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


def _http(data: bytes, source: Source) -> None:
    """An answer of a router, and what the library may have made of it."""
    whole, cut = Answer(), Answer()
    whole.feed(data)
    at = 0
    while at < len(data):
        size = source.number(1, 200)
        cut.feed(data[at : at + size])
        at += size
    for each in (whole, cut):
        assert not (each.is_over and each.trouble) and len(each.body) <= len(data)
        each.end()
        assert each.is_over is not bool(each.trouble)
    assert (whole.is_over, whole.body, whole.trouble) == (cut.is_over, cut.body, cut.trouble)
    head, _, body = whole.response().partition(b"\r\n\r\n")
    assert body == whole.body and b"Content-Length: %d\r\n" % len(body) in head
    route = Route("http://192.168.1.1:5000/desc.xml", 4000)
    route.text = whole.body
    ours = "http://127.0.0.1:4000"
    text = source.some(80).decode("utf-8", "replace")
    found = source.pick((ours, "http://192.168.1.1", "http://192.168.1.1:80", "http://", "")) + text
    with contextlib.suppress(ValueError):
        led = route.control(found)
        path = led.removeprefix(ours)
        assert led == ours + path and path.startswith("/")
        assert found.startswith(("http://192.168.1.1:", "http://192.168.1.1/", ours + "/"))
        request = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n".encode()
        carried = route.carry(request)
        assert carried is not None and 0 < carried[0] <= 65535 and b"\r\nHost: 192.168.1.1" in carried[1]
    with contextlib.suppress(ValueError):
        route.carry(data)


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
    for head in (b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b""):
        yield b"HTTP/1.1 200 OK\r\n" + head + b"\r\n4\r\n<a/>\r\n0\r\n\r\n"
    yield b"GET /desc.xml HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nConnection: close\r\n\r\n"
    yield from noise(10, 200)
