"""Whatever a router does, and in whatever order: some things always hold of the plan for it."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crust import limits
from crust.nat.mapping.ways import Wanted
from tests.nat.mapping.router import Router
from tests.nat.mapping.simulated import Bench

LISTENERS = [Wanted(protocol, port) for protocol in ("tcp", "udp") for port in (4711, 443, 50_000)]


class RouterModel(RuleBasedStateMachine):
    """A router that changes its mind at any time, and a network that loses packets."""

    @initialize(protocols=st.sets(st.sampled_from(["pcp", "natpmp", "igd"]), min_size=1), life=st.integers(1, 7200))
    def begin(self, protocols: set[str], life: int) -> None:
        router = Router()
        router.life_max = life
        self.bench = Bench(router, sorted(protocols))
        self.wanted: list[Wanted] = []
        self.closed = False

    def _call(self) -> None:
        assert not self.closed

    @precondition(lambda self: not self.closed)
    @rule(wanted=st.lists(st.sampled_from(LISTENERS), unique=True))
    def want(self, wanted: list[Wanted]) -> None:
        self.wanted = wanted
        self.bench.want(*wanted)

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 10.0, 100.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.bench.run(seconds)

    @rule()
    def reboot(self) -> None:
        self.bench.router.reboot(self.bench.now)

    @rule(pcp=st.booleans(), natpmp=st.booleans(), igd=st.booleans())
    def speak(self, pcp: bool, natpmp: bool, igd: bool) -> None:
        self.bench.router.pcp, self.bench.router.natpmp = pcp, natpmp
        self.bench.answers = self.bench.answers[:1] if igd else []

    @rule(pcp=st.sampled_from([0, 0, 2, 8, 11, 99]), natpmp=st.sampled_from([0, 0, 2, 4, 77]))
    def refuse(self, pcp: int, natpmp: int) -> None:
        self.bench.router.pcp_result, self.bench.router.natpmp_result = pcp, natpmp

    @rule(codes=st.lists(st.sampled_from([718, 501, 725, 402, 606, 724, 727]), max_size=4))
    def fail(self, codes: list[int]) -> None:
        self.bench.router.soap_errors["AddPortMapping"] = codes

    @rule(permanent=st.sampled_from([0, 725]))
    def insist(self, permanent: int) -> None:
        self.bench.router.permanent_only = permanent

    @rule(lossy=st.booleans())
    def lose(self, lossy: bool) -> None:
        self.bench.lossy = lambda data: lossy

    @rule(address=st.sampled_from(["20.0.1.1", "20.0.1.2", "100.64.0.1"]))
    def renumber(self, address: str) -> None:
        self.bench.router.external_ip = address

    @rule(data=st.binary(max_size=80), kind=st.sampled_from([b"", b"\0\x80", b"\0\x81", b"\2\x80", b"\2\x81"]))
    def garbage(self, data: bytes, kind: bytes) -> None:
        self.bench.mapper.receive(kind + data, self.bench.now)
        self.bench.settle()

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        """It ends soon, whatever the router does; if that is willing and was so, nothing stays behind."""
        self.closed = True
        self.bench.close()
        assert self.bench.mapper.closed

    @invariant()
    def what_is_told_is_wanted(self) -> None:
        held = self.bench.held()
        assert set(held) <= set(() if self.closed else self.wanted)
        assert all(external >= limits.MAPPING_PORT_MIN for _, external, _ in held.values())

    @invariant()
    def what_is_told_is_on_the_list(self) -> None:
        """Whatever may be open is on disk, for the case of a crash."""
        listed = {each.ask.wanted for each in self.bench.mapper.in_table()}
        assert set(self.bench.held()) <= listed

    @invariant()
    def timers_go_on(self) -> None:
        due = self.bench.mapper.get_timer()
        assert due is None or due > self.bench.now - 1e-3 or self.bench.mapper.closed

    def teardown(self) -> None:
        """With a willing router everything comes right: all that is wanted is open, and nothing after the end."""
        if not hasattr(self, "bench") or self.closed:
            return
        bench, router = self.bench, self.bench.router
        bench.lossy = lambda data: False
        router.pcp = router.natpmp = True
        router.pcp_result = router.natpmp_result = router.permanent_only = 0
        router.soap_errors.clear()
        router.table.clear()
        bench.answers = bench.answers[:1] or [b""]
        willing = router.life_max > limits.MAPPING_RENEW_MIN  # a port that is open for a moment is of no use
        if willing and ("pcp" in bench.mapper.ways or "natpmp" in bench.mapper.ways):
            bench.run(2 * limits.MAPPING_RETRY_MAX + 7200)
            assert set(bench.held()) == set(self.wanted)
        bench.close()
        assert router.table == {} or not willing


RouterModel.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_a_router_that_does_anything = RouterModel.TestCase
