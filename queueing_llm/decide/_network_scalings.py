"""The multiples of the arrival rates between which a network stops being stable."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from queueing_llm.certificates import certify_network_stability
from queueing_llm.decide._network_fluid import FluidReading
from queueing_llm.decide._network_verdict import NetworkVerdict
from queueing_llm.evidence import Evidence, Status
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import (
    FluidClasses,
    LyapunovPieces,
    applicable_theorems,
    critical_scaling,
    cycle_attraction,
    drift_margin,
    feed_forward,
    growing_cycle,
    station_loads,
    two_station_threshold,
)

TOLERANCE = Fraction(1, 10**5)
COARSE = Fraction(1, 100)
ROUGH = Fraction(1, 20)
MOST_FINE = 40
"""Engines times classes beyond which scalings are found to one part in a hundred only."""
MANY_CLASSES = 24
"""With more, they are found to one part in twenty, and for fewer questions."""
MOST_CLASSES = 64
"""With more, only what needs no search is said."""
MOST_CYCLE_CLASSES = 16
NEARLY = 1 - Fraction(1, 10**6)


def known_scalings(reading: FluidReading, verdict: NetworkVerdict) -> NetworkVerdict:
    """Return the verdict with the closest scalings that are known stable and unstable."""
    network = reading.classes.network
    nominal = 1 / max(station_loads(network))
    # Full batches need not be the best ones; these engines fill theirs.
    unstable = min(nominal, verdict.nominal_scaling)
    if _holds_to_nominal(reading, nominal):
        found: dict[str, Any] = {
            "stable_scaling": nominal,
            "unstable_scaling": unstable,
            "basis": "the argument of the verdict holds up to load 1",
        }
        if feed_forward(network).hypotheses[1].holds:
            found |= {"any_policy_scaling": nominal, "any_order_scaling": nominal}
        return replace(verdict, **found)
    if reading.classes.has_joins:
        basis = "branches that wait for each other on the way back to an engine"
        return replace(verdict, unstable_scaling=unstable, basis=basis)
    if network.class_count > MOST_CLASSES:
        basis = f"{network.class_count} classes are too many to search; unstable: load 1"
        known = Fraction(1) if verdict.status is Status.STABLE else None
        if verdict.status is Status.UNSTABLE:
            unstable = min(Fraction(1), unstable)
        return replace(verdict, stable_scaling=known, unstable_scaling=unstable, basis=basis)
    any_policy, found_pieces = _for_every_policy(reading.classes)
    own, phases = reading.own, reading.phases
    is_large = network.class_count > MANY_CLASSES
    any_order = None
    if phases is not None and not (reading.keeps_order and _tolerance(network) > TOLERANCE):
        any_order, of_phases = _for_every_policy(phases)
        found_pieces = found_pieces if reading.keeps_order else of_phases
    verdict = _decided_after_all(reading, verdict, found_pieces)
    stable = any_policy if reading.keeps_order else any_order
    basis = "stable: exact Lyapunov functions; unstable: load 1"
    if own is not None and own.priority is not None and not is_large:
        by_priority = critical_scaling(
            own.network, priority=own.priority, tolerance=_tolerance(own.network)
        ).low
        stable = max(by_priority, stable or by_priority)
        growth = _growth_scaling(own, stable, unstable, verdict=verdict)
        if growth is not None:
            unstable = growth
            basis = "stable: exact Lyapunov functions; unstable: growing cycles, exact each"
    if verdict.status is Status.STABLE:
        stable = max(Fraction(1), stable or Fraction(1))
    elif verdict.status is Status.UNSTABLE:
        unstable = min(Fraction(1), unstable)
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
    own = reading.own
    if own is None:
        return feed_forward(reading.classes.network).hypotheses[1].holds
    close = own.network.scaled(nominal * NEARLY)
    matches = applicable_theorems(
        close, priority=own.priority, is_fifo=reading.is_fifo, has_joins=own.has_joins
    )
    return any(match.name != "two stations" for match in matches)


def _for_every_policy(classes: FluidClasses) -> tuple[Fraction, LyapunovPieces | None]:
    """Return up to which scaling every non-idling policy is stable, and pieces for it."""
    threshold = two_station_threshold(classes.network)
    if threshold is not None:
        return threshold.low, None
    found = critical_scaling(classes.network, tolerance=_tolerance(classes.network))
    return found.low, found.pieces


def _decided_after_all(
    reading: FluidReading, verdict: NetworkVerdict, pieces: LyapunovPieces | None
) -> NetworkVerdict:
    """Return the verdict that pieces found at a larger scaling give, if they hold here, too.

    The search at the rates themselves may miss them, as it starts elsewhere.
    """
    own = reading.own
    if verdict.status is not Status.UNDECIDED or pieces is None or own is None:
        return verdict
    margin = drift_margin(own.network, pieces)
    if margin <= 0:
        return verdict
    certificate = certify_network_stability(own.network, replace(pieces, margin=margin))
    if certificate is None:
        return verdict
    is_proved = own.is_exact and not reading.reads_kv
    return replace(
        verdict,
        status=Status.STABLE,
        evidence=Evidence.PROVED if is_proved else Evidence.NUMERICAL,
        reason="a Lyapunov function of the fluid model falls under every work-conserving "
        "policy, found at larger arrival rates",
        certificate=certificate if is_proved else None,
        virtual_stations=(),
    )


def _tolerance(network: MulticlassNetwork) -> Fraction:
    """Return how closely scalings are found: roughly where each trial takes long."""
    if network.class_count > MANY_CLASSES:
        return ROUGH
    return TOLERANCE if network.station_count * network.class_count <= MOST_FINE else COARSE


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
