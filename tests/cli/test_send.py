"""``crust send`` on a fake node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import crust
from tests.cli.fakes import BOB, PATH, FakePeer, FakeService, make_terminal, printed, run_command, shown

CONTACT = f"{BOB}@tcp://192.0.2.7:5483"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"x" * 1000)
    return path


def the_peer(monkeypatch: pytest.MonkeyPatch) -> FakePeer:
    peer = FakePeer()
    original = FakeService.__init__

    def made(self: FakeService, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.answers["connect"] = peer

    monkeypatch.setattr(FakeService, "__init__", made)
    return peer


def test_a_file_is_sent_and_its_checksum_shown(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    peer = the_peer(monkeypatch)
    code, terminal = run_command(tmp_path, "send", CONTACT, str(photo), "--timeout", "7")
    (node,) = fake_service.made
    assert code == 0
    assert node.calls == [("connect", (crust.Contact.parse(CONTACT),), {"timeout": 7.0})]
    assert peer.outgoing == [photo]
    assert printed(terminal) == f"{'ab' * 32}  {photo}\n"
    assert "connected: direct-tcp to tcp://127.0.0.1:2, AEGIS-256" in shown(terminal)
    assert "sent photo.jpg: 1.00 kB" in shown(terminal)
    assert node.closed


def test_files_are_signed_if_that_is_wanted(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    peer = the_peer(monkeypatch)
    assert run_command(tmp_path, "send", "--sign", CONTACT, str(photo), str(photo))[0] == 0
    assert run_command(tmp_path, "send", CONTACT, str(photo))[0] == 0
    assert peer.signed == [True, True, False]


def test_json_tells_of_each_file(fake_service: type[FakeService], tmp_path: Path, photo: Path) -> None:
    code, terminal = run_command(tmp_path, "send", "--json", CONTACT, str(photo), str(photo))
    told = [json.loads(line) for line in printed(terminal).splitlines()]
    assert code == 0 and len(told) == 2
    assert told[0].pop("seconds") >= 0
    assert told[0] == {"event": "file_sent", "name": "photo.jpg", "size": 1000, "digest": "ab" * 32}


def test_a_refused_file_does_not_stop_the_next(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    peer = the_peer(monkeypatch)
    peer.file_errors["photo.jpg"] = crust.FileRefused("refused: too \x1b[31mlarge")
    other = tmp_path / "other"
    other.touch()
    code, terminal = run_command(tmp_path, "send", CONTACT, str(photo), str(other))
    assert code == 1
    assert peer.outgoing == [other]
    assert "photo.jpg: refused: too \\x1b[31mlarge" in shown(terminal)


def test_a_lost_peer_ends_it(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    the_peer(monkeypatch).file_errors["photo.jpg"] = crust.PeerLost("peer is gone", "timeout")
    code, terminal = run_command(tmp_path, "send", CONTACT, str(photo), str(photo))
    assert code == 1
    assert shown(terminal).count("crust: error: peer is gone") == 1
    assert fake_service.made[0].closed


def test_verbose_shows_what_was_tried(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    attempt = crust.Attempt("direct", "tcp://192.0.2.7:5483", 0.1, "refused", "Connection refused")
    monkeypatch.setattr(
        FakeService, "connect", _raises(crust.ConnectError("cannot reach", (attempt,))), raising=False
    )
    code, terminal = run_command(tmp_path, "send", CONTACT, str(photo), terminal=make_terminal(verbosity=1))
    assert code == 1
    assert "crust: error: cannot reach\n" in shown(terminal)
    assert "tried tcp://192.0.2.7:5483 (direct, 0.10 s): refused: Connection refused" in shown(terminal)


def _raises(error: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("name", "words"), [("nothing", "No such file"), ("folder", "is a directory")])
def test_files_are_looked_at_before_anybody_is_called(
    fake_service: type[FakeService], tmp_path: Path, photo: Path, name: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    code, terminal = run_command(tmp_path, "send", CONTACT, str(photo), str(tmp_path / name))
    assert code == 1
    assert words in shown(terminal) and shown(terminal).count("\n") == 1
    assert fake_service.made == []


def test_an_unknown_name_and_a_mistyped_contact_are_told(
    fake_service: type[FakeService], tmp_path: Path, photo: Path
) -> None:
    code, terminal = run_command(tmp_path, "send", "bob", str(photo))
    assert (code, shown(terminal).count("\n")) == (1, 1)
    code, terminal = run_command(tmp_path, "send", CONTACT[1:], str(photo))
    assert (code, shown(terminal).count("\n")) == (2, 1)
    assert fake_service.made == []


def test_a_lost_link_is_told_and_that_it_is_back(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    peer = the_peer(monkeypatch)

    def send_file(path: Path, *, progress: Any, **_: Any) -> crust.FileSent:
        (node,) = fake_service.made
        node.happen(crust.PeerSuspended(peer, "the cable was cut"))
        node.happen(crust.PeerResumed(peer, PATH))
        progress(1000, 1000)
        return crust.FileSent("photo.jpg", 1000, "ab" * 32)

    monkeypatch.setattr(peer.__class__, "send_file", lambda self, *a, **k: send_file(*a, **k))
    for tty in (False, True):
        fake_service.made.clear()
        _, terminal = run_command(tmp_path, "send", CONTACT, str(photo), terminal=make_terminal(tty=tty))
        assert "link lost, reconnecting" in shown(terminal)
        assert ("going on where it broke" in shown(terminal)) != tty


def test_ctrl_c_closes_the_node(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    the_peer(monkeypatch).file_errors["photo.jpg"] = KeyboardInterrupt()
    code, terminal = run_command(tmp_path, "send", CONTACT, str(photo))
    assert code == 130
    assert shown(terminal).endswith("interrupted\n")
    assert fake_service.made[0].closed


def test_the_router_is_left_alone(fake_service: type[FakeService], tmp_path: Path) -> None:
    """Who only calls need not be called; who waits must."""
    (tmp_path / "file").write_bytes(b"x")
    run_command(tmp_path, "send", f"{BOB}@tcp://127.0.0.1:4", str(tmp_path / "file"))
    assert fake_service.made[-1].config.nat.port_mapping == ()
    run_command(tmp_path, "node")
    assert fake_service.made[-1].config.nat.port_mapping == crust.Config().nat.port_mapping != ()
