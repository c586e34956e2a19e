"""
Two µTP connections against a model, a pipe of bytes each way: whatever is lost, doubled, overtaken or cut on the way,
in whatever order things are done, what comes out is the beginning of what went in; all of it, once the network is well.

`test_simulated_trials` has networks that behave like networks; here anything may happen to any datagram. The clock is a
number.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crust import limits
from crust.transports.utp.connection import DataReceived, Settings, UtpConnection
from crust.transports.utp.packet import PacketType, parse_packet_untrusted
from crust.transports.utp.states import State

DELAY = 0.02  # seconds from one end to the other, once all is well
WINDOW = 60_000
OUTAGES_MAX = limits.UTP_SILENCE_MAX / 3  # seconds without any network, in all: less than what ends a connection
SETTLE = 200.0  # seconds in which everything has arrived on a network that is well, after whatever was before
OVER = (State.CLOSED, State.TIME_WAIT)


class End:
    """A connection, what its application has sent and got, and the datagrams that are on their way to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.core: UtpConnection | None = None
        self.to_send = bytearray()
        self.sent = bytearray()
        self.got = bytearray()
        self.coming: list[bytes] = []
        self.takes = True
        self.finishes = False
        self.ends: list[OSError | None] = []
        self.heard = 0.0
        """When a datagram came last."""
        self.quiet = 0.0
        """Seconds without one, at the most."""
        self.peer: End

    def hear(self) -> None:
        """The application takes what is there."""
        if self.core is None or not self.takes:
            return
        for event in self.core.events_received():
            assert not self.ends, "something came after the end"
            if isinstance(event, DataReceived):
                self.got += event.data
            else:
                self.ends.append(event.error)
        assert self.peer.sent.startswith(self.got), "other bytes came out than went in"

    def say(self, now: float) -> None:
        """The application sends what it has, and the connection what it may."""
        core = self.core
        if core is None:
            return
        count = core.send(bytes(self.to_send))
        self.sent += self.to_send[:count]
        del self.to_send[:count]
        if self.finishes and not self.to_send:
            core.finish()
        for _ in range(2000):
            burst = core.burst_to_send(now)
            if burst is None:
                return
            self.peer.coming += burst.datagrams()
        raise AssertionError("bursts without end")


