"""The plan for one router: which protocol, one mapping a listener, kept up through all that routers do."""

from __future__ import annotations

import pytest

from crust import limits
from crust.nat.mapping.ways import Wanted
from tests.nat.mapping.router import Line, Router
from tests.nat.mapping.simulated import TCP, UDP, Bench

ALL = {TCP, UDP}


def only(*protocols: str) -> Router:
    router = Router()
    router.pcp, router.natpmp, router.igd = (name in protocols for name in ("pcp", "natpmp", "igd"))
    return router


@pytest.mark.parametrize("protocol", ["pcp", "natpmp", "igd"])
def test_what_the_router_speaks_is_used(protocol: str) -> None:
    """Each protocol alone maps TCP and UDP, well within two seconds, and its table is empty after close."""
    bench = Bench(only(protocol))
    bench.want(TCP, UDP)
    bench.run(1.0)
    assert bench.held() == {each: ("20.0.1.1", 4711, protocol) for each in ALL}
    assert bench.router.ours() == {
        ("tcp", 4711): ("192.168.1.10", 4711),
        ("udp", 4711): ("192.168.1.10", 4711),
    }
    bench.close()
    assert bench.mapper.closed and bench.router.table == {} and bench.held() == {}


def test_all_are_asked_at_once_and_the_best_has_the_port() -> None:
    """A router that speaks all three is asked for a port by one of them only."""
    bench = Bench()
    bench.want(TCP, UDP)
    bench.run(5.0)
    assert {way for _, _, way in bench.held().values()} == {"pcp"}
    asked = bench.router.asked
    assert {"announce", "address", "GetExternalIPAddress"} <= set(asked)
    assert [each for each in asked if "map" in each.lower()] == ["pcp map tcp 4711", "pcp map udp 4711"]


def test_a_better_protocol_is_waited_for_for_a_moment_only() -> None:
    """If PCP's packets are lost, the next one has the port soon; PCP's late answer changes nothing."""
    bench = Bench()
    bench.lossy = lambda data: data[0] == 2 and bench.now < 1000.9
    bench.want(TCP)
    assert bench.held() == {}
    bench.run(limits.MAPPING_GRACE + 0.01)
    assert bench.held()[TCP][2] == "natpmp"
    bench.run(60.0)
    assert len(bench.router.table) == 1 and bench.held()[TCP][2] == "natpmp"


def test_a_protocol_that_refuses_is_followed_by_the_next() -> None:
    """PCP and NAT-PMP switched off for clients, UPnP not."""
    bench = Bench()
    bench.router.pcp_result, bench.router.natpmp_result = 2, 2
    bench.want(TCP)
    bench.run(1.0)
    assert bench.held()[TCP][2] == "igd"


def test_lost_packets_are_sent_again_after_250_ms_doubling() -> None:
    """Every packet of the first second is lost: the times of RFC 6886."""
    bench = Bench(only("natpmp"), protocols=["natpmp"])
    bench.lossy = lambda data: True
    bench.want(TCP)
    bench.run(10.0)
    times = [round(at - 1000.0, 2) for at, _ in bench.sent]
    assert times == [0.0, 0.25, 0.75, 1.75]
    assert bench.failures() == ["the router 192.168.1.1 opens no port (NAT-PMP: no answer)"]


def test_it_is_renewed_at_half_of_what_was_granted_on_the_same_port() -> None:
    """The router grants 600 s of 3600 and another port than asked for: that port stays."""
    bench = Bench(only("pcp"))
    bench.router.life_max = 600
    bench.router.taken = {("tcp", 4711)}
    bench.want(TCP)
    assert bench.held()[TCP][1] == 4712
    bench.router.taken = set()
    start = len(bench.sent)
    bench.run(1000.0)
    renewals = [round(at - 1000) for at, data in bench.sent[start:] if data[1] == 1]
    assert renewals == [300, 600, 900]
    assert list(bench.router.table) == [("tcp", 4712)]
    assert len(bench.changes) == 1


def test_one_failed_renewal_moves_nothing() -> None:
    """A router that is silent for a while: the port is tried again before its time is up, and is the same."""
    bench = Bench(only("natpmp"), lifetime=600)
    bench.want(TCP)
    bench.lossy = lambda data: 1290 < bench.now < 1400
    bench.run(700.0)
    assert len(bench.changes) == 1 and bench.held()[TCP] == ("20.0.1.1", 4711, "natpmp")
    assert [key for key in bench.router.table] == [("tcp", 4711)]


@pytest.mark.parametrize("codes", [[501], [718, 501], [606]])
def test_a_router_that_refuses_a_renewal_moves_nothing(codes: list[int]) -> None:
    """UPnP: an error while the mapping stands is no reason for another port."""
    bench = Bench(only("igd"), lifetime=600)
    bench.want(TCP)
    bench.run(1.0)
    bench.router.soap_errors["AddPortMapping"] = codes
    bench.run(2000.0)
    assert bench.router.soap_errors["AddPortMapping"] == []
    assert len(bench.changes) == 1 and list(bench.router.table) == [("tcp", 4711)]


