"""The router of `router.py` on sockets of loopback: PCP and NAT-PMP by UDP, the search for UPnP, its HTTP."""

from __future__ import annotations

import re
import socket
import threading
import time
from types import TracebackType
from xml.sax.saxutils import escape

from crust.nat.mapping.gateway import Gateway
from tests.nat.mapping.router import Router, SoapError

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>{base}
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>Fake</friendlyName>
<UDN>uuid:0</UDN><deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType>
<UDN>uuid:1</UDN><deviceList><device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType>
<UDN>uuid:2</UDN><serviceList><service><serviceType>{service}</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><controlURL>{control}</controlURL>
<eventSubURL>/event</eventSubURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList></device></deviceList></device>
</deviceList></device></root>"""


class FakeRouter:
    """
    A context manager: threads and sockets on 127.0.0.1 until it ends.

    Attributes:
        router: What it answers; change it.
        hangs: HTTP requests are taken and never answered.
        garbage: What comes instead of the description; None: the description.
        location: Where the search's answer points; None: to our own HTTP.
        control: Of the description; absolute or relative.
        stray: Answers to PCP and NAT-PMP come from another port.
        search: Whether searches are answered.
    """

    def __init__(self, router: Router | None = None) -> None:
        self.router = router or Router("127.0.0.1")
        self.hangs = False
        self.garbage: bytes | None = None
        self.location: str | None = None
        self.control = "/control"
        self.base = ""
        self.stray = False
        self.search = True
        self.extra: list[bytes] = []  # datagrams sent before each answer to PCP and NAT-PMP
        self.requests: list[str] = []
        self._released = threading.Event()
        self._started = time.monotonic()
        self._udp = _bound(socket.SOCK_DGRAM)
        self._ssdp = _bound(socket.SOCK_DGRAM)
        self._other = _bound(socket.SOCK_DGRAM)
        self._http = _bound(socket.SOCK_STREAM)
        self._http.listen(16)
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    @property
    def gateway(self) -> Gateway:
        """As a node finds it."""
        return Gateway(
            "127.0.0.1",
            "lo",
            "127.0.0.1",
            port=self._udp.getsockname()[1],
            search_port=self._ssdp.getsockname()[1],
        )

    @property
    def url(self) -> str:
        """Of its description."""
        return f"http://127.0.0.1:{self._http.getsockname()[1]}/desc.xml"

    def __enter__(self) -> FakeRouter:
        for target in (self._serve_udp, self._serve_searches, self._serve_http):
            self._start(target)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        for sock in (self._udp, self._ssdp):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", sock.getsockname())
        with socket.create_connection(self._http.getsockname()):
            pass
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        for sock in (self._udp, self._ssdp, self._other, self._http, *self._open):
            sock.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="test-router", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve_udp(self) -> None:
        while True:
            data, source = self._udp.recvfrom(2048)
            if self._released.is_set():
                return
            for extra in self.extra:
                self._udp.sendto(extra, source)
            for answer in self.router.answer(data, time.monotonic()):
                (self._other if self.stray else self._udp).sendto(answer, source)

    def _serve_searches(self) -> None:
        while True:
            data, source = self._ssdp.recvfrom(2048)
            if self._released.is_set():
                return
            if self.search and self.router.igd and b"InternetGatewayDevice:1" in data:
                location = self.location or self.url
                answer = (
                    f"HTTP/1.1 200 OK\r\nST: x\r\nserver: Fake/1.0 UPnP/1.0\r\nLocation:{location}\r\n\r\n"
                )
                self._ssdp.sendto(answer.encode(), source)

    def _serve_http(self) -> None:
        while True:
            connection, _ = self._http.accept()
            if self._released.is_set():
                connection.close()
                return
            self._open.append(connection)
            self._start(self._serve_one, connection)

    def _serve_one(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = _request(connection)
                first = request.split("\r\n", 1)[0]
                self.requests.append(first)
                if self.hangs:
                    self._released.wait(30)
                    return
                if first.startswith("GET"):
                    connection.sendall(_response(200, self._description()))
                elif first.startswith("POST"):
                    connection.sendall(self._soap(request))
            except OSError:
                return  # the client has gone

    def _description(self) -> bytes:
        if self.garbage is not None:
            return self.garbage
        return DESCRIPTION.format(service=SERVICE, control=self.control, base=self.base).encode()

    def _soap(self, request: str) -> bytes:
        head, _, body = request.partition("\r\n\r\n")
        match = re.search(r'(?i)soapaction:\s*"?[^#]*#(\w+)', head)
        assert match is not None
        action = match[1]
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        try:
            found = self.router.soap(action, arguments)
        except SoapError as error:
            fault = (
                '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
                "<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
                f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{error.code}</errorCode>'
                "<errorDescription>x</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
            )
            return _response(500, fault.encode())
        fields = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in found.items())
        text = (
            '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            f'<u:{action}Response xmlns:u="{SERVICE}">{fields}</u:{action}Response></s:Body></s:Envelope>'
        )
        return _response(200, text.encode())


def _bound(kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    return sock


def _request(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(4096)
        if not more:
            return data.decode("latin-1")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    match = re.search(rb"(?i)content-length:\s*(\d+)", head)
    while len(body) < int(match[1] if match else 0):
        more = connection.recv(4096)
        if not more:
            break
        body += more
    return (head + b"\r\n\r\n" + body).decode("latin-1")


def _response(status: int, body: bytes) -> bytes:
    # No content-type: some routers send none.
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
