"""A snapshot of what a node has done and holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..peers.circuits.introducing import CircuitCounters
from ..peers.gate import GateCounters
from ..peers.session import State
from ..values import dataclass

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Stats"]


@dataclass(frozen=True)
class Stats:
    """Counters of one node since its start, and what it holds now."""

    peers_connected: int
    """Sessions carried by a link."""

    peers_suspended: int
    """Sessions without a link at the moment."""

    buffered_bytes: int
    """Bytes held for all peers together, of ``limits.total_buffers``."""

    callbacks_waiting: int
    """Calls that wait for the dispatcher thread."""

    callback_errors: int
    """Callbacks of the application that raised."""

    crashes: int
    """Failures inside crust that should not happen; each is in the log."""

    log_records_dropped: int
    """Log records given up because handlers were too slow."""

    accept_pauses: int
    """How often a listener has stopped accepting for a second; nearly always for lack of file descriptors."""

    gate: GateCounters
    """Inbound handshakes: current, admitted, evicted, refused."""

    circuits: CircuitCounters
    """What this node has done as an introducer: circuits of others now, opened, refused; bytes carried."""

    refusals: Mapping[str, int]
    """How often each limit has bitten, by its name; docs/misbehaviour.md lists them."""

    @classmethod
    def of(cls, node: Node) -> Stats:
        """Take the snapshot."""
        states = [conversation.session.state for conversation in node.registry.all()]
        return cls(
            peers_connected=states.count(State.CONNECTED),
            peers_suspended=states.count(State.SUSPENDED),
            buffered_bytes=node.budget.used,
            callbacks_waiting=node.dispatcher.backlog(),
            callback_errors=node.subscriptions.errors,
            crashes=node.crashes,
            log_records_dropped=node.log.dropped,
            accept_pauses=node.acceptor.pauses,
            gate=node.acceptor.gate.counters,
            circuits=node.circuits.counters,
            refusals=node.refusals.all(),
        )
