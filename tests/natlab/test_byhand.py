"""``tools/natlab``: a laboratory that stays up until it is taken down, or its owner is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.natlab import names, needs
from tests.natlab.byhand import owner
from tests.natlab.byhand.words import OPTIONS, Word, help_text
from tests.natlab.lab import Lab
from tests.natlab.routers.kinds import KINDS
from tests.support.source import ROOT


def natlab(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "natlab"), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def _by_hand(laboratory: None) -> Iterator[None]:
    """Nobody has one up already; afterwards there is none."""
    needs.unless("there is a laboratory up that was made by hand: `tools/natlab down`" if owner.running() else "")
    yield
    natlab("down")


# --- words ------------------------------------------------------------------------------------------------------------


def test_words() -> None:
    """Kinds, flags, lists, and units for people."""
    home = Word.parse("home:symseq,upnp=igd+pcp,delay=40,loss=1,rst,step=2")
    assert (home.name, home.kind) == ("home", "symseq")
    assert home.options == {"upnp": ["igd", "pcp"], "delay": 0.04, "loss": 0.01, "rst": True, "step": 2}
    assert Word.parse("srv") == Word("srv", "server", {})
    assert Word.parse("isp:carrier,open").options == {"isolates": False}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("home:cone", "no kind 'cone'"),
        ("home.1:port", "no name"),
        ("home:port,speed=1", "no option 'speed'"),
        ("home:port,delay=slow", "delay: "),
        ("home:port,rst=1", "takes no value"),
        ("srv,upnp", "server has no option 'upnp'"),
    ],
)
def test_words_that_mean_nothing(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Word.parse(text)


def test_the_help_has_all_kinds_and_options() -> None:
    words = help_text().split()
    assert {*KINDS, "server", "carrier", *(option for options in OPTIONS.values() for option in options)} <= set(words)


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_by_hand")
def test_up_exec_list_down() -> None:
    """It stays, programs run on its machines, and everything goes; a second one is refused meanwhile."""
    needs.require("turnserver")
    up = natlab("up", "isp:carrier", "home:port,behind=isp,hosts=2", "srv")
    assert up.returncode == 0, up.stderr
    state = owner.running()
    assert state is not None
    assert [each.name for each in state.machines] == ["isp", "home", "home_2", "home_router", "srv"]
    assert natlab("list").stdout == up.stdout and "100.64." in up.stdout
    (server,) = [each for each in state.machines if each.name == "srv"]
    ask = [sys.executable, "-m", "tests.natlab.stun", "await", f"{server.addresses[0]} 3478"]
    assert natlab("exec", "home_2", "--", *ask).returncode == 0
    assert natlab("exec", "home", "--", "sh", "-c", "exit 7").returncode == 7
    assert "home_router" in natlab("exec", "office").stderr
    assert "already" in natlab("up", "b:none").stderr
    assert [owner.tell(state, "home", what) for what in ("reboot", "rebind", "cut", "restore", "renumber")] == [""] * 5
    assert natlab("do", "home", "delay=20").returncode == 0 and "no site" in natlab("do", "nas", "cut").stderr
    assert "nothing to reboot" in owner.tell(state, "srv", "reboot") and "no option" in owner.tell(state, "srv", "x")
    later = owner.running()
    assert later is not None and later.machine("home_router") != state.machine("home_router")
    assert natlab("exec", "home_2", "--", *ask).returncode == 0
    assert natlab("down").returncode == 0
    assert owner.running() is None and not names.alive(state.owner)
    left = set(os.listdir(names.FOLDER)) & {each.namespace for each in state.machines}
    assert not left and natlab("list").returncode == 1


@pytest.mark.usefixtures("_by_hand")
def test_what_fails_says_why() -> None:
    """Before anything is made, or while it is."""
    assert "no kind 'cone'" in natlab("up", "home:cone").stderr
    failed = natlab("up", "home:port", "office:sym,behind=isp")
    assert failed.returncode == 1 and "no carrier isp" in failed.stderr
    assert owner.running() is None and natlab("exec", "home").returncode == 1


@pytest.mark.usefixtures("_by_hand")
def test_a_killed_owner_is_cleaned_up_by_the_next() -> None:
    """Its namespaces, files, and what runs in there: also a program that went far from its parent."""
    assert natlab("up", "home:port,upnp").returncode == 0
    state = owner.running()
    assert state is not None
    stay = natlab("exec", "home", "--", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
    stray = int(stay.stdout)
    os.kill(state.owner, signal.SIGKILL)
    spaces = {each.namespace for each in state.machines}
    while names.alive(state.owner):
        os.sched_yield()
    folders = set(names.orphaned_folders())
    assert owner.running() is None and spaces <= set(names.orphans()) and folders
    with Lab():
        assert spaces.isdisjoint(os.listdir(names.FOLDER)) and folders.isdisjoint(names.folders())
        assert not names.alive(stray)
