"""A survey on real sockets: servers on loopback, helpers that call."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import socket
import threading
import types
from collections.abc import Iterator

import pytest

import crust
from crust import limits
from crust.findings import Behaviour, PortAllocation, SurveyProgress, Unsolicited
from crust.nat.probe.runner import Runner
from crust.nat.stun.message import Class, Message, build_stun
from tests.support.leaks import descriptors
from tests.support.sockets import silent_listener, unused_port
from tests.support.stun_server import StunServer, stun_server
from tests.support.waiting import busy, wait_until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer on this machine in less than a second and a half never will, unless it is busy."""
    slow = busy()
    monkeypatch.setattr(limits, "PROBE_SCHEDULE", tuple(slow * each for each in (0.0, 0.1, 0.2, 0.4, 0.8, 1.5)))
    for name in ("PROBE_ECHO_WAIT", "PROBE_HAIRPIN_SECONDS"):
        monkeypatch.setattr(limits, name, slow * getattr(limits, name))


@pytest.fixture
def server() -> Iterator[StunServer]:
    with stun_server() as running:
        yield running


def survey(*stun: str, **options: object) -> crust.NetworkSurvey:
    options.setdefault("timeout", limits.PROBE_SECONDS * busy())
    return crust.survey(stun, ask_router=False, **options)  # type: ignore[arg-type]


@dataclasses.dataclass
class Helper:
    """A peer that calls back."""

    remote: str
    id: str = "a helper"
    calls: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    error: crust.CrustError | None = None

    @property
    def path(self) -> crust.Path:
        return crust.Path("direct-tcp", "tcp", "tcp://127.0.0.1:1", self.remote, "", True, 0.0)

    def echo(self, transport: str, port: int, token: bytes, *, timeout: float) -> object:
        self.calls.append((transport, port))
        if self.error is not None:
            raise self.error
        if transport == "tcp":
            with socket.create_connection(("127.0.0.1", port), timeout):
                return _Echo("connected")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(build_stun(Message(Class.SUCCESS, token, xor_mapped=("127.0.0.1", port))), ("127.0.0.1", port))
        return _Echo("sent")


class SilentHelper(Helper):
    """A peer that takes all the time it is given."""

    def echo(self, transport: str, port: int, token: bytes, *, timeout: float) -> object:
        self.calls.append((transport, port))
        threading.Event().wait(timeout)
        raise crust.Timeout("nothing")


@dataclasses.dataclass
class _Echo:
    outcome: str


def test_loopback(server: StunServer) -> None:
    """No NAT, no filter; what was asked, and how it went, is told."""
    told: list[SurveyProgress] = []
    found = survey(server.name, on_progress=told.append)
    udp, tcp = found.finding("udp", 4), found.finding("tcp", 4)
    assert udp is not None and tcp is not None
    for finding in (udp, tcp):
        assert finding.reachable and finding.translated is False and finding.local == finding.mapped
        assert finding.mapping is Behaviour.INDEPENDENT
        assert finding.ports is PortAllocation.PRESERVED
        assert finding.rtt is not None and 0 < finding.rtt < 5
        assert [card.name for card in finding.servers] == [server.name]
        assert finding.servers[0].tests_filtering
    assert udp.filtering is Behaviour.INDEPENDENT
    assert tcp.filtering is None and tcp.unsolicited is None  # nobody called
    assert found.contacted == (server.name,)
    assert not found.offline and found.gateway is None
    stages = [(each.stage, each.done) for each in told]
    for stage in ("udp4", "tcp4"):
        assert stages.index((stage, False)) < stages.index((stage, True))
    assert [each.seconds for each in told] == sorted(each.seconds for each in told)


