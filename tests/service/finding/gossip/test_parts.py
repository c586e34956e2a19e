"""The thread that is there while there is something to do, and what waits for links that are busy."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from crust import Identity, limits
from crust.runtime.clock import Clock
from crust.runtime.threads import Deadline, Threads
from crust.service.finding.gossip.mail import Mail
from crust.service.finding.gossip.worker import Worker
from crust.wire import frames
from crust.wire import gossip as wire
from tests.support.waiting import wait_until

FRAME = wire.Announce(tuple((number, number) for number in range(256)))  # 4 KiB


def worker(turn: int = 4, linger: float = 0.0) -> tuple[Worker, Threads, list[str]]:
    """A worker, its threads, and what it has done: ``rest`` after each turn."""
    threads, done = Threads(lambda name, error: done.append(repr(error))), []
    node: Any = SimpleNamespace(spawn=threads.spawn, clock=Clock())
    return Worker(node, "crust-test", lambda: done.append("rest"), turn, linger), threads, done


def test_jobs_are_done_in_their_order_and_the_thread_ends() -> None:
    made, threads, done = worker()
    gate = threading.Event()
    made.put(lambda: gate.wait(5.0))
    for number in range(6):
        made.put(lambda number=number: done.append(str(number)))
    assert threads.alive() == ["crust-test"]
    gate.set()
    wait_until(lambda: not threads.alive(), what="the end of the thread")
    assert done == ["0", "1", "2", "rest", "3", "4", "5", "rest"]
    made.put(lambda: done.append("again"))
    wait_until(lambda: not threads.alive(), what="the end of the thread")
    assert done[-2:] == ["again", "rest"]


def test_the_thread_waits_for_more() -> None:
    """One thread does what comes within its patience; then, or when the worker is closed, it ends at once."""
    made, threads, done = worker(linger=60.0)
    idents: list[int] = []
    for number in range(3):
        made.put(lambda: idents.append(threading.get_ident()))
        wait_until(lambda number=number: done == ["rest"] * (number + 1), what="the job")
    assert len(set(idents)) == 1 and threads.alive() == ["crust-test"]
    made.close()
    assert threads.join(Deadline(5.0)) == []
    short, threads, done = worker(linger=0.001)
    short.put(lambda: done.append("job"))
    assert threads.join(Deadline(5.0)) == [] and done == ["job", "rest"]
    short.put(lambda: done.append("again"))
    assert threads.join(Deadline(5.0)) == [] and done[2:] == ["again", "rest"]


def test_a_bug_in_a_job_does_not_stop_the_next_ones() -> None:
    made, threads, done = worker()
    made.put(lambda: 1 // 0)
    wait_until(lambda: not threads.alive(), what="the end of the thread")
    made.put(lambda: done.append("next"))
    wait_until(lambda: not threads.alive(), what="the end of the thread")
    assert "ZeroDivisionError" in done[0] and done[1:] == ["next", "rest"]


def test_after_the_end_nothing_is_done() -> None:
    made, threads, done = worker()
    gate = threading.Event()
    made.put(lambda: gate.wait(5.0))
    made.put(lambda: done.append("too late"))
    made.close()
    made.put(lambda: done.append("later"))
    gate.set()
    wait_until(lambda: not threads.alive(), what="the end of the thread")
    assert done == ["rest"]


class Link:
    """What mail needs of a link."""

    def __init__(self) -> None:
        self.blocked = False
        self.verdict = ""
        self.circuit: object = None
        self.written: list[bytes] = []

    def write(self, plaintexts: tuple[bytes, ...], now: float) -> bool:
        self.written += plaintexts
        return True


def conversation() -> Any:
    return SimpleNamespace(peer_id=Identity.generate().peer_id, link=Link(), has_more=False)


def test_a_free_link_takes_all_in_order() -> None:
    mail, to = Mail(), conversation()
    sent = [wire.Request((number,)) for number in range(1, 4)]
    assert all(mail.add(to, frame, 0.0) for frame in sent)
    assert mail.pump(0.0) is None
    assert [frames.parse_record_untrusted(each)[0] for each in to.link.written] == sent
    assert mail.size == 0


def test_nothing_is_written_into_a_blocked_link() -> None:
    mail, to = Mail(), conversation()
    to.link.blocked = True
    mail.add(to, FRAME, 0.0)
    due = mail.pump(0.0)
    assert due is not None and due > 0.0 and not to.link.written
    assert mail.pump(10.0) is not None
    to.link.blocked = False
    assert mail.pump(11.0) is None and len(to.link.written) == 1


def test_the_application_goes_first_for_a_while() -> None:
    """One frame comes between after ``CIRCUIT_PATIENCE``; the next one waits as long."""
    mail, to = Mail(), conversation()
    to.has_more = True
    for _ in range(2):
        mail.add(to, FRAME, 0.0)
    mail.pump(limits.CIRCUIT_PATIENCE / 2)
    assert not to.link.written
    mail.pump(limits.CIRCUIT_PATIENCE)
    assert len(to.link.written) == 1
    mail.pump(2 * limits.CIRCUIT_PATIENCE)
    assert len(to.link.written) == 2


def test_what_waits_is_bounded(monkeypatch: Any) -> None:
    """For each peer, and for all together; and it goes with its session."""
    mail, others = Mail(), [conversation() for _ in range(3)]
    for each in others:
        each.link.blocked = True
    while mail.add(others[0], FRAME, 0.0):
        pass
    assert limits.GOSSIP_MAIL_PEER - 5000 < mail.size <= limits.GOSSIP_MAIL_PEER
    monkeypatch.setattr(limits, "GOSSIP_MAIL", mail.size + 5000)
    assert mail.add(others[1], FRAME, 0.0) and not mail.add(others[2], FRAME, 0.0)
    mail.drop(others[0].peer_id.public_key)
    assert mail.add(others[2], FRAME, 0.0)
    again = conversation()
    again.peer_id = others[1].peer_id
    before = mail.size
    assert mail.add(again, FRAME, 0.0) and mail.size == before
    mail.pump(0.0)
    assert len(again.link.written) == 1 and not others[1].link.written


def test_no_gossip_on_circuits() -> None:
    mail, to = Mail(), conversation()
    to.link.circuit = object()
    mail.add(to, FRAME, 0.0)
    mail.pump(10.0)
    assert not to.link.written


def test_the_same_for_many_is_built_once(monkeypatch: Any) -> None:
    """What waits takes no bytes; and links that are told the same get the same bytes, each frame in its place."""
    built: list[object] = []
    build = frames.build_record
    monkeypatch.setattr(frames, "build_record", lambda some: built.append(some[0]) or build(some))
    mail, others, request = Mail(), [conversation() for _ in range(3)], wire.Request((1,))
    for each in others:
        mail.add(each, FRAME, 0.0)
    mail.add(others[2], request, 0.0)
    assert not built
    mail.pump(0.0)
    assert built == [FRAME, request] and mail.size == 0
    assert [each.link.written for each in others[:2]] == [[build((FRAME,))]] * 2
    assert others[2].link.written == [build((FRAME,)), build((request,))]
