"""``crust verify``, and where proofs are kept."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

import crust
from crust.addresses import network_id
from crust.cli import proofs, verify
from crust.cli.proofs import SUFFIX, keep
from crust.crypto.keys import hash32
from crust.crypto.proofs import Signatory, evidence_of
from tests.cli.fakes import printed, run_command, shown

ALICE, BOB = crust.Identity.generate(), crust.Identity.generate()


def proof_of_file(
    content: bytes, time: int = 1_800_000_000_000, name: str = "letter", size: int | None = None
) -> bytes:
    alice, bob = (Signatory(identity, network_id(None)) for identity in (ALICE, BOB))
    signed = alice.sign_file(bob.own_id, bytes(16), time, len(content) if size is None else size, hash32(content), name)
    return bob.open_file(alice.own_id, signed)[1]


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / "letter"
    path.write_bytes(b"hello")
    (tmp_path / f"letter{SUFFIX}").write_bytes(proof_of_file(b"hello"))
    return path


def test_a_right_proof(tmp_path: Path, letter: Path) -> None:
    """Who, for whom, when, as what: on stdout; names of the book beside the ids."""
    run_command(tmp_path, "contacts", "add", "alice", str(ALICE.peer_id))
    run_command(tmp_path, "contacts", "add", "bob", str(BOB.peer_id))
    code, terminal = run_command(tmp_path, "verify", str(letter), "--from", "alice", "--for", str(BOB.peer_id))
    assert code == 0
    assert printed(terminal).splitlines() == [
        f"signed by  {ALICE.peer_id} (alice)",
        f"for        {BOB.peer_id} (bob)",
        "at         2027-01-15 08:00:00 UTC, by the sender's clock",
        "as         letter",
        f"BLAKE2b    {hash32(b'hello').hex()}, 5 bytes",
    ]
    assert shown(terminal) == ""


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system has no TZ")
def test_the_time_is_that_of_utc(tmp_path: Path, letter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever whoever looks is: two who compare what they see, see the same."""
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "XYZ-5")
            time.tzset()
            code, terminal = run_command(tmp_path, "verify", str(letter))
    finally:
        time.tzset()
    assert code == 0 and "at         2027-01-15 08:00:00 UTC," in printed(terminal)


@pytest.mark.parametrize(
    ("content", "proof", "text"),
    [
        (b"hullo", proof_of_file(b"hello"), "is not what was signed"),
        (b"hello!", proof_of_file(b"hello"), "is not what was signed"),
        (b"", proof_of_file(b"hello"), "is not what was signed"),
        (b"hello", proof_of_file(b"hello", size=6), "is not what was signed"),
        (b"hello", proof_of_file(b"hello")[:-1], "signature|damaged"),
        (b"hello", b"", "no proof"),
        (b"hello", b"hello", "no proof"),
    ],
)
def test_a_wrong_file_or_proof(tmp_path: Path, letter: Path, content: bytes, proof: bytes, text: str) -> None:
    """One line that says which, exit code 1, and nothing on stdout."""
    letter.write_bytes(content)
    (tmp_path / f"letter{SUFFIX}").write_bytes(proof)
    code, terminal = run_command(tmp_path, "verify", str(letter))
    assert (code, printed(terminal), shown(terminal).count("\n")) == (1, "", 1)
    assert re.search(text, shown(terminal))
    assert (f"letter{SUFFIX}: " in shown(terminal)) == (text != "is not what was signed")


@pytest.mark.parametrize("file", [".", "..", "/", "", "missing", os.devnull])
def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """One line, exit code 1; also where no name is left for a proof beside it."""
    monkeypatch.chdir(tmp_path)
    code, terminal = run_command(tmp_path, "verify", file)
    assert (code, printed(terminal), shown(terminal).count("\n")) == (1, "", 1)
    text = {os.devnull: "is not a regular file", "missing": "No such file"}.get(file, "is a directory")
    assert text in shown(terminal)


def test_what_a_stranger_wrote_is_harmless(tmp_path: Path, letter: Path) -> None:
    """A name with control characters, a clock beyond all calendars."""
    (tmp_path / f"letter{SUFFIX}").write_bytes(proof_of_file(b"hello", (1 << 64) - 1, "\x1b[2Jevil\n"))
    code, terminal = run_command(tmp_path, "verify", str(letter))
    assert code == 0
    assert "\x1b" not in printed(terminal) and len(printed(terminal).splitlines()) == 5
    assert "s after 1970" in printed(terminal)


