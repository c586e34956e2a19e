"""What gets through which NATs by ``punch-udp``, how fast, and what is sent on the way."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from crust import limits
from crust.findings import Behaviour
from crust.nat.punch.contract import Context, Probe, Terrain
from crust.nat.punch.encounter import Encounter
from crust.nat.punch.probe_packet import Kind, ProbeSealer
from crust.nat.punch.punch_udp import NAME, PunchUdp
from crust.nat.punch.udp_signals import Fresh, build_signal
from crust.wire.frames import Place, PlaceKind, TransportCode
from tests.nat.punch.world import DEPENDENT, INDEPENDENT, RANDOM, SEQUENTIAL, Nat, World

KINDS: dict[str, Callable[[], Nat]] = {
    "none": lambda: Nat(None, INDEPENDENT),
    "firewall": lambda: Nat(None),
    "full": lambda: Nat(INDEPENDENT, INDEPENDENT),
    "addr": lambda: Nat(INDEPENDENT, Behaviour.ADDRESS),
    "port": lambda: Nat(),
    "shuffled": lambda: Nat(ports=RANDOM),
    "remembers": lambda: Nat(remembers=True),
    "sym_full": lambda: Nat(DEPENDENT, INDEPENDENT, RANDOM),
    "sym_addr": lambda: Nat(DEPENDENT, Behaviour.ADDRESS, RANDOM),
    "by_address": lambda: Nat(Behaviour.ADDRESS, DEPENDENT, RANDOM),
    "sym": lambda: Nat(DEPENDENT, DEPENDENT, RANDOM),
    "symseq": lambda: Nat(DEPENDENT, DEPENDENT, SEQUENTIAL),
}
CHANGING = {"sym_full", "sym_addr", "by_address", "sym", "symseq"}
TOLERANT = {"none", "full", "addr"}
SKEWS = (0.0, 0.005, 0.015, 0.03, 0.4)


def works(one: str, other: str) -> bool:
    """Whether punching is enough: both keep their ports, or one does not look at the other's."""
    changing = CHANGING & {one, other}
    return not changing or one not in CHANGING and one in TOLERANT or other not in CHANGING and other in TOLERANT


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("one", KINDS)
def test_pairs_of_networks(one: str, other: str) -> None:
    """Whatever the skew, over 40 ms and 5 % loss: always, and in well under a second, or never."""
    possible = works(one, other)
    for skew in SKEWS if possible else (0.0, 0.4):
        for seed in range(2 if possible else 1):
            world = World(KINDS[one](), KINDS[other](), PunchUdp, loss=0.05, skew=skew, seed=seed, timeout=4.0).run()
            assert (world.met_at is not None) == possible, (skew, seed)
            if world.met_at is not None:
                # Fresh sockets have their turn when a router has remembered what came too early.
                assert world.met_at - skew < (1.2 if "remembers" in (one, other) else 0.5), (skew, seed)
                assert [end.finished for end in world.ends] == ["", ""]
                assert all(end.notes[0].verdict == "connected" for end in world.ends)


def test_a_quiet_line_needs_two_round_trips() -> None:
    """One for the first answer, a moment to choose, one to agree; the leading end knows last."""
    for seed in range(20):
        met = World(Nat(), Nat(), PunchUdp, seed=seed).run().met_at
        assert met is not None and 0.08 <= met <= 0.04 * 3 + limits.PUNCH_CHOICE + limits.PUNCH_FIRST_GAP + 0.001


def test_heavy_loss_is_survived() -> None:
    """A third of all datagrams: nine of ten within two seconds, and all in the end."""
    met = [World(Nat(), Nat(), PunchUdp, loss=0.33, seed=seed).run().met_at for seed in range(40)]
    times = sorted(each for each in met if each is not None)
    assert len(times) == 40 and times[35] < 2.0


