"""The exact optimum of a linear programme, and the check that it is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm.linear._integers import IntegerProgramme, Numbers, dot, whole


@final
@dataclass(frozen=True, slots=True)
class ExactOptimum:
    r"""A point of a linear programme and multipliers that prove that none is better.

    Parameters
    ----------
    value : Fraction
        :math:`c \cdot x = b \cdot y`.
    point : tuple of Fraction, one per column
        :math:`x \ge 0` with :math:`A x \le b`.
    multipliers : tuple of Fraction, one per row
        :math:`y \ge 0` with :math:`A^\top y \ge c`.

    Examples
    --------
    >>> from queueing_llm.linear import exact_maximum
    >>> exact_maximum([1, 1], [[3, 1], [1, 2]], bounds=[1, 1]).value
    Fraction(3, 5)
    """

    value: Fraction
    point: tuple[Fraction, ...]
    multipliers: tuple[Fraction, ...]


def is_optimal(
    optimum: ExactOptimum,
    objective: Numbers,
    *,
    rows: Sequence[Numbers],
    bounds: Numbers,
) -> bool:
    r"""Whether a point and multipliers prove each other optimal, by weak duality.

    .. math:: x \ge 0, \; A x \le b, \qquad y \ge 0, \; A^\top y \ge c, \qquad
       c \cdot x = b \cdot y

    All comparisons are of integers, and nothing of the way is used in which the optimum was
    found.

    Parameters
    ----------
    optimum : ExactOptimum
        What is checked.
    objective, rows, bounds
        The programme, as for :func:`exact_maximum`.

    Returns
    -------
    bool
        False as soon as one comparison fails.

    Raises
    ------
    InvalidArgument
        If a number is neither an integer nor a Fraction, or a length does not fit.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from queueing_llm.linear import ExactOptimum
    >>> half = ExactOptimum(Fraction(1, 2), (Fraction(1, 2),), (Fraction(1, 2),))
    >>> is_optimal(half, [1], rows=[[2]], bounds=[1])
    True
    """
    programme = IntegerProgramme.of(objective, rows, bounds=bounds)
    if len(optimum.point) != len(objective) or len(optimum.multipliers) != len(rows):
        return False
    point, point_unit = whole(optimum.point, "point")
    # The sign rows stand behind the others, so that A x <= b includes x >= 0.
    if any(
        dot(row, point) > bound * point_unit
        for row, bound in zip(programme.rows, programme.bounds, strict=True)
    ):
        return False
    value = dot(programme.objective, point) / Fraction(point_unit * programme.unit)
    return value == optimum.value == _dual_value(optimum.multipliers, programme)


def _dual_value(multipliers: Numbers, programme: IntegerProgramme) -> Fraction | None:
    r"""Return :math:`b \cdot y`, or None unless :math:`y \ge 0` and :math:`A^\top y \ge c`."""
    if any(multiplier < 0 for multiplier in multipliers):
        return None
    used = [
        (Fraction(multiplier) / programme.row_units[i], i)
        for i, multiplier in enumerate(multipliers)
        if multiplier
    ]
    for column, coefficient in enumerate(programme.objective):
        covered = sum(weight * programme.rows[i][column] for weight, i in used)
        if covered * programme.unit < coefficient:
            return None
    return sum((weight * programme.bounds[i] for weight, i in used), Fraction(0))
