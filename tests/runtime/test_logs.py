"""Log records cross to the dispatcher, with what matters about them, and never without bound."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from crust import limits
from crust.runtime.dispatcher import Dispatcher
from crust.runtime.logs import NodeLog, RateLimited
from crust.runtime.threads import Deadline
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until


class Recorder(logging.Handler):
    """Keeps records and the names of the threads that handled them; may be blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[logging.LogRecord, str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def emit(self, record: logging.LogRecord) -> None:
        self.gate.wait(10)
        self.seen.append((record, threading.current_thread().name))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    logger = logging.getLogger("test.node")
    logger.addHandler(recorder)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield recorder
    logger.removeHandler(recorder)
    logger.propagate = True


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    with Crew(io=False) as crew:
        dispatcher = Dispatcher()
        dispatcher.start(crew.spawn)
        yield dispatcher
        dispatcher.stop()
        assert dispatcher.join(Deadline(5))


@pytest.fixture
def log(recorder: Recorder, dispatcher: Dispatcher) -> NodeLog:
    return NodeLog(logging.getLogger("test.node"), dispatcher)


def test_records_are_handled_on_the_dispatcher_as_they_were_made(log: NodeLog, recorder: Recorder) -> None:
    """Thread, place, level and text are those of the caller, at the time of the call."""
    changing = ["then"]
    log.info("it was %s", changing)
    changing[0] = "later"
    wait_until(lambda: recorder.seen)
    record, handled_on = recorder.seen[0]
    assert handled_on == "crust-dispatcher"
    assert record.getMessage() == "it was ['then']"
    assert record.threadName == threading.current_thread().name
    assert (record.funcName, record.levelname) == (
        "test_records_are_handled_on_the_dispatcher_as_they_were_made",
        "INFO",
    )
    assert record.pathname == __file__


def test_all_levels_and_tracebacks(log: NodeLog, recorder: Recorder) -> None:
    """Tracebacks are text already; levels that are off cost nothing and hand nothing over."""
    log.logger.setLevel(logging.INFO)
    assert not log.is_enabled_for(logging.DEBUG)
    log.debug("off")
    log.warning("careful")
    try:
        raise ValueError("inner")
    except ValueError as error:
        log.exception("caught %d", 1)
        log.error("given", exc_info=error)
    wait_until(lambda: len(recorder.seen) == 3)
    records = [record for record, _ in recorder.seen]
    assert [record.levelno for record in records] == [logging.WARNING, logging.ERROR, logging.ERROR]
    formatted = logging.Formatter().format(records[1])
    assert formatted.startswith("caught 1\nTraceback") and formatted.endswith("ValueError: inner")
    assert "inner" in logging.Formatter().format(records[2])
    assert records[1].exc_info is None


def test_a_slow_handler_stops_nobody_and_drops_are_counted(
    log: NodeLog, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the backlog, records are dropped; a line says how many."""
    monkeypatch.setattr(limits, "LOG_BACKLOG", 10)
    recorder.gate.clear()
    job = Background(lambda: [log.info("line %d", number) for number in range(25)])
    job.result(2.0)
    recorder.gate.set()
    wait_until(lambda: any("dropped" in record.getMessage() for record, _ in recorder.seen))
    texts = [record.getMessage() for record, _ in recorder.seen]
    assert log.dropped in (14, 15)  # the dispatcher may have taken the first one off the backlog
    assert f"{log.dropped} log records were dropped: the log handlers are too slow" in texts


def test_on_the_dispatcher_or_without_one_records_are_handled_at_once(
    log: NodeLog, recorder: Recorder, dispatcher: Dispatcher
) -> None:
    """In order with what the callback itself logs; and nothing is lost before start and after the end."""
    order: list[int] = []
    dispatcher.post(lambda: (log.info("inside"), order.append(len(recorder.seen))))
    wait_until(lambda: order)
    assert order == [1]
    dispatcher.stop()
    assert dispatcher.join(Deadline(5))
    log.info("after")
    assert [record.getMessage() for record, _ in recorder.seen] == ["inside", "after"]


def test_one_line_per_key_and_interval() -> None:
    """The rest is counted and told with the next line."""
    lines = RateLimited(10.0)
    assert lines.permit("a", 0.0) == 0
    assert lines.permit("a", 1.0) is None
    assert lines.permit("a", 9.9) is None
    assert lines.permit("b", 9.9) == 0
    assert lines.permit("a", 10.0) == 2
    assert lines.permit("a", 20.0) == 0


def test_remembered_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with many addresses fills no memory; the keys seen last are remembered."""
    monkeypatch.setattr(limits, "LOG_KEYS", 3)
    lines = RateLimited(10.0)
    for key in range(100):
        assert lines.permit(key, 0.0) == 0
    assert len(lines._seen) == 3
    assert lines.permit(99, 1.0) is None
    assert lines.permit(0, 1.0) == 0
