"""Arrivals at recorded times: replayed for ever, or played once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, final

import numpy as np

from queueing_llm._validate import Rate, Real, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import Reals, start_row, time_column
from queueing_llm.model._arrivals import AbstractArrivals


@final
@dataclass(frozen=True, slots=True, eq=False)
class ReplayArrivals(AbstractArrivals):
    """Recorded times, repeated for ever.

    A replay starts at row ``floor(phase * N)``, which arrives at time 0; at phase 0 one
    cycle has exactly the recorded gaps. The gap from the last row back to the first was not
    recorded: it is the mean gap, so that the rate is that of the recording.

    Parameters
    ----------
    times : float array, shape (N,)
        Nondecreasing times [s], at least two different ones.

    Raises
    ------
    InvalidArgument
        If a time is negative or not finite, times decrease, or they span no time.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.model import ReplayArrivals
    >>> next(ReplayArrivals([0, 1, 4]).chunks(np.random.default_rng(1), 5))
    array([0., 1., 4., 6., 7.])
    """

    times: Reals

    def __post_init__(self) -> None:
        times = time_column(self.times, "times")
        object.__setattr__(self, "times", times)
        _span(times)

    @property
    def rate(self) -> Real:
        """Gaps over time between the first and the last row [requests/s]."""
        return (len(self.times) - 1) / _span(self.times)

    @property
    def gap_scv(self) -> Real | None:
        """None: recorded gaps are not independent draws."""
        return None

    def scaled_to(self, rate: Real) -> Self:
        """Return the replay with all recorded times stretched."""
        return replace(self, times=_stretched(self, rate))

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        times = np.asarray(self.times)
        start = start_row(phase, len(times))
        cycle = _span(times) + 1 / self.rate
        at = start
        while True:
            cycles, rows = np.divmod(np.arange(at, at + size), len(times))
            yield (times[rows] - times[start]) + cycles * cycle
            at += size


@final
@dataclass(frozen=True, slots=True, eq=False)
class ScheduledArrivals(AbstractArrivals):
    """Given times, played once: no request comes after the last.

    Parameters
    ----------
    times : float array, shape (N,)
        Nondecreasing times [s], at least 0.

    Raises
    ------
    InvalidArgument
        If a time is negative or not finite, or times decrease.

    Examples
    --------
    >>> from queueing_llm.model import ScheduledArrivals
    >>> ScheduledArrivals([0.5, 1.0, 2.5]).rate
    1.0
    """

    times: Reals

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", time_column(self.times, "times"))

    @property
    def rate(self) -> Real:
        """Gaps over time between the first and the last row [requests/s]."""
        return (len(self.times) - 1) / _span(self.times)

    @property
    def gap_scv(self) -> Real | None:
        """None: the times are given."""
        return None

    def scaled_to(self, rate: Real) -> Self:
        """Return the schedule with all times stretched."""
        return replace(self, times=_stretched(self, rate))

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        if phase != 0:
            msg = f"phase must be 0 for arrivals that are played once, got phase={phase!r}."
            raise InvalidArgument(msg)
        starts = range(0, len(self.times), size)
        return (np.array(self.times[at : at + size]) for at in starts)


def _span(times: Reals) -> float:
    """Return the seconds from the first to the last time, which must differ."""
    span = float(times[-1] - times[0])
    if span <= 0:
        msg = (
            "times must span some time to have an arrival rate, "
            f"got {len(times)} arrival(s), all at {times[0]} s."
        )
        raise InvalidArgument(msg)
    return span


def _stretched(arrivals: ReplayArrivals | ScheduledArrivals, rate: Real) -> np.ndarray:
    check(rate, "rate", Rate)
    return np.asarray(arrivals.times) * float(arrivals.rate / rate)
