"""Strangers without a thread: every limit that holds for handshakes holds in the lobby of a listener too."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import crust
from crust import Identity, Service
from crust.runtime.threads import are_dear
from crust.wire import frames
from tests.support.nodes import Nodes, config
from tests.support.puppet import PATIENCE, Caller, read_until_end
from tests.support.waiting import wait_until

MANY = {"limits__half_open": 256, "limits__half_open_per_address": 256, "limits__starts_per_address_per_second": 1000}


def readers(node: Service) -> int:
    assert node._node is not None
    return len([name for name in node._node.threads.alive() if name.startswith("crust-link")])


def current(node: Service) -> int:
    return node.stats().gate.current


@contextlib.contextmanager
def silent(node: Service, count: int) -> Iterator[list[socket.socket]]:
    """So many callers who have a slot and say nothing."""
    endpoint = node.addresses[0]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((endpoint.host, endpoint.port), PATIENCE))
            for _ in range(count)
        ]


def test_half_open_connections_cost_no_thread(nodes: Nodes) -> None:
    """A hundred who say nothing, and a hundred who say half of something: no reader for any of them; then they end."""
    node = nodes.start(config(**MANY))
    with silent(node, 100) as quiet, silent(node, 50) as trickling:
        for sock in trickling:
            sock.sendall(b"\1")
        wait_until(lambda: current(node) == 150, what="a slot for each")
        assert readers(node) == (0 if are_dear() else 150)
        nodes.start().connect(node.contact).send(b"honest")
        assert nodes.heard(node).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"honest"
        wait_until(lambda: readers(node) == (1 if are_dear() else 151), what="a reader for the peer")
        for sock in (*quiet, *trickling):
            sock.close()
    wait_until(lambda: current(node) == 0, what="the free slots")


def test_a_ban_strikes_who_waits(nodes: Nodes) -> None:
    """At once, without a byte, and without waiting for the deadline."""
    node = nodes.start(config(**MANY, session__handshake_timeout=60.0))
    with silent(node, 3) as callers:
        wait_until(lambda: current(node) == 3, what="a slot for each")
        began = time.monotonic()
        node.ban("127.0.0.1")
        for sock in callers:
            assert read_until_end(sock) == b""
        assert time.monotonic() - began < 4.0  # the deadline of a first message is 5 s
    wait_until(lambda: current(node) == 0, what="the free slots")


def test_close_ends_who_waits(nodes: Nodes) -> None:
    """All of them, with a full lobby, cleanly and within its time; no thread is left."""
    node = nodes.start(config(**MANY))
    with silent(node, 150) as callers:
        wait_until(lambda: current(node) == 150, what="a slot for each")
        assert node.close(PATIENCE)
        for sock in callers:
            assert read_until_end(sock) == b""
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("crust-link")]


def test_a_port_that_changes_while_somebody_waits(nodes: Nodes) -> None:
    """Who has come in by the old port, and has said nothing yet, may still introduce itself."""
    node = nodes.start()
    with Caller(node, Identity.generate(), introduce=False) as caller:
        wait_until(lambda: current(node) == 1, what="its slot")
        assert node._network is not None
        listeners = node._network.listeners
        _, old = listeners.rotate(set())
        listeners.end(old)
        wait_until(lambda: readers(node) == 1, what="a reader for it")
        caller.sock.sendall(caller.handshake.start())
        caller.answer()
        caller.introduce()
        caller.begin()
        caller.send(frames.Batch(0, 0, 1, [b"after all"]))
        assert nodes.heard(node).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"after all"


def test_no_thread_for_a_caller_is_not_its_fault(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is closed, its slot is free, the log says so; nobody is blamed, and the next one is served."""
    node = nodes.start()
    assert node._node is not None
    threads = node._node.threads
    spawn = threads.spawn

    def none_for_links(name: str, *rest: object) -> threading.Thread:
        if name.startswith("crust-link"):
            raise RuntimeError("can't start new thread")
        return spawn(name, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "crust"):
        patch.setattr(threads, "spawn", none_for_links)
        with Caller(node, Identity.generate(), introduce=False) as caller:
            with contextlib.suppress(OSError):
                caller.sock.sendall(caller.handshake.start())
            read_until_end(caller.sock)
        wait_until(lambda: current(node) == 0, what="the free slot")
        wait_until(lambda: "no thread for a connection from 127.0.0.1" in caplog.text, what="the log")
    nodes.start().connect(node.contact).send(b"again")
    assert nodes.heard(node).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"again"
    assert nodes.heard(node).of(crust.PeerMisbehaved) == []
    assert node.stats().crashes == 0
