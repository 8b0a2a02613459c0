"""The symmetric Rybko-Stolyar pair of engines, and the path on which it grows.

Jobs of one type visit engine A, then B, those of the other B, then A, both at ``rate``. The
first hop is short, the second long. Classes are numbered along the two routes: 0 and 3 are
served at A, 1 and 2 at B. Rates and times are fractions or symbols.
"""

from fractions import Fraction

import sympy

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import FluidPhase, GrowingCycle

EXIT_FIRST = (1, 0, 1, 0)
"""Ranks: each engine serves the long hop first, which leaves the network."""
SHORT_FIRST = (0, 1, 0, 1)
"""Ranks: each engine serves the short hop first."""
OTHER_TYPE = (2, 3, 0, 1)
"""The same place on the other route."""

Number = sympy.Expr | Fraction
Phases = list[tuple[Number, list[Number | int]]]


def pair(rate: Fraction, *, short: Fraction, long: Fraction) -> MulticlassNetwork:
    """Return the network [jobs/s, s, s]."""
    return MulticlassNetwork.with_routes(
        ["AB", "BA"], mean_service=[short, long] * 2, arrival_rates=[rate] * 2
    )


def half_factor(rate: Number, *, long: Number) -> Number:
    """Return the fluid of the second type after the first type's has gone, from 1."""
    return rate * long / (1 - rate * long)


def half_cycle(rate: Number, *, short: Number, long: Number) -> Phases:
    """Return durations and shares that lead from (1, 0, 0, 0) to (0, 0, half factor, 0)."""
    first, drained = short / (1 - rate * short), long / (1 - rate * long)
    return [(first, [1, 1, 0, 0]), (drained - first, [rate * short, 1, 0, 0])]


def whole_cycle(rate: Number, *, short: Number, long: Number) -> Phases:
    """Return durations and shares that lead from (1, 0, 0, 0) to (half factor^2, 0, 0, 0)."""
    half, growth = half_cycle(rate, short=short, long=long), half_factor(rate, long=long)
    mirrored = [(growth * seconds, [shares[k] for k in OTHER_TYPE]) for seconds, shares in half]
    return [*half, *mirrored]


def growing_path(rate: Fraction, *, short: Fraction, long: Fraction) -> GrowingCycle:
    """Return the whole cycle as the package writes it."""
    phases = [
        FluidPhase(seconds, tuple(map(Fraction, shares)))
        for seconds, shares in whole_cycle(rate, short=short, long=long)
    ]
    start = tuple(map(Fraction, (1, 0, 0, 0)))
    factor = half_factor(rate, long=long) ** 2
    return GrowingCycle(start, tuple(phases), factor, EXIT_FIRST)
