"""
Programs that find out what a site does, and share nothing with crust: the laboratory's own judge.

``python -m tests.natlab.classify inside ARGUMENTS`` runs on a host of the site, and tells in a line of JSON what it
found and where its listener can be called; ``… strangers ARGUMENTS`` runs on the server and calls all of those.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.natlab.stun import (
    CHANGE_BOTH,
    CHANGE_PORT,
    PATIENCE,
    Address,
    all_over_udp,
    answered,
    family,
    over_tcp,
    over_udp,
    request,
)

SAMPLES = 6  # mappings that are looked at to tell how ports are given


def inside(address: str, server: str, port: int, usual: int) -> None:
    """On a host with this address, asking a server with RFC 5780 at a port and its usual one; it stays, listening."""
    with contextlib.ExitStack() as stack:
        listener = _bound(stack, socket.SOCK_STREAM, address)
        listener.listen()
        udp, tcp = _udp(stack, address, (server, port)), _tcp(stack, address, (server, port))
        # Where strangers may call: a port from which one server was called, and to which that connection still is.
        mapped = None
        if tcp["mapping"] != "blocked" and (call := _call(stack, listener.getsockname(), (server, port))):
            mapped = call[0]
            tcp["hairpin"] = _connects(stack, address, mapped)
        elsewhere = _call(stack, _bound(stack, socket.SOCK_STREAM, address).getsockname(), (server, usual)) is not None
        _tell(udp=udp, tcp=tcp, listener=mapped, elsewhere=elsewhere)
        while True:
            listener.accept()[0].close()


def strangers(sources: dict[str, list[str]], targets: dict[str, Address]) -> None:
    """What becomes of a call to each target from each of its sources: ``accepted``, ``reset``, or ``dropped``."""
    found: dict[str, dict[str, str]] = {name: {} for name in targets}
    with contextlib.ExitStack() as stack:
        calls = {}
        for name, target in targets.items():
            for source in sources[name]:
                sock = stack.enter_context(socket.socket(family(source), socket.SOCK_STREAM))
                sock.setblocking(False)
                sock.bind((source, 0))
                sock.connect_ex(tuple(target))
                calls[sock] = name, source
        end = time.monotonic() + PATIENCE
        while calls and (left := end - time.monotonic()) > 0:
            for sock in select.select([], list(calls), [], left)[1]:
                name, source = calls.pop(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                names = {0: "accepted", errno.ECONNREFUSED: "reset"}
                found[name][source] = names.get(error, errno.errorcode.get(error, str(error)))
        for name, source in calls.values():
            found[name][source] = "dropped"
    _tell(**found)


def watch(address: str, server: str, port: int) -> None:
    """On a host: ask ten times a second from one socket, and tell where it is seen whenever that changes."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))  # the host's own address may change
        seen: Address | None | str = "nothing yet"
        heard = time.monotonic()
        while True:
            asked = request()
            with contextlib.suppress(OSError):
                sock.sendto(asked, (server, port))
            end = time.monotonic() + 0.1
            while (left := end - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
                with contextlib.suppress(OSError):
                    if answer := answered(sock.recv(2048), asked):
                        heard = time.monotonic()
                        if seen != answer.mapped:
                            seen = answer.mapped
                            _tell(mapped=seen)
            if seen is not None and time.monotonic() > heard + PATIENCE / 2:
                seen = None
                _tell(mapped=None)


def pause(address: str, server: str, port: int, seconds: float) -> None:
    """On a host: where one socket is seen, before and after it was quiet for so long."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        before = over_udp(sock, (server, port))
        time.sleep(seconds)
        after = over_udp(sock, (server, port))
        assert before and after
        _tell(before=before.mapped, after=after.mapped)


def hole(address: str, server: str, port: int, seconds: float) -> None:
    """On a host: where a socket is seen that asks once; then how much later others reached it for the last time."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        answer = over_udp(sock, (server, port))
        began = latest = time.monotonic()
        assert answer is not None
        _tell(mapped=answer.mapped)
        while (left := began + seconds - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
            sock.recv(2048)
            latest = time.monotonic()
        _tell(latest=latest - began)


def knock(target: Address, seconds: float) -> None:
    """On the server: send there, ten times a second, each time from a socket that nobody knows."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket(family(target[0]), socket.SOCK_DGRAM) as sock:
            sock.sendto(b"knock", tuple(target))
        time.sleep(0.1)
    _tell()


def _tell(**found: Any) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def _udp(stack: contextlib.ExitStack, address: str, server: Address) -> dict[str, Any]:
    def fresh() -> socket.socket:
        return _bound(stack, socket.SOCK_DGRAM, address)

    sock = fresh()
    first = over_udp(sock, server)
    if first is None:
        return {"mapping": "blocked", "filtering": "blocked", "ports": "blocked"}
    assert first.other is not None, "the server has no RFC 5780"
    other = first.other
    later = [over_udp(sock, each) for each in ((other[0], server[1]), other)]
    assert all(later), "the server has ended"
    mapped = [first.mapped, *(each.mapped for each in later if each)]
    by_any, by_address = all_over_udp([(fresh(), server, CHANGE_BOTH), (fresh(), server, CHANGE_PORT)])
    pairs, latest = [], first
    for sock in (fresh() for _ in range(SAMPLES)):
        answer = over_udp(sock, server)
        assert answer is not None
        latest = answer
        pairs.append((sock.getsockname()[1], answer.mapped[1]))
    filtering = "independent" if by_any else "address" if by_address else "port"
    hairpin = _reaches(fresh(), sock, latest.mapped)
    return {"mapping": _mapping(mapped, address), "filtering": filtering, "hairpin": hairpin, **_allocation(pairs)}


def _tcp(stack: contextlib.ExitStack, address: str, server: Address) -> dict[str, Any]:
    """The filtering is for strangers to find out."""
    sock = _bound(stack, socket.SOCK_STREAM, address)
    local = sock.getsockname()
    first = _call(stack, local, server)
    if first is None:
        return {"mapping": "blocked", "filtering": "blocked", "ports": "blocked"}
    mapped, other = first
    assert other is not None, "the server has no RFC 5780"
    later = [_call(stack, local, each) for each in ((other[0], server[1]), other)]
    mappings = [mapped, *(each[0] for each in later if each)]
    pairs = []
    for _ in range(SAMPLES):
        fresh = _bound(stack, socket.SOCK_STREAM, address).getsockname()
        call = _call(stack, fresh, server)
        assert call is not None
        pairs.append((fresh[1], call[0][1]))
    return {"mapping": _mapping(mappings, address), **_allocation(pairs)}


def _call(stack: contextlib.ExitStack, local: Address, server: Address) -> tuple[Address, Address | None] | None:
    """Connect and ask, and stay connected: where we come from, and the server's other address; None: no way."""
    sock = _bound(stack, socket.SOCK_STREAM, *local[:2])
    sock.settimeout(PATIENCE)
    try:
        sock.connect(server)
    except OSError:
        return None
    answer = over_tcp(sock)
    return (answer.mapped, answer.other) if answer else None


def _bound(stack: contextlib.ExitStack, kind: socket.SocketKind, address: str, port: int = 0) -> socket.socket:
    sock = stack.enter_context(socket.socket(family(address), kind))
    if kind is socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    return sock


def _reaches(sender: socket.socket, receiver: socket.socket, mapped: Address) -> bool:
    """Whether what one socket sends to the outer address of another arrives, and from an outer address."""
    receiver.settimeout(PATIENCE / 2)
    with contextlib.suppress(OSError):
        sender.sendto(b"hairpin", mapped)
        while True:
            data, source = receiver.recvfrom(2048)
            if data == b"hairpin":
                return bool(source[0] == mapped[0])
    return False


def _connects(stack: contextlib.ExitStack, address: str, mapped: Address) -> bool:
    sock = _bound(stack, socket.SOCK_STREAM, address)
    sock.settimeout(PATIENCE / 2)
    with contextlib.suppress(OSError):
        sock.connect(mapped)
        return True
    return False


def _mapping(mapped: list[Address], address: str) -> str:
    """Of what three destinations saw: the first, another address, and that with another port."""
    assert len(mapped) == 3, mapped
    if len(set(mapped)) > 1:
        return "dependent" if len(set(mapped)) == 3 else "address"
    return "none" if mapped[0][0] == address else "independent"


def _allocation(pairs: list[tuple[int, int]]) -> dict[str, Any]:
    """How the outer ports of inner ones come about."""
    outer = [each for _, each in pairs]
    steps = {after - before for before, after in _neighbours(outer)}
    if all(ours == theirs for ours, theirs in pairs):
        return {"ports": "preserved"}
    if len(steps) == 1 and steps != {0}:
        return {"ports": "sequential", "step": steps.pop()}
    return {"ports": "random"}


def _neighbours(values: list[int]) -> Iterator[tuple[int, int]]:
    return zip(values, values[1:], strict=False)


if __name__ == "__main__":
    programs = {each.__name__: each for each in (inside, strangers, watch, pause, hole, knock)}
    programs[sys.argv[1]](**json.loads(sys.argv[2]))
