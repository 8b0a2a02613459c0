"""Visits in a row: moments of their number, and the chance of another one."""

from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import final

import numpy as np

from queueing_llm._validate import decimal
from queueing_llm.model import AbstractLength, GeometricLength
from queueing_llm.model.agents._rounds import one_more

MOST_EXACT = 4096
MOST_TURNS = 1024
"""Laws of more turns are not laid out turn by turn."""


@final
@dataclass(frozen=True, slots=True)
class Turns:
    """The number of visits in a row.

    Parameters
    ----------
    mean : Fraction
        :math:`E[N]`.
    pairs : Fraction
        :math:`E[N (N - 1) / 2]`: pairs of a turn and an earlier one.
    once : Fraction
        :math:`P(N = 1)`.
    is_exact : bool
        Whether these numbers are rational in the law's parameters.
    """

    mean: Fraction
    pairs: Fraction
    once: Fraction
    is_exact: bool

    @classmethod
    def of(cls, law: AbstractLength | None) -> "Turns":
        """Return the moments of a law; of one turn for None."""
        if law is None or law.largest == 1:
            return cls(Fraction(1), Fraction(0), Fraction(1), is_exact=True)
        numbers = (law.mean, law.second_moment, _once(law))
        mean, square, once = (decimal(number, "turns") for number in numbers)
        is_exact = all(isinstance(number, Rational) for number in numbers)
        return cls(mean, (square - mean) / 2, once, is_exact)

    @property
    def is_random(self) -> bool:
        """Whether the number of turns varies: it is at least 1, so its variance tells."""
        return 2 * self.pairs + self.mean != self.mean**2


def continuing(law: AbstractLength | None) -> tuple[Fraction, ...] | None:
    r"""Return the chance of another turn after each, :math:`P(N > n \mid N \ge n)`.

    The last one is 0; None if there can be more turns than are laid out.
    """
    if law is None or law.largest == 1:
        return (Fraction(0),)
    if law.largest is None or law.largest > MOST_TURNS:
        return None
    chances = one_more(law)
    assert chances is not None, "the law is bounded"
    return tuple(decimal(chance, "turns") for chance in chances)


def _once(law: AbstractLength) -> object:
    """Return the chance of a single turn: exact for geometric and for bounded rational laws."""
    if law.smallest > 1:
        return 0
    if isinstance(law, GeometricLength):
        return 1 / decimal(law.mean, "turns")
    if law.largest is not None and law.largest <= MOST_EXACT:
        chances = one_more(law)
        assert chances is not None, "the law is bounded"
        return 1 - chances[0]
    return 1.0 - float(law.survival(np.array([1]))[0])
