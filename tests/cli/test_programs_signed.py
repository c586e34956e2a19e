"""``crust send --sign``, ``crust recv`` and ``crust verify`` for real."""

from __future__ import annotations

import json
import os
from pathlib import Path

import crust
from tests.cli.processes import LOCAL, Process, no_traceback

ALICE, BOB = "alice", "bob"


def run(home: Path, *words: str) -> Process:
    """A command that has ended."""
    with Process(home, *words) as process:
        process.ends()
        no_traceback(process)
    return process


def verify(home: Path, code: int, *words: str) -> Process:
    process = run(home, "verify", *words)
    assert process.ends() == code, process.errors
    return process


def send_one(home: Path, name: str, *, sign: bool, options: tuple[str, ...] = ()) -> tuple[Process, Process]:
    """Alice sends a file to Bob; both commands when they have ended."""
    (home / "in").mkdir(exist_ok=True)
    words = ("recv", "--dir", "in", "--listen", LOCAL, "--identity", BOB, "--yes", "--once", *options)
    with Process(home, *words) as receiver:
        contact = receiver.line()
        if contact.startswith("{"):
            contact = json.loads(contact)["contact"]
        more = ("--sign",) if sign else ()
        sender = run(home, "send", "--identity", ALICE, *more, contact, name)
        if sender.ends() == 0:
            receiver.ends()
        else:
            receiver.interrupt()
            receiver.ends()
        no_traceback(receiver)
    return sender, receiver


def test_a_third_party_verifies_what_was_sent(tmp_path: Path) -> None:
    """The proof lies beside the file; it holds for that content, sender and receiver alone, under any name."""
    letter = os.urandom(100_000)
    (tmp_path / "letter.txt").write_bytes(letter)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "letter.txt.crust-proof").write_bytes(b"mine")
    sender, receiver = send_one(tmp_path, "letter.txt", sign=True)
    assert (sender.ends(), receiver.ends()) == (0, 0)
    assert "crust verify" in receiver.errors
    assert (tmp_path / "in" / "letter.txt.crust-proof").read_bytes() == b"mine"
    proof = tmp_path / "in" / "letter.txt (1).crust-proof"
    assert proof.stat().st_mode & 0o777 == 0o600
    alice, bob = (str(crust.Identity.load(tmp_path / name).peer_id) for name in (ALICE, BOB))

    third = tmp_path / "third"  # somebody else's machine: no identity, no node, other names
    third.mkdir()
    (third / "a").write_bytes(letter)
    (third / "a.crust-proof").write_bytes(proof.read_bytes())
    shown = verify(third, 0, "a")
    lines = [shown.line() for _ in range(5)]
    assert lines[0] == f"signed by  {alice}" and lines[1] == f"for        {bob}"
    assert "by the sender's clock" in lines[2] and lines[3] == "as         letter.txt"
    assert "compare the sender's id" in shown.errors
    told = json.loads(verify(third, 0, "a", "a.crust-proof", "--from", alice, "--for", bob, "--json").line())
    assert (told["sender"], told["receiver"], told["name"], told["size"]) == (alice, bob, "letter.txt", 100_000)
    assert sorted(path.name for path in third.iterdir()) == ["a", "a.crust-proof"]

    assert f"is signed by {alice}, not by {bob}" in verify(third, 1, "a", "--from", bob).errors
    assert f"is signed for {bob}, not for {alice}" in verify(third, 1, "a", "--for", alice).errors
    (third / "a").write_bytes(letter[:-1] + bytes([letter[-1] ^ 1]))
    assert "is not what was signed" in verify(third, 1, "a").errors
    (third / "a").write_bytes(letter)
    forged = bytearray(proof.read_bytes())
    forged[-1] ^= 1
    (third / "b").write_bytes(forged)
    assert "signature is not that of" in verify(third, 1, "a", "b").errors


def test_wrong_words(tmp_path: Path) -> None:
    """Exit codes as those of other commands: 2 for the words, 1 for what is not there or no proof."""
    (tmp_path / "file").write_bytes(b"x")
    verify(tmp_path, 2)
    verify(tmp_path, 2, "file", "proof", "more")
    assert "peer id" in verify(tmp_path, 2, "file", "file", "--from", "a" * 56).errors
    assert "file.crust-proof: No such file" in verify(tmp_path, 1, "file").errors
    assert "nothing: No such file" in verify(tmp_path, 1, "nothing", "file").errors
    assert "is a directory" in verify(tmp_path, 1, ".", "file").errors
    assert "no proof" in verify(tmp_path, 1, "file", "file").errors


def test_who_takes_only_signed_files(tmp_path: Path) -> None:
    """``recv --signed``: the sender without ``--sign`` is told why, and nothing arrives; with it, all is well."""
    (tmp_path / "letter").write_bytes(b"hello")
    sender, _ = send_one(tmp_path, "letter", sign=False, options=("--signed",))
    assert sender.ends() == 1
    assert "takes only files that are signed" in sender.errors
    assert list((tmp_path / "in").iterdir()) == []
    sender, receiver = send_one(tmp_path, "letter", sign=True, options=("--signed", "--json"))
    assert (sender.ends(), receiver.ends()) == (0, 0)
    told = json.loads(receiver.line())
    assert told["event"] == "file_received"
    assert Path(tmp_path, told["proof_file"]).name == "letter.crust-proof"
    sender, receiver = send_one(tmp_path, "letter", sign=False)
    assert (sender.ends(), receiver.ends()) == (0, 0)
    assert len(list((tmp_path / "in").iterdir())) == 3  # a file without a signature has no proof