def test_the_same_network_is_preferred() -> None:
    """Two on one LAN take the way there, although the one through the routers works as well."""
    world = World(Nat(), Nat(), PunchUdp, lan=True).run()
    assert world.met_at is not None and world.met_at < 0.05
    assert all(end.wins[0][1].remote[0].startswith("192.168.") for end in world.ends)


def test_a_deeper_router_is_opened_too() -> None:
    """Behind three routers, of which the first probes of a fresh socket pass no more: later ones do."""
    for seed in range(5):
        assert World(Nat(depth=4), Nat(remembers=True), PunchUdp, skew=0.4, seed=seed).run().met_at is not None


def test_nobody_there() -> None:
    """The other end never begins: sent is what the schedule says, and the attempt ends with its reason."""
    world = World(Nat(), Nat(), PunchUdp, loss=1.0).run()
    one = world.ends[0]
    assert one.finished == "nothing came through" and not one.wins
    times = [at for at, probe in one.probes if probe.socket == "udp4"]
    assert times[0] == 0.0 and times[4] < 0.1 and max(times) < limits.PUNCH_SPARSE + 0.3
    assert 70 <= len(times) <= 90
    gaps = [round(later - sooner, 4) for sooner, later in zip(times[10:30], times[11:31], strict=True)]
    assert len(set(gaps)) > 10 and all(0.04 < gap < 0.06 for gap in gaps)


def test_many_addresses_are_paced_and_the_best_come_first() -> None:
    """At most a hundred probes a second in all; each address has its first before any has many."""
    lies = tuple(("20.0.2.1", 5000 + number) for number in range(30))
    world = World(Nat(), Nat(remembers=False), PunchUdp, loss=1.0, lies=lies).run()
    times = [at for at, _ in world.ends[0].probes]
    for start in range(12):
        assert sum(start <= at < start + 1 for at in times) <= limits.PUNCH_RATE + limits.PUNCH_RATE_BURST + 2
    first = [probe.to for _, probe in world.ends[0].probes[:31]]
    assert first[0] == world.ends[0].probes[0][1].to and len(set(first)) == 31


def test_addresses_that_nobody_saw_get_few() -> None:
    """Whatever the other end names: three probes over all ports of one host, which leaves room for answers."""
    victim = tuple(("192.0.2.66", port) for port in range(7000, 7010))
    world = World(Nat(), Nat(), PunchUdp, loss=1.0, lies=victim).run()
    sent = [probe for _, probe in world.ends[0].probes if probe.to[0] == "192.0.2.66"]
    assert len(sent) == len(limits.PUNCH_UNSEEN_TIMES)
    assert "192.0.2.66" not in world.ends[0].proven


# --- what others send -------------------------------------------------------------------------------------------------


def lone(leads: bool = True, seed: int = 1) -> tuple[PunchUdp, Context, random.Random]:
    """A plan without any other end."""
    chance = random.Random(seed)
    place = Place(PlaceKind.REFLEXIVE, TransportCode.UTP, False, ("20.0.2.1", 7000))
    context = Context(
        leads, 0.04, Terrain(), Terrain((), (place,)), (place,), frozenset({"20.0.2.1"}),
        bytes(32), bytes(31) + b"\x01", 15.0, chance.random, chance.randbytes,
    )  # fmt: skip
    plan = PunchUdp(context)
    plan.start(0.0)
    plan.actions()
    return plan, context, chance


STRANGER = ("192.0.2.99", 99)


def to_stranger(plan: PunchUdp) -> list[Probe]:
    return [each for each in plan.actions() if isinstance(each, Probe) and each.to == STRANGER]


def test_a_source_that_proves_nothing_gets_three_answers() -> None:
    """However much it sends that was recorded elsewhere, or that the other end sends there without an echo."""
    plan, context, chance = lone()
    sealer = ProbeSealer(context.key_in, NAME, chance.randbytes)
    answers = []
    for number in range(50):
        probe = sealer.seal(Kind.PROBE, sealer.nonce())
        for _ in range(3):
            plan.receive_datagram("udp4", STRANGER, probe, 0.01 * number)
            answers += to_stranger(plan)
    assert len(answers) == limits.PUNCH_ANSWERS


