"""What holds for every test: it leaves no thread and no descriptor behind, on threads and on greenlets alike."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator

import pytest

from crust.nat.mapping.gateway import SWITCH
from tests.support import leaks
from tests.support.modes import on_greenlets
from tests.support.slow import listed
from tests.support.sockets import release_ports

pytest.register_assert_rewrite("tests.transports.conformance")

os.environ[SWITCH] = "off"
"""No test asks this machine's router for anything, nor does a program that a test starts."""

os.environ["CRUST_LAN"] = "off"
"""No test asks this machine's LAN for anybody, nor does a program that a test starts, unless it says where."""

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="crust-tests-")
"""Nor do they read or write what the user's own nodes remember."""

os.environ.pop("XDG_RUNTIME_DIR", None)
"""Nor do they have their status sockets beside those of the user's nodes."""


@atexit.register
def _forget(folder: str = os.environ["XDG_STATE_HOME"], owner: int = os.getpid()) -> None:
    if os.getpid() == owner:  # a forked child leaves it alone
        shutil.rmtree(folder, ignore_errors=True)


_CORES = "there are neither threads nor sockets in it: once is enough"

ONCE = {
    "tests/adversary/test_key_files": "it reads what stands in files: once is enough",
    "tests/adversary/test_security_page": "it reads what stands in files: once is enough",
    "tests/adversary/test_strangers": "the node is a program that runs on threads in either mode: once is enough",
    "tests/cli/punch_test/test_forms": _CORES,
    "tests/cli/punch_test/test_pair_forms": _CORES,
    "tests/cli/punch_test/test_pair_messages": _CORES,
    "tests/cli/punch_test/test_pair_words": _CORES,
    "tests/cli/punch_test/test_pair_program": "commands run on threads in either mode: once is enough",
    "tests/cli/punch_test/test_program": "commands run on threads in either mode: once is enough",
    "tests/cli/punch_test/test_report": _CORES,
    "tests/cli/test_programs_": "commands run on threads in either mode: once is enough",
    "tests/cli/status/test_forms": _CORES,
    "tests/config/": _CORES,
    "tests/discovery/beacon/": _CORES,
    "tests/discovery/cache/test_core": _CORES,
    "tests/discovery/gossip/": _CORES,
    "tests/nat/mapping/test_codecs": _CORES,
    "tests/nat/mapping/test_igd_http": _CORES,
    "tests/nat/mapping/test_mapper": _CORES,
    "tests/nat/mapping/test_parts": _CORES,
    "tests/nat/probe/test_hops": _CORES,
    "tests/nat/probe/test_lifetime": _CORES,
    "tests/nat/probe/test_plans": _CORES,
    "tests/nat/punch/test_allowance": _CORES,
    "tests/nat/punch/test_hostile_events": _CORES,
    "tests/nat/punch/test_places": _CORES,
    "tests/nat/punch/test_probe_packet": _CORES,
    "tests/nat/punch/test_punch_udp": _CORES,
    "tests/nat/punch/test_search_udp": _CORES,
    "tests/nat/punch/test_standing": _CORES,
    "tests/nat/punch/test_targets": _CORES,
    "tests/nat/punch/test_tcp_plans": _CORES,
    "tests/nat/stun/test_door": _CORES,
    "tests/nat/stun/test_message": _CORES,
    "tests/nat/test_": _CORES,
    "tests/fuzz/": _CORES,
    "tests/natlab/": "the programs in the laboratory run on threads in either mode: once is enough",
    "tests/peers/circuits/": _CORES,
    "tests/peers/test_accounts": _CORES,
    "tests/peers/test_gate": _CORES,
    "tests/peers/test_outbox_": _CORES,
    "tests/peers/test_session_": _CORES,
    "tests/peers/test_transfer": _CORES,
    "tests/peers/test_whereabouts": _CORES,
    "tests/service/groups/test_core": _CORES,
    "tests/service/traversal/test_turns": _CORES,
    "tests/soak/": _CORES,
    "tests/test_addresses": _CORES,
    "tests/test_binary_parsers": "it reads what stands in files: once is enough",
    "tests/test_exports": "it reads what stands in files: once is enough",
    "tests/test_layering": "it reads what stands in files: once is enough",
    "tests/tools/test_bench": "the programs that it starts choose threads or greenlets themselves: once is enough",
    "tests/transports/utp/test_bad_packets": _CORES,
    "tests/transports/utp/test_congestion": _CORES,
    "tests/transports/utp/test_connection": _CORES,
    "tests/transports/utp/test_model": _CORES,
    "tests/transports/utp/test_packet": _CORES,
    "tests/transports/utp/test_simulated": _CORES,
    "tests/wire/": _CORES,
}
"""Beginnings of the names of tests that the run on greenlets leaves out, and why."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = listed()
    for item in items:
        if on_greenlets():
            for beginning, reason in ONCE.items():
                if item.nodeid.startswith(beginning):
                    item.add_marker(pytest.mark.skip(reason=reason))
        if item.nodeid.startswith(slow) or "laboratory" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_report_header() -> str:
    from crust.runtime.threads import mode

    return f"crust runs on: {mode()}"


@pytest.fixture(scope="session", autouse=True)
def _warm_up() -> None:
    """Let the world make what it makes once, such as gevent's hub and its descriptors, before anything is compared."""
    threading.Event().wait(0.001)
    socket.getaddrinfo("localhost", 0)
    left, right = socket.socketpair()
    left.close()
    right.close()
    # What was imported stays: the collector need not look at it again and again, nor as often as by default.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True)
def _nothing_left_behind(_warm_up: None) -> Iterator[None]:
    before = leaks.snapshot()
    yield
    release_ports()
    leaks.check(before)
