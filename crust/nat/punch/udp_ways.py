"""The methods that punch by UDP: between which networks each works, and the plan with which it begins."""

from __future__ import annotations

from ... import limits
from ...wire.frames import Place, TransportCode
from ..methods import Prospect, Side, Way
from .birthday_udp import BirthdayUdp, part_in
from .contract import Context, Plan
from .predict_udp import PredictUdp, family_to_predict
from .prospects import best, counts, is_random, keeps, lets_in_hosts
from .punch_udp import PunchUdp

__all__ = ["birthday", "birthday_prospect", "predict", "predict_prospect", "punch", "punch_prospect"]


# --- plans ------------------------------------------------------------------------------------------------------------


def punch(context: Context) -> Plan | None:
    """``punch-udp``, if one of the two may be reached by UDP at all."""
    return PunchUdp(context) if any(map(_is_udp, (*context.targets, *context.ours.places))) else None


def predict(context: Context) -> Plan | None:
    """``predict-udp``, if a router counts."""
    family = family_to_predict(context) if context.seen else None
    return None if family is None else PredictUdp(context, family)


def birthday(context: Context) -> Plan | None:
    """``birthday-udp``, if one router chooses at random and the other one does not, or that is not known."""
    found = part_in(context) if context.seen else None
    return None if found is None else BirthdayUdp(context, *found)


def _is_udp(place: Place) -> bool:
    return place.transport is TransportCode.UTP


# --- forecasts --------------------------------------------------------------------------------------------------------


def punch_prospect(ours: Side, theirs: Side) -> Prospect | None:
    """Each end's port can be told to the other one; or one end does not look at whose port something comes from."""

    def chance(way: Way, other: Way) -> float | None:
        if keeps(way) and keeps(other):
            return 0.95
        for one, two in ((way, other), (other, way)):
            if keeps(one) and lets_in_hosts(one) and two.mapping is not None:
                return 0.93
        if None in (way.mapping, other.mapping):
            return None
        return 0.0

    return best("utp", ours, theirs, chance, limits.FORECAST_PUNCH_TRIPS)


def predict_prospect(ours: Side, theirs: Side) -> Prospect | None:
    """At least one router counts, and the other one at least keeps a port."""

    def chance(way: Way, other: Way) -> float | None:
        counting = sum(map(counts, (way, other)))
        if counting == 2:
            return 0.85
        return 0.9 if counting and (keeps(way) or keeps(other)) else 0.0

    return best("utp", ours, theirs, chance, limits.FORECAST_PUNCH_TRIPS + 4, limits.FORECAST_SEARCH_DELAY)


def birthday_prospect(ours: Side, theirs: Side) -> Prospect | None:
    """One router chooses at random, and the other one keeps its port."""

    def chance(way: Way, other: Way) -> float | None:
        return 0.9 if any(is_random(one) and keeps(two) for one, two in ((way, other), (other, way))) else 0.0

    return best("utp", ours, theirs, chance, limits.FORECAST_PUNCH_TRIPS, limits.FORECAST_BIRTHDAY_DELAY)
