"""Several programs on one node: who hears what, in which order, and what a slow one costs the others."""

from __future__ import annotations

import json
import queue
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

import crust
from crust.cli import hub as module
from crust.cli.control import BadRequest
from crust.cli.hub import Hub, Subscriber
from crust.cli.node import EVENTS
from tests.cli.fakes import ALICE, BOB, PATH, FakePeer
from tests.support.threads import Background
from tests.support.waiting import wait_until

STARTED: dict[str, Any] = {"event": "started"}


class Sender(FakePeer):
    """A peer whose messages come from a queue; how many nobody has taken is `unread`."""

    def __init__(self, peer_id: crust.PeerId = BOB) -> None:
        super().__init__(peer_id)
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.size = 0

    def write(self, *messages: bytes) -> None:
        self.size += sum(map(len, messages))
        for data in messages:
            self._messages.put(data)

    def hang_up(self) -> None:
        self._messages.put(None)

    @property
    def unread(self) -> int:
        return self._messages.qsize()

    def recv_message(self, timeout: float | None = None) -> crust.NewMessage:
        data = self._messages.get(timeout=10.0)
        if data is None:
            raise crust.PeerLost("the session is over", "closed")
        self.size -= len(data)
        return crust.NewMessage(self, data, 1, None)

    def stats(self) -> crust.PeerStats:
        return crust.PeerStats(0, 0, 0, 0, 0, 0, self.size, None)


class Programs:
    """A hub, its sessions, and programs that are read by hand."""

    def __init__(self) -> None:
        self.hub = Hub(EVENTS)
        self.senders: list[Sender] = []
        self.cut: list[Subscriber] = []
        self._pending: dict[Subscriber, list[dict[str, Any]]] = {}

    def session(self, peer_id: crust.PeerId = BOB) -> Sender:
        sender = Sender(peer_id)
        self.senders.append(sender)
        self.hub.tell(crust.ConnectSuccess(sender, True, PATH))
        return sender

    def end(self, sender: Sender) -> None:
        sender.hang_up()
        self.hub.tell(crust.LostPeer(sender, crust.LostReason.CLOSED, ()))

    def join(self, *events: str, peers: list[crust.PeerId] | None = None) -> Subscriber:
        found: list[Subscriber] = []
        subscriber = self.hub.join(STARTED, lambda: self.cut.extend(found))
        found.append(subscriber)
        assert self.next(subscriber) == STARTED
        if events:
            self.hub.subscribe(subscriber, events, peers)
        return subscriber

    def next(self, subscriber: Subscriber) -> dict[str, Any] | None:
        """The next line, or None at the end; waits for it."""
        pending = self._pending.setdefault(subscriber, [])
        if not pending:
            data = subscriber.take()
            if data is None:
                return None
            pending += [json.loads(line) for line in data.splitlines()]
        return pending.pop(0)

    def words(self, subscriber: Subscriber, count: int) -> list[str]:
        """The next lines: the text of messages, the names of other events."""
        lines = [self.next(subscriber) or {"event": "END"} for _ in range(count)]
        return [line.get("data") or line["event"] for line in lines]

    def rest(self, subscriber: Subscriber) -> list[str]:
        """All lines up to the end; the sessions and the hub are closed by this."""
        for sender in self.senders:
            sender.hang_up()
        self.hub.close(5.0)
        found = []
        while (line := self.next(subscriber)) is not None:
            found.append(line.get("data") or line["event"])
        return found


@pytest.fixture
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    for sender in made.senders:
        sender.hang_up()
    made.hub.close(0.0)


def test_a_program_hears_nothing_until_it_subscribes(programs: Programs) -> None:
    quiet, loud = programs.join(), programs.join("connect_success", "new_message")
    programs.session().write(b"abc")
    assert programs.words(loud, 2) == ["connect_success", "YWJj"]
    assert programs.rest(quiet) == []


def test_a_message_goes_to_every_subscriber(programs: Programs) -> None:
    all_of_them = [programs.join("new_message") for _ in range(3)]
    programs.session().write(b"abc", b"def")
    assert [programs.words(each, 2) for each in all_of_them] == [["YWJj", "ZGVm"]] * 3


def test_without_a_subscriber_a_message_stays_where_credit_bounds_it(programs: Programs) -> None:
    """Nobody takes it out of the inbox; the first who comes later gets it, others do not get it again."""
    other = programs.join("lost_peer", "connect_success")
    sender = programs.session()
    sender.write(b"abc", b"def")
    assert programs.words(other, 1) == ["connect_success"]
    assert sender.unread == 2
    first = programs.join("new_message")
    assert programs.words(first, 2) == ["YWJj", "ZGVm"]
    second = programs.join("new_message")
    sender.write(b"ghi")
    assert programs.words(first, 1) == programs.words(second, 1) == ["Z2hp"]


