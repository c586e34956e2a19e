"""``crust recv`` and ``crust send`` at two sites behind NATs, by id alone, with ``crust node`` on a server."""

from __future__ import annotations

import os
import re
from pathlib import Path

import crust
from tests.cli.processes import Process, no_traceback
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab

PATIENCE = 60.0  # seconds
SIZE = 8_000_000


def command(machine: Machine, home: Path, *words: str) -> Process:
    """With a home of its own."""
    home.mkdir(exist_ok=True)
    return Process(home, *words, prefix=machine.prefix)


def test_a_file_by_id_alone(lab: Lab, tmp_path: Path) -> None:
    """Through two routers that let in answers only: it arrives whole, and by a path of its own."""
    server = lab.server()
    there, here = lab.site("there", "port", delay=0.01).host, lab.site("here", "port", delay=0.01).host
    data = os.urandom(SIZE)
    (tmp_path / "film").write_bytes(data)
    serve = ("--listen", f"tcp://{server.ipv4}:443", "--listen", f"utp://{server.ipv4}:443")
    with command(server, tmp_path / "server", "node", "--serve-relay", "--allow-bootstrap", *serve) as node:
        meeting = node.line(PATIENCE)
        with command(there, tmp_path / "there", "recv", "--yes", "--once", "--contact", meeting) as receiver:
            peer_id = str(crust.Contact.parse(receiver.line(PATIENCE)).peer_id)
            receiver.shows(f"FILE --contact {meeting}")
            words = ("send", peer_id, str(tmp_path / "film"), "--contact", meeting)
            with command(here, tmp_path / "here", *words) as sender:
                assert sender.ends(PATIENCE) == 0, sender.errors
            assert receiver.ends(PATIENCE) == 0, receiver.errors
    assert (tmp_path / "there" / "film").read_bytes() == data
    assert re.search(r"(connected:|now by) punched-(tcp|utp) to ", sender.errors), sender.errors
    assert "is now punched-" in receiver.errors, receiver.errors
    for each in (sender, receiver):
        assert "linked to the rendezvous" in each.errors and "warning" not in each.errors
        no_traceback(each)
