"""A node without a network, for the commands to run on; and a terminal to look at."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import crust
from crust.cli import main
from crust.cli.book import Book
from crust.cli.context import Context
from crust.cli.terminal import Terminal

ALICE = crust.PeerId(bytes([1]) * 32)
BOB = crust.PeerId(bytes([2]) * 32)
PATH = crust.Path(
    path_class="direct-tcp",
    transport="tcp",
    local="tcp://127.0.0.1:1",
    remote="tcp://127.0.0.1:2",
    cipher="AEGIS-256",
    inbound=False,
    since=1.0,
)


class FakePeer(crust.Peer):
    """A peer that only knows who it is and what it was given."""

    role = "node"  # type: ignore[assignment]
    inbound = False  # type: ignore[assignment]
    state = "connected"  # type: ignore[assignment]
    path = PATH  # type: ignore[assignment]
    relays = True  # type: ignore[assignment]

    def __init__(self, peer_id: crust.PeerId = BOB) -> None:
        self.id = peer_id
        self.outgoing: list[Any] = []
        self.file_errors: dict[str, BaseException] = {}
        self.signed: list[bool] = []

    def send(self, data: Any, **options: Any) -> int:
        self.outgoing.append(data)
        return len(self.outgoing) - 1

    def flush(self, timeout: Any = None) -> None:
        pass

    def send_file(
        self, path: Any, *, name: Any = None, sign: bool = False, progress: Any = None, timeout: Any = None
    ) -> crust.FileSent:
        path = Path(path)
        self.signed.append(sign)
        if path.name in self.file_errors:
            raise self.file_errors[path.name]
        self.outgoing.append(path)
        size = path.stat().st_size
        if progress is not None:
            progress(size, size)
        return crust.FileSent(path.name, size, "ab" * 32)


class FakeService:
    """Records what it is asked; what it answers is in ``answers`` by the name of the method: a value or an error."""

    made: list[FakeService] = []
    start_errors: list[BaseException] = []

    def __init__(self, config: crust.Config, *, contacts: Any = (), **_: Any) -> None:
        self.config = config
        self.contacts = list(contacts)
        self.id = ALICE
        self.contact = crust.Contact(ALICE, [crust.Endpoint.parse("tcp://127.0.0.1:4")])
        self.addresses = self.contact.endpoints
        self.peers: list[crust.Peer] = []
        self.closed = False
        self.started = False
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.callbacks: dict[type[Any], list[Callable[[Any], object]]] = {}
        self.answers: dict[str, Any] = {"connect": FakePeer(), "bootstrap": FakePeer()}
        FakeService.made.append(self)

    def start(self) -> FakeService:
        if FakeService.start_errors:
            raise FakeService.start_errors.pop(0)
        self.started = True
        return self

    def close(self, timeout: float | None = 5.0) -> bool:
        self.closed = True
        return True

    def wait(self, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    def on(self, kind: type[Any], callback: Callable[[Any], object]) -> None:
        self.callbacks.setdefault(kind, []).append(callback)

    def happen(self, event: Any) -> None:
        """Tell the callbacks."""
        for callback in self.callbacks.get(type(event), []):
            callback(event)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            answer = self.answers.get(name)
            if callable(answer) and not isinstance(answer, crust.Peer):
                answer = answer(*arguments, **options)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, text: str = "", *, tty: bool = False) -> None:
        super().__init__(text)
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


class Input(Screen):
    """A stdin with a descriptor of its own."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


def make_terminal(*, tty: bool = False, answers: str = "", **options: Any) -> Terminal:
    """A terminal whose streams are in memory."""
    options.setdefault("environ", {})
    return Terminal(stdout=Screen(tty=tty), stderr=Screen(tty=tty), stdin=Screen(answers, tty=tty), **options)


def run_command(home: Path, *words: str, terminal: Terminal | None = None) -> tuple[int, Terminal]:
    """Run ``crust WORDS`` here, with ``home`` as the user's directory; its exit code, and what was shown."""
    terminal = terminal or make_terminal()
    arguments = main.build_parser().parse_args(words)
    environ = {"XDG_CONFIG_HOME": str(home), "XDG_RUNTIME_DIR": f"{home}/run"}
    return main.run(arguments.run, arguments, terminal, environ), terminal


def make_context(
    home: Path, terminal: Terminal | None = None, environ: Mapping[str, str] | None = None
) -> Context:
    """Surroundings whose user directory is ``home/crust``."""
    environ = {"XDG_CONFIG_HOME": str(home), "XDG_RUNTIME_DIR": f"{home}/run", **(environ or {})}
    return Context(terminal or make_terminal(), Book(home / "crust" / "contacts"), environ)


def shown(terminal: Terminal) -> str:
    """What people were shown."""
    assert isinstance(terminal.stderr, io.StringIO)
    return terminal.stderr.getvalue()


def printed(terminal: Terminal) -> str:
    """The data."""
    assert isinstance(terminal.stdout, io.StringIO)
    return terminal.stdout.getvalue()
