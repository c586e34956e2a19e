"""
The promises of ``crust.transports.contract`` as tests: every transport passes them, on threads and on greenlets.

A transport's test file subclasses :class:`TransportConformance` and says how to make the transport.
"""

from __future__ import annotations

import contextlib
import errno
import random
import threading
import time
from collections.abc import Iterator

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.exceptions import ListenError, LocalProtocolError, Timeout
from crust.transports.blocking import BlockingStream
from crust.transports.contract import Connection, Listener, Transport
from tests.support.pairs import Pair, RecordingSink
from tests.support.sockets import has_ipv6, loopback
from tests.support.threads import Background, Crew
from tests.support.waiting import busy, wait_until

FAMILIES = [4, pytest.param(6, marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1"))]


class TransportConformance:
    """Subclass it as ``TestXyz`` and define :meth:`make_transport`."""

    scheme = ""
    needs_threads = True  # whether a connection's start() spawns one

    def make_transport(self, crew: Crew) -> Transport:
        raise AssertionError("a subclass makes the transport")

    # --- making pairs ------------------------------------------------------------------------------------------------

    @pytest.fixture
    def crew(self) -> Iterator[Crew]:
        with Crew() as crew:
            yield crew

    @pytest.fixture
    def transport(self, crew: Crew) -> Transport:
        return self.make_transport(crew)

    @contextlib.contextmanager
    def listening(
        self, crew: Crew, transport: Transport, family: int = 4
    ) -> Iterator[tuple[Listener, list[Connection]]]:
        listener = transport.listen(Endpoint(self.scheme, loopback(family), 0))
        accepted: list[Connection] = []
        try:
            crew.spawn("crust-listener", listener.run, accepted.append)
            yield listener, accepted
        finally:
            listener.close()

    def connect(self, crew: Crew, transport: Transport, family: int = 4) -> Pair:
        with self.listening(crew, transport, family) as (listener, accepted):
            near = transport.dialling(listener.endpoint, 5.0).run()
            wait_until(lambda: accepted, what="accepting")
        return Pair(crew, near, accepted[0])

    @pytest.fixture
    def pair(self, crew: Crew, transport: Transport) -> Iterator[Pair]:
        pair = self.connect(crew, transport).start()
        yield pair
        pair.end()

    @pytest.fixture
    def streams(self, crew: Crew, transport: Transport) -> Iterator[tuple[BlockingStream, BlockingStream]]:
        pair = self.connect(crew, transport)
        near, far = BlockingStream(pair.near, crew.spawn), BlockingStream(pair.far, crew.spawn)
        yield near, far
        for stream in (near, far):
            stream.abort()
            assert stream.wait_lost(5.0)

    @staticmethod
    def fill(connection: Connection) -> int:
        """Send until nothing more is accepted, twice with time for the kernels between; the bytes accepted."""
        total = 0
        piece = bytes(65536)
        full = 0
        while full < 3:
            sent = connection.send(piece)
            total += sent
            if sent:
                full = 0
            else:
                full += 1
                threading.Event().wait(0.02)
        return total

    # --- bytes -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("family", FAMILIES)
    def test_bytes_arrive_whole_and_in_order_both_ways(self, crew: Crew, transport: Transport, family: int) -> None:
        """Both directions at once, over IPv4 and IPv6."""
        pair = self.connect(crew, transport, family)
        with BlockingStream(pair.near, crew.spawn) as near, BlockingStream(pair.far, crew.spawn) as far:
            there, back = random.Random(1).randbytes(700_001), random.Random(2).randbytes(300_007)
            jobs = [Background(near.sendall, there, 10.0), Background(far.sendall, back, 10.0)]
            assert near.recv_exactly(len(back), 10.0) == back
            assert far.recv_exactly(len(there), 10.0) == there
            for job in jobs:
                job.result()
            near.close()
            assert far.recv(1, 5.0) == b""
        assert near.wait_lost(5.0) and far.wait_lost(5.0)

    def test_a_big_transfer_waits_for_a_slow_reader(self, streams: tuple[BlockingStream, BlockingStream]) -> None:
        """What the reader does not take, the sender keeps: nothing is lost or buffered without bound."""
        near, far = streams
        data = random.Random(3).randbytes(1 << 20) * 24
        job = Background(near.sendall, data, 30.0)
        assert far.recv_exactly(100_000, 5.0) == data[:100_000]
        stopped = [0, -1]
        wait_until(lambda: _same_twice(stopped, far._size), what="the sender's stop")
        assert not job.done, "24 MiB disappeared into buffers"
        assert far.recv_exactly(len(data) - 100_000, 30.0) == data[100_000:]
        job.result()

    def test_single_bytes_arrive_without_waiting_for_more(
        self, streams: tuple[BlockingStream, BlockingStream]
    ) -> None:
        """Half of a message is delivered at once; so is a reply: no coalescing delay."""
        near, far = streams

        def talk() -> float:
            began = time.monotonic()
            for number in range(20):
                near.sendall(bytes([number]), 5.0)
                assert far.recv(10, 5.0) == bytes([number])
                far.sendall(b"!", 5.0)
                assert near.recv(10, 5.0) == b"!"
            return time.monotonic() - began

        # delayed acknowledgements would cost 40 ms each, every time; a busy machine has its moments
        assert any(talk() < 0.4 for _ in range(50))

    def test_send_never_waits(self, pair: Pair) -> None:
        """A full connection accepts 0 bytes at once, and goes on when the reader does."""
        pair.far.pause()
        accepted = self.fill(pair.near)
        for _ in range(100):  # the kernels may still be making room
            began = time.monotonic()
            more = pair.near.send(b"more")
            assert time.monotonic() - began < 5.0 * busy()  # it would be for ever
            if more:
                accepted += more + self.fill(pair.near)
                continue
            writable = threading.Event()
            pair.near.when_writable(writable.set)
            if not writable.wait(0.1):
                break
        assert more == 0 and not writable.is_set() and 0 < accepted < 64 << 20
        pair.far.resume()
        assert writable.wait(60.0)
        wait_until(lambda: len(pair.far_sink.received) == accepted, what="arrival of all that was accepted")
        assert pair.near.send(b"more") == 4

    def test_writable_is_told_once_and_on_the_io_thread(self, crew: Crew, pair: Pair) -> None:
        """An idle connection is writable at once; the callback runs once for each request."""
        seen: list[bool] = []
        for count in (1, 2):
            pair.near.when_writable(lambda: seen.append(crew.io.on_io_thread()))
            wait_until(lambda count=count: len(seen) == count, what="the callback")
        assert seen == [True, True]

    def test_send_takes_any_bytes_like_object_and_keeps_none(self, pair: Pair) -> None:
        """The caller may overwrite its buffer after send has returned."""
        buffer = bytearray(b"first")
        assert pair.near.send(buffer) == 5
        buffer[:] = b"XXXXX"
        assert pair.near.send(memoryview(b"-second-")[1:7]) == 6
        wait_until(lambda: len(pair.far_sink.received) == 11, what="arrival")
        assert bytes(pair.far_sink.received) == b"firstsecond"

    def test_pause_stops_and_resume_continues(self, pair: Pair) -> None:
        """While paused, at most the one read that was under way is delivered."""
        pair.near.send(b"a")
        wait_until(lambda: pair.far_sink.received == b"a", what="arrival")
        pair.far.pause()
        pair.near.send(b"b")
        threading.Event().wait(0.02)
        calls = pair.far_sink.calls
        for _ in range(5):
            pair.near.send(b"c")
            threading.Event().wait(0.01)
        assert pair.far_sink.calls <= calls + 1
        pair.far.resume()
        wait_until(lambda: pair.far_sink.received == b"abccccc", what="the rest")

    def test_bytes_sent_before_start_are_kept(self, crew: Crew, transport: Transport) -> None:
        """Nothing is read before start, and nothing is lost by that."""
        pair = self.connect(crew, transport)
        pair.near.send(b"early")
        pair.start()
        wait_until(lambda: pair.far_sink.received == b"early", what="arrival")
        pair.end()

    # --- ends --------------------------------------------------------------------------------------------------------

    def test_close_ends_both_sides_in_order(self, pair: Pair) -> None:
        """The other side gets all bytes, then the end without an error; so does the side that closed."""
        pair.near.send(b"last words")
        pair.near.close()
        wait_until(lambda: pair.far_sink.lost, what="the end at the far side")
        assert (bytes(pair.far_sink.received), pair.far_sink.lost) == (b"last words", [None])
        pair.far.close()
        wait_until(lambda: pair.near_sink.lost, what="the end at the near side")
        assert pair.near_sink.lost == [None]

    def test_close_delivers_what_was_sent_although_the_other_side_still_sends(self, pair: Pair) -> None:
        """Data arriving after close must not destroy, by a reset, what we sent before it."""
        pair.far.pause()
        accepted = self.fill(pair.near)
        pair.near.close()
        for _ in range(5):
            pair.far.send(b"still talking")
            threading.Event().wait(0.005)
        pair.far.resume()
        wait_until(lambda: pair.far_sink.lost, what="the end at the far side")
        assert (len(pair.far_sink.received), pair.far_sink.lost) == (accepted, [None])

    def test_close_does_not_wait_for_a_silent_other_side(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        """A peer that neither reads nor closes delays the end by the linger time at the most."""
        monkeypatch.setattr(limits, "CLOSE_LINGER", 1.5)
        pair.far.pause()
        self.fill(pair.near)
        began = time.monotonic()
        pair.near.close()
        assert time.monotonic() - began < 1.4 * busy()
        wait_until(lambda: pair.near_sink.lost, limits.CLOSE_LINGER + 20, what="the end")
        assert pair.near_sink.lost == [None]

    def test_abort_wakes_the_own_reader_at_once(self, pair: Pair) -> None:
        """Abort from another thread ends a reader that is blocked, without an error."""
        began = time.monotonic()
        pair.near.abort()
        wait_until(lambda: pair.near_sink.lost, what="the end")
        assert time.monotonic() - began < 4.0 * busy()  # nothing else would wake it
        assert pair.near_sink.lost == [None]
        wait_until(lambda: pair.far_sink.lost, what="the end at the far side")

    def test_abort_cuts_a_close_short(self, pair: Pair) -> None:
        """Who has closed in order may lose patience."""
        pair.far.pause()
        pair.near.close()
        pair.near.abort()
        wait_until(lambda: pair.near_sink.lost, limits.CLOSE_LINGER / 2, what="the end")

    def test_ends_reach_a_paused_connection(self, pair: Pair) -> None:
        """Close and abort wake a reader that is paused."""
        pair.near.pause()
        pair.far.pause()
        pair.far.abort()
        wait_until(lambda: pair.far_sink.lost, what="the end of the paused side")
        pair.near.close()
        wait_until(lambda: pair.near_sink.lost, what="the end of the other side")

    def test_ending_from_inside_the_sink(self, crew: Crew, transport: Transport) -> None:
        """Abort and close may be called from data_received; no more data follows."""
        for name in ("abort", "close"):
            pair = self.connect(crew, transport)
            received = pair.far_sink.data_received

            def once(data: memoryview, pair: Pair = pair, name: str = name, received: object = received) -> None:
                received(data)  # type: ignore[operator]
                getattr(pair.far, name)()

            pair.far_sink.data_received = once  # type: ignore[method-assign]
            pair.start()
            pair.near.send(b"x")
            wait_until(lambda pair=pair: pair.far_sink.calls, what="the first bytes")
            with contextlib.suppress(OSError):
                pair.near.send(b"y")
            pair.near.close()
            wait_until(lambda pair=pair: pair.far_sink.lost, what="the end")
            assert pair.far_sink.calls == 1
            pair.end()

    def test_a_sink_that_raises_ends_its_connection_and_is_reported(self, crew: Crew, transport: Transport) -> None:
        """The crash surfaces, the sink still hears the end, the other side is cut off."""
        pair = self.connect(crew, transport)

        def fail(data: memoryview) -> None:
            raise RuntimeError("bug in the receiver")

        pair.far_sink.data_received = fail  # type: ignore[method-assign]
        pair.start()
        pair.near.send(b"x")
        wait_until(lambda: pair.far_sink.lost and pair.near_sink.lost, what="the end")
        assert isinstance(pair.far_sink.lost[0], OSError)
        wait_until(lambda: crew.crashes, what="the report")
        assert str(crew.crashes.pop()[1]) == "bug in the receiver"
        pair.end()

    def test_a_sink_that_raises_at_the_end_hears_it_once(self, crew: Crew, transport: Transport) -> None:
        """The crash surfaces; it was the last call all the same."""
        pair = self.connect(crew, transport)

        def fail(error: OSError | None) -> None:
            pair.far_sink.lost.append(error)
            raise RuntimeError("bug at the end")

        pair.far_sink.connection_lost = fail  # type: ignore[method-assign]
        pair.start()
        pair.near.close()
        wait_until(lambda: crew.crashes and pair.near_sink.lost, what="the report, and the end")
        assert str(crew.crashes.pop()[1]) == "bug at the end"
        pair.end()
        assert pair.far_sink.lost == [None]

    def test_ending_twice_and_at_once_is_harmless(self, pair: Pair) -> None:
        """All ways to end, from several threads: one connection_lost."""
        jobs = [Background(end) for end in (pair.near.close, pair.near.abort, pair.far.abort, pair.far.close) * 2]
        for job in jobs:
            job.result()
        wait_until(lambda: pair.near_sink.lost and pair.far_sink.lost, what="the end")

    def test_after_the_end_sending_fails_and_the_rest_is_harmless(self, pair: Pair) -> None:
        """send raises an OSError that names the endpoint; pause, resume and when_writable do nothing."""
        pair.near.abort()
        with pytest.raises(OSError) as caught:
            pair.near.send(b"x")
        assert caught.value.filename == str(pair.near.remote)
        pair.near.pause()
        pair.near.resume()
        pair.near.when_writable(lambda: None)

    def test_sending_fails_soon_after_the_other_side_has_gone(self, pair: Pair) -> None:
        """A broken connection is noticed by send and by connection_lost."""
        pair.far.abort()
        wait_until(lambda: pair.near_sink.lost, what="the end")

        def refused() -> bool:
            try:
                pair.near.send(b"x")
            except OSError:
                return True
            return False

        wait_until(refused, what="an error of send")

    def test_a_waiting_sender_learns_of_the_end(self, streams: tuple[BlockingStream, BlockingStream]) -> None:
        """sendall, blocked on a full connection, ends with an error when the other side goes, or we do."""
        near, far = streams
        far.connection.pause()
        job = Background(near.sendall, bytes(64 << 20), 20.0)
        wait_until(lambda: near._sending.locked() and not near._writable, what="the sender's wait")
        far.abort()
        with pytest.raises(OSError):
            job.result()

    def test_a_close_wakes_who_waits(self, streams: tuple[BlockingStream, BlockingStream]) -> None:
        """recv and sendall of another thread end when the stream is closed here."""
        near, far = streams
        far.connection.pause()
        receiver = Background(near.recv, 1, 20.0)
        sender = Background(near.sendall, bytes(64 << 20), 20.0)
        wait_until(lambda: not near._writable, what="the sender's wait")
        near.close()
        assert receiver.result() == b""
        with pytest.raises(OSError):
            sender.result()

    def test_an_end_while_waiting_for_room_leaves_no_trace(self, crew: Crew, transport: Transport) -> None:
        """The next connection, of the same descriptor, is told when it is writable, and only for itself."""
        for _ in range(4):
            pair = self.connect(crew, transport).start()
            pair.far.pause()
            self.fill(pair.near)
            told: list[str] = []
            pair.near.when_writable(lambda told=told: told.append("full"))
            pair.far.when_writable(lambda told=told: told.append("free"))
            wait_until(lambda told=told: "free" in told, what="the callback of the free side")
            pair.end()
            threading.Event().wait(0.01)
            assert told.count("free") == 1 and told.count("full") <= 1  # the kernels may have found some room

    def test_closed_before_start(self, crew: Crew, transport: Transport) -> None:
        """A connection that was closed unstarted tells its late sink so; starting twice is an error."""
        pair = self.connect(crew, transport)
        pair.near.close()
        pair.far.abort()
        pair.start()
        wait_until(lambda: pair.near_sink.lost and pair.far_sink.lost, what="the end")
        assert pair.near_sink.lost == [None]
        with pytest.raises(LocalProtocolError):
            pair.near.start(RecordingSink(), crew.spawn)

    def test_no_thread_to_start_with(self, crew: Crew, transport: Transport) -> None:
        """If the system has no thread to give, start raises and the connection is gone, not stuck."""

        def no_threads(name: str, target: object, *args: object) -> threading.Thread:
            raise RuntimeError("can't start new thread")

        pair = self.connect(crew, transport)
        if self.needs_threads:
            with pytest.raises(RuntimeError):
                pair.near.start(RecordingSink(), no_threads)
            with pytest.raises(OSError):
                pair.near.send(b"x")
        pair.near.abort()
        pair.far.start(pair.far_sink, crew.spawn)
        wait_until(lambda: pair.far_sink.lost, what="the end at the other side")

    # --- dialling and listening ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("family", FAMILIES)
    def test_endpoints_tell_both_ends(self, crew: Crew, transport: Transport, family: int) -> None:
        """local and remote mirror each other; the listener's port is real."""
        with self.listening(crew, transport, family) as (listener, accepted):
            assert listener.endpoint.port > 0
            near = transport.dialling(listener.endpoint, 5.0).run()
            wait_until(lambda: accepted, what="accepting")
            far = accepted[0]
            assert near.remote == listener.endpoint == far.local
            assert near.local == far.remote
            assert near.transport == far.transport == self.scheme == transport.name
            near.abort()
            far.abort()

    def test_several_listeners_and_many_connections(self, crew: Crew, transport: Transport) -> None:
        """Thirty connections to two listeners, each to its own."""
        with (
            self.listening(crew, transport) as (first, at_first),
            self.listening(crew, transport) as (second, at_second),
        ):
            assert first.endpoint != second.endpoint
            dialled = [
                transport.dialling(listener.endpoint, 5.0).run() for _ in range(15) for listener in (first, second)
            ]
            wait_until(lambda: len(at_first) == len(at_second) == 15, what="accepting")
            assert {each.remote for each in at_first + at_second} == {each.local for each in dialled}
        sinks = [RecordingSink() for _ in range(60)]
        for connection, sink in zip(dialled + at_first + at_second, sinks, strict=True):
            connection.start(sink, crew.spawn)
        for number, connection in enumerate(dialled):
            connection.send(b"%d" % number)
        wait_until(lambda: sum(1 for sink in sinks if sink.received) == 30, what="arrival")
        assert sorted(int(sink.received) for sink in sinks if sink.received) == list(range(30))
        for connection in dialled:
            connection.close()
        wait_until(lambda: sum(1 for sink in sinks if sink.lost) >= 30, what="the ends")
        for connection in at_first + at_second:
            connection.close()
        wait_until(lambda: all(sink.lost == [None] for sink in sinks), what="all ends")

    def test_closing_a_listener_ends_its_run_and_refuses(self, crew: Crew, transport: Transport) -> None:
        """run returns at once, dialling fails from then on, what was accepted stays; closing again is harmless."""
        listener = transport.listen(Endpoint(self.scheme, "127.0.0.1", 0))
        accepted: list[Connection] = []
        job = Background(listener.run, accepted.append)
        near = transport.dialling(listener.endpoint, 5.0).run()
        wait_until(lambda: accepted, what="accepting")
        listener.close()
        job.result(1.0)
        listener.close()
        with pytest.raises(OSError):
            transport.dialling(listener.endpoint, 0.5).run()
        pair = Pair(crew, near, accepted[0]).start()
        pair.near.send(b"alive")
        wait_until(lambda: pair.far_sink.received == b"alive", what="arrival")
        pair.end()

    def test_a_closed_listener_refuses_although_its_thread_is_busy(self, crew: Crew, transport: Transport) -> None:
        """From the moment close has returned."""
        listener = transport.listen(Endpoint(self.scheme, "127.0.0.1", 0))
        accepted: list[Connection] = []
        gate = threading.Event()

        def take(connection: Connection) -> None:
            accepted.append(connection)
            gate.wait(10)

        job = Background(listener.run, take)
        near = transport.dialling(listener.endpoint, 5.0).run()
        wait_until(lambda: accepted, what="accepting")
        listener.close()
        with pytest.raises(OSError):
            transport.dialling(listener.endpoint, 0.5).run().abort()
        gate.set()
        job.result()
        near.abort()
        accepted[0].abort()

    def test_a_listener_never_run(self, transport: Transport) -> None:
        """Closing it frees its port; running it afterwards returns at once."""
        listener = transport.listen(Endpoint(self.scheme, "127.0.0.1", 0))
        listener.close()
        listener.run(lambda connection: None)
        transport.listen(listener.endpoint).close()

    def test_an_occupied_port_is_an_error_that_names_it(self, transport: Transport) -> None:
        """A configured port that another listener has is refused, not shared."""
        first = transport.listen(Endpoint(self.scheme, "127.0.0.1", 0))
        with pytest.raises(ListenError) as caught:
            transport.listen(first.endpoint)
        assert str(first.endpoint) in str(caught.value)
        assert caught.value.errno == errno.EADDRINUSE
        first.close()

    def test_a_receiver_of_connections_that_raises_loses_only_that_one(self, crew: Crew, transport: Transport) -> None:
        """The error is reported, that connection aborted, the next one accepted."""
        listener = transport.listen(Endpoint(self.scheme, "127.0.0.1", 0))
        accepted: list[Connection] = []

        def take(connection: Connection) -> None:
            accepted.append(connection)
            if len(accepted) == 1:
                raise RuntimeError("no room")

        job = Background(listener.run, take)
        with contextlib.suppress(OSError):  # the reset may come before the dial has ended, or after
            with BlockingStream(transport.dialling(listener.endpoint, 5.0).run(), crew.spawn) as first:
                assert first.recv(1, 5.0) == b""
        wait_until(lambda: crew.crashes, what="the report")
        second = transport.dialling(listener.endpoint, 5.0).run()
        wait_until(lambda: len(accepted) == 2, what="the second connection")
        assert [str(error) for _, error in crew.crashes] == ["no room"]
        crew.crashes.clear()
        second.abort()
        accepted[1].abort()
        listener.close()
        job.result()

    def test_a_cancelled_dial_never_begins(self, transport: Transport) -> None:
        """Cancelled before run: ECANCELED; a dial runs only once."""
        dialling = transport.dialling(Endpoint(self.scheme, "127.0.0.1", 9), 5.0)
        dialling.cancel()
        with pytest.raises(OSError) as caught:
            dialling.run()
        assert caught.value.errno == errno.ECANCELED
        with pytest.raises(LocalProtocolError):
            dialling.run()

    def test_a_name_is_resolved(self, crew: Crew, transport: Transport) -> None:
        """localhost leads to the loopback listener; an unknown name is an error that says so."""
        with self.listening(crew, transport) as (listener, accepted):
            near = transport.dialling(Endpoint(self.scheme, "localhost", listener.endpoint.port), 5.0).run()
            wait_until(lambda: accepted, what="accepting")
            near.abort()
            accepted[0].abort()
        with pytest.raises(OSError, match="could not be looked up"):
            transport.dialling(Endpoint(self.scheme, "no-such-host.invalid", 1), 20.0).run()

    # --- the blocking adapter -----------------------------------------------------------------------------------------

    def test_timeouts_of_the_blocking_adapter(self, streams: tuple[BlockingStream, BlockingStream]) -> None:
        """recv and sendall give up after their timeout, and the stream goes on."""
        near, far = streams
        with pytest.raises(Timeout):
            near.recv(1, 0.01)
        far.connection.pause()
        with pytest.raises(Timeout):
            near.sendall(bytes(64 << 20), 0.2)
        far.connection.resume()
        far.sendall(b"on", 5.0)
        assert near.recv_exactly(2, 5.0) == b"on"
        far.close()
        with pytest.raises(EOFError):
            near.recv_exactly(1, 5.0)


def _same_twice(state: list[int], value: int) -> bool:
    """True when ``value`` has not changed for 25 looks."""
    if state[0] == value:
        state[1] += 1
    else:
        state[:] = [value, 0]
    return state[1] > 25 and value > 0
