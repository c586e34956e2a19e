"""Changed settings, in the parts of a running node that keep them. What reads ``node.config`` at use has them too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ...addresses import Contact, Endpoint
from ...config import Config
from ...peers.access import Access
from ...wire.frames import Goodbye, GoodbyeCode
from ...wire.handshake import DenialCode
from ..connecting import as_contact
from ..network.network import Network
from ..node import Node, capabilities_of

__all__ = ["Applying"]


class Applying:
    """
    Args:
        node: The node.
        network: What knows its addresses.
        fallback: Contacts that the program has given, beside those of the configuration.
        adopt: Called with the configuration that counts.
    """

    def __init__(
        self, node: Node, network: Network, fallback: Iterable[Contact], adopt: Callable[[Config], object]
    ) -> None:
        self._node = node
        self._network = network
        self._fallback = tuple(fallback)
        self._adopt = adopt

    def apply(self, config: Config, changed: Collection[str]) -> None:
        """
        Let ``config`` count: all of it, or nothing if this raises. May block for a moment.

        Args:
            changed: The keys in which it differs from what counted before.

        Raises:
            ConfigError, ContactSyntaxError, ValueError: It cannot be used.
        """
        node = self._node
        # Whatever can fail comes before the first change.
        contacts = [as_contact(text) for text in config.bootstrap.contacts]
        advertised = tuple(Endpoint.parse(text) for text in config.listen.advertise)
        Access(config.access)
        sections = {key.partition(".")[0] for key in changed}
        gone = set(node.config.nat.stun_servers) - set(config.nat.stun_servers)
        node.config = config
        self._adopt(config)
        if "access" in sections:
            node.access.configure(config.access)
        if "limits" in sections:
            self._set_limits(config)
        if "relay" in sections:
            node.registry.capabilities = capabilities_of(config)
        if sections & {"relay", "limits"}:
            node.circuits.configure(config.relay, config.limits)
        if "bootstrap.contacts" in changed:
            node.directory.given.replace((*self._fallback, *contacts))
        if "bootstrap.accept" in changed:  # else what set_accept_bootstrap() said stays
            node.registry.accept_bootstrap = config.bootstrap.accept
        if "session.send_timeout" in changed:
            node.registry.send_timeout = config.session.send_timeout
            for conversation in node.registry.all():
                conversation.send_timeout = config.session.send_timeout
        node.subscriptions.warn_after = config.callbacks.warn_after
        node.echoes.configure(config.nat.echo_for_others, config.limits.part_per_address)
        self._network.reflection.responder.everybody = config.nat.serve_stun
        self._network.listeners.advertise = advertised
        if "access" in sections:
            self._end_refused()
        if "listen.advertise" in changed:
            self._network.advertised_others()
        if "nat.stun_servers" in changed:
            self._network.reflection.servers_changed(gone)
        for heard in node.on_reloaded:
            try:
                heard(frozenset(changed))
            except Exception as error:  # a bug, and by now too late to change nothing
                node.crashed("what follows from another configuration", error)

    def _set_limits(self, config: Config) -> None:
        node, limits = self._node, config.limits
        node.registry.max_peers = limits.max_peers  # who is there stays
        node.registry.peers_per_address = limits.peers_per_address
        node.files.part = limits.part_per_address
        node.acceptor.gate.configure(limits)
        node.misbehaviour.configure()
        node.budget.limit = limits.total_buffers
        node.budget.settle()

    def _end_refused(self) -> None:
        """End everything with those who may not be here any more. Whom we called ourselves no allow-list is about."""
        node = self._node
        node.bans.enforce()
        now = node.clock.now()
        for each in node.registry.all():
            if each.inbound and node.access.verdict(each.peer_id, each.role, each.address, now) is DenialCode.ROLE:
                text = "you are no longer on the list of those allowed here"
                each.end("role", Goodbye(GoodbyeCode.ROLE, text))
