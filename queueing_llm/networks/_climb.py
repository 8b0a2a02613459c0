"""How far the arrival rates can be scaled while pieces certify stability."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from fractions import Fraction
from typing import final

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._modes import Priority, mode_count
from queueing_llm.networks._pieces import LyapunovPieces, drift_bounds
from queueing_llm.networks._programme import proposed_pieces
from queueing_llm.networks._rounding import FEW, FINE, SIMPLE, rounded_pieces

LEAST_STEP = Fraction(1, 32)
MOST_ENTRIES = 400
"""Most modes times classes for which shares and the simplest fractions are sought."""
GAIN = Fraction(1001, 1000)
DIGITS = Context(prec=12)


@final
@dataclass(frozen=True, slots=True)
class Reach:
    """What has been found of the scales that a programme certifies.

    Parameters
    ----------
    low : Fraction
        Pieces certify every scale between one that was tried and this one.
    high : Fraction
        The programme certifies nothing here, or nothing here was asked for.
    shares : tuple of Fraction, one per station
        Those of the programme.
    """

    low: Fraction
    high: Fraction
    shares: tuple[Fraction, ...]


def certified_pieces(
    network: MulticlassNetwork,
    shares: Sequence[Fraction],
    *,
    priority: Priority | None,
    denominators: Sequence[int] = (),
) -> LyapunovPieces | None:
    """Return pieces that the solver proposes for given shares and that pass the exact check."""
    entries = mode_count(network, priority) * network.class_count
    denominators = denominators or (SIMPLE if entries <= MOST_ENTRIES else FEW)
    proposal = proposed_pieces(network, shares, priority=priority)
    if proposal is None:
        return None
    return rounded_pieces(
        network, proposal, shares=shares, priority=priority, denominators=denominators
    )


def equal_shares(network: MulticlassNetwork) -> tuple[Fraction, ...]:
    """Return equal shares of all stations."""
    return (Fraction(1, network.station_count),) * network.station_count


def has_choice(network: MulticlassNetwork, priority: Priority | None) -> bool:
    """Whether shares matter and the programme is small enough to try several."""
    entries = mode_count(network, priority) * network.class_count
    return network.station_count > 2 and entries <= MOST_ENTRIES


def climb(
    network: MulticlassNetwork, start: Reach, *, priority: Priority | None, tolerance: Fraction
) -> Reach:
    """Raise ``low`` up to ``high`` if shares can be found for that, and lower ``high`` if not.

    For one or two stations the shares do not matter. For more, one station at a time gets a
    larger share, those first that promise most at the scale reached, and a move that does
    not raise the scale is tried again at half its length.

    Parameters
    ----------
    network : MulticlassNetwork
        Its arrival rates are scaled.
    start : Reach
        The shares to begin with, and a scale to reach.
    priority : sequence of int or None
        Ranks of the discipline.
    tolerance : Fraction
        Relative distance of ``high`` and ``low`` at the end, unless ``high`` is reached.
    """
    reach = _extended(network, start, priority=priority, tolerance=tolerance)
    if not has_choice(network, priority):
        return reach
    step = Fraction(1, 2)
    while reach.low < start.high and step >= LEAST_STEP:
        for shares in _moved(network, reach, priority=priority, step=step):
            trial = simple(min(reach.low * GAIN, start.high))
            low = _reached(network, shares, scale=trial, priority=priority)
            if low is not None:
                begin = Reach(min(low, start.high), start.high, shares)
                reach = _extended(network, begin, priority=priority, tolerance=tolerance)
                break
        else:
            step /= 2
    return reach


def _extended(
    network: MulticlassNetwork, reach: Reach, *, priority: Priority | None, tolerance: Fraction
) -> Reach:
    """Close in on the largest scale for fixed shares.

    Pieces found at one scale often reach further, so trials just above the last reach
    (Dinkelbach's method for ratios) take turns with bisection.
    """
    trial, just_above = reach.high, False
    while reach.low < reach.high:
        low = _reached(network, reach.shares, scale=trial, priority=priority)
        if low is None:
            reach = replace(reach, high=trial)
        else:
            reach = replace(reach, low=min(low, reach.high))
        if reach.high - reach.low <= tolerance * reach.low:
            break
        just_above = not just_above
        near = reach.low * (1 + tolerance / 2)
        trial = simple(near if just_above else (reach.low + reach.high) / 2)
    return reach


def _reached(
    network: MulticlassNetwork,
    shares: tuple[Fraction, ...],
    *,
    scale: Fraction,
    priority: Priority | None,
) -> Fraction | None:
    """Return up to which scale pieces found at one hold; None if there are none."""
    there = network.scaled(scale)
    pieces = certified_pieces(there, shares, priority=priority, denominators=FINE)
    if pieces is None:
        return None
    factors = [work / inflow for work, inflow in drift_bounds(there, pieces) if inflow > 0]
    return scale * min(factors, default=Fraction(1))


def _moved(
    network: MulticlassNetwork, reach: Reach, *, priority: Priority | None, step: Fraction
) -> list[tuple[Fraction, ...]]:
    """Return shares moved towards each station, the most promising first."""
    below = network.scaled(simple(reach.low / GAIN))
    proposal = proposed_pieces(below, reach.shares, priority=priority)
    if proposal is None:
        return []
    best_first = sorted(range(network.station_count), key=lambda j: -proposal.gains[j])
    return [
        tuple((1 - step) * share + step * (j == to) for j, share in enumerate(reach.shares))
        for to in best_first
    ]


def simple(scale: Fraction) -> Fraction:
    """Return a fraction of few digits close to a scale."""
    # Not by a float, which overflows where next to nothing arrives.
    return Fraction(DIGITS.divide(Decimal(scale.numerator), Decimal(scale.denominator)))
