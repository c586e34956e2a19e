"""Lines of programs on this machine: the control channel, the status socket, the page for Prometheus, a test's partner.

Every line but an empty one gets one reply, which is JSON in one line, with the id that came; no exception ends a
conversation; a command reaches the node only with fields of the right kind; what is kept of a line is bounded.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import crust
from crust.cli.book import Book
from crust.cli.control import COMMANDS, Control
from crust.cli.punch_test.pair.messages import NotOurLanguage, parse_untrusted
from crust.service.status.http import REQUEST_MAX, MetricsPage
from crust.service.status.lines import LINE_MAX, StatusLines
from tests.cli.fakes import BOB, FakeService

ROUNDS = 200
TOKENS = [f'"{name}"'.encode() for name in COMMANDS]
TOKENS += [b'{"id": 1, "cmd": ', b'"peer": ', b'"timeout": ', b'"data": ', b'"\\ud800"', b"1e999", b"[[[[", b"null"]
TOKENS += [b"true", b"\n", b"GET /metrics HTTP/1.1\r\n", b"Host: localhost\r\n", b"\r\n\r\n", b"9" * 30]


def run(data: bytes) -> None:
    _channel(data)
    _status(data)
    _page(data)
    try:
        parse_untrusted(data)
    except NotOurLanguage as error:
        assert str(error)


def _channel(data: bytes) -> None:
    told: list[dict[str, Any]] = []
    fake = FakeService(crust.Config())
    FakeService.made.clear()
    node: Any = fake
    control = Control(node, "node", Book(pathlib.Path("/nonexistent/contacts")), None, told.append, lambda *_: None)
    at_once: Any = SimpleNamespace(submit=lambda work, *arguments: work(*arguments), shutdown=lambda wait: None)
    control._workers = control._senders = at_once
    for line in data.split(b"\n")[:8]:
        before = len(told)
        control.handle(line)
        assert len(told) - before == bool(line.strip()), "a line without one reply"
        for reply in told[before:]:
            sent = json.dumps(reply)
            assert "\n" not in sent and isinstance(reply["ok"], bool)
            if not reply["ok"]:
                assert reply["error"] and isinstance(reply["text"], str)


def _status(data: bytes) -> None:
    lines = StatusLines(lambda: {"schema": 1})
    wanted = 0
    for part in (data[: len(data) // 2], data[len(data) // 2 :]):
        if not part:
            continue
        replies, over = lines.receive(part)
        for reply in replies.splitlines():
            wanted += 1
            assert isinstance(json.loads(reply)["ok"], bool)
        assert len(lines._data) <= LINE_MAX or over
        if over:
            break


def _page(data: bytes) -> None:
    page = MetricsPage(lambda: "secret 1\n", local=True)
    response, over = page.receive(data or b"\n")
    assert over == bool(response) and (over or len(data) <= REQUEST_MAX)
    if response:
        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ") and head.isascii()
        if body == b"secret 1\n":
            assert data.startswith(b"GET /metrics")


def seeds() -> Iterable[bytes]:
    peer, data = str(BOB), "aGVsbG8="
    fields: dict[str, Any] = {"peer": peer, "data": data, "who": [peer, "192.0.2.0/24"], "events": ["NewMessage"]}
    fields |= {"seconds": 5, "timeout": 1}
    for name, command in COMMANDS.items():
        known = {field: fields[field] for field in command.fields if field in fields}
        yield json.dumps({"id": 1, "cmd": name, **known}).encode() + b"\n"
    yield b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n"
    yield b"HEAD /metrics?x HTTP/1.0\n\n"
    yield b'{"punch_test": 1, "kind": "hello", "number": 7}'
    yield b"\0\0\0"
