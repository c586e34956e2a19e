"""A survey under way: what :func:`crust.survey` does, loaded when it is called."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import threading
import time
from collections.abc import Callable, Sequence

from ... import limits
from ...findings import GatewayFinding, InterfaceKind, NetworkSurvey, ProtocolFinding, SurveyProgress
from ...runtime.clock import Clock
from ...runtime.interfaces import local_addresses
from ...runtime.threads import spawn
from .classes import Address
from .helping import Helper, Helping
from .hops_plan import HopsPlan
from .lifetime_plan import LifetimePlan
from .machine import describe_interfaces
from .names import NamedServer, find_servers
from .runner import Plan, Runner, way_to
from .servers import Server
from .tcp_plan import TcpPlan
from .udp_plan import UdpPlan

__all__ = ["Survey"]

_OUTSIDE = {4: ("8.8.8.8", 9), 6: ("2001:4860:4860::8888", 9)}  # nothing is sent there: only the way is looked up
_WORDS = {"udp": "UDP", "tcp": "TCP"}


class Survey:
    """One survey under way."""

    def __init__(
        self,
        servers: Sequence[NamedServer],
        helpers: Sequence[Helper],
        families: Sequence[int],
        timeout: float,
        on_progress: Callable[[SurveyProgress], object] | None,
    ) -> None:
        self._servers = servers
        self._helpers = helpers
        self._families = [family for family in (4, 6) if family in families]
        self._on_progress = on_progress
        self._clock = Clock()
        self._started = time.time()
        self._begun = self._clock.now()
        self._deadline = self._begun + timeout
        self._gateway: GatewayFinding | None = None
        self._gateway_thread: threading.Thread | None = None
        self._hops: HopsPlan | None = None
        self._ways: dict[int, str] = {}
        self._offline = False

    def run(self, ask_router: bool, offline: bool, lifetime: bool) -> NetworkSurvey:
        """All of it."""
        self._offline = offline
        for family in self._families:
            try:
                self._ways[family] = way_to(_OUTSIDE[family])
            except OSError:
                continue
        interfaces = describe_interfaces(local_addresses(), self._ways.values())
        self._tell("interfaces", f"{len(interfaces)} network interfaces", True)
        if ask_router and 4 in self._families:
            self._tell("gateway", "asking the router to open a port", False)
            self._gateway_thread = spawn("crust-survey-gateway", self._ask_gateway)
        if self._servers:
            self._tell("dns", "looking up the servers' names", False)
            find_servers(self._servers, self._clock, limits.PROBE_NAME_SECONDS)
            self._tell("dns", "names looked up", True)
        plans = self._plans()
        if any(plan.servers for plan in plans):
            self._probe(plans)
        self._await_gateway()
        findings = tuple(self._finding(plan) for plan in plans)
        if lifetime:
            findings = self._with_lifetimes(plans, findings)
        found = NetworkSurvey(
            started=self._started,
            seconds=self._clock.now() - self._begun,
            offline=offline,
            interfaces=interfaces,
            protocols=findings,
            gateway=self._judged_gateway(findings),
            contacted=self._contacted(plans),
        )
        return dataclasses.replace(found, hints=_hints(found, self._servers))

    # --- servers ------------------------------------------------------------------------------------------------------

    def _plans(self) -> list[UdpPlan | TcpPlan]:
        plans: list[UdpPlan | TcpPlan] = []
        for family in self._families:
            known = [server.of_family(family) for server in self._servers] if family in self._ways else []
            asked: dict[Address, Server] = {}  # two names may be one server: it is asked once
            for server in known:
                if server is not None:
                    asked.setdefault(server.address, server)
            # The first one's way is the plan's.
            servers = sorted(asked.values(), key=lambda server: not _has_way(server.address))
            plans.extend(plan(family, servers, os.urandom) for plan in (UdpPlan, TcpPlan))
        return plans

    def _probe(self, plans: list[UdpPlan | TcpPlan]) -> None:
        for plan in plans:
            if plan.servers and (plan.protocol, plan.family) == ("udp", 4):
                self._hops = HopsPlan(plan.servers[0], os.urandom)
        slow = [] if self._hops is None else [self._hops]
        probing = [plan for plan in plans if plan.servers]
        for plan in probing:
            self._tell(f"{plan.protocol}{plan.family}", f"trying {_name(plan)}", False)
        runner = Runner([*probing, *slow], self._clock.now)
        until = self._deadline + limits.PROBE_ECHO_GRACE
        helping = Helping(plans, self._helpers, runner, self._clock, until)
        told: set[Plan] = set()

        def go_on(now: float) -> bool:
            for plan in plans:
                if isinstance(plan, UdpPlan) and plan.other is not None:
                    for other in plans:
                        if isinstance(other, TcpPlan) and other.family == plan.family:
                            other.other_known(*plan.other, now)
            helping.look()
            if not helping.done:
                return now < until
            return now < self._deadline and not all(plan.done for plan in probing)

        def changed(plan: Plan) -> None:
            if plan is not self._hops and plan not in told:
                told.add(plan)
                self._tell(f"{plan.protocol}{plan.family}", f"{_name(plan)} done", True)

        try:
            runner.run(go_on, changed)
        finally:
            helping.end()
        for plan in probing:
            changed(plan)  # those whose time was over

    def _finding(self, plan: UdpPlan | TcpPlan) -> ProtocolFinding:
        finding = plan.finding()
        if plan.servers:
            return finding
        if plan.family not in self._ways:
            return dataclasses.replace(
                finding, reachable=False, reason=f"this machine has no way to the Internet by IPv{plan.family}"
            )
        if self._servers:
            told = [f"{server.name}: {server.error}" for server in self._servers if server.error]
            reason = "; ".join(told) or f"none of the servers has an IPv{plan.family} address"
            return dataclasses.replace(finding, reason=reason)
        why = "nobody outside was to be asked" if self._offline else "no server was named"
        return dataclasses.replace(finding, reason=f"not tried: {why}")

    def _with_lifetimes(
        self, plans: Sequence[UdpPlan | TcpPlan], findings: tuple[ProtocolFinding, ...]
    ) -> tuple[ProtocolFinding, ...]:
        """How long quiet mappings live, which takes minutes."""
        slow: dict[int, LifetimePlan] = {}
        for plan, finding in zip(plans, findings, strict=True):
            able = [server for server, card in zip(plan.servers, finding.servers, strict=True) if card.tests_filtering]
            if plan.protocol == "udp" and finding.translated and able:
                slow[plan.family] = LifetimePlan(plan.family, able[0], os.urandom)
        if not slow:
            return findings
        self._tell("lifetime", f"waiting up to {limits.PROBE_LIFETIMES[-1] / 60:.0f} minutes", False)
        Runner(list(slow.values()), self._clock.now).run(
            lambda now: not all(plan.done for plan in slow.values()), lambda plan: None
        )
        self._tell("lifetime", "the age of quiet mappings is known", True)
        return tuple(
            dataclasses.replace(finding, lifetime=slow[finding.family].lifetime())
            if finding.protocol == "udp" and finding.family in slow
            else finding
            for finding in findings
        )

    def _contacted(self, plans: Sequence[UdpPlan | TcpPlan]) -> tuple[str, ...]:
        asked = {server.name for plan in plans for server in plan.servers}
        names = [server.name for server in self._servers if server.name in asked]
        return (*dict.fromkeys(names), *(str(peer.id) for peer in self._helpers))

    # --- the gateway --------------------------------------------------------------------------------------------------

    def _ask_gateway(self) -> None:
        from ..mapping.offers import ask_gateway  # not before it is wanted

        self._gateway = ask_gateway(timeout=max(0.5, self._deadline - self._clock.now() - 0.3))

    def _await_gateway(self) -> None:
        if self._gateway_thread is None:
            return
        self._gateway_thread.join(max(0.0, self._deadline - self._clock.now()))
        self._tell("gateway", "the router has been asked", True)

    def _judged_gateway(self, findings: Sequence[ProtocolFinding]) -> GatewayFinding | None:
        """With what the servers and the way out say of another translator beyond it."""
        from ..mapping.layers import CARRIER, DOUBLE, SHARED, judge_layers

        gateway, hops = self._gateway, () if self._hops is None else self._hops.hops
        seen = next((each.mapped.rpartition(":")[0] for each in findings if each.family == 4 and each.mapped), None)
        if gateway is None:
            if not hops:
                return None
            gateway = GatewayFinding(hops[0])
        gateway = dataclasses.replace(gateway, hops=hops)
        external = next((offer.external for offer in gateway.offers if offer.external), "")
        layers = judge_layers(external, seen=seen)
        if layers.kind and not gateway.layers:
            return dataclasses.replace(gateway, layers=layers.kind, reason=layers.reason)
        second = "" if self._hops is None else self._hops.second_translator
        translated = any(each.translated for each in findings if each.family == 4)
        if second and translated and not gateway.layers:
            kind = CARRIER if ipaddress.ip_address(second) in SHARED else DOUBLE
            reason = f"beyond the router stands another one with the inner address {second}"
            return dataclasses.replace(gateway, layers=kind, reason=reason)
        return gateway

    def _tell(self, stage: str, text: str, done: bool) -> None:
        if self._on_progress is not None:
            self._on_progress(SurveyProgress(stage, text, done, self._clock.now() - self._begun))


def _has_way(address: Address) -> bool:
    try:
        way_to(address)
    except OSError:
        return False
    return True


def _name(plan: Plan) -> str:
    return f"{_WORDS[plan.protocol]} over IPv{plan.family}"


def _hints(found: NetworkSurvey, servers: Sequence[NamedServer]) -> tuple[str, ...]:
    hints = []
    leaving = [each for each in found.interfaces if each.default]
    if not found.interfaces:
        hints.append("no_network")
    if any(each.kind is InterfaceKind.VPN for each in leaving):
        hints.append("vpn")
    usual = (InterfaceKind.ETHERNET, InterfaceKind.WIRELESS, InterfaceKind.MOBILE)
    if sum(1 for each in found.interfaces if each.kind in usual and _routable(each.addresses)) > 1:
        hints.append("several_ways_out")
    names = [server for server in servers if not server.endpoint.is_ip]
    if names and all(server.error for server in names):
        hints.append("no_dns")
    if any(server.lies for server in names):
        hints.append("dns_lies")
    if any(each.intercepted for each in found.protocols):
        hints.append("captive_portal")
    return tuple(hints)


def _routable(addresses: Sequence[str]) -> bool:
    return any(not ipaddress.ip_address(each.partition("%")[0]).is_link_local for each in addresses)