def test_what_is_sent_back_or_again_gains_nothing() -> None:
    """Our own probes do not concern us; an answer counts only where its question went."""
    plan, context, chance = lone()
    plan.handle_timer(0.1)
    ours = next(each for each in plan.actions() if isinstance(each, Probe))
    plan.receive_datagram("udp4", STRANGER, ours.data, 0.2)
    assert not to_stranger(plan)
    nonce = next(iter(plan._encounter._sent))  # it went to the other end's address
    answer = ProbeSealer(context.key_in, NAME, chance.randbytes).seal(Kind.ANSWER, b"12345678", nonce)
    plan.receive_datagram("udp4", STRANGER, answer, 0.2)
    assert not plan._encounter.met
    plan.receive_datagram("udp4", ("20.0.2.1", 7000), answer, 0.2)
    assert plan._encounter.met


@pytest.mark.parametrize("leads", [True, False])
def test_a_way_that_does_not_count_is_not_agreed_on(leads: bool) -> None:
    """Neither by who leads nor by who does not, though the other end says so."""
    plan, context, chance = lone(leads)
    sealer = ProbeSealer(context.key_in, NAME, chance.randbytes)
    for kind in (Kind.NOMINATE, Kind.CONFIRM):
        plan.receive_datagram("udp4", STRANGER, sealer.seal(kind, sealer.nonce(), b"whatever"), 0.1)
    assert plan._encounter.won is None
    assert len(to_stranger(plan)) == (0 if leads else 1)


def test_a_flood_of_sources_is_bounded() -> None:
    """What is remembered of them, too."""
    plan, context, chance = lone()
    sealer = ProbeSealer(context.key_in, NAME, chance.randbytes)
    for number in range(limits.PUNCH_PATHS_MAX + 100):
        plan.receive_datagram("udp4", ("192.0.2.99", 1000 + number), sealer.seal(Kind.PROBE, sealer.nonce()), 0.1)
    assert len(plan._encounter._ways) == limits.PUNCH_PATHS_MAX


def test_the_choice_is_repeated_and_then_another_one() -> None:
    """The address that was chosen has gone: the next best one is taken."""
    _, context, chance = lone()
    actions: list[object] = []
    encounter = Encounter(context, NAME, actions)  # type: ignore[arg-type]
    encounter.begin(0.0)
    sealer = ProbeSealer(context.key_in, NAME, chance.randbytes)
    near, far = ("192.168.7.7", 7), ("20.0.2.1", 7000)
    for address in (near, far):
        encounter.probe("udp4", address, 0.0)
        nonce = list(encounter._sent)[-1]
        encounter.receive("udp4", address, sealer.seal(Kind.ANSWER, sealer.nonce(), nonce), 0.02)
    now, chosen = 0.0, []
    while (timer := encounter.get_timer()) is not None and now < 3.0:
        now = max(now, timer)
        actions.clear()
        encounter.handle_timer(now)
        chosen += [each.to for each in actions if isinstance(each, Probe)]
    assert chosen[0] == near and far in chosen
    assert chosen.index(far) * limits.PUNCH_NOMINATE_GAP >= limits.PUNCH_NOMINATE_PATIENCE


def test_a_fresh_socket_is_tried_only_where_the_other_end_was_seen() -> None:
    """Whatever it says of where its own is seen."""
    plan, _, _ = lone()
    plan.handle_timer(limits.PUNCH_TRAP_AFTER)
    plan.actions()
    plan.sampled("fresh4", ("20.0.1.1", 5555), 0.45)
    plan.receive_signal(build_signal(Fresh(STRANGER)), 0.5)
    plan.handle_timer(0.6)
    asked = [each for each in plan.actions() if isinstance(each, Probe)]
    assert asked and not any(each.to == STRANGER or each.socket == "fresh4" for each in asked)
