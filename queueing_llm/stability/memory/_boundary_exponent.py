"""How unlikely a long queue between two segments of Nested WAIT is (arXiv:2504.11320)."""

import math
from typing import Annotated

from queueing_llm._ops import Number, ratio
from queueing_llm._validate import Domain, Real, check
from queueing_llm.errors import InvalidArgument

Threshold = Annotated[int, Domain("n_k", "requests", at_least=1, integer=True)]
Probability = Annotated[Real, Domain("p_k", "1", above=0, at_most=1)]


def boundary_exponent(threshold: int, previous: int, probability: Real) -> float:
    r"""Return the rate at which the queue between two segments is unlikely to be long.

    The positive root :math:`\theta` of

    .. math:: e^{-\theta n_k} (1 - p_k + p_k e^\theta)^{n_{k-1}} = 1,

    where of :math:`n_{k-1}` requests each passes on with probability :math:`p_k` and
    :math:`n_k` are taken.

    Parameters
    ----------
    threshold, previous : int
        :math:`n_k`, :math:`n_{k-1}` [requests].
    probability : number
        :math:`p_k` [1].

    Returns
    -------
    float
        :math:`\theta` [1/request], by a bracketed root search.

    Raises
    ------
    InvalidArgument
        Unless :math:`p_k n_{k-1} < n_k < n_{k-1}`, without which there is no root.

    Notes
    -----
    At least :func:`hoeffding_exponent`, where the search begins; arXiv:2504.11320.

    Examples
    --------
    >>> round(boundary_exponent(40, 100, 0.3), 6)
    0.871061
    """
    from scipy.optimize import brentq

    check(previous, "previous", Threshold)
    check(probability, "probability", Probability)
    if not probability * previous < threshold < previous:
        msg = (
            f"threshold must be above {float(probability * previous):g} and below {previous} "
            f"[requests], got threshold={threshold!r}."
        )
        raise InvalidArgument(msg)
    p = float(probability)

    def log_mean(theta: float) -> float:
        shrunk = (1 - p) * math.expm1(-theta)
        # The logarithm of p + (1 - p) exp(-theta), near 1 and near 0.
        log = math.log1p(shrunk) if shrunk > -0.5 else math.log(p + (1 - p) * math.exp(-theta))
        return previous * log + (previous - threshold) * theta

    low = float(hoeffding_exponent(threshold, previous, probability))
    high = -previous * math.log(p) / (previous - threshold)
    # Both ends may be the root up to rounding, so the search goes beyond them.
    root = brentq(log_mean, low / 2, 2 * high, xtol=1e-15 * low)
    return max(float(root), low)


def hoeffding_exponent(threshold: Number, previous: Number, probability: Number) -> Number:
    r"""Return :math:`8 (n_k - p_k n_{k-1}) / n_{k-1}`, a lower bound on the exponent.

    By Hoeffding's lemma; it holds for numbers and symbols alike.

    Examples
    --------
    >>> from fractions import Fraction
    >>> hoeffding_exponent(40, 100, Fraction(3, 10))
    Fraction(4, 5)
    """
    return ratio(8 * (threshold - previous * probability), previous)