def test_messages_wait_while_there_is_no_thread(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is settled next tries again: they had waited for ever, and the node had not closed."""
    programs.session().write(b"abc")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        first = programs.join("new_message")
    second = programs.join("new_message")
    assert programs.words(first, 1) == programs.words(second, 1) == ["YWJj"]


def test_subscribers_choose_peers(programs: Programs) -> None:
    """Messages of a peer that nobody chose are kept; those of others come at once."""
    alice, bob = programs.session(ALICE), programs.session(BOB)
    chooser = programs.join("new_message", "peer_resumed", "addresses_changed", peers=[BOB])
    alice.write(b"abc")
    bob.write(b"def")
    assert programs.words(chooser, 1) == ["ZGVm"]
    programs.hub.tell(crust.PeerResumed(alice, PATH))
    programs.hub.tell(crust.AddressesChanged(()))
    assert programs.words(chooser, 1) == ["addresses_changed"]
    assert alice.unread == 1
    programs.hub.subscribe(chooser, ["new_message"], None)
    assert programs.words(chooser, 1) == ["YWJj"]


def test_a_failed_connect_is_about_its_peer(programs: Programs) -> None:
    chooser = programs.join("connect_failure", peers=[BOB])
    for peer_id in (ALICE, BOB):
        programs.hub.tell(crust.ConnectFailure(peer_id, (), crust.ConnectError("no")))
    line = programs.next(chooser)
    assert line is not None and line["peer_id"] == str(BOB)


def test_an_unknown_event_is_refused(programs: Programs) -> None:
    with pytest.raises(BadRequest, match="no event 'new_massage'; known: addresses_changed"):
        programs.join("new_massage")


def test_what_nobody_takes_any_more_waits_for_the_next(programs: Programs) -> None:
    """A program that leaves takes no message with it that it had not been given."""
    sender = programs.session()
    first = programs.join("new_message")
    sender.write(b"abc")
    assert programs.words(first, 1) == ["YWJj"]
    programs.hub.leave(first)
    sender.write(b"def", b"ghi")
    wait_until(lambda: sender.unread == 1, what="one message in hand")
    second = programs.join("new_message")
    assert programs.words(second, 2) == ["ZGVm", "Z2hp"]


# --- the end of a session ---------------------------------------------------------------------------------------------


def test_the_end_of_a_session_comes_after_its_last_message(programs: Programs) -> None:
    program = programs.join("new_message", "lost_peer", "connect_success")
    sender = programs.session()
    sender.write(b"abc")
    programs.end(sender)
    sender = programs.session()
    sender.write(b"def")
    wanted = ["connect_success", "YWJj", "lost_peer", "connect_success", "ZGVm"]
    assert programs.words(program, 5) == wanted


def test_messages_of_two_sessions_keep_their_order(programs: Programs) -> None:
    """What an ended session left comes before what the next one of the same peer brings."""
    for word in (b"abc", b"def"):
        sender = programs.session()
        sender.write(word)
        programs.end(sender)
    programs.session().write(b"ghi")
    assert programs.words(programs.join("new_message"), 3) == ["YWJj", "ZGVm", "Z2hp"]


def test_the_end_of_a_session_does_not_wait_for_messages_that_nobody_takes(programs: Programs) -> None:
    watcher = programs.join("lost_peer")
    sender = programs.session()
    sender.write(b"abc")
    programs.end(sender)
    assert programs.words(watcher, 1) == ["lost_peer"]
    assert programs.words(programs.join("new_message"), 1) == ["YWJj"]


def test_the_end_of_a_session_stops_waiting_when_its_takers_leave(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 10)
    watcher, slow = programs.join("lost_peer"), programs.join("new_message")
    sender = programs.session()
    sender.write(b"abc", b"def", b"ghi")
    wait_until(lambda: slow.full_since is not None and sender.unread == 1, what="a full queue")
    programs.end(sender)
    programs.hub.leave(slow)
    assert programs.words(watcher, 1) == ["lost_peer"]
    assert programs.words(programs.join("new_message"), 2) == ["ZGVm", "Z2hp"]


def test_what_ended_sessions_leave_is_bounded(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer that comes, sends and goes, again and again, cannot fill the memory: the oldest is given up."""
    monkeypatch.setattr(module, "KEPT_BYTES", 7)
    monkeypatch.setattr(module, "SESSION_COST", 0)
    for word in (b"abc", b"def", b"ghi"):
        sender = programs.session()
        sender.write(word)
        programs.end(sender)
    assert "gave up unread messages" in caplog.text
    assert programs.words(programs.join("new_message"), 2) == ["ZGVm", "Z2hp"]


def test_sessions_that_leave_next_to_nothing_are_bounded_too(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost far more memory than the byte that each has left."""
    monkeypatch.setattr(module, "KEPT_BYTES", 3 * module.SESSION_COST + 100)
    for word in (b"a", b"b", b"c", b"d", b"e"):
        sender = programs.session()
        sender.write(word)
        programs.end(sender)
    assert sum(map(len, programs.hub._taps.values())) == 3
    assert programs.words(programs.join("new_message"), 3) == ["Yw==", "ZA==", "ZQ=="]
    wait_until(lambda: not programs.hub._taps and not programs.hub._kept_bytes, what="forgetting")


def test_nothing_is_remembered_of_sessions_that_left_nothing(programs: Programs) -> None:
    programs.join("new_message")
    for _ in range(3):
        programs.end(programs.session())
    wait_until(lambda: not programs.hub._taps, what="forgetting")


def test_the_end_of_the_node_brings_what_was_left(programs: Programs) -> None:
    program = programs.join("new_message", "lost_peer")
    sender = programs.session()
    sender.write(b"abc")
    programs.end(sender)
    assert programs.rest(program) == ["YWJj", "lost_peer"]


# --- slow programs ----------------------------------------------------------------------------------------------------


def test_the_sender_waits_for_the_only_taker(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dropped and nobody cut off: what does not fit stays under the sender's credit."""
    monkeypatch.setattr(module, "QUEUE_BYTES", 1000)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    sender, slow = programs.session(), programs.join("new_message")
    sender.write(*[b"abc"] * 100)
    wait_until(lambda: slow.full_since is not None, what="a full queue")
    assert 80 < sender.unread < 100
    assert programs.words(slow, 100) == ["YWJj"] * 100
    assert programs.cut == []


def test_a_slow_program_is_cut_off_before_it_holds_up_another(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 1000)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    slow, fast = programs.join("new_message"), programs.join("new_message")
    sender = programs.session()
    sender.write(*[b"abc"] * 100)
    assert programs.words(fast, 100) == ["YWJj"] * 100
    assert programs.cut == [slow] and "does not read" in caplog.text
    assert programs.next(slow) is None


def test_a_program_that_catches_up_in_time_is_not_cut_off(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 1000)
    monkeypatch.setattr(module, "PATIENCE", 60.0)
    slow, fast = programs.join("new_message"), programs.join("new_message")
    sender = programs.session()
    sender.write(*[b"abc"] * 100)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.extend(programs.words(fast, 100)), name="test-reader", daemon=True)
    reader.start()
    wait_until(lambda: slow.full_since is not None, what="a full queue")
    assert programs.words(slow, 100) == ["YWJj"] * 100
    reader.join(5.0)
    assert heard == ["YWJj"] * 100 and programs.cut == []


def test_the_node_waits_for_a_program_that_reads_what_sessions_left(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else those who come, send and go, again and again, would fill the memory while it catches up."""
    room_for_two(monkeypatch, patience=60.0)
    slow = programs.join("new_message")
    for peer_id in (ALICE, BOB):
        leave_two(programs, slow, peer_id)
    waiting = Background(leave_two, programs, slow, crust.PeerId(bytes([3]) * 32))
    wait_until(lambda: len(waiters(programs.hub)) == 4, what="three sessions and the node to wait for room")
    assert not waiting.done
    assert sorted(programs.words(slow, 6)) == ["YQ=="] * 3 + ["Yg=="] * 3
    waiting.result()
    assert programs.cut == []


def test_the_node_waits_no_longer_than_too_much_is_left(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sessions have left goes out together: none of them has to be through before the node goes on."""
    monkeypatch.setattr(module, "QUEUE_BYTES", 10)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(module, "STALLED", 60.0)
    slow = programs.join("new_message")
    senders = [programs.session(crust.PeerId(bytes([number]) * 32)) for number in range(1, 4)]
    for sender in senders:
        sender.write(*[bytes(1000)] * 20)
    wait_until(lambda: slow.full_since is not None, what="a full queue")
    for sender in senders[:2]:
        programs.end(sender)
    monkeypatch.setattr(module, "KEPT_BYTES", programs.hub._kept_bytes + module.SESSION_COST + 16_000)
    waiting = Background(programs.end, senders[2])
    wait_until(lambda: programs.hub._kept_bytes > module.KEPT_BYTES, what="too much to be left")
    assert not waiting.done
    while programs.hub._kept_bytes > module.KEPT_BYTES:
        assert programs.next(slow) is not None
    waiting.result()
    assert len(programs.hub._taps) == 3 and programs.cut == []


def test_a_node_that_ends_waits_for_no_program(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it could not close in time, as nobody else tells it that it is over."""
    room_for_two(monkeypatch, patience=60.0)
    slow = programs.join("new_message")
    for peer_id in (ALICE, BOB):
        leave_two(programs, slow, peer_id)
    waiting = Background(leave_two, programs, slow, crust.PeerId(bytes([3]) * 32))
    wait_until(lambda: len(waiters(programs.hub)) == 4, what="three sessions and the node to wait for room")
    programs.hub.end()
    waiting.result()
    assert programs.cut == []
    assert sorted(programs.words(slow, 6)) == ["YQ=="] * 3 + ["Yg=="] * 3


def test_a_program_that_never_reads_what_sessions_left_is_cut_off(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody else takes it: the node does not wait for it. What was left waits for the next one, in bounds."""
    room_for_two(monkeypatch, patience=0.05)
    slow = programs.join("new_message")
    for number in range(1, 6):
        leave_two(programs, slow, crust.PeerId(bytes([number]) * 32))
    assert programs.cut == [slow]
    assert programs.hub._kept_bytes <= module.KEPT_BYTES


def test_a_program_that_does_not_want_what_sessions_left_is_not_cut_off_for_it(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends to it waits for it, by credit, whatever others leave for another program."""
    room_for_two(monkeypatch, patience=0.05)
    mine = programs.join("new_message", peers=[ALICE])
    programs.session(ALICE).write(b"a", b"b")
    wait_until(lambda: mine.full_since is not None, what="a full queue")
    others = [crust.PeerId(bytes([number]) * 32) for number in range(101, 106)]
    slow = programs.join("new_message", peers=others)
    for each in others:
        leave_two(programs, slow, each)
    assert programs.cut == [slow]


def test_a_program_that_reads_what_sessions_left_is_not_cut_off_however_slow_it_is(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or strangers who leave much would have it cut off; once it reads nothing for long, it is."""
    room_for_two(monkeypatch, patience=60.0)
    monkeypatch.setattr(module, "_BATCH", 1)
    clock = types.SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(module, "time", clock)
    slow = programs.join("new_message")
    for peer_id in (ALICE, BOB):
        leave_two(programs, slow, peer_id)
    waiting = Background(leave_two, programs, slow, crust.PeerId(bytes([3]) * 32))
    wait_until(lambda: len(waiters(programs.hub)) == 4, what="three sessions and the node to wait for room")
    with programs.hub._lock:
        for _ in range(9):
            slow.put(b"never half empty")
    for clock.now, is_cut in ((59.0, False), (118.0, False), (178.0, True)):
        if not is_cut:
            slow.take()
        programs.hub.subscribe(slow, ["new_message"], None)  # all who wait look again
        wait_until(lambda: waiting.done or len(waiters(programs.hub)) == 4, what="those who wait to have looked")
        assert (programs.cut == [slow]) is is_cut
    waiting.result()


def room_for_two(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """That have ended: a third is too many. One message fills a program."""
    monkeypatch.setattr(module, "QUEUE_BYTES", 10)
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * module.SESSION_COST + 999)
    monkeypatch.setattr(module, "PATIENCE", 0.0)  # the node has more
    monkeypatch.setattr(module, "STALLED", patience)


def waiters(hub: Hub) -> list[object]:
    """The threads that wait for programs to read."""
    return [*hub._room._waiters]  # type: ignore[attr-defined]


def leave_two(programs: Programs, slow: Subscriber, peer_id: crust.PeerId) -> None:
    """A session that says two words and ends; that program has no room for both."""
    sender = programs.session(peer_id)
    sender.write(b"a", b"b")
    wait_until(lambda: slow.full_since is not None or programs.cut, what="a full queue")
    programs.end(sender)


def test_of_state_events_the_oldest_are_dropped_and_counted(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_EVENTS", 2)
    program = programs.join("connect_success")
    for number in range(1, 6):
        programs.session(crust.PeerId(bytes([number]) * 32))
    first = programs.next(program)
    assert first == {"event": "events_lost", "count": 3}
    peers = [(programs.next(program) or {})["peer"] for _ in range(2)]
    assert peers == [str(crust.PeerId(bytes([number]) * 32)) for number in (4, 5)]


def test_a_program_that_reads_no_answers_may_not_go_on_asking(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNANSWERED_MAX", 2)
    program = programs.join()
    assert program.may_ask() and program.may_ask()
    asked = threading.Event()
    reader = threading.Thread(target=lambda: program.may_ask() and asked.set(), name="test-asker", daemon=True)
    reader.start()
    assert not asked.wait(0.05)
    program.reply({"id": 1, "ok": True})
    assert asked.wait(5.0)
    reader.join(5.0)
    program.finish()
    assert not program.may_ask()