class Pipes(RuleBasedStateMachine):
    """Steps in any order, then a network that is well."""

    @initialize(
        near=st.sampled_from([0, 100, 0x7FFE, 0xFFFE]),
        far=st.sampled_from([0, 100, 0x7FFE, 0xFFFE]),
        congestion=st.sampled_from(["fair", "background"]),
    )
    def begin(self, near: int, far: int, congestion: str) -> None:
        self.now = 1000.0
        self.away = 0.0
        self.settings = Settings(window=WINDOW, congestion=congestion)
        self.far_number = far
        self.near, self.far = End("near"), End("far")
        self.near.peer, self.far.peer = self.far, self.near
        self.ends = (self.near, self.far)
        self.near.core = UtpConnection.dial(7, near, self.settings, self.now)
        self._settle_moment()

    # --- what drivers do ----------------------------------------------------------------------------------------------

    def _settle_moment(self) -> None:
        for end in self.ends:
            end.hear()
            end.say(self.now)

    def _arrive(self, end: End, data: bytes) -> None:
        end.quiet = max(end.quiet, self.now - (end.heard or self.now))
        end.heard = self.now
        if end.core is None:
            packet = parse_packet_untrusted(data)
            if packet.type is PacketType.SYN:
                end.core = UtpConnection.accept(packet, self.far_number, self.settings, self.now)
        else:
            end.core.receive_datagram(data, self.now)
        end.hear()
        end.say(self.now)

    def _advance(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(5000):
            due = min((end.core.get_timer() for end in self.ends if end.core is not None), default=until)
            if due > until:
                self.now = until
                return
            self.now = max(self.now, due)
            for end in self.ends:
                if end.core is not None and end.core.get_timer() <= self.now:
                    end.core.handle_timer(self.now)
            self._settle_moment()
        raise AssertionError("the connections do not let time pass")

    # --- steps --------------------------------------------------------------------------------------------------------

    side = st.integers(0, 1)

    @rule(side=side, size=st.sampled_from([1, 100, 1300, 20_000, 150_000]))
    def send(self, side: int, size: int) -> None:
        end = self.ends[side]
        if not end.finishes:
            at = len(end.sent) + len(end.to_send)
            end.to_send += bytes((at + index) * 31 >> 3 & 0xFF for index in range(size))
            end.say(self.now)

    @rule(side=side, count=st.integers(1, 40))
    def deliver(self, side: int, count: int) -> None:
        """In order."""
        end = self.ends[side]
        for _ in range(min(count, len(end.coming))):
            self._arrive(end, end.coming.pop(0))

    @precondition(lambda self: any(end.coming for end in self.ends))
    @rule(side=side, which=st.integers(0, 1000))
    def overtake(self, side: int, which: int) -> None:
        end = self.ends[side]
        if end.coming:
            self._arrive(end, end.coming.pop(which % len(end.coming)))

    @rule(side=side, which=st.integers(0, 1000))
    def double(self, side: int, which: int) -> None:
        end = self.ends[side]
        if end.coming:
            self._arrive(end, end.coming[which % len(end.coming)])

    @rule(side=side, which=st.integers(0, 1000), count=st.integers(1, 10))
    def lose(self, side: int, which: int, count: int) -> None:
        end = self.ends[side]
        if end.coming:
            first = which % len(end.coming)
            del end.coming[first : first + count]

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.3, 2.0]))
    def wait(self, seconds: float) -> None:
        self._advance(seconds)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def outage(self, seconds: float) -> None:
        """Nothing gets through, in either direction."""
        if self.far.core is None or self.away + seconds > OUTAGES_MAX:
            return
        self.away += seconds
        self._advance(seconds)
        for end in self.ends:
            end.coming.clear()

    @rule(side=side, takes=st.booleans())
    def listen(self, side: int, takes: bool) -> None:
        end = self.ends[side]
        end.takes = takes
        end.hear()
        end.say(self.now)

    @rule(side=side)
    def finish(self, side: int) -> None:
        end = self.ends[side]
        if end.core is not None and end.core.state is not State.SYN_SENT:
            end.finishes = True
            end.say(self.now)

    @invariant()
    def buffers_are_bounded(self) -> None:
        for end in self.ends:
            if end.core is not None:
                assert 0 <= end.core.receiver.window <= WINDOW
                assert end.core.sender.queued <= limits.UTP_SEND_QUEUE
                assert end.core.sender.in_flight >= 0

    # --- and then -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        for end in self.ends:
            end.takes = True
        until = self.now + SETTLE
        while self.now < until and not self._done():
            for end in self.ends:
                arriving, end.coming = end.coming, []
                for data in arriving:
                    self._arrive(end, data)
            self._advance(DELAY)
        for end in self.ends:
            assert end.core is not None
            if end.ends and end.ends[0] is not None or end.peer.ends and end.peer.ends[0] is not None:
                assert self._may_fail(), f"{end.name}: {end.ends} {end.peer.ends}"
                continue
            assert end.got == end.peer.sent and not end.peer.to_send, f"{end.name} has {len(end.got)} bytes"
            assert not end.peer.finishes or end.ends == [None]

    def _may_fail(self) -> bool:
        """A caller that did not get through in time, or silence for as long as ends a connection."""
        unconfirmed = bool(self.far.ends and self.far.ends[0]) and not self.far.got and not self.near.got
        return unconfirmed or any(end.quiet >= limits.UTP_SILENCE_MAX for end in self.ends)

    def _done(self) -> bool:
        return all(
            end.core is not None
            and end.got == end.peer.sent
            and not end.peer.to_send
            and (not end.peer.finishes or bool(end.ends))
            for end in self.ends
        )


TestPipes = Pipes.TestCase
TestPipes.settings = settings(
    deadline=None, max_examples=40, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]
)