def test_a_port_that_another_machine_took_during_a_reboot() -> None:
    """The mapping is gone, and cannot come back: another port at once."""
    bench = Bench(only("igd"))
    bench.want(TCP)
    bench.run(1.0)
    bench.router.reboot(bench.now)
    bench.router.taken = {("tcp", 4711)}
    bench.run(limits.MAPPING_CHECK + 5)
    assert bench.held()[TCP][1] != 4711 and len(bench.router.table) == 1


def test_a_router_that_has_gone_is_noticed_when_the_lease_ends() -> None:
    """No answer at all: unmapped at the end of the lease, told once, and mapped again when it is back."""
    bench = Bench(only("pcp"), lifetime=120)
    bench.want(TCP)
    bench.router.pcp = False
    bench.run(200.0)
    assert bench.held() == {} and len(bench.failures()) == 1
    bench.router.pcp = True
    bench.run(limits.MAPPING_RETRY + 10)
    assert bench.held()[TCP] == ("20.0.1.1", 4711, "pcp")


@pytest.mark.parametrize("protocol", ["pcp", "natpmp", "igd"])
def test_a_rebooted_router_is_asked_again(protocol: str) -> None:
    """Its table is empty: by its epoch, or by a look at the entry, within the interval of the checks."""
    bench = Bench(only(protocol))
    bench.router.booted = -5000.0
    bench.want(TCP, UDP)
    bench.run(10.0)
    bench.router.reboot(bench.now)
    bench.run(limits.MAPPING_CHECK + 2)
    assert set(bench.router.table) == {("tcp", 4711), ("udp", 4711)}
    assert len(bench.held()) == 2


def test_a_new_outer_address_is_told() -> None:
    """The provider gives the router another one."""
    bench = Bench(only("natpmp"))
    bench.want(TCP)
    bench.router.external_ip = "20.0.1.77"
    bench.run(limits.MAPPING_CHECK + 2)
    assert bench.held()[TCP] == ("20.0.1.77", 4711, "natpmp")


def test_the_nonce_stays() -> None:
    """Renewal and removal come with the nonce of the first request: the router refuses others."""
    bench = Bench(only("pcp"))
    bench.want(TCP)
    bench.run(4000.0)
    bench.close()
    nonces = {data[24:36] for _, data in bench.sent if data[1] == 1}
    assert len(nonces) == 1 and bench.router.table == {}


# --- UPnP's quirks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [725, 402])
def test_a_router_without_leases(code: int) -> None:
    """A mapping without end, only because it insists; and it is removed at close."""
    bench = Bench(only("igd"))
    bench.router.permanent_only = code
    bench.want(TCP)
    bench.run(1.0)
    assert bench.router.table[("tcp", 4711)].lease == 0
    assert bench.changes[0].lifetime == 0  # type: ignore[union-attr]
    bench.run(10_000.0)
    assert len(bench.changes) == 1
    bench.close()
    assert bench.router.table == {}


@pytest.mark.parametrize("code", [718, 501])
def test_a_port_that_is_taken(code: int) -> None:
    """Another one at random, and the one that worked is kept."""
    bench = Bench(only("igd"))
    bench.router.soap_errors["AddPortMapping"] = [code, code]
    bench.want(TCP)
    bench.run(2.0)
    (external,) = {port for _, port, _ in bench.held().values()}
    low, high = limits.MAPPING_PORTS
    assert external != 4711 and low <= external <= high
    bench.run(4000.0)
    assert list(bench.router.table) == [("tcp", external)]


def test_six_ports_are_tried_and_no_more() -> None:
    """A router whose every answer is 501: it is told, and left alone for two minutes."""
    bench = Bench(only("igd"))
    bench.router.soap_errors["AddPortMapping"] = [-1]
    bench.want(TCP)
    bench.run(60.0)
    assert bench.router.asked.count("AddPortMapping") == limits.MAPPING_PORT_TRIES
    (reason,) = bench.failures()
    assert "UPnP: it failed (501)" in reason


@pytest.mark.parametrize(("code", "words"), [(727, "(727)"), (606, "(606)"), (401, "(401)")])
def test_what_cannot_be_helped_is_told_at_once(code: int, words: str) -> None:
    """One attempt, one sentence."""
    bench = Bench(only("igd"))
    bench.router.soap_errors["AddPortMapping"] = [code, code, code]
    bench.want(TCP)
    bench.run(5.0)
    assert bench.router.asked.count("AddPortMapping") == 1
    assert len(bench.failures()) == 1 and words in bench.failures()[0]


def test_the_outer_port_must_be_the_inner_one() -> None:
    """724, after the port had been changed for a conflict."""
    bench = Bench(only("igd"))
    bench.router.soap_errors["AddPortMapping"] = [718, 724]
    bench.want(TCP)
    bench.run(2.0)
    assert bench.held()[TCP] == ("20.0.1.1", 4711, "igd")


