"""Length laws whose moments come from a convergent computation, not a closed form."""

import functools
import math
from dataclasses import dataclass, field
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Real, validate
from queueing_llm.model._lengths import AbstractLength

CELLS = 2**13


@final
@dataclass(frozen=True, slots=True)
class PoissonLength(AbstractLength):
    r"""A Poisson number of tokens given that it is at least 1, of known mean.

    The rate :math:`\mu` of the untruncated law solves

    .. math:: \frac{\mu}{1 - e^{-\mu}} = m, \qquad\text{and then } E[N^2] = m (1 + \mu).

    Parameters
    ----------
    mean : Real
        :math:`m` [tokens], the mean of the truncated law, above 1 and at most 10^6.

    Raises
    ------
    InvalidArgument
        If ``mean`` is outside that range.

    Examples
    --------
    >>> from queueing_llm.model import PoissonLength
    >>> PoissonLength(2).second_moment  # doctest: +ELLIPSIS
    5.18724...
    """

    # field() keeps the inherited abstract property from being read as a default.
    mean: Annotated[Real, Domain("m", "tokens", above=1, at_most=10**6)] = field()

    def __post_init__(self) -> None:
        validate(self)

    @property
    def second_moment(self) -> Real:
        r""":math:`m (1 + \mu)`."""
        return float(self.mean) * (1 + _poisson_rate(float(self.mean)))

    @property
    def smallest(self) -> int:
        """One token."""
        return 1

    @property
    def largest(self) -> int | None:
        """Unbounded."""
        return None

    def survival(self, tokens: np.ndarray) -> np.ndarray:
        r"""Return :math:`P(X > n) / (1 - e^{-\mu})` with :math:`X` untruncated."""
        return _poisson_survival(np.asarray(tokens), float(self.mean))

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return ``size`` independent lengths, each by inverting one uniform number."""
        distribution, guide = _poisson_tables(float(self.mean))
        lengths = np.empty(size, dtype=np.int64)
        # Blocks stay in the cache; numbers come in the same order whatever their size.
        for first in range(0, size, CELLS):
            block = lengths[first : first + CELLS]
            uniform = rng.random(len(block))
            np.take(guide, (uniform * CELLS).astype(np.intp), out=block, mode="clip")
            split = np.flatnonzero(block == 0)
            block[split] = 1 + np.searchsorted(distribution, uniform[split], side="right")
        return lengths


@final
@dataclass(frozen=True, slots=True)
class LognormalLength(AbstractLength):
    r"""A lognormal number of tokens, rounded up and cut off at ``max_tokens``.

    :math:`N = \min(\lceil e^{\ln m + \sigma Z} \rceil, M)` with :math:`Z` standard normal.
    The moments are those of :math:`N` itself, summed over its survival function:
    :math:`E[N] = \sum_{k<M} P(N > k)` and :math:`E[N^2] = \sum_{k<M} (2k+1) P(N > k)`.

    Parameters
    ----------
    median : Real
        :math:`m` [tokens], the median before rounding, above 0.
    sigma : Real
        :math:`\sigma` [1], the standard deviation of the logarithm, above 0.
    max_tokens : int
        :math:`M` [tokens], the cut-off, at most 10^7.

    Raises
    ------
    InvalidArgument
        If a parameter is not positive and finite, or ``max_tokens`` not an integer.

    Examples
    --------
    >>> from queueing_llm.model import LognormalLength
    >>> round(LognormalLength(median=100, sigma=1, max_tokens=2048).mean, 3)
    164.384
    """

    median: Annotated[Real, Domain("m", "tokens", above=0)]
    sigma: Annotated[Real, Domain("sigma", "1", above=0)]
    max_tokens: Annotated[int, Domain("M", "tokens", at_least=1, at_most=10**7, integer=True)]

    def __post_init__(self) -> None:
        validate(self)

    @property
    def mean(self) -> Real:
        r""":math:`\sum_{k<M} P(N > k)`."""
        return self._moments()[0]

    @property
    def second_moment(self) -> Real:
        r""":math:`\sum_{k<M} (2k + 1) P(N > k)`."""
        return self._moments()[1]

    @property
    def smallest(self) -> int:
        """One token."""
        return 1

    @property
    def largest(self) -> int | None:
        """:math:`M`."""
        return self.max_tokens

    def survival(self, tokens: np.ndarray) -> np.ndarray:
        r"""Return :math:`P(e^{\ln m + \sigma Z} > n)` for n below :math:`M`, else 0."""
        n = np.asarray(tokens, dtype=np.float64)
        beyond = _lognormal_survival(n, float(self.median), float(self.sigma))
        return np.where(n < self.max_tokens, beyond, 0.0)

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return ``size`` independent lengths."""
        exponent = math.log(self.median) + float(self.sigma) * rng.standard_normal(size)
        # Cutting the exponent first keeps exp from overflowing in the far tail.
        np.minimum(exponent, math.log(self.max_tokens) + 1, out=exponent)
        length = np.ceil(np.exp(exponent))
        return np.clip(length, 1, self.max_tokens).astype(np.int64)

    def _moments(self) -> tuple[float, float]:
        return _lognormal_moments(float(self.median), float(self.sigma), int(self.max_tokens))


