"""What holds for every test: it leaves no thread and no descriptor behind, on threads and on greenlets alike."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from crust.nat.mapping.gateway import SWITCH
from tests.support import leaks
from tests.support.modes import on_greenlets

pytest.register_assert_rewrite("tests.transports.conformance")

os.environ[SWITCH] = "off"
"""No test asks this machine's router for anything, nor does a program that a test starts."""


SLOW = (
    "tests/cli/test_control_socket.py::test_a_program_that_does_not_read",
    "tests/cli/test_programs_",
    "tests/nat/mapping/test_keeper.py::test_a_description_that",
    "tests/nat/mapping/test_keeper.py::test_a_hung",
    "tests/nat/mapping/test_keeper.py::test_answers_from",
    "tests/nat/mapping/test_keeper.py::test_garbage",
    "tests/nat/mapping/test_keeper.py::test_the_library",
    "tests/cli/punch_test/test_program",
    "tests/nat/mapping/test_hostile",
    "tests/nat/mapping/test_keeper",
    "tests/nat/probe/test_survey",
    "tests/nat/stun/test_coturn",
    "tests/peers/test_files.py::test_both_sides_send_at_once",
    "tests/peers/test_outbox_interrupts",
    "tests/platforms/test_service.py::test_on_what_is_left",
    "tests/recipes/",
    "tests/runtime/test_flusher.py::test_timers_fire_when_due",
    "tests/runtime/test_threads.py::test_a_forked_child",
    "tests/runtime/test_threads.py::test_late_or_partial",
    "tests/runtime/test_threads.py::test_worlds",
    "tests/service/test_bad_input.py::test_a_flood_of_silent_callers",
    "tests/service/test_descriptors",
    "tests/service/test_exit",
    "tests/service/test_flood",
    "tests/service/test_fork",
    "tests/service/test_interrupts",
    "tests/service/test_left_behind",
    "tests/service/test_lifecycle.py::test_a_late_monkey_patch",
    "tests/service/test_lifecycle.py::test_the_interpreter_ends",
    "tests/service/test_messages.py::test_a_slow_reader",
    "tests/service/test_process_local",
    "tests/service/test_resume",
    "tests/service/test_simultaneous.py::test_simultaneous_connects_with_delays",
    "tests/service/test_slow_code",
    "tests/service/test_two_transports",
    "tests/test_support.py::test_leaks_are_found",
    "tests/testing/test_documentation",
    "tests/tools/",
    "tests/transports/utp/test_simulated",
    "tests/transports/utp/test_bad_input.py::test_a_flood_of_calls",
    "tests/transports/utp/test_libtorrent",
)
"""Beginnings of the names of tests that start programs, or wait for real time: the inner loop goes without them."""

_CORES = "there are neither threads nor sockets in it: once is enough"

ONCE = {
    "tests/cli/test_programs_": "commands run on threads in either mode: once is enough",
    "tests/nat/mapping/test_codecs": _CORES,
    "tests/nat/mapping/test_mapper": _CORES,
    "tests/nat/mapping/test_parts": _CORES,
    "tests/nat/probe/test_hops": _CORES,
    "tests/nat/probe/test_lifetime": _CORES,
    "tests/nat/probe/test_plans": _CORES,
    "tests/nat/stun/test_door": _CORES,
    "tests/nat/stun/test_message": _CORES,
    "tests/nat/test_": _CORES,
    "tests/natlab/": "the programs in the laboratory run on threads in either mode: once is enough",
    "tests/test_binary_parsers": "it reads what stands in files: once is enough",
    "tests/test_layering": "it reads what stands in files: once is enough",
    "tests/tools/test_bench": "the programs that it starts choose threads or greenlets themselves: once is enough",
    "tests/transports/utp/test_simulated": _CORES,
}
"""Beginnings of the names of tests that the run on greenlets leaves out, and why."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if on_greenlets():
            for beginning, reason in ONCE.items():
                if item.nodeid.startswith(beginning):
                    item.add_marker(pytest.mark.skip(reason=reason))
        if item.nodeid.startswith(SLOW) or "laboratory" in getattr(item, "fixturenames", ()):
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
    leaks.check(before)