def test_helpers_call_back(server: StunServer) -> None:
    """They are strangers to the tested ports, and get in."""
    helper = Helper("tcp://127.0.0.3:5483")
    found = survey(server.name, helpers=[helper])
    udp, tcp = found.finding("udp", 4), found.finding("tcp", 4)
    assert udp is not None and tcp is not None
    assert tcp.filtering is Behaviour.INDEPENDENT
    assert tcp.unsolicited is Unsolicited.ACCEPTED
    assert sorted(transport for transport, _ in helper.calls) == ["tcp", "tcp", "udp", "udp"]
    assert len(set(helper.calls)) == 4  # ports that it knows, and others
    assert found.contacted == (server.name, "a helper")


def test_a_helper_that_was_asked_already(server: StunServer) -> None:
    """Its address is known to the filter: what it says is not about strangers."""
    helper = Helper("tcp://127.0.0.1:5483")
    tcp = survey(server.name, helpers=[helper]).finding("tcp", 4)
    assert tcp is not None and tcp.reachable
    assert tcp.filtering is None


def test_a_helper_that_refuses(server: StunServer) -> None:
    helper = Helper("tcp://127.0.0.3:5483", error=crust.LocalProtocolError("not now"))
    tcp = survey(server.name, helpers=[helper]).finding("tcp", 4)
    assert tcp is not None and tcp.reachable and tcp.filtering is None


def test_dead_servers() -> None:
    """One refuses, one is silent: it ends in time, and says so."""
    sockets, port = silent_listener()
    try:
        found = survey(f"127.0.0.1:{unused_port()}", f"127.0.0.1:{port}", timeout=2.0, families=[4])
    finally:
        for sock in sockets:
            sock.close()
    assert found.seconds < 3 * 2.0
    udp, tcp = found.protocols
    assert udp.reachable is False and udp.reason
    assert tcp.reachable is False and "refused" in tcp.reason
    assert [bool(card.error) for card in tcp.servers] == [True, False]


def test_a_server_that_answers_beside_a_dead_one(server: StunServer) -> None:
    found = survey(f"127.0.0.1:{unused_port()}", server.name, families=[4])
    udp, tcp = found.protocols
    assert udp.reachable and udp.filtering is Behaviour.INDEPENDENT
    assert tcp.reachable
    assert [card.rtt is None for card in udp.servers] == [True, False]


def test_offline(server: StunServer) -> None:
    """Nobody is asked, whoever was named."""
    helper = Helper("tcp://127.0.0.3:5483")
    found = survey(server.name, helpers=[helper], offline=True)
    assert found.offline and found.contacted == () and not helper.calls
    assert all(finding.reachable is not True for finding in found.protocols)
    assert all(finding.reason for finding in found.protocols)


def test_without_servers() -> None:
    found = survey()
    assert [finding.reason for finding in found.protocols if finding.family == 4] == [
        "not tried: no server was named"
    ] * 2 or found.hints


@pytest.mark.parametrize("name", ["", ":3478", "a:b", "host:70000", "host:0", "[::1", "http://host", "a b", "host:1:2"])
def test_names_that_cannot_be_read(name: str) -> None:
    with pytest.raises(ValueError, match="no STUN server"):
        survey(name)


def test_names(monkeypatch: pytest.MonkeyPatch, server: StunServer) -> None:
    """One that does not exist is told; one that leads home although it is public is a lie."""
    answers = {"stun.example.org": "127.0.0.1", "localhost": "127.0.0.1"}

    def look_up(host: str, port: int, *rest: object, **_: object) -> list[object]:
        if host not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    found = survey(f"stun.example.org:{server.port}", "nosuch.example.org", families=[4])
    assert "dns_lies" in found.hints and "no_dns" not in found.hints
    assert found.protocols[0].reachable
    found = survey("nosuch.example.org", families=[4])
    assert "no_dns" in found.hints
    assert "Name or service not known" in found.protocols[0].reason
    assert "dns_lies" not in survey(f"localhost:{server.port}", families=[4]).hints


