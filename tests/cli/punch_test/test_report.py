"""``punch-test report``: whom it asks, what it shows while it looks and afterwards, its files and exit codes."""

from __future__ import annotations

import concurrent.futures
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import crust
from tests.cli.fakes import BOB, FakePeer, FakeService, make_terminal, printed, run_command, shown
from tests.support.surveys import KINDS, SURVEYS

CONTACT = f"{BOB}@tcp://192.0.2.7:5483"
SERVER = "192.0.2.1:3478"
STAGES = ("interfaces", "dns", "udp4", "tcp4", "gateway")


class Surveyor:
    """In place of ``crust.survey``: gives examples, the last one for ever; keeps what it was asked."""

    def __init__(self) -> None:
        self.found = [SURVEYS["port"]]
        self.asked: list[dict[str, Any]] = []
        self.before: Callable[[], object] = lambda: None

    def __call__(self, stun: Any = (), *, on_progress: Any, **options: Any) -> crust.NetworkSurvey:
        self.before()
        self.asked.append({"stun": list(stun), **options})
        for number, stage in enumerate(STAGES):
            on_progress(crust.SurveyProgress(stage, f"looking at {stage}", False, number / 10))
            on_progress(crust.SurveyProgress(stage, f"{stage} is known", True, number / 10))
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]


@pytest.fixture
def surveyor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Surveyor]:
    made = Surveyor()
    monkeypatch.setattr(crust, "survey", made)
    yield made


def run(home: Path, *words: str, **options: Any) -> tuple[int, str, str]:
    """Code, data, what people saw."""
    code, terminal = run_command(home, "punch-test", "report", *words, terminal=make_terminal(**options))
    return code, printed(terminal), shown(terminal)


# --- the verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SURVEYS))
def test_the_exit_code_is_the_verdict(name: str, surveyor: Surveyor, tmp_path: Path) -> None:
    """0 for the grades A and B, else 1; the report is on stdout either way."""
    surveyor.found = [SURVEYS[name]]
    code, data, _ = run(tmp_path, "--stun", SERVER)
    assert code == (0 if KINDS[name][1] in ("A", "B") else 1)
    assert crust.assess(SURVEYS[name]).title in data


def test_json_is_one_object(surveyor: Surveyor, tmp_path: Path) -> None:
    surveyor.found = [SURVEYS["none"]]
    code, data, _ = run(tmp_path, "--json", "--stun", SERVER)
    assert code == 0
    assert json.loads(data)["assessment"]["kind"] == "open"


# --- whom it asks -----------------------------------------------------------------------------------------------------


def test_public_servers_are_named_before_they_are_asked(surveyor: Surveyor, tmp_path: Path) -> None:
    """With their operators, and how to avoid it."""
    terminal = make_terminal()
    before: list[str] = []
    surveyor.before = lambda: before.append(shown(terminal))
    run_command(tmp_path, "punch-test", "report", terminal=terminal)
    public = crust.config.public_servers()
    assert len({server.operator for server in public}) >= 2
    assert any(server.tests_filtering for server in public)
    for server in public:
        assert f"{server.address} ({server.operator})" in before[0]
    assert "--offline" in before[0]
    assert surveyor.asked[0]["stun"] == [server.address for server in public]


def test_named_servers_come_before_configured_ones_before_public_ones(surveyor: Surveyor, tmp_path: Path) -> None:
    path = tmp_path / "crust.yaml"
    path.write_text('version: 1\nnat: {stun_servers: ["stun.example.org:3478"]}\n')
    _, _, told = run(tmp_path, "--config", str(path))
    assert surveyor.asked[-1]["stun"] == ["stun.example.org:3478"] and "stun.example.org:3478" in told
    run(tmp_path, "--config", str(path), "--stun", SERVER, "--stun", "192.0.2.2:3478")
    assert surveyor.asked[-1]["stun"] == [SERVER, "192.0.2.2:3478"]


def test_offline_asks_nobody(surveyor: Surveyor, fake_service: type[FakeService], tmp_path: Path) -> None:
    """No server, no router, no node; nobody is named."""
    surveyor.found = [SURVEYS["offline"]]
    code, _, told = run(tmp_path, "--offline")
    (asked,) = surveyor.asked
    assert (asked["stun"], asked["offline"], asked["ask_router"], list(asked["helpers"])) == ([], True, False, [])
    assert (code, told, fake_service.made) == (1, "", [])


