"""
The network between the namespaces: one process that holds a TUN device in each, and carries packets between them.

``python -m tests.natlab.core`` reads commands from its standard input, one JSON object a line, and answers each with
one; it ends with its input. :mod:`tests.natlab.internet` speaks to it.

It keeps time to a fraction of a millisecond as long as it gets a processor, so it asks for one before all others while
it carries packets; not while it obeys, since the kernel has those who want to change its networks try again and again
until nobody else does: two that did so before all others would not let that one end.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import fcntl
import functools
import gc
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from tests.natlab import packets
from tests.natlab.pipes import Pipe, Settings

INTERFACE = "wan"
BATCH = 64  # packets that are read from one device before the next has its turn
REST = 0.0002  # seconds between two rounds: what arrives meanwhile is handled together
ROUTERS = (ipaddress.ip_address("20.0.0.254").packed, ipaddress.ip_address("2a10:20::fe").packed)

_CLONE_NEWNET = 0x40000000
_NETFILTER, _DELETE_CONNTRACK = 12, 1 << 8 | 2  # NETLINK_NETFILTER; NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "0",  # some machines have switched it off for new namespaces
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",  # no link-local addresses: hosts send only what programs send
    "net/bridge/bridge-nf-call-iptables": "0",  # a bridge is a switch: the rules are for what is routed
    "net/bridge/bridge-nf-call-ip6tables": "0",
}


class Realm(dict[bytes, "Port"]):
    """
    A network of its own: who has which address.

    That of a carrier has an exit: whatever another port sends goes there first, as over a line of its own, also what
    is for somebody in the same realm.
    """

    exit: Port | None = None


@dataclasses.dataclass
class Port:
    """The link of one namespace: its device, and a pipe each way."""

    name: str
    namespace: str
    device: int
    size: int
    realm: Realm
    up: Pipe
    down: Pipe

    def next(self, packet: bytes) -> Port | None:
        """Where a packet goes that its namespace has sent; None: nowhere."""
        way_out = self.realm.exit
        return self.realm.get(packets.destination(packet)) if way_out in (None, self) else way_out


class Core:
    """The ports, and the loop that serves them."""

    def __init__(self) -> None:
        self._ports: dict[str, Port] = {}
        self._realms: collections.defaultdict[str, Realm] = collections.defaultdict(Realm)
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._input = b""
        self._capture: BinaryIO | None = None
        self._unrouted = 0

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the input ends."""
        clock = time.monotonic
        while self._obey():
            _be_prompt(True)
            devices = {port.device: port for port in self._ports.values()}
            wanted = [0, *devices]
            busy = False
            while True:
                wait = self._forward(clock())
                if busy:
                    time.sleep(REST if wait is None else min(REST, wait))
                    wait = self._forward(clock())
                readable = select.select(wanted, [], [], wait)[0]
                if 0 in readable:
                    _be_prompt(False)
                    break
                now = clock()
                busy = bool(readable)
                for device in readable:
                    self._read(devices[device], now)

    def _read(self, port: Port, now: float) -> None:
        """What the namespace sends. What nobody has the address of is not counted, nor does it take part in losses."""
        known, take, device, size, read = port.next, port.up.take, port.device, port.size, os.read
        for _ in range(BATCH):
            try:
                packet = read(device, size)
            except BlockingIOError:
                return
            if known(packet):
                take(packet, now)
            else:
                self._unrouted += 1

    def _forward(self, now: float) -> float | None:
        """Send on what is due; how long until there is more, None if nothing is on its way."""
        nearest = None
        for port in self._ports.values():
            for packet in port.up.due(now):
                if to := port.next(packet):  # else it has lost its address meanwhile
                    to.down.take(packet, now)
        for port in self._ports.values():
            for packet in port.down.due(now):
                self._write(port, packet)
            for pipe in (port.up, port.down):
                if (due := pipe.next) is not None and (nearest is None or due < nearest):
                    nearest = due
        return nearest if nearest is None else max(0.0, nearest - time.monotonic())

    def _write(self, port: Port, packet: bytes) -> None:
        if self._capture is not None:
            seconds, rest = divmod(time.time_ns(), 1_000_000_000)
            header = struct.pack("<IIII", seconds, rest // 1000, len(packet), len(packet))
            self._capture.write(header + packet)
        with contextlib.suppress(OSError):  # the interface is down
            os.write(port.device, packet)

    def _tell(self, realm: Realm, message: bytes) -> None:
        """An error of ICMP goes to the sender of what caused it, over that one's own link."""
        port = realm.get(packets.destination(message), realm.exit)
        if port is not None:
            port.down.take(message, time.monotonic())

    # --- commands -----------------------------------------------------------------------------------------------------

    def _obey(self) -> bool:
        data = os.read(0, 65536)
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            number = request.pop("number")
            try:
                answer = {"ok": True, **(getattr(self, f"do_{request.pop('do')}")(**request) or {})}
            except (OSError, ValueError) as error:
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps({"number": number, **answer}) + "\n")
            sys.stdout.flush()
        return bool(data)

    def do_prepare(self, namespace: str, sysctls: dict[str, str]) -> None:
        """A namespace speaks IPv6, and has these settings as well."""
        with self._inside(namespace):
            _write_sysctls(_SYSCTLS, optional=True)
            _write_sysctls(sysctls)

    def do_attach(
        self, name: str, namespace: str, mtu: int, interface: str = INTERFACE, realm: str = "", exit: bool = False
    ) -> None:
        """Make an interface in a namespace, joined to a realm, and take its packets from now on."""
        with self._inside(namespace):
            device = _tun(interface)
        joined = self._realms[realm]
        pipes = [Pipe(functools.partial(self._tell, joined), ROUTERS) for _ in range(2)]
        self._ports[name] = Port(name, namespace, device, mtu + 64, joined, *pipes)
        if exit:
            joined.exit = self._ports[name]

    def do_route(self, name: str, addresses: list[str]) -> None:
        """These addresses are behind this port."""
        port = self._ports[name]
        for address in addresses:
            port.realm[ipaddress.ip_address(address).packed] = port

    def do_unroute(self, name: str, addresses: list[str]) -> None:
        """They are nobody's."""
        for address in addresses:
            del self._ports[name].realm[ipaddress.ip_address(address).packed]

    def do_forget(self, name: str) -> None:
        """The kernel there forgets all connections that it has seen (``conntrack -F``)."""
        with self._inside(self._ports[name].namespace):
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        with netlink:
            # A header with "request, acknowledge", then the family "any": all entries.
            netlink.send(struct.pack("=IHHIIBBH", 20, _DELETE_CONNTRACK, 0x1 | 0x4, 1, 0, 0, 0, 0))
            error = struct.unpack_from("=i", netlink.recv(4096), 16)[0]
        if error:
            raise OSError(-error, os.strerror(-error))

    def do_set(self, name: str, direction: str, settings: dict[str, Any]) -> None:
        settings["drops"] = tuple(settings["drops"])
        self._pipe(name, direction).set(Settings(**settings), time.monotonic())

    def do_counts(self, name: str, direction: str) -> dict[str, Any]:
        return {"counts": dataclasses.asdict(self._pipe(name, direction).counts)}

    def do_capture(self, path: str) -> None:
        """Write every packet that is delivered to a file, for tcpdump and Wireshark."""
        self._capture = open(path, "wb", buffering=0)
        self._capture.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))

    def _pipe(self, name: str, direction: str) -> Pipe:
        port = self._ports[name]
        return port.up if direction == "up" else port.down

    @contextlib.contextmanager
    def _inside(self, namespace: str) -> Iterator[None]:
        """What is opened in here belongs to a namespace."""
        there = os.open(namespace, os.O_RDONLY)
        try:
            enter(there)
            yield
        finally:
            enter(self._home)
            os.close(there)


def _write_sysctls(values: dict[str, str], *, optional: bool = False) -> None:
    for name, value in values.items():
        try:
            with open(f"/proc/sys/{name}", "w") as file:
                file.write(value)
        except FileNotFoundError:
            if not optional:
                raise


def _tun(interface: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(device)
        raise
    return device


def enter(namespace: int) -> None:
    """This thread is in the network namespace of a descriptor from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _be_prompt(prompt: bool) -> None:
    """Whether to run before other programs: they must not make the network slower than it is set to be."""
    with contextlib.suppress(PermissionError):
        if prompt:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        else:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


if __name__ == "__main__":
    gc.disable()  # nothing here makes reference cycles
    Core().run()
