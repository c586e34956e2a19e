"""
Clients that ask a router to open a port, for TCP and UDP, and share nothing with crust's.

``python -m tests.natlab.portmap NAME ARGUMENTS``: the arguments are a JSON object, and so is the line that comes out.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from typing import Any

import miniupnpc

LIFETIME = 600  # seconds
INTERVAL = 0.3  # seconds between two requests
TRIES = 3
PROTOCOLS = {"UDP": 17, "TCP": 6}


def igd(address: str, gateway: str, port: int) -> dict[str, Any]:
    """UPnP, by the library that its server comes from."""
    if _asked("239.255.255.250", _SEARCH, 1900) is None:  # the library takes ten seconds to find that out
        return {"silent": True}
    client = miniupnpc.UPnP(multicastif=address, discoverdelay=200)  # milliseconds
    client.discover()
    client.selectigd()
    for protocol in PROTOCOLS:
        client.addportmapping(port, protocol, address, port, "laboratory", "", LIFETIME)
    return {"address": client.externalipaddress(), "port": port}


def natpmp(address: str, gateway: str, port: int) -> dict[str, Any]:
    """RFC 6886."""
    answer = _asked(gateway, b"\0\0")
    if answer is None:
        return {"silent": True}
    result, age = struct.unpack("!HI", answer[2:8])
    assert result == 0, answer
    mapped: bytes | None = None
    for number in (1, 2):  # UDP, TCP
        mapped = _asked(gateway, struct.pack("!BBHHHI", 0, number, 0, port, port, LIFETIME))
        assert mapped is not None and mapped[:4] == bytes([0, 128 + number, 0, 0]), mapped
    assert mapped is not None
    return {"address": socket.inet_ntoa(answer[8:12]), "port": int.from_bytes(mapped[10:12], "big"), "age": age}


def pcp(address: str, gateway: str, port: int) -> dict[str, Any]:
    """RFC 6887, MAP."""
    ours = bytes(10) + b"\xff\xff" + socket.inet_aton(address)
    answer: bytes | None = None
    for protocol in PROTOCOLS.values():
        body = os.urandom(12) + struct.pack("!B3xHH", protocol, port, port) + bytes(10) + b"\xff\xff" + bytes(4)
        answer = _asked(gateway, struct.pack("!BBHI", 2, 1, 0, LIFETIME) + ours + body)
        if answer is None:
            return {"silent": True}
        if answer[3]:
            return {"error": answer[3]}
    assert answer is not None
    return {
        "address": socket.inet_ntoa(answer[-4:]),
        "port": int.from_bytes(answer[42:44], "big"),
        "age": int.from_bytes(answer[8:12], "big"),
    }


_SEARCH = (
    b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n'
    b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
)


def _asked(gateway: str, request: bytes, port: int = 5351) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(INTERVAL)
        for _ in range(TRIES):
            try:
                sock.sendto(request, (gateway, port))
                return sock.recv(1100)
            except (TimeoutError, ConnectionRefusedError):
                pass
    return None


if __name__ == "__main__":
    clients = {each.__name__: each for each in (igd, natpmp, pcp)}
    sys.stdout.write(json.dumps(clients[sys.argv[1]](**json.loads(sys.argv[2]))) + "\n")
