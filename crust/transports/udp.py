"""
A hub: one UDP socket with all that goes on over it, and the thread that reads it.

Datagrams are told apart in this order: STUN, known µTP connections, whatever :attr:`UdpHub.probes` takes, SYN, and the
rest, which is answered by a RESET, at most :data:`crust.limits.UTP_RESETS_PER_SECOND` times a second. A µTP connection
is known by its remote address and the id that it receives on.

Who may block on what, and what ends it: the reader blocks in receiving, ended by ``shutdown``, which wakes it although
no UDP socket is ever connected (where sockets must not block: in ``readiness``). The reader alone closes the socket.
Nothing that it calls may block, since every connection of the socket waits for it.

A hub lives as long as somebody holds it (:meth:`UdpHub.hold`): a listener, each connection, a dial.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from .. import limits
from ..exceptions import MalformedMessage
from ..runtime.flusher import IoLoop
from ..runtime.threads import CrashHook, Spawn, abandon_socket
from .readiness import Readiness, without_signal
from .udp_offload import Address, Offload
from .udp_receive import DATA, ReceiveBuffer, Source, UdpReceiver, run_length
from .utp.burst import Burst, single_burst
from .utp.packet import (
    HEADER_SIZE,
    Packet,
    PacketType,
    build_header,
    parse_packet_untrusted,
    parse_parts_untrusted,
)

__all__ = ["Acceptor", "Address", "Member", "Source", "StunHook", "UdpHub"]

_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
_GSO_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
# What a router or the other machine said of an earlier datagram, told at the next call.
_ECHOES = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EPROTO})
_STUN_COOKIE = b"\x21\x12\xa4\x42"  # at byte 4 of what may be STUN: RFC 8489 section 5. µTP has its timestamp there
_PLAIN_REMEMBERED = 4096  # addresses that several datagrams at once are refused for

class Member(Protocol):
    """A µTP connection, as its hub sees it. Called on the hub's thread, unless said otherwise."""

    def arrived(self, runs: list[tuple[Packet, int, int]], payload: memoryview, now: float) -> bool:
        """
        Packets came, at once: runs of consecutive numbers that are equal otherwise. True if an acknowledgement is owed:
        :meth:`settle` is called soon.

        Args:
            runs: For each its first packet, whose payload is that of all of it; how many packets; bytes of payload in
                each but the last.
            payload: That of all runs, in one piece; valid during the call.
        """

    def settle(self, now: float) -> None:
        """Send the acknowledgement that is owed."""

    def refused(self, number: int, mtu: int, now: float) -> None:
        """ICMP says that a datagram did not get through; ``mtu``: as it was larger than that, unless 0."""

    def sendable(self) -> None:
        """The socket has room again (I/O thread)."""


class Acceptor(Protocol):
    """Who answers callers."""

    def called(self, syn: Packet, address: Address, source: Source | None, now: float) -> None:
        """A SYN of an unknown connection came (the hub's thread)."""


StunHook: TypeAlias = "Callable[[UdpHub, memoryview, Address, Source | None, float], bool]"
"""Gets the hub, a datagram, where it came from, which address of ours it came to, and the time (the hub's thread)."""


