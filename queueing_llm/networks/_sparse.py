"""A linear programme collected row by row and solved in floating point."""

from typing import Any, final

import numpy as np

TOLERANCE = 1e-10
"""Least that HiGHS accepts, since drifts near a threshold are tiny."""


@final
class SparseProgramme:
    """Maximise one column subject to rows that are at most 0 and bounds on the columns."""

    def __init__(self) -> None:
        self._bounds: list[tuple[float, float]] = []
        self._entries: list[tuple[int, int, float]] = []
        self._rows = 0

    def column(self, least: float, most: float) -> int:
        """Append a column between two bounds and return its number."""
        self._bounds.append((least, most))
        return len(self._bounds) - 1

    def row(self, *entries: tuple[int, float]) -> int:
        """Append the row: the sum of number times column is at most 0; return its number."""
        self._entries += [(self._rows, column, number) for column, number in entries]
        self._rows += 1
        return self._rows - 1

    def maximum(self, column: int) -> tuple[Any, Any] | None:
        """Return the best point and the prices of the rows; None if the solver fails."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_array

        rows, columns, numbers = zip(*self._entries, strict=True)
        objective = np.zeros(len(self._bounds))
        objective[column] = -1.0
        found = linprog(
            objective,
            A_ub=csr_array((numbers, (rows, columns)), shape=(self._rows, len(objective))),
            b_ub=np.zeros(self._rows),
            bounds=np.array(self._bounds),
            method="highs",
            options={
                "primal_feasibility_tolerance": TOLERANCE,
                "dual_feasibility_tolerance": TOLERANCE,
            },
        )
        return (found.x, -found.ineqlin.marginals) if found.status == 0 else None
