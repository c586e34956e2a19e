"""
What every transport promises.

* **Bytes are pushed.** Once started, a connection hands what it receives to its sink, on a thread of the
  transport: one call at a time, in order, then ``connection_lost`` exactly once and last.
* **Bytes are taken, never waited for.** ``send`` accepts what fits now; ``when_writable`` tells when more
  does.
* **Anybody may end it.** ``close`` and ``abort`` come from any thread, also from inside the sink's methods,
  any number of times, and the sink hears ``connection_lost`` soon after.
* **Errors are OSErrors** with ``errno``, the system's words and the endpoint (as ``filename``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..addresses import Endpoint
from ..runtime.threads import Spawn

__all__ = ["Connection", "Dialling", "Listener", "Sink", "Transport"]


class Sink(Protocol):
    """
    What a connection pushes into. Its methods are never called concurrently.

    A sink may have an attribute ``greeted``, False until a caller has said something valid. Until then a listener may
    read the connection on its own thread (:mod:`crust.transports.lobby`), if it was started from ``on_connection``.

    It may have a method ``data_offered``, which takes the same as ``data_received`` and may be called in place of that.
    It gives how many bytes it has taken, at least one: the others come again, before what is behind them, and not
    before :meth:`Connection.resume` if it has paused.
    """

    def data_received(self, data: memoryview) -> None:
        """
        Take the next bytes of the stream, at least one. The buffer is reused: ``data`` is valid only during
        the call.

        Should not block for long: that stops this connection, and on a transport that serves several
        connections on one thread the others too. Use :meth:`Connection.pause` to slow the sender down.
        """

    def connection_lost(self, error: OSError | None) -> None:
        """
        Nothing more will come: the last call.

        Args:
            error: None if the other side ended its stream in order or we closed; else what broke.
        """


class Connection(Protocol):
    """
    A stream of bytes to one remote endpoint. All methods may be called from any thread.

    One that is made of packets may have an attribute ``packets``: a number that grows by one for each that has brought
    new bytes of the stream.
    """

    @property
    def transport(self) -> str:
        """``tcp`` or ``utp``."""

    @property
    def local(self) -> Endpoint:
        """Our end."""

    @property
    def remote(self) -> Endpoint:
        """The other end, as the system sees it."""

    def start(self, sink: Sink, spawn: Spawn) -> None:
        """
        Begin to push into ``sink``; returns at once. Once only. Until then nothing is read.

        If the connection has been closed before, the sink still hears ``connection_lost(None)``.

        Args:
            spawn: Makes the reader's thread, for a transport that needs one.

        Raises:
            RuntimeError: No thread can be started; the connection is aborted and the sink hears nothing.
            LocalProtocolError: Started twice.
        """

    def run(self, sink: Sink) -> None:
        """
        Like :meth:`start` on a thread that the caller gives: a transport that needs a reader uses it and returns after
        ``connection_lost``; one that does not returns at once.
        """

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """
        Send what fits now, without waiting, and return how many bytes that was, 0 to ``len(data)``.

        Callers take turns: two sends at once would mix their bytes. The caller may reuse ``data`` afterwards.

        Raises:
            LeftUnread: The other end has reset the stream; the sink may hear what it said before, and then the end.
            OSError: The connection is closed or broken; the sink hears ``connection_lost`` too.
        """

    def when_writable(self, callback: Callable[[], object]) -> None:
        """
        Call ``callback()`` once, on the node's I/O thread, when ``send`` may accept bytes again (0 is still
        possible) or the connection has broken.

        A second call before that replaces the callback. After close or loss it may never be called.
        """

    def pause(self) -> None:
        """
        Stop calling ``data_received`` after the call that may run now; the sender feels it when buffers are
        full. The end of the stream is not noticed meanwhile. Idempotent.
        """

    def resume(self) -> None:
        """Undo :meth:`pause`. Idempotent."""

    def close(self) -> None:
        """
        End the stream in order: what ``send`` accepted still arrives, what arrives is thrown away.

        The sink hears ``connection_lost`` when the other side has closed too, at the latest after
        :data:`crust.limits.CLOSE_LINGER` seconds. Never blocks; idempotent.
        """

    def abort(self) -> None:
        """
        End it now, dropping what is under way; the other side sees a reset where the transport has one. Also
        cuts short a :meth:`close`. Never blocks; idempotent.
        """


class Dialling(Protocol):
    """One attempt to connect."""

    endpoint: Endpoint
    """Where to."""

    def run(self) -> Connection:
        """
        Connect; blocks until there is a verdict. Once only.

        Raises:
            OSError: It failed; TimeoutError: no answer in time; ``errno.ECANCELED``: :meth:`cancel` was
                called.
        """

    def cancel(self) -> None:
        """
        Make :meth:`run` raise soon, on whatever thread it blocks, or at once if it has not begun. Any thread;
        idempotent; without effect on a connection that :meth:`run` has returned.
        """


class Listener(Protocol):
    """Accepts connections on one local endpoint."""

    endpoint: Endpoint
    """Where it really listens: the port is never 0."""

    def run(
        self,
        on_connection: Callable[[Connection], float | None],
        on_trouble: Callable[[OSError], object] | None = None,
    ) -> None:
        """
        Accept until :meth:`close`; blocks. Once only.

        Args:
            on_connection: Gets each new connection, not started, on this thread; must not block. If it
                raises, that connection is aborted, the error reported, and the listener goes on. What it returns are
                seconds for which it wants no other: a listener over TCP then leaves callers to the kernel's queue;
                others, whose callers have cost what they cost when they get here, do not care.
            on_trouble: Gets an error that stops accepting for :data:`crust.limits.ACCEPT_PAUSE` seconds, such
                as too many open files; then it goes on.

        Raises:
            OSError: The listening socket itself broke.
        """

    def retire(self) -> None:
        """Go on listening, but let no dial leave from this port any more: it is being given up. Idempotent."""

    def close(self) -> None:
        """
        Stop listening: from now on connecting is refused, and :meth:`run` returns soon. Connections that were
        accepted stay. Any thread; idempotent.
        """


class Transport(Protocol):
    """A way to move bytes; one object for a node."""

    name: str
    """``tcp`` or ``utp``: the scheme of its endpoints."""

    def dialling(self, endpoint: Endpoint, timeout: float, *, local_port: int | None = None) -> Dialling:
        """
        Prepare to connect to ``endpoint``; nothing happens before :meth:`Dialling.run`.

        Args:
            timeout: Seconds for all of it, resolving a name included.
            local_port: Come from this port if possible, which may be one we listen on; else from any.
        """

    def close(self) -> None:
        """
        End everything of this transport: listeners, dials, and connections, also those that linger after
        :meth:`Connection.close`. What is under way may be lost. Any thread; idempotent; never blocks.

        Sinks that have not heard ``connection_lost`` hear it soon, maybe on the calling thread, which must hold no lock
        that they take. From then on no thread and no descriptor of the transport needs the I/O loop in order to end.
        Whatever is made afterwards ends at once.
        """

    def abandon(self) -> list[Sink]:
        """
        In a forked child: close the copies of all descriptors, without a word to anybody, and forget the connections.

        Takes no lock, since a thread that is gone may hold it.

        Returns:
            The sinks of the connections that ran. They hear nothing more.
        """

    def change_ports(self) -> None:
        """Let no dial leave from a port that earlier ones have used, unless somebody listens there."""

    def listen(self, endpoint: Endpoint) -> Listener:
        """
        Open a listening socket; connections wait in the kernel until :meth:`Listener.run`.

        Args:
            endpoint: An IP address of this machine, or the unspecified one; port 0: any free one.

        Raises:
            ListenError: Names the endpoint and the cause, for one an occupied port.
        """
