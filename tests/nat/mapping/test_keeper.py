"""Ports kept open on a router on loopback, with sockets, threads and miniupnpc; on threads and on greenlets."""

from __future__ import annotations

import dataclasses
import errno
import json
import pathlib
import socket
import struct
import sys
import threading
import time
from typing import Any

import pytest

from crust import limits
from crust.nat.mapping import keeper, natpmp, pcp
from crust.nat.mapping.gateway import Gateway
from crust.nat.mapping.keeper import NO_GATEWAY
from crust.nat.mapping.offers import ask_gateway
from tests.nat.mapping.conftest import TCP, UDP, MakeKept
from tests.nat.mapping.fake import FakeRouter
from tests.support.waiting import busy, wait_until

QUICK = 2.0  # seconds within which a willing router has opened the ports


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What will not be answered is given up sooner."""
    monkeypatch.setattr(limits, "SSDP_WAIT", 0.5)
    monkeypatch.setattr(limits, "MAPPING_PROBES", 2)


@pytest.mark.parametrize("protocol", ["pcp", "natpmp", "igd"])
def test_ports_are_open_within_two_seconds_and_closed_at_the_end(
    fake: FakeRouter, keep: MakeKept, protocol: str, tmp_path: pathlib.Path
) -> None:
    """TCP and UDP by each protocol alone; the list on disk has them meanwhile, and is gone afterwards."""
    kept = keep((protocol,))
    kept.want(TCP, UDP)
    mappings = kept.wait_open(2)
    assert time.monotonic() - kept.began < QUICK
    assert {(each.wanted, each.external_ip, each.external, each.protocol) for each in mappings} == {
        (TCP, "20.0.1.1", 4711, protocol),
        (UDP, "20.0.1.1", 4711, protocol),
    }
    (listed,) = (tmp_path / "state").glob("*.json")
    assert {each["protocol"] for each in json.loads(listed.read_text())["mappings"]} == {"tcp", "udp"}
    assert listed.stat().st_mode & 0o777 == 0o600
    assert kept.close() < limits.MAPPING_CLOSE
    assert fake.router.table == {} and list((tmp_path / "state").iterdir()) == []


def test_a_hung_http_server_freezes_nobody(fake: FakeRouter, keep: MakeKept) -> None:
    """miniupnpc waits seconds in C for it; other threads, greenlets too, go on, and close() does not wait for that."""
    fake.hangs = True
    kept = keep(("igd",))
    gaps, over = [], threading.Event()

    def beat() -> None:
        before = time.monotonic()
        while not over.wait(0.005):
            gaps.append(time.monotonic() - before)
            before = time.monotonic()

    beating = threading.Thread(target=beat, name="test-beat", daemon=True)
    beating.start()
    kept.want(TCP)
    wait_until(lambda: fake.requests, what="the call")
    time_in_c = time.monotonic()
    threading.Event().wait(0.5)
    assert kept.close() < 2.0
    assert time.monotonic() - time_in_c < 4.0
    over.set()
    beating.join(5)
    assert max(gaps) < 2.5, "something held everybody up"


def test_a_hung_http_server_is_told(fake: FakeRouter, keep: MakeKept) -> None:
    """In a sentence, before the library gives up."""
    fake.hangs = True
    kept = keep(("igd",))
    kept.want(TCP)
    assert "UPnP: it did not answer in time" in kept.wait_failure(20.0)


@pytest.mark.parametrize(
    "garbage", [b"", b"\0\xff" * 500, b"<root><device>", b"<a/>" * 1000, b"<html>login</html>"]
)
@pytest.mark.usefixtures("impatient")
def test_garbage_instead_of_a_description(fake: FakeRouter, keep: MakeKept, garbage: bytes) -> None:
    """It is no router; nothing breaks."""
    fake.garbage = garbage
    kept = keep(("igd",))
    kept.want(TCP)
    assert "UPnP: " in kept.wait_failure()


@pytest.mark.usefixtures("impatient")
def test_a_description_that_sends_us_elsewhere(fake: FakeRouter, keep: MakeKept) -> None:
    """The place to ask must be on the machine that has the description."""
    fake.control = "http://127.0.0.2:9/control"
    kept = keep(("igd",))
    kept.want(TCP)
    assert "another machine (127.0.0.2)" in kept.wait_failure()


@pytest.mark.parametrize("base", [True, False])
def test_a_description_that_names_its_host(fake: FakeRouter, keep: MakeKept, base: bool) -> None:
    """Another port of the same machine, by the description's base or by the address of its control itself."""
    with FakeRouter() as other:
        place = other.url.removesuffix("/desc.xml")
        if base:
            fake.base, fake.control = f"<URLBase>{place}/</URLBase>", "control"
        else:
            fake.control = f"{place}/control?x=1"
        kept = keep(("igd",))
        kept.want(TCP)
        kept.wait_open(1)
        assert list(other.router.table) == [("tcp", 4711)] and other.requests[0].startswith("POST /control")
        assert fake.requests == ["GET /desc.xml HTTP/1.1"], "the description is read once"
        assert kept.close() < limits.MAPPING_CLOSE and other.router.table == {}


