"""Reading the configuration of a running node again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from ... import limits
from ...addresses import Contact
from ...config import Config
from ...exceptions import ConfigError, CrustError
from ...runtime.timers import Timer
from .. import events
from ..network.network import Network
from ..node import Node
from .applying import Applying
from .merging import merge
from .watch import Verdict, Watch, look_at, mark_of, read_regular

__all__ = ["Reloading"]

Wanted = Config | str | os.PathLike[str] | None


class Reloading:
    """
    Watches the file that the configuration came from, and takes from it what a running node can. Thread-safe.

    No thread rests here: looks and changes have one of their own, ``crust-config``, for as long as they take.

    Args:
        node: The node, not started.
        network: What knows its addresses.
        fallback: Contacts that the program has given, beside those of the configuration.
        adopt: Called with the configuration that counts from now on.
    """

    def __init__(
        self, node: Node, network: Network, fallback: Iterable[Contact], adopt: Callable[[Config], object]
    ) -> None:
        self._node = node
        self._applying = Applying(node, network, fallback, adopt)
        self._lock = threading.Lock()  # guards _watch; held while anything is read or changed
        source = node.config.source
        self._watch = None if source is None else Watch(source.digest)
        self._timer_lock = threading.Lock()  # guards what follows
        self._timer: Timer | None = None
        self._closed = False

    # --- when ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look at the file now and then, from now on."""
        self._look_in(self._node.config.reload_interval)

    def _look_in(self, seconds: float | None) -> None:
        """At the earliest then; None: not unless told."""
        with self._timer_lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self._closed and seconds is not None and self._node.config.source is not None:
                self._timer = self._node.io.call_later(seconds, self._due)

    def _due(self, _now: float) -> None:
        try:
            self._node.spawn("crust-config", self._look)
        except RuntimeError:  # no thread to be had: the next time tries again
            self._look_in(self._node.config.reload_interval)

    def _look(self) -> None:
        """A look at the file (a thread)."""
        again = False
        try:
            with self._lock:
                again = self._look_locked()
        finally:
            interval = self._node.config.reload_interval
            self._look_in(interval if interval is None or not again else min(interval, limits.RELOAD_SETTLE))

    def _look_locked(self) -> bool:
        """True: look again in a moment."""
        source, watch = self._node.config.source, self._watch
        if source is None or watch is None or self._closed:
            return False
        mark = mark_of(source.path)
        if watch.is_unchanged(mark):
            return False
        sight = look_at(source.path)
        verdict = watch.judge(mark, sight.token)
        if verdict is Verdict.ACT:
            try:
                if sight.problem is not None:
                    raise sight.problem
                self._take(self._parsed(sight.content, source.path))
            except ConfigError as error:
                self._node.log.warning("nothing of the configuration is changed: %s", error)
                self._node.subscriptions.emit(events.ConfigReloaded((), (), error))
        return verdict is Verdict.LOOK_AGAIN

    # --- what ---------------------------------------------------------------------------------------------------------

    def reload(self, wanted: Wanted) -> events.ConfigReloaded:
        """
        Take another configuration, or read the file again; waits until that is done. If the wait is interrupted, it is
        done all the same.

        Raises:
            ConfigError: It cannot be used, or there is no file; nothing has changed.
        """
        outcome: list[events.ConfigReloaded | BaseException] = []
        over = self._node.clock.event()

        def run() -> None:
            try:
                outcome.append(self._reload(wanted))
            except BaseException as error:  # for the caller, who waits
                outcome.append(error)
            finally:
                over.set()

        try:
            self._node.spawn("crust-config", run)
        except RuntimeError:  # no thread to be had
            run()
        over.wait()
        found = outcome[0]
        if isinstance(found, BaseException):
            raise found
        return found

    def _reload(self, wanted: Wanted) -> events.ConfigReloaded:
        with self._lock:
            try:
                config = wanted if isinstance(wanted, Config) else self._read(wanted)
                told = self._take(config)
            except ConfigError as error:
                self._node.subscriptions.emit(events.ConfigReloaded((), (), error))
                raise
        self._look_in(self._node.config.reload_interval)
        return told

    def _read(self, path: str | os.PathLike[str] | None) -> Config:
        if path is not None:
            name = os.path.abspath(os.path.expanduser(path))
            return Config.from_content(read_regular(name), name)[0]
        source = self._node.config.source
        if source is None:
            raise ConfigError("the configuration came from no file: pass reload() a Config, or the name of a file")
        sight = look_at(source.path)
        if self._watch is not None:
            self._watch.count(sight.token)  # whatever comes of it, the caller hears
        if sight.problem is not None:
            raise sight.problem
        return self._parsed(sight.content, source.path)

    def _parsed(self, content: bytes, path: str) -> Config:
        """What the file says, and above it what the program has set."""
        source = self._node.config.source
        config = Config.from_content(content, path)[0]
        return config if source is None else config.replace(**dict(source.overrides))

    def _take(self, wanted: Config) -> events.ConfigReloaded:
        """
        Let count what can, and tell (the lock is held).

        Raises:
            ConfigError: Nothing has changed.
        """
        node = self._node
        config, applied, needs_restart = merge(node.config, wanted)
        try:
            self._applying.apply(config, applied)
        except (CrustError, ValueError) as error:
            raise ConfigError(str(error)) from error
        if config.source is None:
            self._watch = None
        elif self._watch is None:
            self._watch = Watch(config.source.digest)
        else:
            self._watch.count(config.source.digest)
        node.log.info("configuration read again; changed: %s", ", ".join(applied) or "nothing")
        if needs_restart:
            node.log.warning("these changes of the configuration need a restart: %s", ", ".join(needs_restart))
        told = events.ConfigReloaded(applied, needs_restart)
        node.subscriptions.emit(told)
        return told

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Look no more. Never blocks; idempotent."""
        with self._timer_lock:
            self._closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock, self._timer_lock = threading.Lock(), threading.Lock()
        self._closed = True