def test_a_web_page_instead(server: StunServer) -> None:
    """What a captive portal does to TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        port = listener.getsockname()[1]
        threads = [threading.Thread(target=_portal, args=(listener,), daemon=True)]
        threads[0].start()
        found = survey(f"127.0.0.1:{port}", families=[4])
        threads[0].join(10)
    assert "captive_portal" in found.hints
    assert "web page" in found.protocols[1].intercepted


def _portal(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n")
        with contextlib.suppress(OSError):
            sock.recv(1)


def test_two_at_once(server: StunServer) -> None:
    """A survey has nothing in common with another one."""
    results: list[crust.NetworkSurvey] = []

    def add() -> None:
        results.append(survey(server.name, families=[4]))

    threads = [threading.Thread(target=add, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [found.protocols[0].filtering for found in results] == [Behaviour.INDEPENDENT] * 3


def test_the_deadline_is_kept(server: StunServer) -> None:
    server.answering = False
    told: list[SurveyProgress] = []
    found = survey(server.name, families=[4], timeout=0.5, on_progress=told.append)
    assert 0.5 <= found.seconds < 3 * limits.PROBE_SECONDS
    assert found.protocols[0].reachable is False
    assert {("udp4", True), ("tcp4", True)} <= {(each.stage, each.done) for each in told}  # whatever came of it


def test_a_helper_that_never_says_anything(server: StunServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for longer than a survey may take."""
    monkeypatch.setattr(limits, "PROBE_ECHO_GRACE", 0.3)
    helper = SilentHelper("tcp://127.0.0.3:5483")
    found = survey(server.name, helpers=[helper], families=[4], timeout=2.0)
    assert helper.calls
    assert found.seconds < 2.0 + 0.3 + 4.0
    assert found.protocols[1].reachable and found.protocols[1].filtering is None


@pytest.mark.parametrize("stage", [("interfaces", True), ("dns", False), ("udp4", False), ("tcp4", True)])
def test_progress_that_raises_ends_it(server: StunServer, stage: tuple[str, bool]) -> None:
    """As Ctrl-C would; all sockets are closed then."""

    def tell(progress: SurveyProgress) -> None:
        if (progress.stage, progress.done) == stage:
            raise KeyboardInterrupt

    gc.collect()
    before = descriptors()
    with pytest.raises(KeyboardInterrupt) as caught:  # which keeps the frames, and what is in them
        survey(server.name, families=[4], on_progress=tell)
    wait_until(lambda: descriptors() <= before, what="the end of all sockets")  # the server's own, too
    assert caught.value.__traceback__ is not None


def test_a_server_that_cannot_be_sent_to(server: StunServer) -> None:
    """The others are asked all the same, wherever it stands."""
    nowhere = "255.255.255.255:3478"  # the system sends nothing there without being told that it may
    for names in ((nowhere, server.name), (server.name, nowhere)):
        udp, tcp = survey(*names, families=[4]).protocols
        assert udp.reachable and tcp.reachable
        assert udp.filtering is Behaviour.INDEPENDENT
        assert {card.name: "denied" in card.error for card in udp.servers} == {nowhere: True, server.name: False}
    alone = survey(nowhere, families=[4]).protocols[0]
    assert alone.reachable is False and "denied" in alone.reason


def test_a_caller_that_has_gone_again() -> None:
    """It does not take the listener, and what servers say, with it."""
    calls: list[object] = [ConnectionAbortedError(), (socket.socket(), ("127.0.0.1", 5)), BlockingIOError()]

    def accept() -> object:
        call = calls.pop(0)
        if isinstance(call, OSError):
            raise call
        return call

    heard: list[object] = []
    plan = types.SimpleNamespace(accepted=lambda source, now: heard.append(source))
    runner = Runner([], lambda: 0.0)
    try:
        with pytest.raises(BlockingIOError):
            runner._accept(plan, types.SimpleNamespace(accept=accept))  # type: ignore[arg-type]
    finally:
        runner.run(lambda now: False, lambda plan: None)
    assert heard == [("127.0.0.1", 5)]


def test_one_server_by_two_names(server: StunServer) -> None:
    """One port cannot be connected to another one twice."""
    for finding in survey(server.name, f"{server.name} ", families=[4]).protocols:
        assert [card.error for card in finding.servers] == [""]
