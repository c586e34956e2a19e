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
from typing import Any, TypeAlias

from .. import limits
from ..exceptions import MalformedMessage
from ..runtime.flusher import IoLoop
from ..runtime.threads import CrashHook, Spawn, abandon_socket
from .hearing import Hearing
from .readiness import Readiness, without_signal
from .udp_members import Acceptor, Member
from .udp_offload import Address, Offload
from .udp_receive import DATA, ReceiveBuffer, Source, UdpReceiver, run_length
from .udp_sending import UdpSender
from .udp_sieve import Origin, Sieve, attach, looks_like_utp, waiting
from .utp.burst import Burst, single_burst
from .utp.noise import Din, Noise
from .utp.packet import (
    HEADER_SIZE,
    Packet,
    PacketType,
    build_header,
    parse_packet_untrusted,
    parse_parts_untrusted,
)
from .utp.patience import Patiences

__all__ = ["Acceptor", "Address", "Member", "Source", "StunHook", "UdpHub"]

_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
_STUN_COOKIE = b"\x21\x12\xa4\x42"  # at byte 4 of what may be STUN: RFC 8489 section 5. µTP has its timestamp there
_STRAYS_TOLD = 64  # at once


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
        self.retired = False
        """No dial is to leave from here any more."""
        self.silent = False
        """Unknown packets get no answer: a punched socket, whose remote end may not know us yet."""
        self.stun: StunHook | None = None
        """Takes what has STUN's cookie; False if it is none all the same, or answers nothing that was asked."""
        self.probes: Callable[[memoryview, Address, float], bool] | None = None
        """Takes what no connection knows; False if it is not a probe either."""
        self.hushed: Callable[[Address], bool] | None = None
        """Whether that address gets no RESET, since a way to it is being looked for."""
        self.patience = Patiences()
        """With packets of connections that are of no use; may be shared with other hubs, before there are any."""
        self.strays = 0
        """Datagrams that belonged to nobody."""
        self.on_limit: Callable[[str, str, int], object] = lambda limit, host, count: None
        """
        Told of a limit, where what met it comes from, or says that it does, and of how much: of about so many strays,
        where the last came from; nowhere: the kernel has thrown them away (the hub's thread, the I/O thread).
        """
        self._owing: dict[Member, None] = {}  # the reader's: whose acknowledgements wait for the end of a batch
        self._sock = sock
        self._readiness = Readiness.if_needed(sock)
        self._plain: Any = getattr(sock, "_sock", sock)
        flags = without_signal(sock) | (_DONTWAIT if self._readiness is None else 0)
        # Errors are not heard by who sends: it has the lock of its connection.
        self._sender = UdpSender(sock, self.offload, flags, lambda: io.call_later(0, self._hear_errors))
        self._hearing = Hearing(self.offload, io)
        self._hearing.bites = lambda: self.on_limit("ICMP_HEARD_PER_SECOND", "", 1)
        self._on_crash = on_crash
        self._lock = threading.Lock()  # guards _holders, _closing, _started, _waiting and changes of _members
        self._members: dict[tuple[Address, int], Member] = {}
        self._holders = 0
        self._started = False
        self._closing = False
        self._watched = False
        self._waiting: collections.deque[Member] = collections.deque()  # for room in the socket
        self._sieve = Sieve(lambda code: attach(sock, code), self._origins, lambda: waiting(sock))  # changed with _lock
        self._din = Din()  # changed with _lock
        self._looking = False  # at the sieve, in a while
        self._telling = False  # it of new members, in a while
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
        self._more()
        return True

    def remove(self, address: Address, receive_id: int, member: Member) -> None:
        """Forget a member. Idempotent."""
        with self._lock:
            if self._members.get((address, receive_id)) is member:
                del self._members[address, receive_id]
                self._din.forget(member.noise)

    # --- sending ------------------------------------------------------------------------------------------------------

    def transmit(self, burst: Burst, address: Address, source: Source | None) -> bool:
        """
        Send now, or never: what the network refuses is lost as if on the way.

        Returns:
            False if the socket has no room at the moment: ask :meth:`await_room`.

        Raises:
            OSError: EMSGSIZE: one datagram is larger than the interface allows; any other: there is no way there.
        """
        return self._sender.transmit(burst, address, source)

    def lob(self, data: bytes, address: Address, ttl: int | None) -> None:
        """Send one datagram now, or never; it gets no farther than ``ttl`` routers. For what may get lost."""
        self._sender.lob(data, address, ttl)

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
        if self.silent or self.hushed is not None and self.hushed(address):
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
            self._sieve.heard += total + limits.SIEVE_DATAGRAM
            try:
                self._take(receiver.buffer, total, segment, address, source, now)
                spare, receiver.spare = receiver.spare, None
                if spare is not None:
                    self._sieve.heard += len(spare[0]) + limits.SIEVE_DATAGRAM
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
        for error in self._hearing.heard(now):
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
            self._stray(address)
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
        noise = member.noise
        noisy = noise.noisy
        if (not noisy or self._lets_in(noise, runs, now)) and member.arrived(runs, payload, now):
            self._owing[member] = None
        if noise.noisy is not noisy:
            with self._lock:
                self._din.changed(noise)
            self._more()

    def _lets_in(self, noise: Noise, runs: list[tuple[Packet, int, int]], now: float) -> bool:
        """Whether a noisy connection is to hear of these."""
        count = sum(run[1] for run in runs)
        share, sifted = self._sieve.shares[0], now >= noise.sifted
        let_in = noise.lets_in(count, share if sifted else 1.0, now)
        self._din.met(noise, count, let_in, sifted)
        self._met(True, now, count if sifted else count * share)
        return let_in

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
                return
            self._met(True, now)
            if not self._sieve.lets_in():
                self.on_limit("UTP_SYNS_PER_SECOND", str(address[0]), 1)
                return
            if self.acceptor is not None:
                self.acceptor.called(packet, address, source, now)
            else:
                self._stray(address)
                self.reset(packet, address, source, now)
            return
        if kind is PacketType.RESET:
            # libutp names what it received: the id that we send to.
            for neighbour in (packet.connection_id - 1 & 0xFFFF, packet.connection_id + 1 & 0xFFFF):
                member = self._members.get((address, neighbour))
                if member is not None:
                    self._hand_over(member, [(packet, 1, 0)], payload[:0], now)
            self._met(True, now)
            self._stray(address)
            return
        if self.probes is not None and self.probes(memoryview(bytes(header) + payload), address, now):
            return
        self._met(True, now)
        self._stray(address)
        if self._sieve.lets_in():
            self.reset(packet, address, source, now)

    # --- strangers ----------------------------------------------------------------------------------------------------

    def _origins(self, most: int) -> list[Origin]:
        """Of callers who may not be there the latest, if there are more than ``most``: SYNs are cheap."""
        found: tuple[list[Origin], list[Origin]] = [], []
        now = self.io.now()
        for (address, number), each in self._members.items():
            each.noise.told(now)
            if not each.noise.noisy:
                found[each.proven].append((str(address[0]), address[1], number))
        feigned, proven = found
        room = max(0, most - len(proven))
        return [*proven, *feigned[max(0, len(feigned) - room) :]]

    def _more(self, now: float | None = None) -> None:
        """There are more members; with ``now``, it is time to look whether there are."""
        with self._lock:
            self._telling = self._telling and now is None
            if self._closing or self._telling:
                return
            left = self._sieve.changed(self.io.now() if now is None else now)
            self._telling = left > 0
        if left > 0:
            self.io.call_later(left, self._more)

    def _met(self, like_utp: bool, now: float, count: float = 1) -> None:
        """Datagrams that no connection claims, or a noisy one."""
        if self._sieve.met(like_utp, now, count):
            self._look(now)

    def _look(self, now: float) -> None:
        with self._lock:
            if self._closing:
                return
            was_closed, share, due = self._sieve.closed, self._sieve.shares[0], self._sieve.is_due(now)
            calmed = self._din.calmed(now)
            held = self._sieve.look(now)
            thrown_away, held = self._din.thrown_away(held, share) if due else ([], 0)
            closes = self._sieve.closed and not was_closed
            again = self._sieve.closed and not self._looking
            self._looking = self._looking or again
        if closes:
            self.on_limit("SIEVE_FROM", "", 1)
        for host, count in thrown_away:
            self.on_limit("UTP_USELESS_PER_SECOND", host, count)
        if held:
            self.strays += held
            self.on_limit("UTP_RESETS_PER_SECOND", "", held)
        if calmed:
            self._more()
        if again:
            self.io.call_later(limits.SIEVE_PERIOD, self._look_again)

    def _look_again(self, now: float) -> None:
        self._looking = False
        self._look(now)

    def _stray(self, address: Address) -> None:
        self.strays += 1
        if not self.strays % _STRAYS_TOLD:
            self.on_limit("UTP_RESETS_PER_SECOND", str(address[0]), _STRAYS_TOLD)

    def _unknown(self, data: memoryview, address: Address, now: float) -> None:
        if self.probes is None or not self.probes(data, address, now):
            self._met(looks_like_utp(data), now)
            self._stray(address)
