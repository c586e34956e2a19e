"""What a test holds: a network of nodes in memory, and its time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar, overload

from ..addresses import Contact
from ..config import Config
from ..exceptions import ConnectError
from ..peers.peer import Peer
from ..runtime.identity_file import Identity
from ..service import events
from ..service.service import Service as Node
from .cables import Cables, Host, Line
from .clock import BEGINNING, VirtualClock
from .machine import MemoryMachine

__all__ = ["MemoryService", "Network", "Who", "network"]

E = TypeVar("E", bound=events.Event)

Who = Node | Iterable[Node] | None
"""A node of the network, several, or (None) all, those to come included."""

_STATE_EVENTS = events.Event.__subclasses__()


class MemoryService(Node):
    """
    A :class:`crust.Service` on a network in memory.

    Args:
        address: Its one IP address; None: an IPv4 and an IPv6 address that no other node has.
        name: A DNS name by which others may dial it.

    The others are those of ``crust.Service``.

    Raises:
        ValueError: Another node has that address or name, or no node can have it.
    """

    network: ClassVar[Network]
    """Where it belongs."""

    def __init__(
        self, config: Config | None = None, *, address: str | None = None, name: str | None = None, **arguments: Any
    ) -> None:
        self._place = (address, name)
        super().__init__(config, **arguments)
        self.network._joined(self)

    def _make_machine(self) -> MemoryMachine:
        return self.network._machine(*self._place)


class Network:
    """
    Nodes in memory on a clock of their own. Made by :func:`network`.

    Time stands still, except in :meth:`advance` and while the thread that made the network waits for a node: a ``recv``
    or ``connect`` that must wait lets time pass at once, as much as it takes, and raises ``Timeout`` when its own is
    over. Nothing ever sleeps. Waits of other threads end when time has passed so.

    All methods are for the thread that made the network.
    """

    def __init__(self, *, grace: float, patience: float) -> None:
        self._clock = VirtualClock(grace=grace, patience=patience, explain=self._explain)
        self._cables = Cables(self._clock)
        self._heard: dict[Node, list[events.Event]] = {}
        self.Service: type[MemoryService] = type("Service", (MemoryService,), {"network": self})
        """
        Stands in for ``crust.Service`` in programs that make their node themselves:
        ``monkeypatch.setattr(crust, "Service", net.Service)``.
        """

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- nodes --------------------------------------------------------------------------------------------------------

    def service(
        self,
        config: Config | None = None,
        *,
        contacts: Iterable[str | Contact] = (),
        identity: Identity | None = None,
        on_event: Callable[[Any], object] | None = None,
        on_callback_error: Callable[[Any, BaseException], object] | None = None,
        address: str | None = None,
        name: str | None = None,
    ) -> Node:
        """
        A node, started. It is closed with the network, if not before.

        Args:
            config, contacts, identity, on_event, on_callback_error: As for :class:`crust.Service`.
            address: Its one IP address; None: an IPv4 and an IPv6 address that no other node has.
            name: A DNS name by which others may dial it.

        Raises:
            ValueError: Another node has that address or name, or no node can have it.
        """
        return self.Service(
            config,
            contacts=contacts,
            identity=identity,
            on_event=on_event,
            on_callback_error=on_callback_error,
            address=address,
            name=name,
        ).start()

    def connect(self, caller: Node, callee: Node) -> tuple[Peer, Peer]:
        """
        A session between two nodes, and rest: what the caller holds of it, and what the callee does.

        Raises:
            ConnectError, Timeout: As ``caller.connect(callee.contact)``; or the callee has ended it already.
        """
        ours = caller.connect(callee.contact)
        for seconds in (0.0, *self._delays(caller, callee)):
            self.advance(seconds)  # what settles the callee may be on its way yet
            for theirs in callee.peers:
                if theirs.id == caller.id:
                    return ours, theirs
        raise ConnectError(f"{callee} has ended the session with {caller} already")

    def _delays(self, caller: Node, callee: Node) -> list[float]:
        pairs = [tuple(pair) for pair in self._pairs(caller, callee)]
        return [self._cables.delay(one, other, name) for one, other in pairs for name in ("tcp", "utp")]

    def _machine(self, address: str | None, name: str | None) -> MemoryMachine:
        return MemoryMachine(self._clock, self._cables, self._cables.add_host(address, name))

    def _joined(self, service: Node) -> None:
        heard = self._heard[service] = []
        for kind in _STATE_EVENTS:
            service.on(kind, heard.append)

    @overload
    def heard(self, service: Node) -> list[events.Event]: ...

    @overload
    def heard(self, service: Node, kind: type[E]) -> list[E]: ...

    def heard(self, service: Node, kind: type[Any] = events.Event) -> list[Any]:
        """
        The state events of that kind that the node has raised so far (all but ``NewMessage``), in order.

        :meth:`settle` first, so that they have got here.
        """
        return [event for event in tuple(self._heard[service]) if isinstance(event, kind)]

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds that have passed since the network was made."""
        return self._clock.now() - BEGINNING

    def settle(self, until: Callable[[], object] | None = None) -> None:
        """
        Wait until every node is idle: all that was sent has arrived (delays apart), all callbacks have run. Time stands
        still.

        Args:
            until: Wait, in real time, until this is true too: for what threads of the application do.

        Raises:
            Timeout: A callback does not return, or ``until()`` does not become true, for ``patience`` real seconds.
        """
        if until is None:
            self._clock.settle()
        else:
            self._clock.settle_until(until)

    def advance(self, seconds: float) -> None:
        """
        Let time pass: timers run in their order, and after each the nodes come to rest.

        Raises:
            ValueError: ``seconds`` is negative.
            Timeout: As :meth:`settle`.
        """
        self._clock.advance(seconds)

    # --- lines --------------------------------------------------------------------------------------------------------

    def cut(self, one: Who = None, other: Who = None, *, transport: str | None = None) -> None:
        """
        Cut the lines between one and other until :meth:`heal`: what was connected breaks, new attempts fail at once.

        Returns when both sides have noticed, the called one first.

        Args:
            one, other: A node, several, or all.
            transport: ``tcp`` or ``utp``: for that one only, as some firewalls do; None: for both. Here as below.
        """
        self._cables.set_lines(self._pairs(one, other), Line.CUT, _known(transport))
        self.reset(one, other, transport=transport)

    def partition(self, one: Who = None, other: Who = None, *, transport: str | None = None) -> None:
        """
        Let nothing through, and tell nobody, until :meth:`heal`: connections fall silent, attempts have no answer.

        What was under way, or is sent meanwhile, arrives after :meth:`heal`, as TCP would send it again.
        """
        self._cables.set_lines(self._pairs(one, other), Line.SILENT, _known(transport))

    def refuse(self, one: Who = None, other: Who = None, *, transport: str | None = None) -> None:
        """Refuse new attempts until :meth:`heal`; what is connected stays."""
        self._cables.set_lines(self._pairs(one, other), Line.REFUSING, _known(transport))

    def delay(
        self, one: Who = None, other: Who = None, *, seconds: float, transport: str | None = None
    ) -> None:
        """
        From now on everything needs so many seconds in each direction, until :meth:`heal`. 0: no time.

        What is under way arrives when it would have, and nothing overtakes it: after a longer delay let that much time
        pass. Nodes have something to say to each other also when applications have not.
        """
        if not seconds >= 0:
            raise ValueError(f"a delay cannot be {seconds!r} seconds")
        self._cables.set_delays(self._pairs(one, other), seconds, _known(transport))

    def reset(self, one: Who = None, other: Who = None, *, transport: str | None = None) -> None:
        """
        Break what is connected, once: sessions come back by themselves, on a new connection.

        Returns when both sides have noticed, the called one first: a session may be back already.
        """
        connections = self._cables.on_lines(self._pairs(one, other), _known(transport))
        for connection in connections:
            connection.other.sever()
        self.settle()
        for connection in connections:
            connection.sever()
        self.settle()

    def heal(self, one: Who = None, other: Who = None, *, transport: str | None = None) -> None:
        """
        Undo :meth:`cut`, :meth:`partition`, :meth:`refuse` and :meth:`delay`, as they were called; without nodes for
        all of them, without a transport for whichever.
        """
        self._cables.heal(None if one is None and other is None else self._pairs(one, other), _known(transport))

    def _pairs(self, one: Who, other: Who) -> list[frozenset[Host]]:
        ours, theirs = self._hosts(one), self._hosts(other)
        if ours is None or theirs is None:
            return [frozenset((host,)) for host in ours or theirs or ()] if ours or theirs else [frozenset()]
        return [frozenset(pair) for pair in itertools.product(ours, theirs) if pair[0] is not pair[1]]

    def _hosts(self, who: Who) -> list[Host] | None:
        if who is None:
            return None
        nodes = [who] if isinstance(who, Node) else list(who)
        strangers = [node for node in nodes if node not in self._heard]
        if strangers:
            raise ValueError(f"{strangers[0]} does not belong to this network: make it with service() or Service(…)")
        return [node._machine.host for node in nodes if isinstance(node._machine, MemoryMachine)]

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> bool:
        """Close every node. True if nothing is left running. Idempotent."""
        return all([service.close() for service in self._heard])

    def _explain(self) -> str:
        """What callbacks run now."""
        current = [service._node.dispatcher.current() for service in self._heard if service._node is not None]
        return ", ".join(f"callback {each[0]} does not return" for each in current if each is not None)


def _known(transport: str | None) -> str | None:
    if transport not in (None, "tcp", "utp"):
        raise ValueError(f"there is no transport {transport!r}: tcp, utp, or None for both")
    return transport


@contextlib.contextmanager
def network(*, grace: float = 1.0, patience: float = 10.0) -> Iterator[Network]:
    """
    A network in memory for a ``with`` statement, at whose end its nodes are closed.

    Args:
        grace: A thread of the application that was waiting for a node, and has been woken, is given so many seconds of
            real time to go on before time passes without it.
        patience: Real seconds after which a callback that does not return is taken for stuck.
    """
    with Network(grace=grace, patience=patience) as made:
        yield made
