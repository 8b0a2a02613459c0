"""The multiples of the arrival rates between which a network stops being stable."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from queueing_llm.decide._network_fluid import FluidReading
from queueing_llm.decide._network_verdict import NetworkVerdict
from queueing_llm.evidence import Status
from queueing_llm.networks import (
    FluidClasses,
    applicable_theorems,
    critical_scaling,
    cycle_attraction,
    feed_forward,
    growing_cycle,
    station_loads,
    two_station_threshold,
)

TOLERANCE = Fraction(1, 10**5)
COARSE = Fraction(1, 100)
MANY_CLASSES = 24
"""With more, scalings are found to one part in a hundred, and for fewer questions."""
MOST_CYCLE_CLASSES = 16
NEARLY = 1 - Fraction(1, 10**6)


def known_scalings(reading: FluidReading, verdict: NetworkVerdict) -> NetworkVerdict:
    """Return the verdict with the closest scalings that are known stable and unstable."""
    nominal = 1 / max(station_loads(reading.classes.network))
    if _holds_to_nominal(reading, nominal):
        found: dict[str, Any] = {
            "stable_scaling": nominal,
            "unstable_scaling": verdict.nominal_scaling,
            "basis": "the argument of the verdict holds up to load 1",
        }
        if feed_forward(reading.classes.network).hypotheses[1].holds:
            found |= {"any_policy_scaling": nominal, "any_order_scaling": nominal}
        return replace(verdict, **found)
    if reading.classes.has_joins:
        basis = "branches that wait for each other on the way back to an engine"
        return replace(verdict, unstable_scaling=verdict.nominal_scaling, basis=basis)
    any_policy = _for_every_policy(reading.classes)
    own, phases = reading.own, reading.phases
    is_large = reading.classes.network.class_count > MANY_CLASSES
    any_order = None
    if phases is not None and not (is_large and reading.keeps_order):
        any_order = _for_every_policy(phases)
    stable = any_policy if reading.keeps_order else any_order
    unstable = verdict.nominal_scaling
    basis = "stable: exact Lyapunov functions; unstable: load 1"
    if own is not None and own.priority is not None and not is_large:
        by_priority = critical_scaling(
            own.network, priority=own.priority, tolerance=TOLERANCE
        ).low
        stable = max(by_priority, stable or by_priority)
        growth = _growth_scaling(own, stable, min(unstable, nominal), verdict=verdict)
        if growth is not None:
            unstable = growth
            basis = "stable: exact Lyapunov functions; unstable: growing cycles, exact each"
    return replace(
        verdict,
        stable_scaling=stable,
        unstable_scaling=unstable,
        any_policy_scaling=any_policy,
        any_order_scaling=any_order,
        basis=basis,
    )


def _holds_to_nominal(reading: FluidReading, nominal: Fraction) -> bool:
    """Whether a theorem that needs nothing but loads below 1 applies."""
    own = reading.classes if reading.own is None else reading.own
    close = own.network.scaled(nominal * NEARLY)
    matches = applicable_theorems(
        close, priority=own.priority, is_fifo=reading.is_fifo, has_joins=own.has_joins
    )
    return any(match.name != "two stations" for match in matches)


def _for_every_policy(classes: FluidClasses) -> Fraction:
    """Return up to which scaling every non-idling policy is stable."""
    threshold = two_station_threshold(classes.network)
    if threshold is not None:
        return threshold.low
    tolerance = TOLERANCE if classes.network.class_count <= MANY_CLASSES else COARSE
    return critical_scaling(classes.network, tolerance=tolerance).low


def _growth_scaling(
    classes: FluidClasses, low: Fraction, high: Fraction, *, verdict: NetworkVerdict
) -> Fraction | None:
    """Return the smallest scaling found at which a backlog is drawn to a growing cycle."""
    if classes.network.class_count > MOST_CYCLE_CLASSES:
        return Fraction(1) if verdict.status is Status.UNSTABLE else None
    found = None
    tried = [Fraction(1)] if low < 1 < high else []
    tried += [high * Fraction(999, 1000)]
    for scaling in tried:
        if low < scaling and _grows(classes, scaling):
            found = scaling
            break
    while found is not None and found - low > TOLERANCE * found:
        middle = ((low + found) / 2).limit_denominator(10**7)
        if not low < middle < found:
            break
        if _grows(classes, middle):
            found = middle
        else:
            low = middle
    return found


def _grows(classes: FluidClasses, scaling: Fraction) -> bool:
    assert classes.priority is not None, "asked of static priorities only"
    network = classes.network.scaled(scaling)
    cycle = growing_cycle(network, priority=classes.priority)
    return cycle is not None and cycle_attraction(network, cycle).attracts
