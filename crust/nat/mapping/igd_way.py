"""
UPnP-IGD towards one router, sans-IO: the search, and the calls that somebody else makes on a thread of their own, one
after another.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from ... import limits
from ...values import dataclass
from . import ssdp
from .igd import IgdError, IgdInfo
from .layers import is_global
from .ways import Absent, Ask, Granted, Ready, Refusal, Refused, Removed, Restarted, Vanished, Way, WayState

__all__ = ["IgdWay", "Job"]

_BEST, _FAIR, _POOR = range(3)


@dataclass(frozen=True)
class Job:
    """One call to be made. ``what`` is a method of :class:`~crust.nat.mapping.igd.IgdRouter`."""

    what: str
    """``open``, ``add``, ``delete``, ``holds`` or ``status``."""
    url: str
    ask: Ask | None = None


@dataclasses.dataclass
class _Router:
    url: str
    source: str
    server: str
    kind: tuple[bool, bool]
    """Whether our own router answered, and said that it is one. Of each kind so many have a place, whoever floods."""
    asked: bool = False
    info: IgdInfo | None = None
    error: str = ""


class IgdWay(Way):
    """
    Args:
        gateway: Address of our router.
    """

    name = "igd"
    title = "UPnP"

    def __init__(self, gateway: str) -> None:
        super().__init__()
        self._gateway = gateway
        self._routers: dict[str, _Router] = {}
        self._chosen: _Router | None = None
        self._url = ""  # of the one chosen last
        self._searches: list[float] = []
        self._started = 0.0
        self._ends: float | None = None
        self._jobs: collections.deque[Job] = collections.deque()
        self._running: Job | None = None
        self._changed_at = float("-inf")
        self._shown: set[Ask] = set()  # what the router's table was seen to have
        self._uptime = (0.0, 0)
        self._queue: list[bytes] = []

    # --- the search ---------------------------------------------------------------------------------------------------

    def probe(self, now: float) -> None:
        self.state = WayState.UNKNOWN
        self._routers, self._chosen = {}, None
        self._drop_openings()
        self._started = now
        self._searches = [now + delay for delay in limits.SSDP_SENDS]
        self._ends = now + limits.SSDP_WAIT

    def receive_answer(self, data: bytes, source: str, now: float) -> None:
        """A datagram that came to the socket that searches."""
        if self._ends is None:
            return
        answer = ssdp.read_answer(data, source, self._gateway)
        if answer is None or not (answer.is_router or source == self._gateway):
            return  # televisions, printers
        router = _Router(answer.url, source, answer.server, (source == self._gateway, answer.is_router))
        if sum(each.kind == router.kind for each in self._routers.values()) >= limits.IGD_ROUTERS_MAX:
            return
        self._routers.setdefault(answer.url, router)
        self._open_due(now)

    def _open_due(self, now: float) -> None:
        for router in list(self._routers.values()):
            patient = router.source != self._gateway and now < self._started + limits.SSDP_PATIENCE
            if not router.asked and not patient:
                router.asked = True
                self._jobs.append(Job("open", router.url))

    def _opened(self, router: _Router, result: IgdInfo | IgdError, now: float) -> None:
        if isinstance(result, IgdInfo):
            router.info = result
        else:
            router.error = str(result)
            other = ssdp.with_host(router.url, self._gateway)
            if other not in self._routers and len(self._routers) < 4 * limits.IGD_ROUTERS_MAX:
                self._routers[other] = _Router(other, self._gateway, router.server, router.kind, asked=True)
                self._jobs.appendleft(Job("open", other))
        info = router.info
        if info is None or self._chosen is not None:
            return
        if _score(info) == _BEST or (info.connected and router.source == self._gateway):
            self._choose(router, now)

    def _choose(self, router: _Router, now: float) -> None:
        assert router.info is not None
        self._chosen, self._ends, self._searches = router, None, []
        self._uptime = (now, router.info.uptime)
        self._url = router.url
        self._drop_openings()
        self._found(Ready(router.info.external_ip, router.server))

    def _settle(self, now: float) -> None:
        """The time for answers is over, and nobody is being asked any more."""
        self._ends = None
        opened = [each for each in self._routers.values() if each.info is not None]
        if opened:
            best = min(opened, key=lambda each: (_score(each.info), each.source != self._gateway))
            self._choose(best, now)
            return
        errors = [each.error for each in self._routers.values() if each.error]
        self._found(Absent(errors[0] if errors else "no answer"))

    # --- mappings -----------------------------------------------------------------------------------------------------

    def ask(self, ask: Ask, now: float) -> None:
        self._jobs.append(Job("add", self._url, ask))

    def remove(self, ask: Ask, now: float) -> None:
        self._jobs = collections.deque(job for job in self._jobs if job.ask != ask)
        self._shown.discard(ask)
        self._jobs.append(Job("delete", self._url, ask))

    def check(self, held: Sequence[Ask], now: float) -> None:
        if self.state is not WayState.READY or any(job.what in ("holds", "status") for job in self._jobs):
            return
        self._jobs += [Job("holds", self._url, ask) for ask in held if ask in self._shown]
        if held:
            self._jobs.append(Job("status", self._url))

    def _drop_openings(self) -> None:
        self._jobs = collections.deque(job for job in self._jobs if job.what != "open")

    # --- the calls ----------------------------------------------------------------------------------------------------

    def next_job(self, now: float) -> Job | None:
        """The call to make now, if the one before has come back: :meth:`job_done` must follow, sooner or later."""
        if self._running is not None or not self._jobs:
            return None
        if self._jobs[0].what in ("add", "delete"):
            if now < self._changed_at + limits.IGD_PAUSE:
                return None
            self._changed_at = now
        self._running = self._jobs.popleft()
        return self._running

    def job_done(self, job: Job, result: object, now: float) -> None:
        """What a call returned, or the :class:`IgdError` that it raised."""
        if job == self._running:
            self._running = None
        if job.what == "open":
            router = self._routers.get(job.url)
            if router is not None and isinstance(result, IgdInfo | IgdError):
                self._opened(router, result, now)
        elif job.what == "status":
            if isinstance(result, IgdInfo):
                self._looked(result, now)
        elif job.ask is not None:
            self._mapping_done(job.what, job.ask, result)
        if job.what in ("add", "delete"):
            self._changed_at = now
        self.handle_timer(now)

    def _mapping_done(self, what: str, ask: Ask, result: object) -> None:
        if what == "add":
            if isinstance(result, IgdError):
                self._found(Refused(ask, result.kind, str(result)))
                return
            if result is True:
                self._shown.add(ask)
            self._found(Granted(ask, ask.external, ask.lifetime, self.external_ip))
        elif what == "delete":
            self._found(Removed(ask, not isinstance(result, IgdError)))
        elif what == "holds" and result is False:
            self._shown.discard(ask)
            self._found(Vanished(ask))

    def _looked(self, info: IgdInfo, now: float) -> None:
        then, uptime = self._uptime
        self._uptime = (now, info.uptime)
        if info.uptime and uptime and info.uptime + 2 < uptime:
            self._found(Restarted())
        if info.external_ip and info.external_ip != self.external_ip:
            self._found(Ready(info.external_ip))

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        due = list(self._searches)
        if self._ends is not None:
            if any(not each.asked for each in self._routers.values()):
                due.append(self._started + limits.SSDP_PATIENCE)
            if not self._busy_opening():
                due.append(self._ends)
        if self._running is None and self._jobs:
            changes = self._jobs[0].what in ("add", "delete")
            due.append(self._changed_at + limits.IGD_PAUSE if changes else self._started)
        return min(due, default=None)

    def _busy_opening(self) -> bool:
        return any(job.what == "open" for job in (*self._jobs, *([self._running] if self._running else ())))

    def handle_timer(self, now: float) -> None:
        due = [each for each in self._searches if each <= now]
        if due:
            self._searches = [each for each in self._searches if each > now]
            self._queue += ssdp.questions()
        if self._ends is not None:
            self._open_due(now)
            if now >= self._ends and not self._busy_opening():
                self._settle(now)

    def datagrams(self) -> list[bytes]:
        """What is to be sent now, to the group and to the router itself."""
        found, self._queue = self._queue, []
        return found

    def lost_thread(self, reason: str) -> None:
        """No calls can be made at all."""
        jobs, self._jobs = [*([self._running] if self._running else ()), *self._jobs], collections.deque()
        self._running, self._ends, self._searches = None, None, []
        if self.state is not WayState.ABSENT:
            self._found(Absent(reason))
        for job in jobs:
            if job.ask is not None and job.what == "add":
                self._found(Refused(job.ask, Refusal.NO_ANSWER, reason))
            elif job.ask is not None and job.what == "delete":
                self._found(Removed(job.ask, False))


def _score(info: IgdInfo | None) -> int:
    if info is None or not info.connected:
        return _POOR
    return _BEST if is_global(info.external_ip) else _FAIR