def test_signed_by_or_for_somebody_else(tmp_path: Path, letter: Path) -> None:
    """Whoever says who it must be is told if it is another; who does not is told to look."""
    expected = {"--from": f"signed by {ALICE.peer_id}, not", "--for": f"signed for {BOB.peer_id}, not"}
    for option, text in expected.items():
        wrong = BOB if option == "--from" else ALICE
        code, terminal = run_command(tmp_path, "verify", str(letter), option, str(wrong.peer_id))
        assert (code, printed(terminal)) == (1, "") and text in shown(terminal)
    code, terminal = run_command(tmp_path, "verify", str(letter), "--for", str(BOB.peer_id))
    assert code == 0 and "--from" in shown(terminal)


def test_as_json(tmp_path: Path, letter: Path) -> None:
    """Every field of the proof, and which files."""
    code, terminal = run_command(tmp_path, "verify", str(letter), "--json", "--from", str(ALICE.peer_id))
    assert code == 0
    assert json.loads(printed(terminal)) == {
        "file": str(letter),
        "proof": f"{letter}{SUFFIX}",
        "kind": "file",
        "sender": str(ALICE.peer_id),
        "receiver": str(BOB.peer_id),
        "time": 1_800_000_000.0,
        "name": "letter",
        "size": 5,
        "digest": hash32(b"hello").hex(),
        "id": bytes(16).hex(),
        "network_id": network_id(None).hex(),
    }


def test_a_file_is_looked_at_piece_by_piece(
    tmp_path: Path, letter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it counts, however many there are."""
    monkeypatch.setattr(verify, "_PIECE", 2)
    assert run_command(tmp_path, "verify", str(letter))[0] == 0


def test_what_is_too_large_for_a_proof(tmp_path: Path, letter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and its proof may have been given the wrong way round: not all of it is read."""
    size = len(proof_of_file(b"hello"))
    monkeypatch.setattr(proofs, "_SIZE_MAX", size)
    assert run_command(tmp_path, "verify", str(letter))[0] == 0
    monkeypatch.setattr(proofs, "_SIZE_MAX", size - 1)
    code, terminal = run_command(tmp_path, "verify", str(letter))
    assert code == 1 and "too large" in shown(terminal)


def test_a_message_that_was_saved(tmp_path: Path) -> None:
    """``NewMessage.data`` and ``NewMessage.proof`` in files: the same command."""
    alice, bob = (Signatory(identity, network_id(None)) for identity in (ALICE, BOB))
    signed = alice.sign_message(bob.own_id, bytes(16), 1_800_000_000_000, b"I owe you 7")
    (tmp_path / "data").write_bytes(b"I owe you 7")
    (tmp_path / "proof").write_bytes(bob.proof_of(alice.own_id, evidence_of(signed), b"I owe you 7"))
    code, terminal = run_command(tmp_path, "verify", str(tmp_path / "data"), str(tmp_path / "proof"))
    assert code == 0
    assert "as         a message" in printed(terminal)


def test_proofs_are_kept_beside_their_files(tmp_path: Path) -> None:
    """Private, under a free name that fits the file system; nothing is overwritten and no link is followed."""
    os.symlink(tmp_path / "elsewhere", tmp_path / f"letter{SUFFIX}")
    first, second = (keep(tmp_path / "letter", proof) for proof in (b"one", b"two"))
    assert (first.name, second.name) == (f"letter (1){SUFFIX}", f"letter (2){SUFFIX}")
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert first.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "elsewhere").exists()
    long = keep(tmp_path / ("ü" * 127), b"proof")
    assert long.name.endswith(SUFFIX) and len(os.fsencode(long.name)) <= 255


def test_nobody_uses_up_the_names_of_proofs(tmp_path: Path) -> None:
    """Who sends a thousand files called as another one's proof would be does not keep that from having one."""
    for number in range(1001):
        (tmp_path / (f"letter ({number}){SUFFIX}" if number else f"letter{SUFFIX}")).touch()
    assert keep(tmp_path / "letter", b"proof").read_bytes() == b"proof"
    assert len(list(tmp_path.iterdir())) == 1002


def test_a_proof_that_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    """OSError, and no half of it."""
    with pytest.raises(FileNotFoundError):
        keep(tmp_path / "missing" / "letter", b"proof")
    with pytest.raises(TypeError):
        keep(tmp_path / "letter", "no bytes")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
