"""Arrivals whose gaps are independent and identically distributed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Annotated, Self, final

import numpy as np

from queueing_llm._validate import Domain, Rate, Real, Seconds, check, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import (
    Integers,
    Reals,
    drawn_rows,
    exact,
    real_column,
    weight_column,
)
from queueing_llm.model._arrivals import AbstractArrivals, running_sums


@final
@dataclass(frozen=True, slots=True)
class PoissonArrivals(AbstractArrivals):
    r"""A Poisson process: exponential gaps.

    Parameters
    ----------
    rate : Real
        :math:`\lambda` [requests/s], above 0.

    Raises
    ------
    InvalidArgument
        If ``rate`` is not positive and finite.

    Examples
    --------
    >>> from queueing_llm.model import PoissonArrivals
    >>> PoissonArrivals(10.4).scaled_to(5).rate
    5
    """

    # field() keeps the inherited abstract property from being read as a default.
    rate: Rate = field()

    def __post_init__(self) -> None:
        validate(self)

    @property
    def gap_scv(self) -> Real | None:
        """One."""
        return Fraction(1)

    def scaled_to(self, rate: Real) -> Self:
        """Return the Poisson process of the given rate."""
        return replace(self, rate=rate)

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        rate = float(self.rate)
        return running_sums(lambda n: rng.standard_exponential(n) / rate, size)


@final
@dataclass(frozen=True, slots=True)
class DeterministicArrivals(AbstractArrivals):
    r"""Evenly spaced arrivals, at ``first + i / rate`` for i = 0, 1, ...

    Parameters
    ----------
    rate : Real
        :math:`\lambda` [requests/s], above 0.
    first : Real or None
        Time of the first arrival [s], at least 0; None means one gap after time 0.

    Raises
    ------
    InvalidArgument
        If ``rate`` is not positive and finite, or ``first`` negative.

    Examples
    --------
    >>> from queueing_llm.model import DeterministicArrivals
    >>> DeterministicArrivals.every(3).rate
    Fraction(1, 3)
    """

    rate: Rate = field()
    first: Annotated[Real | None, Domain("t_0", "s", at_least=0, optional=True)] = None

    def __post_init__(self) -> None:
        validate(self)

    @classmethod
    def every(cls, interval: Real, *, first: Real | None = None) -> Self:
        """Return arrivals ``interval`` seconds apart."""
        check(interval, "interval", Seconds)
        return cls(1 / exact(interval), first=first)

    @property
    def gap_scv(self) -> Real | None:
        """Zero."""
        return Fraction(0)

    def scaled_to(self, rate: Real) -> Self:
        """Return the process with all its times, the first included, stretched."""
        check(rate, "rate", Rate)
        first = None if self.first is None else self.first * exact(self.rate) / rate
        return replace(self, rate=rate, first=first)

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        rate = exact(self.rate)
        arrivals, seconds = (
            (rate.numerator, rate.denominator) if isinstance(rate, Fraction) else (rate, 1)
        )
        shift = 1.0 if self.first is None else 0.0
        first = 0.0 if self.first is None else float(self.first)
        count = np.arange(size, dtype=np.float64) + shift
        while True:
            yield first + count * float(seconds) / float(arrivals)
            count += size


@final
@dataclass(frozen=True, slots=True)
class GammaArrivals(AbstractArrivals):
    r"""Gamma distributed gaps: smoother (scv < 1) or burstier (scv > 1) than Poisson.

    Parameters
    ----------
    rate : Real
        :math:`\lambda` [requests/s], above 0.
    scv : Real
        Squared coefficient of variation of the gaps [1], above 0; their gamma law has
        shape ``1 / scv``.

    Raises
    ------
    InvalidArgument
        If a parameter is not positive and finite.

    Examples
    --------
    >>> from queueing_llm.model import GammaArrivals
    >>> GammaArrivals(rate=5, scv=4).gap_scv
    Fraction(4, 1)
    """

    rate: Rate = field()
    scv: Annotated[Real, Domain("c^2", "1", above=0)]

    def __post_init__(self) -> None:
        validate(self)

    @property
    def gap_scv(self) -> Real | None:
        """The squared coefficient of variation that was asked for."""
        return exact(self.scv)

    def scaled_to(self, rate: Real) -> Self:
        """Return the process of the given rate with the same variability."""
        return replace(self, rate=rate)

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        shape, scale = 1 / float(self.scv), float(self.scv) / float(self.rate)
        return running_sums(lambda n: rng.standard_gamma(shape, n) * scale, size)


@final
@dataclass(frozen=True, slots=True, eq=False)
class RenewalArrivals(AbstractArrivals):
    """Gaps drawn from a table, independently.

    Parameters
    ----------
    gaps : float array, shape (N,)
        Possible gaps [s], at least 0 and not all 0.
    weights : int array, shape (N,), or None
        Positive integer weights of the gaps; None makes them equally likely.

    Raises
    ------
    InvalidArgument
        If a gap is negative or not finite, all are 0, or a weight is not a positive integer.

    Examples
    --------
    >>> from queueing_llm.model import RenewalArrivals
    >>> RenewalArrivals([0.5, 2.0], weights=[2, 1]).rate
    1.0
    """

    gaps: Reals
    weights: Integers | None = None

    def __post_init__(self) -> None:
        gaps = real_column(self.gaps, "gaps", at_least=0)
        if not gaps.any():
            msg = "gaps must not all be 0: the arrival rate would be infinite."
            raise InvalidArgument(msg)
        object.__setattr__(self, "gaps", gaps)
        object.__setattr__(self, "weights", weight_column(self.weights, len(gaps)))

    @property
    def rate(self) -> Real:
        """One over the mean gap [requests/s]."""
        return 1 / self._average(np.asarray(self.gaps))

    @property
    def gap_scv(self) -> Real | None:
        """Variance of the gap over its squared mean."""
        deviation = np.asarray(self.gaps) * self.rate - 1
        return self._average(deviation**2)

    def scaled_to(self, rate: Real) -> Self:
        """Return the process with every gap stretched alike."""
        check(rate, "rate", Rate)
        return replace(self, gaps=np.asarray(self.gaps) * float(self.rate / rate))

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        gaps = np.asarray(self.gaps)
        weights = None if self.weights is None else np.asarray(self.weights)
        return running_sums(
            lambda n: gaps[drawn_rows(rng, n, rows=len(gaps), weights=weights)], size
        )

    def _average(self, values: np.ndarray) -> float:
        weights = np.ones(len(values)) if self.weights is None else np.asarray(self.weights)
        return math.fsum(values * weights) / float(weights.sum())
