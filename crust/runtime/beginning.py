"""
Greenlets that an interrupt strikes before they have begun.

After gevent's monkey patching a ``KeyboardInterrupt`` strikes whichever greenlet runs next, also one that has not run a
line of its own: ``Thread.start()`` would wait for it for ever, or its target would never run. Both would show when a
program is interrupted in the moment in which a peer connects.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["start_greenlet"]


class _Started:
    """Stands in for the event of a Thread that says that it has begun: ``wait`` ends also if it never will."""

    def __init__(self, event: Any) -> None:
        self._event = event
        self._greenlet: Any = None
        self.struck = False
        self.error: BaseException | None = None
        """What struck it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)

    def follow(self, greenlet: Any) -> None:
        """That is where the thread is to run: the first one to be spawned."""
        if self._greenlet is None:
            self._greenlet = greenlet
            greenlet.rawlink(self._ended)

    def leave(self) -> None:
        """It has begun: nothing of this is to stay, for another interrupt to strike."""
        if self._greenlet is not None:
            self._greenlet.unlink(self._ended)

    def _ended(self, greenlet: Any) -> None:
        if not self._event.is_set():
            self.struck, self.error = True, greenlet.exception
            self._event.set()


def start_greenlet(
    thread: threading.Thread,
    struck: Callable[[BaseException | None], bool],
    forward: Callable[[BaseException], object],
) -> bool:
    """
    ``thread.start()`` in a world of greenlets.

    Args:
        struck: Gets, on the thread, what has come out of its ``run()``; False if ``threading.excepthook`` is to get it.
        forward: Gets an interrupt that nobody has heard of.

    Returns:
        False if the thread was struck before it began: it has done nothing, so start another one in its place.
    """
    inside = vars(thread)
    event, report = inside["_started"], inside["_invoke_excepthook"]

    def invoke(thread: threading.Thread) -> None:
        if not struck(sys.exc_info()[1]):
            report(thread)

    started = inside["_started"] = _Started(event)
    inside["_invoke_excepthook"] = invoke
    greenlets: Any = sys.modules["gevent"].Greenlet
    greenlets.add_spawn_callback(started.follow)
    try:
        thread.start()
    finally:
        greenlets.remove_spawn_callback(started.follow)
    started.leave()
    if started.struck:
        vars(threading)["_limbo"].pop(thread, None)
        hidden = _hidden(started.error)
        if hidden is not None:
            forward(hidden)
        return False
    inside["_started"] = event  # (a peer costs as little memory as can be)
    return True


def _hidden(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interrupt during whose handling threading has raised something else, of which gevent tells nobody."""
    if isinstance(error, KeyboardInterrupt):
        return None
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error