def test_options_reach_the_survey(surveyor: Surveyor, tmp_path: Path) -> None:
    run(tmp_path, "--stun", SERVER, "-6", "--no-router", "--lifetime", "--timeout", "2.5")
    (asked,) = surveyor.asked
    assert tuple(asked["families"]) == (6,)
    assert (asked["ask_router"], asked["lifetime"], asked["timeout"], asked["offline"]) == (False, True, 2.5, False)
    run(tmp_path, "--stun", SERVER)
    assert tuple(surveyor.asked[-1]["families"]) == (4, 6) and surveyor.asked[-1]["ask_router"]


def helping(fake: type[FakeService], monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    """Every dial ends so: a peer, an error, or None for never."""
    future: concurrent.futures.Future[crust.Peer] = concurrent.futures.Future()
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    elif outcome is not None:
        future.set_result(outcome)
    original = fake.__init__

    def made(self: FakeService, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.answers["dial"] = future

    monkeypatch.setattr(fake, "__init__", made)


def test_helpers_are_called_by_a_node_that_listens_nowhere(
    surveyor: Surveyor, fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has an identity of its own, and is closed in the end."""
    peer = FakePeer()
    helping(fake_service, monkeypatch, peer)
    run(tmp_path, "--stun", SERVER, "--contact", CONTACT)
    (node,) = fake_service.made
    assert (node.config.listen.addresses, node.config.identity.file) == ((), None)
    assert node.started and node.closed
    assert node.calls[0][:2] == ("dial", (crust.Contact.parse(CONTACT),))
    assert list(surveyor.asked[0]["helpers"]) == [peer]


def test_without_the_helper_it_goes_on(
    surveyor: Surveyor, fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And says who could not help, and why."""
    helping(fake_service, monkeypatch, crust.NoRoute("nobody is there"))
    code, data, told = run(tmp_path, "--stun", SERVER, "--contact", CONTACT)
    assert "cannot help: nobody is there" in told and "Grade B" in data
    assert list(surveyor.asked[0]["helpers"]) == []


def test_a_helper_that_never_answers_is_not_waited_for(
    surveyor: Surveyor, fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("crust.cli.punch_test.report._HELPER_TIMEOUT", 0.01)
    helping(fake_service, monkeypatch, None)
    _, _, told = run(tmp_path, "--stun", SERVER, "--contact", CONTACT)
    assert "cannot help: no answer within 0.01 s" in told


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_for_terminals(surveyor: Surveyor, tmp_path: Path) -> None:
    """A line a stage on stderr; none in a pipe, none with -q."""
    _, data, told = run(tmp_path, "--stun", SERVER, tty=True)
    assert [stage for stage in STAGES if f"{stage} is known" not in told] == []
    assert "is known" not in data
    _, _, told = run(tmp_path, "--stun", SERVER)
    assert told == f"asking {SERVER}\n"
    assert run(tmp_path, "-q", "--stun", SERVER, verbosity=-1)[2] == ""


def test_colours_are_for_terminals(surveyor: Surveyor, tmp_path: Path) -> None:
    assert "\x1b[" in run(tmp_path, "--stun", SERVER, tty=True)[1]
    assert "\x1b" not in run(tmp_path, "--stun", SERVER)[1]
    assert "\x1b" not in run(tmp_path, "--stun", SERVER, tty=True, environ={"NO_COLOR": "1"})[1]


# --- watching ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How long it waited between two looks; the fourth wait is interrupted."""
    found: list[float] = []

    def rest(seconds: float) -> None:
        found.append(seconds)
        if len(found) > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("crust.cli.punch_test.report.rest", rest)
    yield found


def test_watching_shows_what_has_changed(surveyor: Surveyor, waits: list[float], tmp_path: Path) -> None:
    """The whole report once, then lines for differences alone; Ctrl-C ends it."""
    surveyor.found = [SURVEYS[name] for name in ("port", "port", "udpblock", "port")]
    code, data, told = run(tmp_path, "--stun", SERVER, "--watch", "7")
    assert (code, waits) == (130, [7.0] * 4)
    assert data.count("Network report") == 1
    later = data.split("give it to people you trust.\n")[1].splitlines()
    assert "network: UDP is blocked (was: An ordinary home router)" in later[0]
    assert "network: An ordinary home router (was: UDP is blocked)" in later[len(later) // 2]
    assert "interrupted" in told


def test_watching_in_json_is_an_object_a_line(surveyor: Surveyor, waits: list[float], tmp_path: Path) -> None:
    code, data, _ = run(tmp_path, "--stun", SERVER, "--watch", "--json")
    assert (code, waits) == (130, [30.0] * 4)
    assert [json.loads(line)["schema"] for line in data.splitlines()] == [1, 1, 1, 1]


def test_nothing_moves_the_cursor_of_a_log(surveyor: Surveyor, waits: list[float], tmp_path: Path) -> None:
    """That nothing has changed is for who looks on."""
    words = ("--stun", SERVER, "--watch", "7")
    assert "no change" in run(tmp_path, *words, tty=True)[2]
    waits.clear()
    _, _, told = run(tmp_path, *words)
    assert "no change" not in told and "\x1b" not in told


def test_helpers_are_not_asked_more_often_than_they_answer(
    surveyor: Surveyor,
    waits: list[float],
    fake_service: type[FakeService],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Each survey takes all the calls that they grant in a minute."""
    helping(fake_service, monkeypatch, FakePeer())
    _, _, told = run(tmp_path, "--stun", SERVER, "--contact", CONTACT, "--watch", "7")
    assert min(waits) > 60 and "once a minute" in told


def test_an_interrupt_ends_the_survey(surveyor: Surveyor, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    surveyor.before = interrupt
    code, data, told = run(tmp_path, "--stun", SERVER, tty=True)
    assert (code, data) == (130, "") and "interrupted" in told


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_written_beside_the_text(surveyor: Surveyor, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("an older one")
    _, data, told = run(tmp_path, "--stun", SERVER, "--html", str(path))
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "Grade B" in data and str(path) in told
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_the_name_may_be_as_long_as_the_system_takes(surveyor: Surveyor, tmp_path: Path) -> None:
    """In bytes, too."""
    path = tmp_path / f"{'界' * 83}.html"
    run(tmp_path, "--stun", SERVER, "--html", str(path))
    assert path.stat().st_size > 1000


def test_the_file_behind_a_link_is_written(surveyor: Surveyor, tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to("real.html")
    run(tmp_path, "--stun", SERVER, "--html", str(tmp_path / "link.html"))
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "real.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "is a directory"), ("no/such/report.html", "there is no directory"), ("pipe", "not a regular file")],
)
def test_a_page_that_cannot_be_written_is_known_before(
    name: str, reason: str, surveyor: Surveyor, tmp_path: Path
) -> None:
    """Nobody waits, and nobody is asked, for nothing."""
    os.mkfifo(tmp_path / "pipe")
    code, data, told = run(tmp_path, "--stun", SERVER, "--html", str(tmp_path / name))
    assert (code, data, surveyor.asked) == (1, "", [])
    assert reason in told


def test_a_folder_without_permission(surveyor: Surveyor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root everything is writable, so the system's answer is taken in its place."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, told = run(tmp_path, "--stun", SERVER, "--html", str(tmp_path / "report.html"))
    assert (code, surveyor.asked) == (1, []) and "no permission" in told


def test_a_full_disk_leaves_the_old_page(
    surveyor: Surveyor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clear error, after the text, and without a piece of a file."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "report.html"
    path.write_text("an older one")
    monkeypatch.setattr(os, "fsync", full)
    code, data, told = run(tmp_path, "--stun", SERVER, "--html", str(path))
    assert code == 1 and "Grade B" in data
    assert "could not be written: No space left on device" in told
    assert path.read_text() == "an older one" and len(list(tmp_path.iterdir())) == 1


# --- wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--offline", "--stun", SERVER],
        ["--offline", "--contact", CONTACT],
        ["--stun", "192.0.2.1:99999"],
        ["--contact", f"{BOB}@nonsense"],
    ],
)
def test_arguments_that_make_no_sense_are_code_2(words: list[str], surveyor: Surveyor, tmp_path: Path) -> None:
    code, data, told = run(tmp_path, *words)
    assert (code, data, surveyor.asked) == (2, "", [])
    assert told.startswith("crust: error:")


@pytest.mark.parametrize(
    "words", [["-4", "-6"], ["--timeout", "0"], ["--watch", "soon"], ["--html"], ["--jso"], ["more"]]
)
def test_unknown_arguments_are_code_2(words: list[str], surveyor: Surveyor, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, *words)
    assert caught.value.code == 2


def test_a_broken_configuration_is_an_error(surveyor: Surveyor, tmp_path: Path) -> None:
    path = tmp_path / "crust.yaml"
    path.write_text("nat: {stun_server: []}\n")
    code, _, told = run(tmp_path, "--config", str(path))
    assert (code, surveyor.asked) == (1, []) and "stun_servers" in told
