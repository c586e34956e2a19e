"""
crust, through its public interface alone: encryption, numbers, acknowledgements and heartbeats as they come.

Every spoke is a node of its own with its own identity, as in life: a session joins two identities. The limits that
guard a node against one address making many connections are raised by configuration, since all come from one here, and
so is the time for a handshake, since thousands of nodes share two processors.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import crust

from .. import machine
from ..contract import WAIT, Options, pack_count, stamped, stream_through, summary, unpack_count, wait_until
from ..sides import ChannelSpokes

__all__ = ["Hub", "Spokes"]

_MANY = 1_000_000


def _hub_config(peers: int) -> crust.Config:
    return crust.Config.from_dict(
        {
            "listen": {"addresses": ["tcp://127.0.0.1:0"]},
            "session": {"handshake_timeout": WAIT},
            "limits": {
                "max_peers": peers + 64,
                "half_open": peers + 64,
                "half_open_per_address": peers + 64,
                "starts_per_address_per_second": _MANY,
                "starts_per_second": _MANY,
            },
        }
    )


def _spoke_config() -> crust.Config:
    return crust.Config.from_dict({"listen": {"addresses": []}, "session": {"handshake_timeout": WAIT}})


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
        self.service = crust.Service(_hub_config(options.peers))
        if role == "stream":
            return  # the counts are pulled
        if options.style == "callback":
            self.service.on(crust.NewMessage, self._stamp if role == "stamp" else self._echo)
        else:
            self.service.on(crust.ConnectSuccess, self._begin_echo)

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

    def stream(self, size: int, seconds: float) -> dict[str, float]:
        """Send to all in turn."""
        peers = self.service.peers

        def acknowledged() -> int:
            return sum(unpack_count(peer.recv(WAIT)) for peer in peers)

        return stream_through([peer.send for peer in peers], acknowledged, size, seconds)

    def memory(self) -> int:
        """KiB resident."""
        return machine.resident_kib()

    def close_in(self, timeout: float) -> dict[str, float]:
        """Close the node; the seconds that took, and whether nothing was left running."""
        began = time.perf_counter()
        clean = self.service.close(timeout)
        return {"seconds": time.perf_counter() - began, "clean": float(clean)}


class Spokes(ChannelSpokes):
    """A node for each connection."""

    def __init__(self, role: str, options: Options) -> None:
        super().__init__(role, options)
        self._config = _spoke_config()
        self._services: list[crust.Service] = []

    def connect(self) -> PeerChannel:
        service = crust.Service(self._config).start()
        self._services.append(service)
        return PeerChannel(service.connect(self.address, timeout=WAIT))

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

    def setup(self, address: Any, seconds: float) -> dict[str, float]:
        """One node dials again and again, as one TLS context does."""
        node = crust.Service(self._config).start()
        self.connect = lambda: PeerChannel(node.connect(address, timeout=WAIT))  # type: ignore[method-assign]
        return super().setup(address, seconds)


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
