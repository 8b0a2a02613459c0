"""What every arrival process promises."""

import abc
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.model._arguments import check_draw


class AbstractArrivals(abc.ABC):
    """The times at which requests arrive, from time 0 on."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def rate(self) -> Real:
        r"""Requests per second in the long run, :math:`\lambda`."""

    @property
    @abc.abstractmethod
    def gap_scv(self) -> Real | None:
        """Squared coefficient of variation of i.i.d. gaps [1], None if they are not i.i.d."""

    @property
    def is_renewal(self) -> bool:
        """Whether the gaps between arrivals are independent and identically distributed."""
        return self.gap_scv is not None

    @abc.abstractmethod
    def scaled_to(self, rate: Real) -> Self:
        """Return this process with its time stretched so that it has the given rate."""

    def chunks(
        self, rng: np.random.Generator, size: int, *, phase: Real = 0.0
    ) -> Iterator[np.ndarray]:
        """Return the arrival times in order, in chunks of ``size``.

        Parameters
        ----------
        rng : numpy.random.Generator
            Where the randomness comes from.
        size : int
            Times per chunk. The concatenation of the chunks does not depend on it, bit for
            bit.
        phase : float
            Where a replay of recorded times starts, in [0, 1); other processes ignore it.

        Returns
        -------
        iterator of float64 arrays, shape (size,)
            Nondecreasing times [s]; endless, except for arrivals that are scheduled once.

        Raises
        ------
        InvalidArgument
            If ``rng`` is not a Generator, ``size`` not a positive integer, or ``phase``
            outside [0, 1).
        """
        check_draw(rng, size, phase)
        return self._chunks(rng, size, phase)

    @abc.abstractmethod
    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        """Yield the arrival times for arguments that were checked."""


def running_sums(draw: Callable[[int], np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yield chunks of the partial sums of the gaps that ``draw`` makes."""
    clock = 0.0
    while True:
        gaps = draw(size)
        # Adding the clock to the first gap, not to the sums, adds in the same order as one
        # long cumulative sum does: the times then do not depend on the chunk size.
        gaps[0] += clock
        times = np.cumsum(gaps, out=gaps)
        clock = float(times[-1])
        yield times
