"""The methods that punch by TCP: between which networks each works, and the plan with which it begins."""

from __future__ import annotations

from ... import limits
from ...findings import Unsolicited
from ..methods import Prospect, Side, Way
from .birthday_tcp import BirthdayTcp, can_search
from .contract import Context, Plan
from .predict_tcp import PredictTcp, can_predict
from .prospects import best, counts, is_random, keeps, lets_in_hosts
from .punch_tcp import PunchTcp, is_tcp

__all__ = ["birthday", "birthday_prospect", "predict", "predict_prospect", "punch", "punch_prospect"]


# --- plans ------------------------------------------------------------------------------------------------------------


def punch(context: Context) -> Plan | None:
    """``punch-tcp``, if one of the two may be reached by TCP at all."""
    places = (*context.targets, *context.ours.places)
    return PunchTcp(context) if any(map(is_tcp, places)) else None


def predict(context: Context) -> Plan | None:
    """``predict-tcp``, if a router counts."""
    family = can_predict(context)
    return None if family is None else PredictTcp(context, family)


def birthday(context: Context) -> Plan | None:
    """``birthday-tcp``, if one router chooses at random and the other one does not."""
    found = can_search(context)
    return None if found is None else BirthdayTcp(context, *found)


# --- forecasts --------------------------------------------------------------------------------------------------------


def punch_prospect(ours: Side, theirs: Side) -> Prospect | None:
    """Each end's port can be told to the other one; or one end does not look at whose port something comes from."""

    def chance(way: Way, other: Way) -> float | None:
        if keeps(way) and keeps(other):
            return 0.75 if Unsolicited.RESET in (way.unsolicited, other.unsolicited) else 0.8
        for one, two in ((way, other), (other, way)):
            if keeps(one) and lets_in_hosts(one) and two.mapping is not None:
                return 0.75
        return None if None in (way.mapping, other.mapping) else 0.0

    return best("tcp", ours, theirs, chance, limits.FORECAST_PUNCH_TRIPS)


def predict_prospect(ours: Side, theirs: Side) -> Prospect | None:
    """At least one router counts, and the other one at least keeps a port."""

    def chance(way: Way, other: Way) -> float:
        counting = sum(map(counts, (way, other)))
        if counting == 2:
            return 0.5
        return 0.6 if counting and (keeps(way) or keeps(other)) else 0.0

    return best("tcp", ours, theirs, chance, limits.FORECAST_PUNCH_TRIPS + 4, limits.FORECAST_SEARCH_DELAY)


def birthday_prospect(ours: Side, theirs: Side) -> Prospect | None:
    """One router chooses at random, the other one keeps its port, and none answers by a reset."""

    def chance(way: Way, other: Way) -> float:
        if Unsolicited.RESET in (way.unsolicited, other.unsolicited):
            return 0.0
        pairs = ((way, other), (other, way))
        return 0.7 if any(is_random(one) and keeps(two) for one, two in pairs) else 0.0

    return best("tcp", ours, theirs, chance, limits.FORECAST_PUNCH_TRIPS, limits.FORECAST_BIRTHDAY_DELAY)
