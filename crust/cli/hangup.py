"""SIGHUP: ``crust node`` reads its configuration again."""

from __future__ import annotations

import os
import selectors
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import crust

from .terminal import Terminal, printable

__all__ = ["Hangups", "outcome"]

_TEXT_MAX = 2000  # characters of what is shown


def outcome(told: crust.ConfigReloaded) -> str:
    """What came of it, as a line."""
    text = f"configuration read again; changed: {', '.join(told.applied) or 'nothing'}"
    return f"{text}; needs a restart: {', '.join(told.needs_restart)}" if told.needs_restart else text


class Hangups:
    """
    While this context lasts, SIGHUP has the node read its configuration again. Where there is no such signal, on other
    threads than the main one, and where it is ignored (``nohup``), nothing is different.

    It begins before the node does, since the signal ends a program that does not expect it; what comes until
    :meth:`serve` is done then. A terminal that is closed sends the same signal: who has lost it ends, as by SIGTERM.

    Args:
        terminal: Is told what came of it.
        tells: It shows the node's events anyway: say nothing that is one.
    """

    def __init__(self, terminal: Terminal, *, tells: bool = False) -> None:
        self._terminal = terminal
        self._tells = tells
        self._number: Any = getattr(signal, "SIGHUP", None)
        self._before: Any = None
        self._is_installed = False
        self._reader: threading.Thread | None = None
        self._is_over = False  # what the pipe has no room to say
        self._has_terminal = False

    def __enter__(self) -> Hangups:
        if self._number is None or signal.getsignal(self._number) is signal.SIG_IGN:
            return self
        self._has_terminal = _has_terminal()
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        try:
            self._before = signal.signal(self._number, self._heard)
        except ValueError:  # not the main thread: whoever embeds us handles signals
            self._close_pipe()
            return self
        self._is_installed = True
        return self

    def serve(self, node: crust.Service) -> None:
        """It is that node, which has been started."""
        if self._is_installed:
            # A handler runs in the middle of anything, with any lock held: the work is done elsewhere.
            self._reader = threading.Thread(target=self._run, args=(node,), name="crust-hangup", daemon=True)
            self._reader.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._is_installed:
            signal.signal(self._number, self._before)
            if self._reader is not None:
                self._is_over = True
                self._wake()
                self._reader.join()
            self._close_pipe()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._in, b"!")
        except BlockingIOError:
            pass  # so many wait to be heard that one more makes no difference

    def _close_pipe(self) -> None:
        os.close(self._out)
        os.close(self._in)

    def _run(self, node: crust.Service) -> None:
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(self._out, selectors.EVENT_READ)
                selector.select()
            os.read(self._out, 4096)
            if self._is_over:
                return
            if self._has_terminal and not _has_terminal():
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                self._reload(node)

    def _reload(self, node: crust.Service) -> None:
        try:
            told = node.reload()
        except crust.ServiceClosed:
            return
        except crust.ConfigError as error:
            if not self._tells:
                self._terminal.error(printable(f"nothing of the configuration is changed: {error}", _TEXT_MAX))
            return
        if not self._tells:
            self._terminal.say(printable(outcome(told), _TEXT_MAX))


def _has_terminal() -> bool:
    """False also when it has been closed."""
    return any(os.isatty(descriptor) for descriptor in (0, 1, 2))
