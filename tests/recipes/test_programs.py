"""Recipes without a framework: a script, two machines, a select loop, a gevent server."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.support.programs import EXAMPLES, Answers, Program, get, get_together


def test_a_script(answers: Answers) -> None:
    """It prints the answer and ends; its peer heard goodbye."""
    with Program("python", "script.py", answers.contact, "hello") as script:
        assert script.end() == "HELLO\n"
    assert answers.ended == 1


def test_a_script_that_reaches_nobody_says_why(answers: Answers) -> None:
    contact = answers.contact.split("@")[0] + "@tcp://127.0.0.1:1"
    with Program("python", "script.py", contact, "hello") as script:
        assert script.process.wait(30) == 1
    assert script.output[-1].startswith("no answer: ") and "127.0.0.1:1" in script.output[-1]


@pytest.mark.slow
def test_two_machines(tmp_path: Path) -> None:
    """The contact that one prints is all that the other needs, and it stays the same after a restart."""
    contacts = []
    for _ in range(2):
        with Program("python", str(EXAMPLES / "answer.py"), "tcp://127.0.0.1:0", cwd=tmp_path) as answer:
            contact = answer.wait_for(r"^(\w+)@tcp://127\.0\.0\.1:\d+$")
            with Program("python", "script.py", contact[0], "hello") as script:
                assert script.end() == "HELLO\n"
            assert answer.stop(signal.SIGINT) == 0
            contacts.append(contact[1])
    assert contacts[0] == contacts[1]


def test_a_select_loop(answers: Answers) -> None:
    """One loop serves its own socket and crust's events; when the peer goes, it says so."""
    with Program("python", "select_loop.py", answers.contact) as program:
        port = int(program.wait_for(r"^(\d+)$")[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(10.0)
            for text in (b"hello", b"again"):
                udp.sendto(text, ("127.0.0.1", port))
                assert udp.recv(100) == text.upper()
        answers.close()
        program.wait_for("lost the peer: closed")
        assert program.process.wait(10.0) == 1


def test_a_gevent_server(answers: Answers) -> None:
    """Twenty requests wait for their answers at the same time, in one process with one thread."""
    with Program("python", "gevent_server.py", "0", CRUST_PEER=answers.contact) as server:
        address = server.wait_for(r"(http://\S+/ask/)")[1]
        assert get(address + "hello")["answer"] == "HELLO"
        answers.together = 20
        found = get_together(address + "together", 20)
        assert {each["answer"] for each in found} == {"TOGETHER"}
        assert {each["pid"] for each in found} == {server.pid}
