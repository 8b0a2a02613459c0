"""A linear programme in integers: every row multiplied by its common denominator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import TypeAlias, final

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument

Numbers: TypeAlias = Sequence[Real]
"""Integers or Fractions."""


@final
@dataclass(frozen=True, slots=True)
class IntegerProgramme:
    r"""Maximise :math:`c \cdot x` subject to :math:`a_i \cdot x \le b_i`, all integers.

    Parameters
    ----------
    objective : tuple of int
        :math:`c`, times ``unit``.
    rows, bounds : tuple of tuple of int, tuple of int
        :math:`a_i` and :math:`b_i`, times the unit of the row; the last rows say that
        :math:`-x_j \le 0`.
    unit : int
        What the objective was multiplied by.
    row_units : tuple of int
        What each row was multiplied by, without those of the signs.
    """

    objective: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    bounds: tuple[int, ...]
    unit: int
    row_units: tuple[int, ...]

    @classmethod
    def of(
        cls, objective: Numbers, rows: Sequence[Numbers], *, bounds: Numbers
    ) -> "IntegerProgramme":
        """Return the programme, after a check of its shape and of its numbers."""
        columns = len(objective)
        if columns == 0:
            msg = "objective must have at least one coefficient, got none."
            raise InvalidArgument(msg)
        if len(rows) != len(bounds):
            msg = f"bounds must have one entry per row, got {len(bounds)} for {len(rows)}."
            raise InvalidArgument(msg)
        values, unit = whole(objective, "objective")
        cleared = []
        for index, (row, bound) in enumerate(zip(rows, bounds, strict=True)):
            if len(row) != columns:
                msg = f"rows[{index}] must have {columns} coefficients, got {len(row)}."
                raise InvalidArgument(msg)
            cleared.append(whole((*row, bound), f"rows[{index}] and its bound"))
        signs = [tuple(-int(i == j) for i in range(columns)) for j in range(columns)]
        return cls(
            objective=values,
            rows=(*(row[:-1] for row, _ in cleared), *signs),
            bounds=(*(row[-1] for row, _ in cleared), *(0 for _ in signs)),
            unit=unit,
            row_units=tuple(unit for _, unit in cleared),
        )


def whole(values: Numbers, name: str) -> tuple[tuple[int, ...], int]:
    """Return rational values in a common unit, and how many units make 1."""
    parts = [_parts(value, name) for value in values]
    unit = math.lcm(*(denominator for _, denominator in parts))
    return tuple(part * (unit // denominator) for part, denominator in parts), unit


def dot(left: Sequence[int], right: Sequence[int]) -> int:
    """Return the inner product of two columns of integers."""
    return sum(a * b for a, b in zip(left, right, strict=True) if a)


def _parts(value: Real, name: str) -> tuple[int, int]:
    # The usual types first: a programme may have many numbers.
    if type(value) is int:
        return value, 1
    if type(value) is bool or not isinstance(value, Fraction | Rational):
        msg = f"{name} must be of integers or Fractions, got {value!r}."
        raise InvalidArgument(msg)
    return int(value.numerator), int(value.denominator)
