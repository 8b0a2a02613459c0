"""Laws of one random number of tokens."""

import abc
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Real, Tokens, TokensOrZero, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import (
    Integers,
    drawn_rows,
    exact,
    integer_column,
    sum_of_products,
    weight_column,
)


class AbstractLength(abc.ABC):
    """The law of a random number of tokens :math:`N`.

    Moments are exact: a Fraction where the parameters are rational and the moment is, a
    float that is correct to rounding otherwise.
    """

    __slots__ = ()

    @property
    @abc.abstractmethod
    def mean(self) -> Real:
        """:math:`E[N]` [tokens]."""

    @property
    @abc.abstractmethod
    def second_moment(self) -> Real:
        """:math:`E[N^2]` [tokens^2]."""

    @property
    @abc.abstractmethod
    def smallest(self) -> int:
        """The smallest possible length [tokens]."""

    @property
    @abc.abstractmethod
    def largest(self) -> int | None:
        """The largest possible length [tokens], None if there is none."""

    @abc.abstractmethod
    def survival(self, tokens: np.ndarray) -> np.ndarray:
        """Return :math:`P(N > n)` for each nonnegative integer in ``tokens``, float64."""

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return ``size`` independent lengths, int64; drawing 5 then 7 equals drawing 12."""


@final
@dataclass(frozen=True, slots=True)
class DeterministicLength(AbstractLength):
    """Always the same number of tokens.

    Parameters
    ----------
    tokens : int
        :math:`N` [tokens], at least 0; a prompt needs at least 1.

    Raises
    ------
    InvalidArgument
        If ``tokens`` is not a nonnegative integer.

    Examples
    --------
    >>> from queueing_llm.model import DeterministicLength
    >>> DeterministicLength(129).second_moment
    Fraction(16641, 1)
    """

    tokens: TokensOrZero

    def __post_init__(self) -> None:
        validate(self)

    @property
    def mean(self) -> Real:
        """:math:`N`."""
        return exact(self.tokens)

    @property
    def second_moment(self) -> Real:
        """:math:`N^2`."""
        return self.mean**2

    @property
    def smallest(self) -> int:
        """:math:`N`."""
        return self.tokens

    @property
    def largest(self) -> int | None:
        """:math:`N`."""
        return self.tokens

    def survival(self, tokens: np.ndarray) -> np.ndarray:
        """Return 1 below :math:`N`, else 0."""
        return np.where(np.asarray(tokens) < self.tokens, 1.0, 0.0)

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return ``size`` equal lengths; nothing is drawn."""
        return np.full(size, self.tokens, dtype=np.int64)


