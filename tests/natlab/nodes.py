"""``crust node --json`` on hosts of the laboratory."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.cli.processes import Process
from tests.natlab.hosts import Host


class Node:
    """
    A node on a host, driven by lines of JSON.

    Args:
        host: Where it runs.
        home: Its user's directory.
        words: More options.
        listen: Addresses, in which ``{host.ipv4}`` and ``{host.ipv6}`` stand for the host's own.
        environ: Of its environment.
    """

    def __init__(
        self, host: Host, home: Path, *words: str, listen: Iterable[str] = ("tcp://{host.ipv4}:0",), **environ: str
    ) -> None:
        options = [word for each in listen for word in ("--listen", each.format(host=host))]
        state = str(home / host.name / "state")  # of its host: what one has met, others have not
        environ = {"XDG_STATE_HOME": state, **environ}
        self.host = host
        self.process = Process(home, "node", "--json", *options, *words, prefix=host.prefix, **environ)
        self.peer = self.contact = ""

    def __enter__(self) -> Node:
        with contextlib.ExitStack() as stack:
            stack.push(self.process)
            started = self.told(event="started")
            self.peer, self.contact = started["peer"], started["contact"]
            stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self.process.__exit__(*error)

    def told(self, **wanted: Any) -> dict[str, Any]:
        """The next line with these values."""
        return self.process.told(**wanted)

    def connect(self, other: Node, timeout: float = 20.0) -> dict[str, Any]:
        """The path to another node, once both have the session; fails the test if there is none."""
        reply = self.process.ask("connect", peer=other.contact, timeout=timeout)
        assert reply["ok"], reply
        other.told(event="connect_success", peer=self.peer)
        path: dict[str, Any] = reply["path"]
        return path

    def send(self, other: Node, *messages: bytes) -> None:
        """Give messages to the node, which it takes as fast as it has room."""
        for data in messages:
            self.process.write(cmd="send", peer=other.peer, data=base64.b64encode(data).decode(), timeout=None)

    def messages(self, count: int) -> list[bytes]:
        """The next so many messages."""
        return [base64.b64decode(self.told(event="new_message")["data"]) for _ in range(count)]


@contextlib.contextmanager
def two_nodes(here: Host, there: Host, home: Path, **options: Any) -> Iterator[tuple[Node, Node]]:
    """A node on each of two hosts, with the same options."""
    with Node(here, home, **options) as one, Node(there, home, **options) as other:
        yield one, other
