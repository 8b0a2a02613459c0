"""What a solver in floating point proposes: the rows that are tight at the optimum."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from queueing_llm.linear._integers import IntegerProgramme

NEARLY_TIGHT = 1e-6
SWEEPS = 4


def proposed_rows(programme: IntegerProgramme) -> list[int]:
    """Return the rows that seem tight, those with the largest multipliers first.

    Empty if the solver finds no optimum. Whatever is returned, only the time that the exact
    method takes depends on it.
    """
    from scipy.optimize import linprog

    try:
        with np.errstate(all="ignore"):
            matrix, bounds, objective = _scaled(programme, len(programme.row_units))
    except OverflowError:
        return []
    if not all(np.isfinite(part).all() for part in (matrix, bounds, objective)):
        return []
    found = linprog(-objective, A_ub=matrix, b_ub=bounds, method="highs")
    if found.status != 0:
        return []
    prices = np.abs(np.concatenate([found.ineqlin.marginals, found.lower.marginals]))
    slacks = np.concatenate([found.slack, found.x])
    seems_tight = np.flatnonzero((prices > 0) | (slacks < NEARLY_TIGHT))
    order = np.lexsort((slacks[seems_tight], -prices[seems_tight]))
    return [int(i) for i in seems_tight[order]]


def _scaled(programme: IntegerProgramme, count: int) -> tuple[Any, Any, Any]:
    """Return the programme with rows, columns and point in units that make entries about 1.

    The tolerances of the solver are absolute. The units are powers of two, but for the first
    of each row, and do not change which rows are tight.
    """
    columns = len(programme.objective)
    matrix, bounds = np.zeros((count, columns)), np.zeros(count)
    rows = zip(programme.rows[:count], programme.bounds[:count], strict=True)
    for i, (row, bound) in enumerate(rows):
        matrix[i], bounds[i] = (quotients := _over_largest(row, bound))[:-1], quotients[-1]
    objective = np.array(_over_largest(programme.objective, 0)[:-1])
    for _ in range(SWEEPS):
        by_column = _unit(np.vstack([matrix, objective]), axis=0)
        matrix, objective = matrix / by_column, objective / by_column
        by_row = _unit(matrix, axis=1)
        matrix, bounds = matrix / by_row[:, None], bounds / by_row
    size = np.abs(bounds)[bounds != 0]
    unit = 2.0 ** np.round(np.log2(size).mean()) if len(size) else 1.0
    return matrix, bounds / unit, objective / max(np.abs(objective).max(), 1e-300)


def _over_largest(row: Iterable[int], bound: int) -> list[float]:
    """Return a row and its bound over its largest entry; these may be too long for floats."""
    entries = list(row)
    largest = max(map(abs, entries)) or abs(bound) or 1
    return [entry / largest for entry in (*entries, bound)]


def _unit(matrix: Any, *, axis: int) -> Any:
    """Return the power of two next to the geometric mean of the extreme sizes."""
    size = np.abs(matrix)
    most = size.max(axis=axis, initial=0.0)
    least = np.where(size > 0, size, np.inf).min(axis=axis, initial=np.inf)
    middle = np.where(most > 0, np.sqrt(most) * np.sqrt(np.where(most > 0, least, 1)), 1.0)
    return 2.0 ** np.round(np.log2(middle))
