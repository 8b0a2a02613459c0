"""Claims that the fluid model of a network is unstable, by a path that grows.

Kind ``network-growth``. From the fluid ``start`` >= 0, not all 0, each phase lasts its
``duration`` and gives class k the share u_k of its station's time, so that fluid changes at

    dQ_k = alpha_k - mu_k u_k + sum_l R_lk mu_l u_l    per second.

Shares are at least 0 and add up to at most 1 at a station. Fluid is at least 0 at the ends of
every phase, and so between them. Where class k has fluid in a phase, the shares of the classes
of its station that are not ranked behind it add up to 1: nobody behind it is served, and the
station is busy. Then this is a path of the fluid model of the static priority; with
``priority`` null all classes rank alike, and it is a path of some non-idling policy. It ends at
``factor`` > 1 times its start, so that it can be repeated for ever and grows without bound.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR
from fractions import Fraction
from typing import Any

from queueing_llm.certificates._checker._document import (
    Checked,
    brief,
    fields_of,
    rational,
    rationals,
    reject,
)
from queueing_llm.certificates._checker._network import Network, read_network, read_priority

GROWTH = ("network", "priority", "start", "phases", "factor")
MOST_PHASES = 1_000


def check_growth(fields: Mapping[str, Any]) -> Checked:
    """Follow the path phase by phase, and compare its end with its start."""
    network = read_network(fields["network"])
    classes = len(network.stations)
    priority = read_priority(fields["priority"], network)
    ranks = (0,) * classes if priority is None else priority
    start = rationals(fields["start"], "start", count=classes)
    factor = rational(fields["factor"], "factor")
    if factor <= 1 or not any(start):
        reject("factor must be above 1 and start must have fluid")
    phases = fields["phases"]
    if not isinstance(phases, list) or not 1 <= len(phases) <= MOST_PHASES:
        reject(f"phases must be a list of 1 to {MOST_PHASES} entries")
    fluid = start
    for number, phase in enumerate(phases):
        listed = fields_of(phase, "each of phases", ("duration", "shares"))
        duration = rational(listed["duration"], "duration")
        shares = rationals(listed["shares"], "shares", count=classes)
        if duration <= 0:
            reject("duration must be positive")
        end = _end(network, fluid, shares=shares, duration=duration)
        _check_phase(network, ranks, shares=shares, fluid=fluid, end=end, number=number)
        fluid = end
    if any(last != factor * first for first, last in zip(start, fluid, strict=True)):
        reject(f"the path does not end at {brief(factor)} times its start")
    whom = "some non-idling policy" if priority is None else "this static priority"
    statement = (
        f"the fluid model of {whom} is unstable: a path goes round for ever, and each round "
        f"multiplies the backlog by {brief(factor, ROUND_FLOOR)} or more"
    )
    return Checked("network-growth", statement, 3 * classes * len(phases) + classes + 2)


def _end(
    network: Network,
    fluid: Sequence[Fraction],
    *,
    shares: Sequence[Fraction],
    duration: Fraction,
) -> tuple[Fraction, ...]:
    """Return the fluid at the end of a phase."""
    rates = list(network.traffic.arrival_rates)
    for k, row in enumerate(network.traffic.routing):
        served = shares[k] / network.mean_service[k]
        rates[k] -= served
        for l, share in row:
            rates[l] += served * share
    return tuple(level + duration * rate for level, rate in zip(fluid, rates, strict=True))


def _check_phase(
    network: Network,
    ranks: Sequence[int],
    *,
    shares: Sequence[Fraction],
    fluid: Sequence[Fraction],
    end: Sequence[Fraction],
    number: int,
) -> None:
    """Check that a phase breaks no rule of the fluid model."""
    if min(end) < 0:
        reject(f"phase {number} ends with negative fluid of class {list(end).index(min(end))}")
    for station, members in enumerate(network.members):
        if sum(shares[k] for k in members) > 1:
            reject(f"the shares of station {station} add up to more than 1 in phase {number}")
        for k in members:
            ahead = sum(shares[l] for l in members if ranks[l] <= ranks[k])
            if (fluid[k] or end[k]) and ahead != 1:
                reject(f"class {k} waits in phase {number} while its station does not serve it")
