"""The best prices: a programme over few batches, and a search for those that break it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.linear import ExactOptimum, exact_maximum
from queueing_llm.stability.bounds._priced_batches import PricedBatches, Row

NEARLY_TIGHT = 1e-9
ROUNDING = 1e-12


@final
@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices that no allowed batch breaks, and how often a best plan forms which batch.

    Parameters
    ----------
    prices : tuple of Fraction, shape (4,)
        Of a prefill token, a decode token, a KV slot held and a KV token read [s/token].
    seconds : Fraction
        What a request costs at these prices [s].
    plan : tuple of (int, Fraction)
        A batch by its position, and how often a request needs it [1]: the dual optimum.
    """

    prices: tuple[Fraction, ...]
    seconds: Fraction
    plan: tuple[tuple[int, Fraction], ...]


def best_prices(
    use: Sequence[Real],
    batches: PricedBatches,
    *,
    side_rows: Iterable[Row],
    side_bounds: Iterable[Real],
    is_exact: bool,
) -> Pricing:
    """Return the prices that make a request dearest: solve over few rows, add what breaks it.

    Parameters
    ----------
    use : sequence of number, shape (4,)
        What a request uses, in the order of the prices.
    batches : PricedBatches
        What no price may value above its time.
    side_rows, side_bounds
        Further rows of the programme.
    is_exact : bool
        Whether no batch may be broken at all; else rounding is forgiven.
    """
    objective = [Fraction(part) for part in use]
    rows, bounds = list(side_rows), [Fraction(bound) for bound in side_bounds]
    chosen: list[int] = []
    worth = batches.uses / batches.seconds[:, None]
    entering = sorted(set(map(int, np.argmax(worth, axis=0))))
    while True:
        added = [batches.row(i) for i in entering]
        chosen += entering
        rows += [row for row, _ in added]
        bounds += [seconds for _, seconds in added]
        optimum = exact_maximum(objective, rows, bounds=bounds)
        assert optimum is not None, "prices of zero satisfy every row"
        gains = worth @ np.array(optimum.point, dtype=np.float64) - 1
        worst = _entering(batches, optimum, gains=gains, is_exact=is_exact)
        if worst is None:
            needed = zip(chosen, optimum.multipliers[-len(chosen) :], strict=True)
            plan = tuple((batch, times) for batch, times in needed if times > 0)
            return Pricing(optimum.point, optimum.value, plan)
        entering = [worst]


def _entering(
    batches: PricedBatches, optimum: ExactOptimum, *, gains: np.ndarray, is_exact: bool
) -> int | None:
    """Return the batch worth most beyond its time, None if there is none."""
    worst = int(np.argmax(gains))
    if gains[worst] > NEARLY_TIGHT:
        return worst
    if not is_exact:
        return worst if gains[worst] > ROUNDING else None
    # Floating point finds the few that may be worth too much; exact numbers decide.
    beyond = {}
    for i in map(int, np.flatnonzero(gains > -NEARLY_TIGHT)):
        row, seconds = batches.row(i)
        value = sum(price * used for price, used in zip(optimum.point, row, strict=True))
        beyond[i] = ratio(value, seconds)
    worst = max(beyond, key=beyond.__getitem__)
    return worst if beyond[worst] > 1 else None