@final
@dataclass(frozen=True, slots=True)
class GeometricLength(AbstractLength):
    r"""A geometric number of tokens on 1, 2, ...: each one ends with probability 1/mean.

    .. math:: E[N^2] = 2 m^2 - m.

    Parameters
    ----------
    mean : Real
        :math:`m` [tokens], at least 1.

    Raises
    ------
    InvalidArgument
        If ``mean`` is not a finite number of at least 1.

    Examples
    --------
    >>> from queueing_llm.model import GeometricLength
    >>> GeometricLength(10).second_moment
    Fraction(190, 1)
    """

    # field() keeps the inherited abstract property from being read as a default.
    mean: Annotated[Real, Domain("m", "tokens", at_least=1)] = field()

    def __post_init__(self) -> None:
        validate(self)

    @property
    def second_moment(self) -> Real:
        """:math:`2 m^2 - m`."""
        return 2 * exact(self.mean) ** 2 - self.mean

    @property
    def smallest(self) -> int:
        """One token."""
        return 1

    @property
    def largest(self) -> int | None:
        """Unbounded, unless every length is 1."""
        return 1 if self.mean == 1 else None

    def survival(self, tokens: np.ndarray) -> np.ndarray:
        """Return :math:`(1 - 1/m)^n`."""
        tokens = np.asarray(tokens, dtype=np.float64)
        if self.mean == 1:
            return np.where(tokens < 1, 1.0, 0.0)
        return np.exp(tokens * math.log1p(-1 / float(self.mean)))

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return ``size`` independent lengths."""
        # An exponential number rounded up: half the time of NumPy's own geometric numbers.
        scale = -1 / math.log1p(-1 / float(self.mean)) if self.mean > 1 else 0.0
        length = np.ceil(rng.standard_exponential(size) * scale)
        return np.maximum(length, 1, out=length).astype(np.int64)


@final
@dataclass(frozen=True, slots=True)
class UniformLength(AbstractLength):
    r"""Every integer from ``low`` to ``high``, both included, with equal probability.

    Parameters
    ----------
    low, high : int
        :math:`l \le h` [tokens], at least 1.

    Raises
    ------
    InvalidArgument
        If a bound is not a positive integer or ``low`` exceeds ``high``.

    Examples
    --------
    >>> from queueing_llm.model import UniformLength
    >>> UniformLength(1, 6).second_moment
    Fraction(91, 6)
    """

    low: Tokens
    high: Tokens

    def __post_init__(self) -> None:
        validate(self)
        if self.low > self.high:
            msg = f"low must be at most high={self.high}, got low={self.low}."
            raise InvalidArgument(msg)

    @property
    def mean(self) -> Real:
        """:math:`(l + h)/2`."""
        return Fraction(int(self.low) + int(self.high), 2)

    @property
    def second_moment(self) -> Real:
        """Mean squared plus variance, :math:`((h - l + 1)^2 - 1)/12`."""
        count = int(self.high) - int(self.low) + 1
        return self.mean**2 + Fraction(count**2 - 1, 12)

    @property
    def smallest(self) -> int:
        """:math:`l`."""
        return self.low

    @property
    def largest(self) -> int | None:
        """:math:`h`."""
        return self.high

    def survival(self, tokens: np.ndarray) -> np.ndarray:
        """Return :math:`(h - n)/(h - l + 1)`, at most 1 and at least 0."""
        share = (self.high - np.asarray(tokens, dtype=np.float64)) / (self.high - self.low + 1)
        return np.clip(share, 0.0, 1.0)

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return ``size`` independent lengths."""
        return rng.integers(self.low, self.high, size, endpoint=True)


@final
@dataclass(frozen=True, slots=True, eq=False)
class EmpiricalLength(AbstractLength):
    """A value from a table, drawn with probability proportional to its weight.

    Parameters
    ----------
    values : int array, shape (N,)
        Possible values [tokens, or requests for the size of a batch], at least 0.
    weights : int array, shape (N,), or None
        Positive integer weights; None makes the rows equally likely.

    Raises
    ------
    InvalidArgument
        If the table is empty, a value is negative or not an integer, or a weight is not a
        positive integer.

    Examples
    --------
    >>> from queueing_llm.model import EmpiricalLength
    >>> EmpiricalLength([1, 4], weights=[2, 1]).mean
    Fraction(2, 1)
    """

    values: Integers
    weights: Integers | None = None

    def __post_init__(self) -> None:
        values = integer_column(self.values, "values", at_least=0)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "weights", weight_column(self.weights, len(values)))

    @property
    def mean(self) -> Real:
        """Weighted mean of the values."""
        return self._average(self.values)

    @property
    def second_moment(self) -> Real:
        """Weighted mean of the squared values."""
        return self._average(self.values, self.values)

    @property
    def smallest(self) -> int:
        """The smallest value in the table."""
        return int(np.min(self.values))

    @property
    def largest(self) -> int | None:
        """The largest value in the table."""
        return int(np.max(self.values))

    def survival(self, tokens: np.ndarray) -> np.ndarray:
        """Return the share of the weight that lies above each number."""
        values, order = np.unique(np.asarray(self.values), return_inverse=True)
        below = np.append(0.0, np.bincount(order, weights=self._weights()).cumsum())
        return 1 - below[np.searchsorted(values, tokens, side="right")] / below[-1]

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return ``size`` independent values."""
        rows = drawn_rows(rng, size, rows=len(self.values), weights=self._weights())
        return np.asarray(self.values)[rows]

    def _weights(self) -> np.ndarray | None:
        return None if self.weights is None else np.asarray(self.weights)

    def _average(self, *columns: Integers) -> Fraction:
        weights = np.ones_like(self.values) if self.weights is None else self.weights
        arrays = [np.asarray(column) for column in (weights, *columns)]
        return Fraction(sum_of_products(*arrays), sum_of_products(arrays[0]))