def test_a_router_that_lies_about_the_mapping() -> None:
    """It says yes, but still leads the port to another machine: another port."""
    bench = Bench(only("igd"))
    bench.router.liar = True
    bench.router.table[("tcp", 4711)] = Line("192.168.1.10", 1, 0)
    bench.want(TCP)
    bench.run(limits.MAPPING_GRACE + 0.05)
    assert bench.held() == {}
    bench.router.liar = False
    bench.run(2.0)
    assert bench.held()[TCP][1] != 4711


def test_a_router_that_does_not_show_its_table() -> None:
    """It is believed, and nothing is concluded from what it does not show."""
    bench = Bench(only("igd"))
    bench.router.blind = True
    bench.want(TCP)
    bench.run(1000.0)
    assert len(bench.changes) == 1 and bench.router.asked.count("AddPortMapping") == 1


def test_changes_of_the_table_keep_their_distance() -> None:
    """Some routers lose one of two that come at once."""
    bench = Bench(only("igd"))
    times: list[float] = []
    really = bench.call

    def watched(job: object) -> object:
        if job.what in ("add", "delete"):  # type: ignore[attr-defined]
            times.append(bench.now)
        return really(job)  # type: ignore[arg-type]

    bench.call = watched
    bench.want(TCP, UDP)
    bench.run(1.0)
    bench.close()
    assert len(times) == 4
    assert all(
        later - earlier >= limits.IGD_PAUSE - 1e-6 for earlier, later in zip(times, times[1:], strict=False)
    )


@pytest.mark.parametrize("port", [0, 80, 1023])
def test_low_ports_are_never_asked_for(port: int) -> None:
    """0 opens everything on some routers, and those below 1024 are refused."""
    for protocol in ("pcp", "natpmp", "igd"):
        bench = Bench(only(protocol))
        bench.want(Wanted("tcp", port or 443))
        bench.run(1.0)
        (external,) = {outer for _, outer, _ in bench.held().values()}
        assert external >= limits.MAPPING_PORT_MIN


# --- what changes -----------------------------------------------------------------------------------------------------


def test_other_listeners() -> None:
    """A rotation: the new port is mapped, the old one removed."""
    bench = Bench()
    bench.want(TCP)
    bench.want(Wanted("tcp", 5000))
    bench.run(1.0)
    assert set(bench.router.table) == {("tcp", 5000)}
    assert set(bench.held()) == {Wanted("tcp", 5000)}


@pytest.mark.parametrize("protocol", ["pcp", "natpmp", "igd"])
def test_close_while_the_router_is_being_asked(protocol: str) -> None:
    """The request is on its way: whatever it made is removed."""
    bench = Bench(only(protocol))
    late: list[tuple[bytes, float]] = []
    bench.lossy = lambda data: data[0] == 2 and data[1] == 1 or data[0] == 0 and data[1] > 0
    bench.want(TCP)
    bench.run(0.05)
    for at, data in bench.sent:
        if bench.lossy(data):
            late.append((data, at))
    for data, _ in late:
        bench.router.answer(data, bench.now)  # it arrives, and its answer does not
    bench.lossy = lambda data: False
    bench.close()
    assert bench.mapper.closed and bench.router.table == {}


def test_a_silent_router_does_not_hold_up_the_end() -> None:
    """Removals are given up; the mappings stay on the list."""
    bench = Bench(only("pcp"))
    bench.want(TCP)
    bench.lossy = lambda data: True
    bench.close()
    assert bench.mapper.closed
    assert [each.ask.wanted for each in bench.mapper.in_table()] == [TCP]


def test_what_a_crash_left_is_removed_or_taken_up() -> None:
    """The old node's ports are closed; the one that listens on the same port again goes on with it, by its nonce."""
    for protocol in ("pcp", "natpmp", "igd"):
        before = Bench(only(protocol))
        before.want(TCP, Wanted("udp", 6000))
        before.run(1.0)
        leftovers = before.mapper.in_table()
        after = Bench(before.router)
        after.now = before.now
        after.mapper.sweep(leftovers)
        after.want(TCP)
        after.run(2.0)
        assert set(after.router.table) == {("tcp", 4711)}, protocol
        assert after.held()[TCP][1] == 4711
        assert [each.ask.wanted for each in after.mapper.in_table()] == [TCP]
        after.close()
        assert after.router.table == {}


def test_a_nat_in_between() -> None:
    """PCP's server sees another address on our packets."""
    bench = Bench(only("pcp"))
    bench.router.sees = "10.0.0.5"
    bench.want(TCP)
    bench.run(5.0)
    assert bench.mapper.mismatch and "another NAT" in bench.failures()[0]


def test_nobody_is_at_the_port() -> None:
    """The router's ICMP ends the questions at once; UPnP does not wait for more."""
    bench = Bench(only("igd"))
    bench.mapper.want([TCP], bench.now)
    bench.mapper.unreachable(bench.now)
    bench.run(0.05)
    assert bench.held()[TCP][2] == "igd"


def test_failures_are_told_once() -> None:
    """Retries come ever more seldom and say nothing new."""
    bench = Bench(only())
    bench.want(TCP, UDP)
    bench.run(20_000.0)
    assert len(bench.failures()) == 2
    assert len({reason for reason in bench.failures()}) == 1
