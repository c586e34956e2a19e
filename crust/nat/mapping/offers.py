"""What the router would do for us, asked once: a port is opened by each protocol, and closed again. For a survey."""

from __future__ import annotations

import random
import secrets
import selectors
import time
from collections.abc import Callable, Collection

from ... import limits
from ...findings import GatewayFinding, MappingOffer
from ...values import dataclass
from .gateway import Gateway, default_gateways
from .layers import Layers, judge_layers
from .line import Line
from .mapper import Failed, Mapped
from .ways import Wanted

__all__ = ["ask_gateway"]

_PROTOCOLS = ("pcp", "natpmp", "igd")
_LIFETIME = 120  # seconds: a router that does not hear the end of it forgets it soon
_DESCRIPTION = "crust survey"


@dataclass(frozen=True)
class _Place:
    protocols: tuple[str, ...]
    lifetime: int = _LIFETIME
    description: str = _DESCRIPTION


class _Trial:
    """One protocol tried alone, so that each answers for itself."""

    def __init__(
        self, gateway: Gateway, place: _Place, now: Callable[[], float], wanted: list[Wanted]
    ) -> None:
        self.name = place.protocols[0]
        self.line = Line(gateway, place, now, random.Random(secrets.randbits(64)))
        self._wanted = wanted
        self._began = now()
        self._mapped: dict[Wanted, Mapped] = {}
        self._failed: dict[Wanted, str] = {}
        self._seconds: float | None = None

    def turn(self, now: float, closing: bool) -> bool:
        """Do what is due; False: nothing is left to do."""
        mapper = self.line.mapper
        mapper.want(() if closing or self._settled else self._wanted, now)
        mapper.handle_timer(now)
        for change in mapper.changes():
            if isinstance(change, Mapped):
                self._mapped[change.wanted] = change
                if self._settled and self._seconds is None:
                    self._seconds = now - self._began
            elif isinstance(change, Failed):
                self._failed[change.wanted] = change.reason
        if closing or self._settled:
            mapper.close(now)
            mapper.handle_timer(now)
        self.line.send(now)
        return not mapper.closed

    @property
    def _settled(self) -> bool:
        return len(self._mapped) + len(self._failed) >= len(self._wanted)

    def offer(self) -> MappingOffer:
        """What came of it."""
        way = self.line.mapper.ways[self.name]
        if len(self._mapped) == len(self._wanted):
            first = self._mapped[self._wanted[0]]
            return MappingOffer(self.name, True, first.external_ip, self._seconds, first.lifetime)
        reasons = [way.reason, *(_own(reason, way.title) for reason in self._failed.values())]
        error = next((reason for reason in reasons if reason), "no answer")
        if self._mapped:
            error = f"it opens a port for {next(iter(self._mapped)).protocol} only: {error}"
        return MappingOffer(self.name, False, way.external_ip, error=error)

    @property
    def layers(self) -> Layers:
        """What it shows of another NAT."""
        return judge_layers("", mismatch=self.line.mapper.mismatch)


def _own(reason: str, title: str) -> str:
    """The part of a mapper's sentence that is about the one protocol."""
    return reason.partition(f"({title}: ")[2].removesuffix(")")


def ask_gateway(
    protocols: Collection[str] = _PROTOCOLS,
    timeout: float = 4.0,
    stun_ip: str | None = None,
    *,
    gateways: Callable[[], Collection[Gateway]] = default_gateways,
) -> GatewayFinding:
    """
    Have the first default gateway open a random port for TCP and for UDP, by each protocol alone and all at once, and
    close it again. Blocks; never raises for what a router does.

    Args:
        protocols: Which to try, of ``pcp``, ``natpmp``, ``igd``.
        timeout: Seconds for all of it.
        stun_ip: The IPv4 address that others see us at, to compare with what the router says.
        gateways: Finds the gateways.
    """
    try:
        found = list(gateways())
    except OSError as error:
        return GatewayFinding("", reason=f"the system does not tell its gateways: {error}")
    if not found:
        return GatewayFinding("", reason="this machine has no default gateway over IPv4")
    gateway, now = found[0], time.monotonic
    ends = now() + timeout
    inner = random.Random(secrets.randbits(64))
    trials = []
    for name in _PROTOCOLS:
        if name in protocols:
            own = inner.randrange(*limits.MAPPING_PORTS)  # each its own, so that none removes another's
            place = _Place((name,))
            wanted = [Wanted("tcp", own), Wanted("udp", own)]
            try:
                trials.append(_Trial(gateway, place, now, wanted))
            except OSError as error:
                for each in trials:
                    each.line.close(None)
                return GatewayFinding(gateway.address, reason=f"it cannot be spoken to: {error}")
    _run(trials, ends, now)
    offers = tuple(trial.offer() for trial in trials)
    model = next((way.model for trial in trials for way in trial.line.mapper.ways.values() if way.model), "")
    external = next((offer.external for offer in offers if offer.works and offer.external), "")
    external = external or next((offer.external for offer in offers if offer.external), "")
    layers = judge_layers(external, seen=stun_ip)
    for trial in trials:
        layers = layers if layers.kind else trial.layers
    return GatewayFinding(gateway.address, model, offers, layers.kind, layers.reason)


def _run(trials: list[_Trial], ends: float, now: Callable[[], float]) -> None:
    """Until all are through, or the time is up; its last part is for closing what was opened."""
    closing_at = ends - min(limits.MAPPING_CLOSE, (ends - now()) / 4)
    selector = selectors.DefaultSelector()
    try:
        for trial in trials:
            trial.line.register(selector)
        while True:
            at = now()
            left = [trial for trial in trials if trial.turn(at, at >= closing_at)]
            if not left or at >= ends:
                return
            timers = [timer for trial in left if (timer := trial.line.get_timer()) is not None]
            due = min([*timers, closing_at if at < closing_at else ends])
            if any(trial.line.mapper.has_changes for trial in left):
                due = at
            for key, _ in selector.select(max(0.0, due - now())):
                key.data()
    finally:
        for trial in trials:
            trial.line.close(selector)
        selector.close()