@pytest.mark.skipif(sys.platform != "linux", reason="loopback may have only one address here")
def test_the_router_sees_the_address_that_the_port_is_to_lead_to(
    fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not another one of ours: some routers open ports for whoever asks alone."""
    local, really = "127.0.0.3", fake._serve_one
    seen: set[str] = set()

    def note(connection: socket.socket) -> None:
        seen.add(connection.getpeername()[0])
        really(connection)

    monkeypatch.setattr(fake, "_serve_one", note)
    kept = keep(("igd",), lambda: [dataclasses.replace(fake.gateway, local=local)])
    kept.want(TCP)
    kept.wait_open(1)
    assert seen == {local} and [line.client for line in fake.router.table.values()] == [local]


def test_a_connection_that_stays_open(fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that say nowhere where they end: silence is the end."""
    monkeypatch.setattr(limits, "IGD_ANSWER_QUIET", 0.2)
    really, over = fake._serve_one, threading.Event()

    class Open:
        """A connection that is not closed."""

        def __init__(self, connection: socket.socket) -> None:
            self.recv, self.connection = connection.recv, connection

        def sendall(self, data: bytes) -> None:
            head, _, body = data.partition(b"\r\n\r\n")
            self.connection.sendall(head.split(b"\r\n")[0] + b"\r\n\r\n" + body)

        def __enter__(self) -> None: ...

        def __exit__(self, *given: object) -> None:
            over.wait(10)
            self.connection.close()

    monkeypatch.setattr(fake, "_serve_one", lambda connection: really(Open(connection)))
    kept = keep(("igd",))
    kept.want(TCP)
    try:
        kept.wait_open(1)
    finally:
        over.set()


@pytest.mark.parametrize("length", [None, 3], ids=["no length", "too long"])
def test_a_connection_that_ends_with_a_reset(
    fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    """Some routers have not read all of the request when they close: what has come is all, as for the library."""
    really = fake._serve_one

    class Rude:
        """A connection that is reset in the end, after an answer that does not say, or not truly, where it ends."""

        def __init__(self, connection: socket.socket) -> None:
            self.recv, self.connection = connection.recv, connection

        def sendall(self, data: bytes) -> None:
            head, _, body = data.partition(b"\r\n\r\n")
            more = b"" if length is None else b"\r\nContent-Length: %d" % (len(body) + length)
            self.connection.sendall(head.split(b"\r\n")[0] + more + b"\r\n\r\n" + body)

        def __enter__(self) -> None: ...

        def __exit__(self, *given: object) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    monkeypatch.setattr(fake, "_serve_one", lambda connection: really(Rude(connection)))
    kept = keep(("igd",))
    kept.want(TCP)
    kept.wait_open(1)


def test_nobody_at_the_description(fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as it is; and the library, which would write to the program's stderr, does not meet it."""
    monkeypatch.setattr(limits, "SSDP_WAIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        fake.location = f"http://127.0.0.1:{gone.getsockname()[1]}/desc.xml"
    kept = keep(("igd",))
    kept.want(TCP)
    assert "UPnP: it could not be reached" in kept.wait_failure()


def test_an_answer_that_names_another_host(fake: FakeRouter, keep: MakeKept) -> None:
    """Some routers name an address of theirs that we cannot reach: the one that answered is meant."""
    fake.location = fake.url.replace("127.0.0.1", "10.9.8.7")
    kept = keep(("igd",))
    kept.want(TCP)
    kept.wait_open(1)


@pytest.mark.parametrize("lie", ["0.0.0.0", "127.0.0.1", "", "nonsense"])
def test_an_outer_address_that_is_none(fake: FakeRouter, keep: MakeKept, lie: str) -> None:
    """The port is open, but its address is left empty rather than believed."""
    fake.router.external_ip = lie
    kept = keep(("igd",))
    kept.want(TCP)
    assert kept.wait_open(1)[0].external_ip == ""


@pytest.mark.parametrize(("external", "kind"), [("100.64.3.2", "carrier"), ("192.168.0.7", "double")])
def test_another_nat_beyond_the_router(fake: FakeRouter, keep: MakeKept, external: str, kind: str) -> None:
    """By the router's outer address."""
    fake.router.external_ip = external
    kept = keep(("igd",))
    kept.want(TCP)
    layers = kept.wait_open(1)[0].layers
    assert layers.kind == kind and external in layers.reason


def test_what_others_see_is_compared(fake: FakeRouter, keep: MakeKept) -> None:
    """The router says one public address, STUN another; it is told when that becomes known, and taken back."""
    kept = keep(("natpmp",))
    kept.want(TCP)
    assert kept.wait_open(1)[0].layers.kind == ""
    kept.keeper.seen_at("20.0.9.9")
    wait_until(lambda: kept.keeper.mappings()[0].layers.kind == "double")
    kept.keeper.seen_at("20.0.1.1")
    wait_until(lambda: kept.keeper.mappings()[0].layers.kind == "")


def test_hostile_and_truncated_answers(fake: FakeRouter, keep: MakeKept) -> None:
    """Before each true answer come broken ones, of other nonces, and with huge or zero values."""
    wrong = pcp.MapResponse(0, 2**32 - 1, 0, bytes(12), pcp.Protocol.TCP, 4711, 1, "20.6.6.6")
    true = pcp.build_pcp(wrong)
    fake.extra = [true[:size] for size in (0, 1, 2, 3, 23, 24, 40, 59)]
    fake.extra += [true, b"\2\x81" + b"\xff" * 1400, b"\0\x81\0", b"\0\x82\0\0" + b"\xff" * 20, b"\xff" * 60]
    fake.extra += [natpmp.build_natpmp(natpmp.MapResponse("tcp", 0, 4712, 6, 60))]
    kept = keep(("pcp", "natpmp"))
    kept.want(TCP)
    (mapping,) = kept.wait_open(1)
    assert (mapping.external_ip, mapping.external) == ("20.0.1.1", 4711)


@pytest.mark.usefixtures("impatient")
def test_answers_from_another_address_do_not_count(fake: FakeRouter, keep: MakeKept) -> None:
    """Only the router's own port is heard."""
    fake.stray = True
    kept = keep(("pcp", "natpmp"))
    kept.want(TCP)
    assert "no answer" in kept.wait_failure()


def test_without_a_router_it_is_told_and_looked_for_again(
    fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is connected later."""
    monkeypatch.setattr(limits, "MAPPING_CHECK", 0.05)
    gateways: list[Gateway] = []
    kept = keep(("pcp",), lambda: list(gateways))
    kept.want(TCP)
    assert kept.wait_failure() == NO_GATEWAY
    gateways.append(fake.gateway)
    kept.wait_open(1)
    assert kept.keeper.failure == ""


def test_the_second_gateway_is_asked_when_the_first_opens_nothing(fake: FakeRouter, keep: MakeKept) -> None:
    """Nobody is at the first one's ports."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.2", 0))
        silent = Gateway("127.0.0.2", "lo", "127.0.0.1", port=taken.getsockname()[1])
    kept = keep(("pcp", "natpmp"), lambda: [silent, fake.gateway])
    kept.want(TCP)
    assert kept.wait_open(1)[0].gateway == "127.0.0.1"


def test_several_upnp_routers(fake: FakeRouter, keep: MakeKept) -> None:
    """The one that is connected to the Internet is chosen, whoever answers first."""
    with FakeRouter() as other:
        other.router.external_ip = "0.0.0.0"
        other.router.soap_errors["GetStatusInfo"] = [501] * 9
        fake.search = False  # the default gateway's own port for searches: the other one answers for both
        answers = [other.url, fake.url]
        gateway = fake.gateway
        kept = keep(("igd",), lambda: [gateway])
        kept.want(TCP)
        wait_until(lambda: kept.keeper._lines, what="the line")
        line = kept.keeper._lines[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            for url in answers:
                sender.sendto(
                    f"HTTP/1.1 200 OK\r\nLOCATION: {url}\r\n\r\n".encode(), line._search.getsockname()
                )
        kept.wait_open(1)
        assert other.router.table == {} and list(fake.router.table) == [("tcp", 4711)]


def test_a_listener_on_another_interface_is_not_mapped(fake: FakeRouter, keep: MakeKept) -> None:
    """The router would lead to an address where nobody listens."""
    kept = keep(("pcp",))
    kept.keeper.want({TCP: "10.1.1.1", UDP: "127.0.0.1"})
    assert [each.wanted for each in kept.wait_open(1)] == [UDP]
    assert list(fake.router.table) == [("udp", 4711)]


@pytest.mark.usefixtures("impatient")
def test_the_library_may_be_missing(
    fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is told with what to do; the other protocols go on."""
    monkeypatch.setitem(__import__("sys").modules, "miniupnpc", None)
    kept = keep(("igd",))
    kept.want(TCP)
    assert "pip install miniupnpc" in kept.wait_failure()


@pytest.mark.parametrize("where", ["importlib.import_module", "Line"])
def test_no_descriptors_at_first(
    fake: FakeRouter, keep: MakeKept, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Neither to read the codecs nor for a socket: a later look finds some, and ports are opened."""
    owner: Any = keeper.importlib if "." in where else keeper  # type: ignore[attr-defined]
    name = where.rpartition(".")[2]
    real = getattr(owner, name)
    failures: list[object] = []

    def fail_once(*given: object) -> object:
        if not failures:
            failures.append(given)
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*given)

    monkeypatch.setattr(limits, "MAPPING_CHECK", 0.05)
    monkeypatch.setattr(owner, name, fail_once)
    kept = keep(("pcp",))
    kept.want(TCP)
    assert [each.wanted for each in kept.wait_open(1)] == [TCP] and failures


def test_what_a_crashed_node_left_is_closed(fake: FakeRouter, keep: MakeKept, tmp_path: pathlib.Path) -> None:
    """Its list is there, its lock is free."""
    dead = keep(("igd",))
    dead.want(TCP, UDP)
    dead.wait_open(2)
    state = tmp_path / "state"
    (listed,) = state.glob("*.json")
    text = listed.read_text()
    dead.close()
    fake.router.soap("AddPortMapping", _add(4711, "TCP"))
    fake.router.soap("AddPortMapping", _add(4711, "UDP"))
    (state / "0123456789abcdef.json").write_text(text)
    (state / "0123456789abcdef.lock").touch()
    after = keep(("igd",))
    after.want(type(TCP)("tcp", 5000))
    after.wait_open(1)
    wait_until(lambda: set(fake.router.table) == {("tcp", 5000)}, what="the removal")


def _add(port: int, protocol: str) -> dict[str, str]:
    return {
        "NewRemoteHost": "",
        "NewExternalPort": str(port),
        "NewProtocol": protocol,
        "NewInternalPort": str(port),
        "NewInternalClient": "127.0.0.1",
        "NewPortMappingDescription": "crust test",
        "NewLeaseDuration": "0",
    }


# --- the question of a survey -----------------------------------------------------------------------------------------


def test_what_a_router_offers(fake: FakeRouter) -> None:
    """Each protocol answers for itself; nothing stays open."""
    fake.router.pcp_result = 2
    began = time.monotonic()
    found = ask_gateway(gateways=lambda: [fake.gateway])
    assert time.monotonic() - began < QUICK * busy(), "it waited for something after all had answered"
    assert [(offer.protocol, offer.works, offer.external) for offer in found.offers] == [
        ("pcp", False, ""),
        ("natpmp", True, "20.0.1.1"),
        ("igd", True, "20.0.1.1"),
    ]
    assert "does not allow" in found.offers[0].error
    assert found.model == "Fake/1.0 UPnP/1.0" and found.layers == ""
    assert fake.router.table == {}
    assert all(offer.seconds is not None and offer.seconds < QUICK for offer in found.offers if offer.works)


def test_a_router_that_offers_nothing(fake: FakeRouter) -> None:
    """It is over in the time given."""
    fake.router.pcp = fake.router.natpmp = fake.router.igd = False
    began = time.monotonic()
    found = ask_gateway(timeout=1.0, gateways=lambda: [fake.gateway])
    assert time.monotonic() - began < 4.0 * busy()
    assert [(offer.works, offer.error) for offer in found.offers] == [(False, "no answer")] * 3


def test_a_carrier_behind_the_router(fake: FakeRouter) -> None:
    """What the survey says of it."""
    fake.router.external_ip = "100.64.1.1"
    found = ask_gateway(gateways=lambda: [fake.gateway])
    assert found.layers == "carrier" and "provider" in found.reason


def test_no_gateway() -> None:
    """Nothing to ask."""
    assert ask_gateway(gateways=lambda: []).address == ""