class UdpHub:
    """
    One UDP socket. Thread-safe.

    Args:
        sock: Bound; belongs to the hub from now on.
        io: The node's I/O loop.
        on_crash: Gets what a member raised.
    """

    def __init__(self, sock: socket.socket, io: IoLoop, on_crash: CrashHook) -> None:
        self.io = io
        self.name = sock.getsockname()
        self.family = sock.family
        self.wildcard = ipaddress.ip_address(str(self.name[0]).partition("%")[0]).is_unspecified
        self.offload = Offload(sock, self.wildcard)
        self.acceptor: Acceptor | None = None
        self.silent = False
        """Unknown packets get no answer: a punched socket, whose remote end may not know us yet."""
        self.stun: StunHook | None = None
        """Takes what has STUN's cookie; False if it is none all the same, or answers nothing that was asked."""
        self.probes: Callable[[memoryview, Address, float], bool] | None = None
        """Takes what no connection knows; False if it is not a probe either."""
        self.strays = 0
        """Datagrams that belonged to nobody."""
        self._owing: dict[Member, None] = {}  # the reader's: whose acknowledgements wait for the end of a batch
        self._sock = sock
        self._readiness = Readiness.if_needed(sock)
        self._plain: Any = getattr(sock, "_sock", sock)
        self._flags = without_signal(sock) | (_DONTWAIT if self._readiness is None else 0)
        self._on_crash = on_crash
        self._lock = threading.Lock()  # guards _holders, _closing, _started, _waiting and changes of _members
        self._members: dict[tuple[Address, int], Member] = {}
        self._holders = 0
        self._started = False
        self._closing = False
        self._watched = False
        self._waiting: collections.deque[Member] = collections.deque()  # for room in the socket
        self._refusing: dict[Address, None] = {}  # where several datagrams at once are refused
        self._probing = threading.Lock()  # one changes how the socket fragments at a time
        self._resets = 0.0  # how many may be sent now
        self._resets_at = 0.0

    @property
    def port(self) -> int:
        """Ours."""
        return int(self.name[1])

    @property
    def population(self) -> int:
        """How many members there are."""
        return len(self._members)

    @property
    def closed(self) -> bool:
        """True when it serves nobody any more."""
        return self._closing

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self, spawn: Spawn) -> None:
        """
        Start the reader, if it does not run.

        Raises:
            RuntimeError: There is no thread to be had; the hub is closed then.
        """
        with self._lock:
            if self._started or self._closing:
                return
            self._started = True
        try:
            spawn(f"crust-udp-{self.port}", self._run)
        except BaseException:
            with self._lock:
                self._started = False
            self.close()
            raise

    def hold(self) -> bool:
        """Keep it open until :meth:`release`; False if it is too late for that."""
        with self._lock:
            if self._closing:
                return False
            self._holders += 1
            return True

    def release(self) -> None:
        """Undo one :meth:`hold`; the last one closes the hub."""
        with self._lock:
            self._holders -= 1
            if self._holders > 0:
                return
        self.close()

    def close(self) -> None:
        """Stop reading; the socket is closed by the reader, or here if there is none. Never blocks; idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            if self._started:
                with contextlib.suppress(OSError):  # it is not connected, and says so, but wakes the reader
                    self._sock.shutdown(socket.SHUT_RDWR)
                if self._readiness is not None:
                    self._readiness.ring()
                return
        self._close_socket()

    def _close_socket(self) -> None:
        if self._readiness is not None:
            self._readiness.close()
        if self._watched:
            self.io.forget(self._sock, then=self._sock.close)
        else:
            self._sock.close()

    def abandon(self) -> None:
        """In a forked child: close the copy of the descriptor (takes no lock)."""
        self._lock = threading.Lock()
        self._closing = True
        self._members = {}
        abandon_socket(self._sock)
        if self._readiness is not None:
            self._readiness.abandon()

    # --- members ------------------------------------------------------------------------------------------------------

    def add(self, address: Address, receive_id: int, member: Member) -> bool:
        """From now on packets from ``address`` to that id are the member's; False if they are another's already."""
        with self._lock:
            if (address, receive_id) in self._members or self._closing:
                return False
            self._members[address, receive_id] = member
            return True

    def remove(self, address: Address, receive_id: int, member: Member) -> None:
        """Forget a member. Idempotent."""
        with self._lock:
            if self._members.get((address, receive_id)) is member:
                del self._members[address, receive_id]

    # --- sending ------------------------------------------------------------------------------------------------------

    def transmit(self, burst: Burst, address: Address, source: Source | None) -> bool:
        """
        Send now, or never: what the network refuses is lost as if on the way.

        Returns:
            False if the socket has no room at the moment: ask :meth:`await_room`.

        Raises:
            OSError: EMSGSIZE: one datagram is larger than the interface allows; any other: there is no way there.
        """
        try:
            if burst.probe and self.offload.can_probe:
                with self._probing, self.offload.unfragmented():
                    return self._send(burst.buffers, 0, address, source)
            if burst.fragment:
                with self._probing, self.offload.fragmented():
                    return self._send(burst.buffers, 0, address, source)
            if burst.count == 1:
                return self._send(burst.buffers, 0, address, source)
            if self.offload.gso and address not in self._refusing:
                try:
                    return self._send(burst.buffers, burst.segment, address, source)
                except OSError as error:
                    if error.errno not in _GSO_REFUSED:
                        raise
                    self._refuse(address)
            return self._send_each(burst.buffers, address, source)
        except BlockingIOError:
            return False

    def _refuse(self, address: Address) -> None:
        if len(self._refusing) >= _PLAIN_REMEMBERED:
            self._refusing.clear()
        self._refusing[address] = None

    def _send(self, buffers: list[Any], segment: int, address: Address, source: Source | None) -> bool:
        for last in (False, True):
            try:
                if hasattr(self._plain, "sendmsg"):
                    self._plain.sendmsg(buffers, self.offload.ancillary(segment, source), self._flags, address)
                else:
                    self._plain.sendto(b"".join(buffers), self._flags, address)
                return True
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return True  # lost on the way, as it were
                if last or error.errno not in _ECHOES or not self.offload.errors:
                    raise
                # It may be about an earlier datagram, to somebody else. Not heard here: the sender has its lock.
                self.io.call_later(0, self._hear_errors)
        return True

    def _send_each(self, parts: list[Any], address: Address, source: Source | None) -> bool:
        """Datagrams one by one: a header and a payload each."""
        if not hasattr(self._plain, "sendmsg"):
            for at in range(0, len(parts), 2):
                self._send(parts[at : at + 2], 0, address, source)
            return True
        ancillary, flags, send = self.offload.ancillary(0, source), self._flags, self._plain.sendmsg
        for at in range(0, len(parts), 2):
            try:
                send(parts[at : at + 2], ancillary, flags, address)
            except OSError:  # once more, and properly; if there is no room, this and the rest count as lost
                if not self._send(parts[at : at + 2], 0, address, source):
                    break
        return True

    def await_room(self, member: Member) -> None:
        """Call ``member.sendable()`` on the I/O thread when the socket has room."""
        with self._lock:
            if self._closing:
                return
            self._waiting.append(member)
            self._watched = True
            if len(self._waiting) > 1:
                return
        self.io.wait_writable(self._sock, self._room)

    def _room(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, collections.deque()
        for member in waiting:
            try:
                member.sendable()
            except Exception as error:  # one connection's trouble is not the others'
                self._on_crash("crust-io", error)

    def reset(self, packet: Packet, address: Address, source: Source | None, now: float) -> None:
        """Tell whoever sent ``packet`` that nobody here knows of it."""
        if self.silent:
            return
        rate = limits.UTP_RESETS_PER_SECOND
        self._resets = min(float(rate), self._resets + (now - self._resets_at) * rate)
        self._resets_at = now
        if self._resets < 1:
            return
        self._resets -= 1
        number = int.from_bytes(os.urandom(2), "big")
        header = build_header(PacketType.RESET, packet.connection_id, packet.timestamp, 0, 0, number, packet.sequence)
        with contextlib.suppress(OSError):
            self.transmit(single_burst(header), address, source)

    # --- the reader ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if hasattr(self._plain, "recvmsg_into"):
                self._read_all(UdpReceiver(self._sock, self.offload))
            else:
                self._read_simply(memoryview(bytearray(65536)))
        finally:
            with self._lock:
                self._closing = True
            if self._sock.fileno() >= 0:  # else this is a greenlet that a forked child has inherited
                self._close_socket()

    def _read_all(self, receiver: UdpReceiver) -> None:
        """Read until closed; several datagrams at once, where the system can."""
        clock, owing = self.io.now, self._owing
        busy = 0.0
        while not self._closing:
            try:
                total, segment, address, source = receiver.read()
            except OSError as error:
                if not self._go_on(error):
                    return
                continue
            if not address:
                continue  # woken to be closed
            now = clock()
            try:
                self._take(receiver.buffer, total, segment, address, source, now)
                spare, receiver.spare = receiver.spare, None
                if spare is not None:
                    self._pieces(*spare, now)
            except Exception as error:  # one connection's trouble is not the others'
                self._on_crash(f"crust-udp-{self.port}", error)
            if owing:
                self._settle(now)
            busy += clock() - now
            if busy >= limits.TURN_SECONDS:
                time.sleep(limits.TURN_PAUSE)  # a busy socket must not keep the other greenlets waiting
                busy = 0.0

    def _settle(self, now: float) -> None:
        """The end of a batch: nothing more waits, or enough has come."""
        owing = list(self._owing)
        self._owing.clear()
        for member in owing:
            try:
                member.settle(now)
            except Exception as error:  # one connection's trouble is not the others'
                self._on_crash(f"crust-udp-{self.port}", error)

    def _read_simply(self, buffer: memoryview) -> None:
        """The same where only plain ``recvfrom`` is to be had."""
        while not self._closing:
            try:
                total, address = self._sock.recvfrom_into(buffer)
            except OSError as error:
                if not self._go_on(error):
                    return
                continue
            try:
                self._datagram(buffer[:total], address, None, self.io.now())
            except Exception as error:  # one connection's trouble is not the others'
                self._on_crash(f"crust-udp-{self.port}", error)
            if self._owing:
                self._settle(self.io.now())

    def _go_on(self, error: OSError) -> bool:
        """What to do about an error of receiving; False: the socket is gone."""
        if self._closing or error.errno in (errno.EBADF, errno.ENOTSOCK):
            return False
        if isinstance(error, BlockingIOError):
            if self._readiness is not None:
                self._readiness.wait()
        elif not isinstance(error, InterruptedError):
            self._hear_errors(self.io.now())
            time.sleep(limits.TURN_PAUSE)  # a flood of errors must not keep the other greenlets waiting
        return not self._closing

    def _hear_errors(self, now: float) -> None:
        """Pass on what ICMP says. It may be forged, so it only matters to whom it can do no harm."""
        heard: dict[Address, dict[int, int]] = {}  # an address, an errno, and how large a datagram may be, or 0
        for error in self.offload.icmp_errors():
            heard.setdefault(error.address[:2], {})[error.number] = error.mtu if error.number == errno.EMSGSIZE else 0
        if not heard:
            return
        with self._lock:
            members = [(address[:2], member) for (address, _), member in self._members.items()]
        for address, member in members:
            for number, mtu in heard.get(address, {}).items():
                try:
                    member.refused(number, mtu, now)
                except Exception as trouble:  # one connection's trouble is not the others'
                    self._on_crash(f"crust-udp-{self.port}", trouble)

    # --- telling datagrams apart --------------------------------------------------------------------------------------

    def _take(
        self, buffer: ReceiveBuffer, total: int, segment: int, address: Address, source: Source | None, now: float
    ) -> None:
        """What was received at once: one datagram, or several of ``segment`` bytes."""
        if not buffer.fits(total, segment):
            joined = memoryview(buffer.joined(total))
            size = (segment or total) - HEADER_SIZE
            if size > 0 and size != buffer.size:
                buffer.expect(size)
            self._pieces(joined, segment, address, source, now)
            return
        if total < HEADER_SIZE:
            self._unknown(memoryview(bytes(buffer.headers[:total])), address, now)
            return
        headers, payload = buffer.headers, buffer.payload
        if not segment or segment >= total:
            self._one(memoryview(headers)[:HEADER_SIZE], payload[: total - HEADER_SIZE], address, source, now)
            return
        size = segment - HEADER_SIZE
        count = -(-total // segment)
        if total - (count - 1) * segment < HEADER_SIZE:
            count -= 1
            total = count * segment
            self.strays += 1
        runs: list[tuple[Packet, int, int]] = []
        member: Member | None = None
        at = begin = 0
        while at < count:
            run = run_length(headers, at, count)
            header = memoryview(headers)[HEADER_SIZE * at : HEADER_SIZE * (at + 1)]
            start, end = at * size, min((at + run) * size, total - count * HEADER_SIZE)
            packet = None if header[1] or header[0] != DATA else parse_parts_untrusted(header, payload[start:end])
            known = None if packet is None else self._members.get((address, packet.connection_id))
            if runs and known is not member:
                self._hand_over(member, runs, payload[begin:start], now)
                runs = []
            member = known
            if packet is None or known is None:
                self._one(header, payload[start:end], address, source, now)
            else:
                if not runs:
                    begin = start
                runs.append((packet, run, size))
            at += run
        if runs:
            self._hand_over(member, runs, payload[begin : total - count * HEADER_SIZE], now)

    def _hand_over(
        self, member: Member | None, runs: list[tuple[Packet, int, int]], payload: memoryview, now: float
    ) -> None:
        assert member is not None
        if member.arrived(runs, payload, now):
            self._owing[member] = None

    def _pieces(
        self, data: memoryview, segment: int, address: Address, source: Source | None, now: float
    ) -> None:
        """Datagrams in one piece, of ``segment`` bytes (0: one)."""
        step = segment or max(1, len(data))
        for start in range(0, len(data), step):
            self._datagram(data[start : start + step], address, source, now)

    def _one(
        self,
        header: memoryview,
        payload: memoryview,
        address: Address,
        source: Source | None,
        now: float,
    ) -> None:
        """A datagram whose header was received apart."""
        first = header[0]
        if self.stun is not None and first < 4 and header[4:8] == _STUN_COOKIE:
            if self.stun(self, memoryview(bytes(header) + payload), address, source, now):
                return
        try:
            packet = parse_parts_untrusted(header, payload)
        except MalformedMessage:
            self._unknown(memoryview(bytes(header) + payload), address, now)
            return
        member = self._members.get((address, packet.connection_id))
        if member is not None and packet.type is not PacketType.SYN:
            self._hand_over(member, [(packet, 1, len(packet.payload))], payload, now)
            return
        self._stranger(packet, address, source, now, header, payload)

    def _datagram(self, data: memoryview, address: Address, source: Source | None, now: float) -> None:
        """One datagram in one piece."""
        if self.stun is not None and len(data) >= HEADER_SIZE and data[0] < 4 and data[4:8] == _STUN_COOKIE:
            if self.stun(self, data, address, source, now):
                return
        try:
            packet = parse_packet_untrusted(data)
        except MalformedMessage:
            self._unknown(data, address, now)
            return
        member = self._members.get((address, packet.connection_id))
        if member is not None and packet.type is not PacketType.SYN:
            self._hand_over(member, [(packet, 1, len(packet.payload))], data[HEADER_SIZE:], now)
            return
        self._stranger(packet, address, source, now, data[:HEADER_SIZE], data[HEADER_SIZE:])

    def _stranger(
        self,
        packet: Packet,
        address: Address,
        source: Source | None,
        now: float,
        header: memoryview,
        payload: memoryview,
    ) -> None:
        """A µTP packet of no connection, or one that begins a connection, or ends it by an id of its own."""
        kind = packet.type
        if kind is PacketType.SYN:
            member = self._members.get((address, packet.connection_id + 1 & 0xFFFF))
            if member is not None:
                self._hand_over(member, [(packet, 1, 0)], payload[:0], now)
            elif self.acceptor is not None:
                self.acceptor.called(packet, address, source, now)
            else:
                self.strays += 1
                self.reset(packet, address, source, now)
            return
        if kind is PacketType.RESET:
            # libutp names what it received: the id that we send to.
            for neighbour in (packet.connection_id - 1 & 0xFFFF, packet.connection_id + 1 & 0xFFFF):
                member = self._members.get((address, neighbour))
                if member is not None:
                    self._hand_over(member, [(packet, 1, 0)], payload[:0], now)
            self.strays += 1
            return
        if self.probes is not None and self.probes(memoryview(bytes(header) + payload), address, now):
            return
        self.strays += 1
        self.reset(packet, address, source, now)

    def _unknown(self, data: memoryview, address: Address, now: float) -> None:
        if self.probes is None or not self.probes(data, address, now):
            self.strays += 1
