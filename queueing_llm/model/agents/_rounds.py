"""How many rounds a session makes, as chances of one more."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._lengths import (
    AbstractLength,
    DeterministicLength,
    EmpiricalLength,
    UniformLength,
)


def one_more(law: AbstractLength) -> tuple[Real, ...]:
    r"""Return the chance of another round after each one, :math:`P(N > n \mid N \ge n)`.

    Parameters
    ----------
    law : AbstractLength
        Law of the number of rounds :math:`N`, at least 1.

    Returns
    -------
    tuple
        For :math:`n = 1, 2, \dots`, the largest number; the last one is 0. Fractions, except
        for laws whose distribution is not rational.

    Raises
    ------
    InvalidArgument
        If the number has no bound.

    Examples
    --------
    >>> from queueing_llm.model import UniformLength
    >>> from queueing_llm.model.agents._rounds import one_more
    >>> one_more(UniformLength(1, 3))
    (Fraction(2, 3), Fraction(1, 2), 0)
    """
    if law.largest is None:
        msg = f"the number of rounds must have a bound, got {law!r}."
        raise InvalidArgument(msg)
    above = [_above(law, n) for n in range(int(law.largest) + 1)]
    # A tail that is below double precision counts as none.
    counted = [share for share in above if share > 0]
    return (*(more / least for least, more in itertools.pairwise(counted)), 0)


def _above(law: AbstractLength, n: int) -> Any:
    """Return the chance that a number is larger."""
    if isinstance(law, DeterministicLength):
        return Fraction(n < law.tokens)
    if isinstance(law, UniformLength):
        values = int(law.high) - int(law.low) + 1
        return Fraction(min(int(law.high) - n, values), values)
    if isinstance(law, EmpiricalLength):
        table = np.asarray(law.values)
        counts = np.ones_like(table) if law.weights is None else np.asarray(law.weights)
        return Fraction(int(counts[table > n].sum()), int(counts.sum()))
    return float(law.survival(np.array([n]))[0])
