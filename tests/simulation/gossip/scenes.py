"""What gossip must stand, at full size or at a tenth of it: each scene yields the figures that were asked for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from crust.discovery.gossip.events import Found
from crust.discovery.gossip.record import Record
from tests.simulation.gossip.figures import Outcome, at_least, at_most, noted, percentile
from tests.simulation.gossip.liars import Liar
from tests.simulation.gossip.node import Node
from tests.simulation.gossip.population import Population
from tests.simulation.gossip.upkeep import GOAL
from tests.simulation.svg import Line, Panel

__all__ = ["Lookups", "change", "churn", "dead", "join", "liars", "partition", "quiet", "seconds", "share"]


def share(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 1 else "100 %"


def seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def kilobytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1000:.0f} kB"


def rate(value: float) -> str:
    return f"{value / 1000:.2f} kB/s"


class Watch:
    """When a quantity that grows to 1 has come how far; times count from ``since``."""

    def __init__(self, population: Population, quantity: Callable[[], float], since: float) -> None:
        self._net = population.net
        self._quantity = quantity
        self._since = since
        self.times: list[float] = []
        self.values: list[float] = []

    def look(self) -> bool:
        """Whether it is complete."""
        self.times.append(self._net.now - self._since)
        self.values.append(self._quantity())
        return self.values[-1] >= 1

    def follow(self, longest: float, every: float = 1.0) -> None:
        """Let time pass until it is complete."""
        end = self._net.now + longest
        while not self.look() and self._net.now < end:
            self._net.world.run(self._net.now + every)

    def reached(self, level: float) -> float:
        """When it last rose to that."""
        result = math.inf
        for time, value in zip(reversed(self.times), reversed(self.values), strict=True):
            if value < level:
                break
            result = time
        return result


# --- coming together --------------------------------------------------------------------------------------------------


def join(population: Population, count: int, during: float = 60.0) -> Outcome:
    """So many come within a minute, who know three contacts."""
    title = f"{count:,} nodes join within {during:.0f} s through 3 contacts"
    outcome = Outcome(title, seconds=during + 30, name="join")
    net = population.net
    began = net.now
    population.crowd(count, during)
    rising = Watch(population, lambda: population.known() * (len(net.nodes) / count) ** 2, began)
    for _ in range(round(during)):
        net.world.run(net.now + 1)
        rising.look()
    last = began + during
    watch = Watch(population, population.known, last)
    watch.follow(60)
    nodes = population.nodes
    sent = [node.sent for node in nodes]
    outcome.figures = [
        at_least("nodes with a link", 1, sum(bool(node.links) for node in nodes) / count, share),
        noted(f"nodes with {GOAL} links", share(sum(len(node.links) >= GOAL for node in nodes) / count)),
        at_most("99 % of records known, after the last has joined", 15, watch.reached(0.99), seconds),
        at_most("all records known", 30, watch.reached(1), seconds),
        at_most("bytes sent by the median node", 250_000, statistics.median(sent), kilobytes),
        at_most("bytes sent by the worst", 20_000_000, max(sent), kilobytes),
    ]
    times = [*rising.times, *(time + during for time in watch.times)]
    percent = [100 * value for value in (*rising.values, *watch.values)]
    outcome.panels = [Panel("records known, % of all at all nodes", [Line("", times, percent)], mark=99)]
    outcome.notes.append(net.traffic())
    return outcome


def change(population: Population, changes: int = 5) -> Outcome:
    """A few nodes publish something new, one after the other."""
    outcome = Outcome("one node's record changes", seconds=10, name="change")
    net = population.net
    needed, whole = [], []
    panel = Panel("nodes that know the change, %", mark=99)
    for number in range(changes):
        node = population.random.choice([node for node in population.nodes if node.public == (number % 2 == 0)])
        net.run(2)
        record = node.publish()
        watch = Watch(population, lambda: population.holders(record), net.now)  # noqa: B023
        watch.follow(10, 0.1)
        needed.append(watch.reached(0.99))
        whole.append(watch.reached(1))
        panel.lines.append(Line(f"{number + 1}", watch.times, [100 * value for value in watch.values]))
    outcome.figures = [
        at_most(f"known to 99 % of nodes, the slowest of {changes}", 8, max(needed), seconds),
        noted("known to all", seconds(max(whole))),
    ]
    outcome.panels = [panel]
    outcome.notes.append(net.traffic())
    return outcome


# --- looking up -------------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    seeker: Node
    target: Node
    began: float
    ended: float = math.inf
    messages: int = 0
    found: bool = False
    usable: bool = False


class Lookups:
    """Nodes that look for others, so many a second."""

    def __init__(self, population: Population, every: float, who: Callable[[Node], bool] = lambda node: True) -> None:
        self._population = population
        self._net = population.net
        self._every = every
        self._may_take_part = who
        self._until = 0.0
        self._open: dict[tuple[int, int], Asked] = {}
        self.done: list[Asked] = []

    def begin(self, duration: float) -> None:
        """From now on for so long."""
        self._until = self._net.now + duration
        self._ask()

    def _pick(self) -> Node:
        nodes = self._population.nodes
        while True:
            node = self._population.random.choice(nodes)
            if node.links and node.record is not None and self._may_take_part(node):
                return node

    def _ask(self) -> None:
        if self._net.now >= self._until:
            return
        seeker, target = self._pick(), self._pick()
        if seeker is not target and target.id not in seeker.links:
            asked = Asked(seeker, target, self._net.now)
            self.done.append(asked)
            seeker.find(target.id, lambda found: self._end(asked, found))
        self._net.later(self._every, self._ask)

    def _end(self, asked: Asked, found: Found) -> None:
        asked.ended = self._net.now
        asked.messages = 2 * found.asked  # questions and answers
        asked.found = found.record is not None
        if found.record is not None:
            target = asked.target
            asked.usable = target.public or self._is_introduced(target, found.record)

    def _is_introduced(self, target: Node, record: Record) -> bool:
        vias = [self._net.nodes.get(contact.peer_id.public_key) for contact in record.via]
        return any(via is not None and target.id in via.links for via in vias)

    @property
    def counted(self) -> list[Asked]:
        """All whose two nodes lived to the end."""
        return [each for each in self.done if each.seeker.alive and each.target.alive]

    def success(self) -> float:
        return sum(each.found for each in self.counted) / len(self.counted)

    def usable(self) -> float:
        """The part that yields a record by which the peer can be reached now."""
        return sum(each.usable for each in self.counted) / len(self.counted)

    def slowest(self) -> float:
        return max((each.ended - each.began for each in self.counted if each.found), default=math.inf)

    def messages(self) -> list[int]:
        return [each.messages for each in self.counted]


def _lookups_of(outcome: Outcome, lookups: Lookups, least: float) -> None:
    counted = lookups.counted
    asking = [each for each in counted if each.messages]
    outcome.figures += [
        at_least(f"look-ups of living peers that find them, of {len(counted):,}", least, lookups.success(), share),
        noted("by what they find the peer can be reached at once", share(lookups.usable())),
        noted("look-ups that had to ask others", share(len(asking) / len(counted))),
    ]


def churn(population: Population, part: float = 0.1, minutes: float = 5) -> Outcome:
    """Every minute so large a part of the nodes leaves, and as many join."""
    net = population.net
    count = len(net.nodes)
    outcome = Outcome(f"{100 * part:.0f} % of {count:,} nodes leave every minute, and as many join")
    pause = 60 / (part * count)
    end = net.now + 60 * minutes

    def turn() -> None:
        if net.now < end:
            contacts = population.contacts
            leaver = population.random.choice([node for node in population.nodes if node not in contacts])
            population.leave(leaver)
            population.join(population.make(leaver.public))
            net.later(pause, turn)

    before = {node.id: node.sent for node in population.nodes}
    turn()
    lookups = Lookups(population, 0.2)
    lookups.begin(60 * minutes - 10)
    net.run(60 * minutes)
    _lookups_of(outcome, lookups, 0.98)
    stayed = [node.sent - before[node.id] for node in population.nodes if node.id in before]
    outcome.figures += [
        noted("nodes with a link", share(sum(bool(node.links) for node in population.nodes) / count)),
        noted("sent by the median node", rate(statistics.median(stayed) / (60 * minutes))),
        noted("sent by the worst", rate(max(stayed) / (60 * minutes))),
    ]
    outcome.notes.append(net.traffic())
    return outcome


def partition(population: Population, minutes: float = 5, part: float = 0.3) -> Outcome:
    """So large a part of the network is cut off for some minutes."""
    net = population.net
    nodes = population.nodes
    outcome = Outcome(f"{100 * part:.0f} % of {len(nodes):,} nodes are cut off for {minutes:g} minutes")
    lonely = population.some(part)
    for node in lonely:
        node.side = 1
    began = net.now
    net.divide()
    apart = Watch(population, population.current, began)
    while net.now < began + 60 * minutes:
        net.world.run(net.now + 20)
        apart.look()
    changed = apart.values[-1]
    net.heal()
    watch = Watch(population, population.current, net.now)
    watch.follow(120)
    outcome.figures = [
        at_most("until all know 99 % of records as they are now", 60, watch.reached(0.99), seconds),
        noted("at the end of the partition", share(changed)),
        noted("until all know all of them", seconds(watch.reached(1))),
    ]
    times = [*apart.times, *(time + 60 * minutes for time in watch.times)]
    outcome.panels = [
        Panel(
            "records known as they are, % of all at all nodes",
            [Line("", times, [100 * value for value in (*apart.values, *watch.values)])],
            mark=99,
        )
    ]
    outcome.seconds = max(60 * minutes + 60, times[-1])
    outcome.notes.append(net.traffic())
    return outcome


def quiet(population: Population, warm: float = 10, measured: float = 45) -> Outcome:
    """Nothing happens but that records are renewed."""
    net = population.net
    outcome = Outcome(f"{len(net.nodes):,} nodes, nothing new")
    net.run(warm)
    before = {node.id: node.sent for node in population.nodes}
    net.run(measured)
    rates = [(node.sent - before[node.id]) / measured for node in population.nodes]
    outcome.figures = [
        at_most("sent by the median node", 2000, statistics.median(rates), rate),
        noted("sent by 99 % of nodes, at most", rate(percentile(rates, 0.99))),
    ]
    outcome.notes.append(net.traffic())
    return outcome


def dead(population: Population, part: float = 0.3, lookups: int = 1000, duration: float = 15) -> Outcome:
    """
    Stores smaller than the network, and so large a part of it dies in this moment without a word: nobody knows who.
    """
    net = population.net
    count = len(net.nodes)
    kept = population.max_records
    outcome = Outcome(f"{count:,} nodes that keep {kept:,} records, {100 * part:.0f} % of them dead")
    for node in population.some(part):
        population.leave(node, goodbye=False)
    wanted = Lookups(population, duration / lookups)
    wanted.begin(duration)
    net.run(duration + 12)
    _lookups_of(outcome, wanted, 0.99)
    outcome.figures += [
        at_most("messages of the look-up that needed most", 40, max(wanted.messages()), lambda value: f"{value:.0f}"),
        noted("messages of the median look-up", f"{statistics.median(wanted.messages()):.0f}"),
        at_most("the slowest", 10, wanted.slowest(), seconds),
    ]
    outcome.notes.append(net.traffic())
    return outcome


def liars(
    population: Population, count: int, part: float = 0.05, made_up: int = 1_000_000, minutes: float = 3
) -> Outcome:
    """So large a part of the nodes makes up so many others between them."""
    net = population.net
    number = round(part * count)
    outcome = Outcome(f"{number} of {count:,} nodes make up {made_up:,} others")
    population.settled(count, number, made_up // number)
    honest = [node for node in population.nodes if not isinstance(node.core, Liar)]
    net.run(30)
    lookups = Lookups(population, 0.2, lambda node: not isinstance(node.core, Liar))
    lookups.begin(60 * minutes - 45)
    largest = 0
    checked = {node.id: node.checks for node in honest}
    began = net.now
    while net.now < began + 60 * minutes - 30:
        net.world.run(net.now + 10)
        largest = max(largest, *(len(node.core.store) for node in honest))
    checks = [(node.checks - checked[node.id]) / (net.now - began) for node in honest]
    _lookups_of(outcome, lookups, 0.95)
    outcome.figures += [
        at_most("records in the largest store", population.max_records, largest, lambda value: f"{value:,.0f}"),
        at_most("signatures that the busiest node verifies", 100, max(checks), lambda value: f"{value:.0f}/s"),
        noted("and the median node", f"{statistics.median(checks):.1f}/s"),
        noted("of other honest nodes' records, the median node keeps", share(_kept(honest))),
    ]
    outcome.notes.append(net.traffic())
    return outcome


def _kept(honest: list[Node]) -> float:
    kept = [sum(node.core.store.of(other.id) is not None for other in honest if other is not node) for node in honest]
    return statistics.median(kept) / (len(honest) - 1)
