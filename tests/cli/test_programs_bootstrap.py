"""``crust node`` that was off, or offline: back in its network without being told. Processes, loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.processes import LOCAL, PATIENCE, Process, no_traceback
from tests.support.sockets import unused_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow  # several processes


def test_a_node_is_back_in_its_network(tmp_path: Path) -> None:
    """The contact is needed once; at the next start it is neither named nor there yet."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    server = ("node", "--allow-bootstrap", "--identity", "server", "--listen", f"tcp://127.0.0.1:{unused_port()}")
    ours = ("node", "--identity", "ours", "--listen", LOCAL)
    with Process(tmp_path / "there", *server) as there:
        contact = there.line()
        with Process(tmp_path / "here", *ours, "--contact", contact) as here:
            me = here.line().partition("@")[0]
            here.shows("linked to the rendezvous")
            state = tmp_path / "here" / ".local" / "state" / "crust"
            wait_until(lambda: [*state.glob("*.json")], PATIENCE, "the cache")
        no_traceback(here)
    # Who is refused three times, within eight seconds, forgets: on a busy machine a program needs as long to start.
    with Process(tmp_path / "there", *server, imports=["tests.support.gate"]) as there:
        wait_until((tmp_path / "there" / "ready").exists, 2 * PATIENCE, "the program, but for its node")
        with Process(tmp_path / "here", *ours) as here:
            here.line()
            here.shows("bootstrap reached nobody")
            (tmp_path / "there" / "go").touch()
            assert there.line() == contact
            here.shows("bootstrap connect")
            there.shows(f"bootstrap accept {me[:8]}")
    for process in (here, there):
        no_traceback(process)
