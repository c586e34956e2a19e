"""
crust, through its public interface alone: encryption, numbers, acknowledgements and heartbeats as they come.

Every spoke is a node of its own with its own identity, as in life: a session joins two identities. The limits that
guard a node against one address making many connections are raised by configuration, since all come from one here, and
so is the time for a handshake, since thousands of nodes share two processors.

The library ``crust`` listens on TCP alone, ``crust-utp`` on µTP alone. Loopback carries datagrams of 64 KiB;
``crust-utp-ethernet`` sends none that are too long for Ethernet, and ``crust-utp-plain`` sends and receives those one
at a time, as systems without GSO and GRO do.
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any

import crust
from crust import limits

from .. import machine
from ..contract import (
    ROUND_TRIP,
    WAIT,
    Options,
    pack_count,
    stamped,
    stream_through,
    summary,
    unpack_count,
    wait_until,
)
from ..sides import ChannelSpokes

__all__ = ["Hub", "Spokes", "limits_for"]

_MANY = 1_000_000
_UDP_GRO = 104  # an option that the socket module does not name (Linux' udp.h)
_TICK = 0.001  # seconds that the watch sleeps


def _hub_config(peers: int, transport: str) -> crust.Config:
    return crust.Config.from_dict(
        {
            "listen": {"addresses": [f"{transport}://127.0.0.1:0"]},
            "session": {"handshake_timeout": WAIT},
            "limits": limits_for(peers),
        }
    )


def limits_for(peers: int) -> dict[str, int]:
    """Those of a node that has so many peers, all at one address."""
    return {
        "max_peers": peers + 64,
        "peers_per_address": peers + 64,
        "half_open": peers + 64,
        "half_open_per_address": peers + 64,
        "starts_per_address_per_second": _MANY,
        "starts_per_second": _MANY,
    }


def _spoke_config() -> crust.Config:
    return crust.Config.from_dict({"listen": {"addresses": []}, "session": {"handshake_timeout": WAIT}})


def _transport(library: str) -> str:
    """What to listen on; prepares this process for it."""
    if library == "crust":
        return "tcp"
    if library != "crust-utp":
        limits.UTP_DATAGRAM_MAX = limits.UTP_DATAGRAM_USUAL
    if library == "crust-utp-plain":
        _do_without_offload()
    return "utp"


def _do_without_offload() -> None:
    """From now on no UDP socket of this process has GSO or GRO."""
    from crust.transports.udp_offload import Offload

    begin = Offload.__init__

    def begin_without(self: Offload, sock: socket.socket, *arguments: Any) -> None:
        begin(self, sock, *arguments)
        self.gso = False
        if self.gro:
            self.gro = False
            sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 0)

    Offload.__init__ = begin_without  # type: ignore[method-assign, assignment]


class PeerChannel:
    """A :class:`~benchmarks.contract.Channel` over a session; closing it ends the session."""

    def __init__(self, peer: crust.Peer) -> None:
        self.peer = peer
        self.send = peer.send

    def receive(self) -> bytes:
        return self.peer.recv(WAIT)

    def count(self, size: int) -> int | None:
        recv = self.peer.recv
        count = 0
        try:
            while len(recv()) == size:
                count += 1
        except (crust.PeerLost, crust.ServiceClosed):
            return None
        return count

    def close(self) -> None:
        self.peer.disconnect()


class Hub:
    """One node that listens."""

    def __init__(self, role: str, options: Options) -> None:
        self.role = role
        self.options = options
        self.service = crust.Service(self._config())
        self._broken = 0
        self._watching = False
        self._gap = 0.0
        self._alerted: float | None = None
        self._audience: Sequence[crust.Peer] | None = None
        if role in ("stream", "signed", "besieged", "flooded"):
            return  # the counts are pulled
        if options.style == "callback":
            self.service.on(crust.NewMessage, self._stamp if role == "stamp" else self._echo)
        else:
            self.service.on(crust.ConnectSuccess, self._begin_echo)

    def _config(self) -> crust.Config:
        config = _hub_config(self.options.peers, _transport(self.options.library))
        if self.role == "besieged":  # by strangers: the limits are what it is about
            config = config.replace(limits=crust.config.LimitsConfig())
        elif self.role == "flooded":  # by one peer: the same, once all others are there, who come from one address
            config = config.replace(limits=crust.config.LimitsConfig(starts_per_address_per_second=_MANY))
        return config

    @staticmethod
    def _echo(event: crust.NewMessage) -> None:
        event.peer.send(event.data)

    @staticmethod
    def _stamp(event: crust.NewMessage) -> None:
        event.peer.send(stamped(event.data))

    def _begin_echo(self, event: crust.ConnectSuccess) -> None:
        threading.Thread(target=self._echo_all, args=(event.peer,), daemon=True).start()

    def _echo_all(self, peer: crust.Peer) -> None:
        with contextlib.suppress(crust.PeerLost, crust.ServiceClosed):
            for data in peer:
                peer.send(stamped(data) if self.role == "stamp" else data)

    def listen(self) -> str:
        """Begin; returns the contact."""
        return str(self.service.start().contact)

    def connections(self) -> int:
        """How many peers are connected."""
        return self.service.stats().peers_connected

    def wait_for(self, count: int) -> None:
        """Wait until there are so many."""
        wait_until(lambda: self.connections() >= count, f"{count} peers")

    def audience(self) -> Sequence[crust.Peer]:
        """The peers that this is about."""
        return self._audience if self._audience is not None else self.service.peers

    def choose_audience(self) -> None:
        """It is about those who are there now, and nobody who comes later."""
        self._audience = self.service.peers

    def limit_starts(self) -> None:
        """From now on one address may begin only so many connections a second as by default."""
        self.service.reload(self.service.config.replace(limits=crust.config.LimitsConfig()))

    def take_from_others(self) -> None:
        """From now on have an application that takes what those send who come later, and that is all it does."""
        self.service.on(crust.ConnectSuccess, lambda event: self._begin_taking(event.peer))

    @staticmethod
    def _begin_taking(peer: crust.Peer) -> None:
        def take() -> None:
            with contextlib.suppress(crust.PeerLost, crust.ServiceClosed):
                while True:
                    peer.recv()

        threading.Thread(target=take, daemon=True).start()

    def stream(self, size: int, seconds: float) -> dict[str, float]:
        """Send to all in turn."""
        peers = self.audience()

        def acknowledged() -> int:
            return sum(unpack_count(peer.recv(WAIT)) for peer in peers)

        return stream_through([peer.send for peer in peers], acknowledged, size, seconds)

    def stream_signed(self, size: int, seconds: float) -> dict[str, float]:
        """The same to one peer, signed."""
        (peer,) = self.audience()
        send = functools.partial(peer.send, sign=True)
        return stream_through([send], lambda: unpack_count(peer.recv(WAIT)), size, seconds)

    def pour(self, size: int) -> None:
        """Send to all at once, from now until the process ends."""
        for peer in self.audience():
            threading.Thread(target=self._pour, args=(peer, bytes(size)), daemon=True).start()

    @staticmethod
    def _pour(peer: crust.Peer, data: bytes) -> None:
        with contextlib.suppress(crust.PeerLost, crust.ServiceClosed):
            while True:
                peer.send(data)

    def watch(self) -> None:
        """
        From now on measure how long nobody else gets a turn in this process, count connections that break, and note
        when the application hears of misbehaviour.
        """
        if not self._watching:
            self._watching = True
            self.service.on(crust.PeerMisbehaved, self._hear)
            self.service.on(crust.LostPeer, self._break)
            self.service.on(crust.PeerSuspended, self._break)
            threading.Thread(target=self._tick, daemon=True).start()
        self._gap = 0.0
        self._broken = 0
        self._alerted = None

    def _hear(self, event: crust.PeerMisbehaved) -> None:
        if self._alerted is None:
            self._alerted = time.monotonic()

    def _break(self, event: crust.LostPeer | crust.PeerSuspended) -> None:
        if self._audience is None or any(event.peer is each for each in self._audience):
            self._broken += 1

    def _tick(self) -> None:
        before = time.perf_counter()
        while True:
            time.sleep(_TICK)
            now = time.perf_counter()
            self._gap = max(self._gap, now - before - _TICK)
            before = now

    def watched(self) -> dict[str, float | None]:
        """
        Since :meth:`watch`: the longest of those times in seconds, the count, and when misbehaviour was first heard of
        (``time.monotonic``, which all processes of a machine share); None: it was not.
        """
        return {"stall": self._gap, "broken": self._broken, "alerted": self._alerted}

    def memory(self) -> int:
        """KiB resident."""
        return machine.resident_kib()

    def ban_all(self) -> dict[str, float]:
        """Ban everybody; seconds of the call, and until each loss has been told; how many were."""
        lost: list[str] = []
        subscription = self.service.on(crust.LostPeer, lambda event: lost.append(event.reason))
        ids = [peer.id for peer in self.service.peers]
        began = time.perf_counter()
        self.service.ban(*ids)
        called = time.perf_counter()
        wait_until(lambda: len(lost) >= len(ids), f"{len(ids)} losses")
        ended = time.perf_counter()
        subscription.cancel()
        return {"seconds": ended - began, "call": called - began, "told": lost.count("banned")}

    def close_in(self, timeout: float) -> dict[str, float]:
        """Close the node; the seconds that took, and whether nothing was left running."""
        began = time.perf_counter()
        clean = self.service.close(timeout)
        return {"seconds": time.perf_counter() - began, "clean": float(clean)}


class Spokes(ChannelSpokes):
    """A node for each connection."""

    def __init__(self, role: str, options: Options) -> None:
        super().__init__(role, options)
        _transport(options.library)
        self._config = _spoke_config()
        if role == "signed":
            self._config = self._config.replace(signing=crust.config.SigningConfig(require_signed=True))
        self._services: list[crust.Service] = []

    def connect(self) -> PeerChannel:
        return PeerChannel(self.reach(self.begin()))

    def begin(self) -> crust.Service:
        """Another node, which may have to be known to somebody first."""
        service = crust.Service(self._config).start()
        self._services.append(service)
        return service

    def reach(self, service: crust.Service) -> crust.Peer:
        """Its session with the hub."""
        return service.connect(self.address, timeout=WAIT)

    def meet(self, address: Any, count: int, pause: float) -> list[float]:
        """
        One node connects to a stamping hub again and again, ``pause`` seconds after the end before.

        Returns:
            Seconds from each call until the hub's application had the first message.
        """
        self.address = address
        node = self.begin()
        times = []
        for _ in range(count + 1):  # the first one pays for what is made once
            time.sleep(pause)
            began = time.monotonic()
            peer = self.reach(node)
            peer.send(bytes(ROUND_TRIP))
            (arrived,) = struct.unpack_from(">d", peer.recv(WAIT), 8)
            times.append(arrived - began)
            peer.disconnect()
        return times[1:]

    def visit(self, address: Any) -> None:
        """Be a new node whose first message arrives, and leave."""
        with crust.Service(self._config) as node:
            peer = node.connect(address, timeout=WAIT)
            peer.send(b"hello")
            peer.flush(WAIT)
    def hear_ends(self) -> None:
        """From now on note why sessions end."""
        self._ends: list[str] = []
        for service in self._services:
            service.on(crust.LostPeer, lambda event: self._ends.append(str(event.reason)))

    def ends(self, expected: int) -> list[str]:
        """Why they did, once so many have."""
        wait_until(lambda: len(self._ends) >= expected, f"{expected} ends")
        return self._ends

    def sink(self, size: int) -> None:
        if self.options.style == "pull":
            super().sink(size)
            return
        for service in self._services:
            service.on(crust.NewMessage, _counter(size))

    def ping(self, size: int, seconds: float) -> dict[str, float]:
        if self.options.style == "pull":
            return super().ping(size, seconds)
        clock = time.perf_counter
        data = bytes(size)
        times: list[float] = []
        done = threading.Event()
        send = self.channels[0].send
        began = clock()
        end = began + seconds

        def answered(event: crust.NewMessage) -> None:
            nonlocal began
            now = clock()
            times.append(now - began)
            if now < end:
                began = clock()
                send(data)
            else:
                done.set()

        self._services[0].on(crust.NewMessage, answered)
        began = clock()
        send(data)
        if not done.wait(seconds + WAIT):
            raise TimeoutError(f"an answer has not come; {len(times)} have")
        return summary(times)

    @staticmethod
    def flood(address: str, seconds: float) -> dict[str, float]:
        """Send the hub's UDP port datagrams that mean nothing to it, as fast as this process can."""
        endpoint = crust.Contact.parse(address).endpoints[0]
        chance = random.Random(1)
        strays = [bytes(_head(chance)) + chance.randbytes(chance.choice((0, 0, 40, 1380))) for _ in range(1024)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((endpoint.host, endpoint.port))
            send = sock.send
            sent = 0
            began = now = time.perf_counter()
            while now < began + seconds:
                for stray in strays:
                    send(stray)
                sent += len(strays)
                now = time.perf_counter()
        return {"datagrams": sent, "seconds": now - began}

    def setup(self, address: Any, seconds: float) -> dict[str, float]:
        """One node dials again and again, as one TLS context does."""
        node = crust.Service(self._config).start()
        self.connect = lambda: PeerChannel(node.connect(address, timeout=WAIT))  # type: ignore[method-assign]
        return super().setup(address, seconds)


def _head(chance: random.Random) -> bytes:
    """Of a stray datagram: nothing, noise, or a µTP packet of a connection that there is not."""
    kind = chance.choice((None, 0, 0, 1, 2, 2, 3))  # DATA, FIN, STATE, RESET
    if kind is None:
        return chance.randbytes(chance.randrange(1, 30))
    return bytes((kind << 4 | 1, 0)) + chance.randbytes(18)


def _counter(size: int) -> Any:
    """A callback that counts messages and answers END."""
    count = 0

    def counted(event: crust.NewMessage) -> None:
        nonlocal count
        if len(event.data) == size:
            count += 1
        else:
            event.peer.send(pack_count(count))
            count = 0

    return counted
