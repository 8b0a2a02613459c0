"""The upper right boundary of the rates of batches: an exact hull by pricing.

Two neighbours on the boundary have prices at which both are worth exactly their time. The
batch worth most beyond its time at these prices comes between them, until there is none.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any, NamedTuple, TypeAlias

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.stability.bounds._batches import TimedBatch

ROUNDING = 1e-12
"""Relative size of what floating point cannot tell from a point on an edge."""
NEARLY_BEST = 1e-9


Pair: TypeAlias = tuple[Any, ...]
"""Of prefill and of decode."""


class Point(NamedTuple):
    """A batch in homogeneous coordinates: its rates are (prefill, decode) / time."""

    prefill: int
    decode: int
    time: Real
    batch: TimedBatch


def boundary(batches: Sequence[TimedBatch]) -> tuple[list[TimedBatch], list[Pair]]:
    """Return the batches at the corners and their rates, from axis to axis.

    A batch may leave tokens out, so a corner that is not on an axis is followed by the point
    of the axis beside it.
    """
    corners = frontier(batches)
    if corners[0].decode_tokens > 0:
        corners.insert(0, corners[0])
    if corners[-1].prefill_tokens > 0:
        corners.append(corners[-1])
    rates = [batch_rates(batch) for batch in corners]
    (prefill, idle), (none, decode) = rates[0], rates[-1]
    return corners, [(prefill, 0 * idle), *rates[1:-1], (0 * none, decode)]


def batch_rates(batch: TimedBatch) -> Pair:
    """Return the token rates of one batch run again and again, (x, y) / t [tokens/s]."""
    x, y, seconds = batch
    return ratio(x, seconds), ratio(y, seconds)


def edge_prices(start: Pair, end: Pair) -> Pair:
    """Return the prices at which both rates are worth one second per second."""
    scale = start[0] * end[1] - end[0] * start[1]
    return ratio(end[1] - start[1], scale), ratio(start[0] - end[0], scale)


def frontier(batches: Sequence[TimedBatch]) -> list[TimedBatch]:
    """Return the batches at the corners of the boundary, from most prefill to most decode.

    Exact if the times are integers or Fractions. Of batches with equal rates the largest is
    returned; no corner lies between two others.
    """
    tolerance = 0 if has_exact_times(batches) else ROUNDING
    points = _points(batches)
    first = _corner(points, "prefill", other="decode", tolerance=tolerance)
    last = _corner(points, "decode", other="prefill", tolerance=tolerance)
    if _prices(first, last)[2] <= 0:
        # One batch has the most of both; two that do differ by rounding only.
        return [first.batch]
    chain, ahead = [first], [(last, points)]
    while ahead:
        end, near = ahead.pop()
        beyond, peak = _beyond(chain[-1], end, near, tolerance)
        if peak is None:
            chain.append(end)
        else:
            ahead += [(end, beyond), (peak, beyond)]
    return [p.batch for p in chain]


def has_exact_times(batches: Sequence[TimedBatch]) -> bool:
    """Whether every time is an integer or a Fraction."""
    return all(isinstance(batch.seconds, Rational) for batch in batches)


def _points(batches: Sequence[TimedBatch]) -> list[Point]:
    """Return the batches with times in a unit that makes them integers, if they are exact."""
    if not has_exact_times(batches):
        return [Point(b[0], b[1], float(b.seconds), b) for b in batches]
    times = [Fraction(b.seconds) for b in batches]
    unit = math.lcm(*{t.denominator for t in times})
    whole = [t.numerator * (unit // t.denominator) for t in times]
    return [Point(b[0], b[1], t, b) for b, t in zip(batches, whole, strict=True)]


def _prices(start: Point, end: Point) -> tuple[Real, Real, Real]:
    """Return (A, B, C) with A prefill + B decode = C time at both points, C above 0."""
    return (
        start.time * end.decode - end.time * start.decode,
        start.prefill * end.time - end.prefill * start.time,
        start.prefill * end.decode - end.prefill * start.decode,
    )


def _beyond(
    start: Point, end: Point, points: list[Point], tolerance: float
) -> tuple[list[Point], Point | None]:
    """Return the points worth more than their time, and the one worth the most per time."""
    prefill, decode, time = _prices(start, end)
    gains = [prefill * p.prefill + decode * p.decode - time * p.time for p in points]
    beyond = [
        (gain, p)
        for gain, p in zip(gains, points, strict=True)
        if gain > tolerance * time * p.time
    ]
    if not beyond:
        return [], None
    values, outside = [gain for gain, _ in beyond], [p for _, p in beyond]
    peaks = _largest(outside, values, unit=time, slack=tolerance)
    return outside, max(peaks, key=lambda p: (ratio(p.decode, p.time), p.prefill + p.decode))


def _corner(points: list[Point], kind: str, *, other: str, tolerance: float) -> Point:
    """Return the point of the largest rate of one kind and, among those, of the other."""
    counts = [getattr(p, kind) for p in points]
    rates = [n / float(p.batch.seconds) for n, p in zip(counts, points, strict=True)]
    rough = rates.index(max(rates))
    relative = [n * points[rough].time for n in counts]
    ties = _largest(points, relative, unit=counts[rough], slack=tolerance)
    return max(ties, key=lambda p: (ratio(getattr(p, other), p.time), p.prefill + p.decode))


def _largest(
    points: list[Point], values: Sequence[Real], *, unit: Real, slack: Real
) -> list[Point]:
    """Return the points whose value per time, in some unit, is the largest, less a slack.

    The unit makes the quotients about 1, so that those of long integers do not overflow.
    """
    rates = [value / (unit * p.time) for value, p in zip(values, points, strict=True)]
    # Floating point finds the few that may be best; exact numbers decide between them.
    enough = max(rates) * (1 - NEARLY_BEST) - slack
    few = [i for i, rate in enumerate(rates) if rate >= enough]
    exact = {i: ratio(values[i], unit * points[i].time) for i in few}
    best = max(exact.values())
    return [points[i] for i, rate in exact.items() if rate >= best - slack]
