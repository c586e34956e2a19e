"""Names for peers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import crust
from crust.cli.book import Book, BookError
from tests.cli.fakes import ALICE, BOB, printed, run_command, shown

CONTACT = crust.Contact(ALICE, [crust.Endpoint.parse("tcp://192.0.2.7:5483")])


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "crust" / "contacts")


def run(home: Path, *words: str) -> tuple[int, str, str]:
    code, terminal = run_command(home, "contacts", *words)
    return code, printed(terminal), shown(terminal)


def test_an_added_contact_is_found_again(book: Book) -> None:
    book.add("alice", CONTACT)
    assert book.find("alice") == CONTACT
    assert Book(book.path).resolve("alice") == CONTACT
    assert book.name_of(ALICE) == "alice"
    assert book.name_of(BOB) is None


def test_contacts_and_infos_need_no_book(book: Book) -> None:
    info = crust.ConnectionInfo(CONTACT, bytes(8))
    assert book.resolve(str(CONTACT)) == CONTACT
    assert book.resolve(str(ALICE)) == crust.Contact(ALICE)
    assert book.resolve(f" {info}\n") == info


def test_an_unknown_name_is_told_with_the_nearest_one(book: Book) -> None:
    book.add("alice", CONTACT)
    with pytest.raises(BookError, match="did you mean 'alice'"):
        book.resolve("alcie")
    with pytest.raises(BookError, match="crust contacts list"):
        book.resolve("bob")


@pytest.mark.parametrize(
    "text", [str(ALICE)[:-1] + "a", "tcp://192.0.2.7:5483", str(ALICE) + "@tcp://x", "crust1:zz"]
)
def test_a_mistyped_contact_is_not_taken_for_a_name(book: Book, text: str) -> None:
    with pytest.raises(crust.ContactSyntaxError):
        book.resolve(text)


def test_remarks_and_order_survive_changes(book: Book) -> None:
    book.path.parent.mkdir()
    book.path.write_text(f"# my friends\nbob {BOB}\n\n# work\ncarol {BOB}\n")
    book.add("alice", CONTACT)
    book.remove("bob")
    assert book.path.read_text() == f"# my friends\n\n# work\ncarol {BOB}\nalice {CONTACT}\n"


def test_a_name_is_not_given_twice_by_accident(book: Book) -> None:
    book.add("alice", CONTACT)
    book.add("alice", CONTACT)
    with pytest.raises(BookError, match="--replace"):
        book.add("alice", crust.Contact(BOB))
    book.add("alice", crust.Contact(BOB), replace=True)
    assert book.contacts() == {"alice": crust.Contact(BOB)}


@pytest.mark.parametrize("name", ["", "a b", "-v", "a@b", "x" * 65, "a/b", "#a", str(ALICE)])
def test_what_cannot_be_a_name_is_refused(book: Book, name: str) -> None:
    with pytest.raises(BookError, match="name"):
        book.add(name, CONTACT)
    assert not book.path.exists()


@pytest.mark.parametrize(
    "line", ["alice", "alice not-an-id", f"alice {ALICE} {BOB}", f"alice {ALICE}\nalice {BOB}"]
)
def test_a_damaged_book_is_told_with_the_line(book: Book, line: str) -> None:
    book.path.parent.mkdir()
    book.path.write_text(f"# mine\n{line}\n")
    with pytest.raises(BookError, match=r"contacts:[23]: "):
        book.contacts()
    assert book.name_of(ALICE) is None  # showing somebody is no time to complain


def test_a_book_that_is_not_text_is_told(book: Book) -> None:
    book.path.parent.mkdir()
    book.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BookError, match="not a text file"):
        book.contacts()


def test_a_failed_write_leaves_the_old_book(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk changes nothing and leaves no temporary file."""
    book.add("alice", CONTACT)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        book.add("bob", crust.Contact(BOB))
    assert book.names() == ["alice"]
    assert sorted(p.name for p in book.path.parent.iterdir()) == ["contacts", "contacts.lock"]


def test_the_commands_add_list_and_remove(tmp_path: Path) -> None:
    assert run(tmp_path, "add", "alice", str(CONTACT))[:2] == (0, "")
    assert run(tmp_path, "add", "bob", "alice")[0] == 0
    assert run(tmp_path, "list")[:2] == (0, f"alice {CONTACT}\nbob {CONTACT}\n")
    assert run(tmp_path, "list", "--json")[1] == f'{{"alice": "{CONTACT}", "bob": "{CONTACT}"}}\n'
    assert run(tmp_path, "remove", "alice")[0] == 0
    assert run(tmp_path, "list")[1] == f"bob {CONTACT}\n"


def test_errors_are_one_line_and_a_code(tmp_path: Path) -> None:
    code, _, words = run(tmp_path, "remove", "nobody")
    assert (code, words.count("\n")) == (1, 1)
    assert "no contact named 'nobody'" in words
    code, _, words = run(tmp_path, "add", "alice", str(ALICE) + "@")
    assert (code, words.count("\n")) == (2, 1)
