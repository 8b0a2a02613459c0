"""Arrivals that come in bursts: switched on and off, or in batches."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Self, TypeAlias, final

import numpy as np

from queueing_llm._validate import Domain, Rate, Real, Seconds, check, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import check_kind, exact
from queueing_llm.model._arrivals import AbstractArrivals, running_sums
from queueing_llm.model._closed_arrivals import check_open
from queueing_llm.model._lengths import AbstractLength
from queueing_llm.model._recorded_arrivals import ScheduledArrivals

_Phases: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]

_SOJOURNS = 1024
"""Phases drawn at a time; even, so that every block starts in the same phase."""


@final
@dataclass(frozen=True, slots=True)
class OnOffArrivals(AbstractArrivals):
    r"""A Poisson process whose rate alternates between two values at random times.

    The on and off phases are exponential (a Markov-modulated Poisson process) and start in
    equilibrium. With :math:`\tau` the mean phases, the rate in the long run is

    .. math:: \lambda = \frac{\lambda_{on}\tau_{on} + \lambda_{off}\tau_{off}}
                             {\tau_{on} + \tau_{off}}.

    Parameters
    ----------
    rate_on, rate_off : Real
        :math:`\lambda_{on}` above 0, :math:`\lambda_{off}` at least 0 [requests/s].
    mean_on, mean_off : Real
        :math:`\tau_{on}`, :math:`\tau_{off}` [s], mean length of a phase.

    Raises
    ------
    InvalidArgument
        If a parameter is outside its range.

    Examples
    --------
    >>> from queueing_llm.model import OnOffArrivals
    >>> OnOffArrivals(rate_on=10, rate_off=1, mean_on=2, mean_off=4).rate
    Fraction(4, 1)
    """

    rate_on: Rate
    rate_off: Annotated[Real, Domain("lambda_off", "requests/s", at_least=0)]
    mean_on: Seconds
    mean_off: Seconds

    def __post_init__(self) -> None:
        validate(self)

    @property
    def rate(self) -> Real:
        """The time average of the two rates [requests/s]."""
        expected = self.rate_on * self.mean_on + self.rate_off * self.mean_off
        return exact(expected) / (self.mean_on + self.mean_off)

    @property
    def gap_scv(self) -> Real | None:
        """None: the gaps depend on the phase."""
        return None

    def scaled_to(self, rate: Real) -> Self:
        """Return the process with gaps and phases stretched alike."""
        check(rate, "rate", Rate)
        stretch = exact(self.rate) / rate
        return replace(
            self,
            rate_on=self.rate_on / stretch,
            rate_off=self.rate_off / stretch,
            mean_on=self.mean_on * stretch,
            mean_off=self.mean_off * stretch,
        )

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        # Unit-rate Poisson points, carried back through the integral of the rate.
        points, switches = rng.spawn(2)
        blocks = self._phases(switches)
        ends, counts, rates = next(blocks)
        clock = 0.0
        for expected in running_sums(points.standard_exponential, size):
            path = [(ends, counts, rates)]
            while path[-1][1][-1] <= expected[-1]:
                path.append(next(blocks))
            ends, counts, rates = (np.concatenate(column) for column in zip(*path, strict=True))
            at = np.searchsorted(counts, expected, side="right")
            times = ends[at] - (counts[at] - expected) / rates[at]
            # Rounding may put an arrival one bit before its predecessor at a switch.
            times[0] = max(times[0], clock)
            np.maximum.accumulate(times, out=times)
            clock = float(times[-1])
            yield times
            ends, counts, rates = ends[at[-1] :], counts[at[-1] :], rates[at[-1] :]

    def _phases(self, rng: np.random.Generator) -> Iterator[_Phases]:
        """Yield blocks of phases: their ends, the arrivals expected by then, their rates."""
        share_on = float(self.mean_on / (self.mean_on + self.mean_off))
        order = [0, 1] if rng.random() < share_on else [1, 0]
        pairs = np.array([[self.mean_on, self.mean_off], [self.rate_on, self.rate_off]], float)
        means, rates = np.tile(pairs[:, order], _SOJOURNS // 2)
        end = count = 0.0
        while True:
            sojourns = means * rng.standard_exponential(_SOJOURNS)
            expected = sojourns * rates
            sojourns[0] += end
            expected[0] += count
            ends, counts = np.cumsum(sojourns), np.cumsum(expected)
            end, count = float(ends[-1]), float(counts[-1])
            yield ends, counts, rates


@final
@dataclass(frozen=True, slots=True)
class BatchArrivals(AbstractArrivals):
    """Requests that arrive several at a time.

    Parameters
    ----------
    batches : AbstractArrivals
        When batches arrive.
    size : AbstractLength
        Law of the number of requests in a batch [requests]; its mean is above 0.

    Raises
    ------
    InvalidArgument
        If an argument is of another kind, or all batches are empty.

    Examples
    --------
    >>> from queueing_llm.model import BatchArrivals, DeterministicArrivals, EmpiricalLength
    >>> BatchArrivals(DeterministicArrivals.every(3), EmpiricalLength([6, 12])).rate
    Fraction(3, 1)
    """

    batches: AbstractArrivals
    size: AbstractLength

    def __post_init__(self) -> None:
        check_kind(self.batches, "batches", kind=AbstractArrivals, such_as="PoissonArrivals")
        check_open(self.batches, "batches")
        check_kind(self.size, "size", kind=AbstractLength, such_as="EmpiricalLength")
        if isinstance(self.batches, ScheduledArrivals):
            msg = f"batches must arrive for ever, got batches={self.batches!r}."
            raise InvalidArgument(msg)
        if not self.size.mean > 0:
            msg = f"size must have a mean above 0 [requests], got size={self.size!r}."
            raise InvalidArgument(msg)

    @property
    def rate(self) -> Real:
        """Batches per second times requests per batch."""
        return exact(self.batches.rate) * exact(self.size.mean)

    @property
    def gap_scv(self) -> Real | None:
        """None: gaps within a batch are 0, gaps between batches are not."""
        return None

    def scaled_to(self, rate: Real) -> Self:
        """Return the process with its batches stretched in time, their sizes kept."""
        check(rate, "rate", Rate)
        return replace(self, batches=self.batches.scaled_to(rate / exact(self.size.mean)))

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        when, how_many = rng.spawn(2)
        pull = math.ceil(size / float(self.size.mean))
        ready = np.empty(0)
        for times in self.batches.chunks(when, pull, phase=phase):
            requests = np.repeat(times, self.size.sample(how_many, len(times)))
            ready = np.concatenate([ready, requests])
            whole = len(ready) - len(ready) % size
            for at in range(0, whole, size):
                yield ready[at : at + size].copy()
            ready = ready[whole:]
