"""
Names for peers: the book of contacts, and ``crust contacts add | list | remove``.

The book is a text file, ``$XDG_CONFIG_HOME/crust/contacts``: a name and a contact on each line, ``#`` for
remarks, which stay where they are. It is replaced as a whole, so a crash leaves the old one or the new one.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import crust

from .errors import CommandError

if TYPE_CHECKING:
    from .context import Context

__all__ = ["Book", "BookError", "register"]

_NAME = re.compile(r"[\w.+-]{1,64}")
_FILE_MAX = 4 * 1024 * 1024  # bytes; a book is small, anything else is another file


class BookError(CommandError):
    """The book cannot be read or changed so; the text says why."""


class Book:
    """
    The contacts of one file; it is read when first asked.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.contacts())

    def contacts(self) -> dict[str, crust.Contact]:
        """
        Name to contact, in the order of the file.

        Raises:
            BookError: A line is not a name and a contact; the text has its number.
        """
        found: dict[str, crust.Contact] = {}
        for number, line in enumerate(self._lines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            words = line.split()
            try:
                if len(words) != 2:
                    raise BookError("expected a name and a contact")
                self._check_name(words[0])
                if words[0] in found:
                    raise BookError(f"the name {words[0]!r} is there twice")
                found[words[0]] = crust.Contact.parse(words[1])
            except (BookError, crust.ContactSyntaxError) as error:
                raise BookError(f"{self.path}:{number}: {error}") from error
        return found

    def find(self, name: str) -> crust.Contact | None:
        """The contact of this name, or None."""
        return self.contacts().get(name) if _NAME.fullmatch(name) else None

    def resolve(self, text: str) -> crust.Contact | crust.ConnectionInfo:
        """
        Whom a word means: a contact, a peer id, a connection info, or a name of this book.

        Raises:
            BookError: It is a name that the book does not have.
            crust.ContactSyntaxError: It was meant as one of the others and is mistyped.
        """
        text = text.strip()
        if text.startswith("crust1:"):
            return crust.ConnectionInfo.parse(text)
        try:
            return crust.Contact.parse(text)
        except crust.ContactSyntaxError:
            named = self.find(text)
            if named is not None:
                return named
            if not _NAME.fullmatch(text) or len(text) > 40:
                raise
        near = difflib.get_close_matches(text, self.names(), n=1)
        advice = f"did you mean {near[0]!r}?" if near else "`crust contacts list` shows the names there are"
        raise BookError(f"{text!r} is neither a contact nor the name of one: {advice}")

    def name_of(self, peer_id: crust.PeerId) -> str | None:
        """A name for this peer, or None; never an error, as it only serves to show something friendlier."""
        try:
            return next((n for n, contact in self.contacts().items() if contact.peer_id == peer_id), None)
        except (BookError, OSError):
            return None

    def add(self, name: str, contact: crust.Contact, *, replace: bool = False) -> None:
        """
        Give a contact a name.

        Raises:
            BookError: The name cannot be one, or belongs to another contact and ``replace`` is false.
            OSError: The file cannot be written.
        """
        self._check_name(name)
        with self._locked():
            known = self.contacts().get(name)
            if known is not None and known != contact and not replace:
                raise BookError(f"{name!r} is already {known}: add --replace to change it")
            lines = self._without(name) if known is not None else self._lines()
            self._write([*lines, f"{name} {contact}"])

    def remove(self, name: str) -> None:
        """
        Forget a name.

        Raises:
            BookError: There is no such name.
            OSError: The file cannot be written.
        """
        with self._locked():
            if name not in self.contacts():
                raise BookError(f"there is no contact named {name!r} in {self.path}")
            self._write(self._without(name))

    @staticmethod
    def _check_name(name: str) -> None:
        if not _NAME.fullmatch(name) or name.startswith("-"):
            raise BookError(f"{name!r} cannot be a name: use up to 64 letters, digits, '.', '_', '+' and '-'")
        try:
            crust.PeerId.parse(name)
        except crust.ContactSyntaxError:
            return
        raise BookError(f"{name!r} is a peer id, so it cannot be the name of one")

    def _lines(self) -> list[str]:
        try:
            with open(self.path, encoding="utf-8") as file:
                text = file.read(_FILE_MAX + 1)
        except FileNotFoundError:
            return []
        except UnicodeDecodeError as error:
            raise BookError(f"{self.path}: not a text file: {error}") from error
        if len(text) > _FILE_MAX:
            raise BookError(f"{self.path}: too large to be a book of contacts")
        return text.splitlines()

    def _without(self, name: str) -> list[str]:
        return [line for line in self._lines() if line.split()[:1] != [name]]

    def _write(self, lines: list[str]) -> None:
        path = Path(
            os.path.realpath(self.path)
        )  # through a link: the file behind it is replaced, not the link
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".contacts.")  # 0600
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at once change the book one after the other."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.path.with_name(self.path.name + ".lock"), "w") as lock:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)  # gives up after ten seconds
            else:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "contacts",
        parents=[common],
        help="give contacts names",
        description="Names for peers. A name works wherever a command takes a contact.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    add = actions.add_parser("add", parents=[common], help="give a contact a name", allow_abbrev=False)
    add.add_argument("name", metavar="NAME")
    add.add_argument("contact", metavar="CONTACT", help="what `crust recv` shows there, or a bare peer id")
    add.add_argument("--replace", action="store_true", help="the name may belong to another contact now")
    add.set_defaults(run=_add)

    listing = actions.add_parser("list", parents=[common], help="show all names", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="as one JSON object, name to contact")
    listing.set_defaults(run=_list)

    remove = actions.add_parser("remove", parents=[common], help="forget a name", allow_abbrev=False)
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)


def _add(arguments: argparse.Namespace, context: Context) -> int:
    found = context.book.resolve(arguments.contact)
    contact = found.contact if isinstance(found, crust.ConnectionInfo) else found
    context.book.add(arguments.name, contact, replace=arguments.replace)
    context.terminal.say(f"{arguments.name} is {contact}")
    return 0


def _list(arguments: argparse.Namespace, context: Context) -> int:
    contacts = context.book.contacts()
    if arguments.json:
        context.terminal.out(json.dumps({name: str(contacts[name]) for name in sorted(contacts)}))
        return 0
    if not contacts:
        context.terminal.say("no contacts yet: crust contacts add NAME CONTACT")
    for name in sorted(contacts):
        context.terminal.out(f"{name} {contacts[name]}")
    return 0


def _remove(arguments: argparse.Namespace, context: Context) -> int:
    context.book.remove(arguments.name)
    context.terminal.say(f"{arguments.name} is forgotten")
    return 0
