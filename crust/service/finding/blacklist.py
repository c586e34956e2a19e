"""Whom not to dial."""

from __future__ import annotations

from collections.abc import Iterable

from ...addresses import Contact, IPAddress, PeerId
from ...config import AccessConfig
from ...exceptions import ContactSyntaxError
from ...peers.access import Access, Who

__all__ = ["Blacklist"]


class Blacklist:
    """
    Peer ids, addresses and networks that must not be dialled. Thread-safe.

    Args:
        entries: As for a ban: objects or text.

    Raises:
        ContactSyntaxError, TypeError: An entry is none of them.
    """

    def __init__(self, entries: Iterable[Who]) -> None:
        self._entries = Access(AccessConfig())
        for entry in entries:
            try:
                self._entries.ban(entry, now=0.0)
            except ContactSyntaxError as error:
                raise ContactSyntaxError(
                    f"a blacklist has peer ids, addresses and networks; {entry!r} is none of them: {error}", str(entry)
                ) from error

    def covers_peer(self, peer_id: PeerId) -> bool:
        """True if that peer is not to be dialled, wherever it is."""
        return self._entries.is_banned(peer_id, None, 0.0)

    def covers(self, host: str | IPAddress | None) -> bool:
        """True if that IP address is not to be dialled; None: it is not known yet."""
        return self._entries.is_banned(None, host, 0.0)

    def filter(self, contact: Contact) -> Contact | None:
        """
        The contact without blacklisted endpoints; None if nothing may be dialled. What a name stands for is not known
        yet: the dialer asks :meth:`covers` when it is, before anything is sent there.
        """
        if self.covers_peer(contact.peer_id):
            return None
        allowed = tuple(each for each in contact.endpoints if not self.covers(each.ip))
        return Contact(contact.peer_id, allowed) if allowed else None