@functools.lru_cache(maxsize=256)
def _poisson_rate(mean: float) -> float:
    """Solve mu/(1 - exp(-mu)) = mean; Newton falls monotonically since the left is convex."""
    rate = mean
    for _ in range(100):
        hit = -math.expm1(-rate)
        slope = (hit - rate * math.exp(-rate)) / hit**2
        step = (rate / hit - mean) / slope
        if step <= 1e-16 * rate:
            break
        rate -= step
    return rate


@functools.lru_cache(maxsize=16)
def _poisson_tables(mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Return P(N <= k), k = 1, 2, ..., until it is 1 in double precision, and a guide to it.

    The guide has the length that all uniform numbers of a cell ``[i, i + 1) / CELLS`` stand
    for, or 0 if they do not all stand for the same. Whether a number lies in a cell is exact,
    because ``CELLS`` is a power of two.
    """
    rate = _poisson_rate(mean)
    most = math.ceil(rate + 12 * math.sqrt(rate) + 40)
    distribution = 1 - _poisson_survival(np.arange(1, most + 1), mean)
    edges = 1 + np.searchsorted(distribution, np.arange(CELLS + 1) / CELLS, side="right")
    return distribution, np.where(edges[:-1] == edges[1:], edges[:-1], 0)


def _poisson_survival(tokens: np.ndarray, mean: float) -> np.ndarray:
    """Return P(N > n) of the law of that mean given that it is at least 1."""
    from scipy.special import pdtrc

    rate = _poisson_rate(mean)
    return np.where(tokens < 1, 1.0, pdtrc(tokens, rate) / -math.expm1(-rate))


@functools.lru_cache(maxsize=256)
def _lognormal_moments(median: float, sigma: float, most: int) -> tuple[float, float]:
    """Return the first two moments of the rounded and cut-off law."""
    k = np.arange(1, most, dtype=np.float64)
    survival = _lognormal_survival(k, median, sigma)
    return float(1 + survival.sum()), float(1 + ((2 * k + 1) * survival).sum())


def _lognormal_survival(tokens: np.ndarray, median: float, sigma: float) -> np.ndarray:
    """Return P(N > n) of the rounded law before it is cut off."""
    from scipy.special import ndtr

    # The logarithm of the smallest number stands for that of 0, which no length is below.
    logs = np.log(np.maximum(tokens, np.finfo(np.float64).tiny))
    beyond = np.asarray(ndtr((math.log(median) - logs) / sigma))
    return np.where(tokens < 1, 1.0, beyond)
