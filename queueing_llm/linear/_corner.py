r"""A corner: as many tight rows as columns, inverted in integers.

The rows :math:`A_T` that are tight determine the point :math:`A_T^{-1} b_T`. Exchanging one
of them is one step of Gaussian elimination, done without fractions: the columns of
:math:`|\det A_T| A_T^{-1}` are integers, and stay so by an exact division (J. Edmonds,
"Systems of distinct representatives and linear algebra", 1967).
"""

from collections.abc import Sequence
from typing import final

from queueing_llm.linear._integers import IntegerProgramme, dot


@final
class Corner:
    r"""A corner of the rows of a programme, feasible or not, that moves by exchanges.

    ``directions[k]`` over ``scale`` is the :math:`d_k` with :math:`A_T d_k = e_k`: along
    :math:`-d_k` the row ``tight[k]`` is loosened while the others stay tight.
    """

    __slots__ = ("directions", "programme", "scale", "tight")

    def __init__(self, programme: IntegerProgramme) -> None:
        columns = len(programme.objective)
        self.programme = programme
        self.tight = list(range(len(programme.row_units), len(programme.rows)))
        self.directions = [[-int(i == j) for i in range(columns)] for j in range(columns)]
        self.scale = 1

    def point(self) -> list[int]:
        """Return the point, times ``scale``."""
        bounds = [self.programme.bounds[i] for i in self.tight]
        return [dot(bounds, entries) for entries in zip(*self.directions, strict=True)]

    def excess(self) -> list[int]:
        r"""Return :math:`a_i \cdot x - b_i` for every row, times ``scale``."""
        point, scale = self.point(), self.scale
        return [
            dot(row, point) - bound * scale
            for row, bound in zip(self.programme.rows, self.programme.bounds, strict=True)
        ]

    def combination(self, vector: Sequence[int]) -> list[int]:
        """Return the coefficients that combine the tight rows to a vector, times ``scale``."""
        return [dot(vector, direction) for direction in self.directions]

    def exchange(self, place: int, row: int, *, combination: Sequence[int]) -> None:
        """Make another row tight instead, given its combination of the tight ones."""
        pivot, sign = combination[place], 1 if combination[place] > 0 else -1
        leaving = self.directions[place]
        for k, direction in enumerate(self.directions):
            if k != place:
                share = combination[k]
                self.directions[k] = [
                    sign * ((v * pivot - u * share) // self.scale)
                    for v, u in zip(direction, leaving, strict=True)
                ]
        self.directions[place] = [sign * u for u in leaving]
        self.scale = sign * pivot
        self.tight[place] = row
