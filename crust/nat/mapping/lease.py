"""One mapping that stands: until when, and when it is renewed. And the outer ports to ask for. Sans-IO."""

from __future__ import annotations

import dataclasses
import random

from ... import limits
from .ways import Ask, Granted

__all__ = ["Lease", "first_port", "other_port"]


@dataclasses.dataclass
class Lease:
    """A mapping as it was granted."""

    ask: Ask
    """What to ask for to renew it: the same, on the port that was granted."""
    external_ip: str
    lifetime: int
    """Seconds granted; 0: without end."""
    renew_at: float
    expires_at: float
    """Infinite if it has no end."""

    @classmethod
    def of(cls, granted: Granted, now: float) -> Lease:
        """A mapping that was granted at ``now``; it is renewed when half of its life is over."""
        ask = granted.ask
        lifetime = min(granted.lifetime, limits.MAPPING_LIFE_MAX)  # nobody promises for longer than that
        kept = Ask(ask.wanted, granted.external, ask.lifetime, ask.nonce)
        if not lifetime:
            return cls(kept, granted.external_ip, 0, float("inf"), float("inf"))
        half = max(lifetime / 2, min(lifetime, limits.MAPPING_RENEW_MIN))
        return cls(kept, granted.external_ip, lifetime, now + half, now + lifetime)

    def missed(self, now: float) -> None:
        """It could not be renewed: try again when half of the rest is over. The port stays the same."""
        self.renew_at = now + max(limits.MAPPING_RENEW_MIN, (self.expires_at - now) / 2)

    def is_over(self, now: float) -> bool:
        """Whether the router has forgotten it by now."""
        return now >= self.expires_at


def first_port(internal: int, source: random.Random) -> int:
    """The outer port to ask for first: ours, unless it is one that is never asked for."""
    return internal if internal >= limits.MAPPING_PORT_MIN else other_port(0, source)


def other_port(taken: int, source: random.Random) -> int:
    """Another one, at random."""
    low, high = limits.MAPPING_PORTS
    port = source.randrange(low, high)
    return port if port != taken else port + 1
