"""
What observations say of a NAT: pure functions over what servers saw.

RFC 4787 sections 4 and 5 name the classes, RFC 5780 section 4 the tests. How ports are chosen is told by what several
new mappings got that were asked for at one moment, in that order.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Sequence

from ... import limits
from ...findings import Behaviour, PortAllocation

__all__ = ["Address", "Observation", "filtering_of", "mapping_of", "ports_of"]

Address = tuple[str, int]
"""IP and port."""

Observation = tuple[Address, Address]
"""Where was asked, and where that end saw us."""


def mapping_of(observations: Collection[Observation]) -> Behaviour | None:
    """
    On what the mapping of *one* local address and port depends.

    Returns:
        None if too few different addresses were asked to tell.
    """
    seen: dict[str, set[Address]] = collections.defaultdict(set)
    for (ip, _), mapped in observations:
        seen[ip].add(mapped)
    everything = set().union(*seen.values())
    if any(len(each) > 1 for each in seen.values()):
        return Behaviour.ADDRESS_AND_PORT
    if len(seen) < 2:
        return None
    if len(everything) == 1:
        return Behaviour.INDEPENDENT
    ports_asked: dict[str, set[int]] = collections.defaultdict(set)
    for (ip, port), _ in observations:
        ports_asked[ip].add(port)
    if any(len(each) > 1 for each in ports_asked.values()):
        return Behaviour.ADDRESS  # one address saw the same by two of its ports, another saw something else
    return Behaviour.ADDRESS_AND_PORT  # or ADDRESS: to be on the safe side


def filtering_of(stranger: bool | None, known_address: bool | None) -> Behaviour | None:
    """
    Whom the filter of a mapping in use lets in.

    Args:
        stranger: Whether something from an address that was never sent to came in; None: not asked.
        known_address: The same from another port of an address that was sent to.
    """
    if stranger:
        return Behaviour.INDEPENDENT
    if stranger is None:
        return None
    if known_address:
        return Behaviour.ADDRESS
    return None if known_address is None else Behaviour.ADDRESS_AND_PORT


def ports_of(samples: Sequence[tuple[int, int]]) -> tuple[PortAllocation | None, int | None]:
    """
    How ports are chosen, and the step if that is by counting.

    Other flows of the same NAT take numbers in between, and the count begins anew somewhere: most of the distances
    must agree, not all.

    Args:
        samples: Local and outer port of each new mapping, in the order in which they were made.
    """
    if len(samples) < 2:
        return None, None
    kept = sum(1 for local, outer in samples if local == outer)
    if kept >= len(samples) * limits.PROBE_PORTS_AGREE:
        return PortAllocation.PRESERVED, None
    outer = [port for _, port in samples]
    if len(set(outer)) < limits.PROBE_PORTS_MIN:
        return None, None
    ordered = sorted(set(outer))
    distances = collections.Counter(high - low for low, high in zip(ordered, ordered[1:], strict=False))
    step, count = min(distances.items(), key=lambda item: (-item[1], item[0]))
    agree = count >= (len(ordered) - 1) * limits.PROBE_PORTS_AGREE and step <= limits.PORT_STEP_MAX
    if not agree and ordered[-1] - ordered[0] > limits.PROBE_SPAN_MAX:
        return PortAllocation.RANDOM, None
    rising = sum(1 if later > earlier else -1 for earlier, later in zip(outer, outer[1:], strict=False))
    return PortAllocation.SEQUENTIAL, step if rising >= 0 else -step
