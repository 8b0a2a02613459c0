"""Requests of a fixed number of users: each waits for the last answer before it asks again."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NoReturn, Self, final

import numpy as np

from queueing_llm._validate import Domain, Real, SecondsOrZero, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import check_draw, check_kind
from queueing_llm.model._arrivals import AbstractArrivals


@final
@dataclass(frozen=True, slots=True)
class ClosedArrivals(AbstractArrivals):
    r"""A closed system: a user sends a request, waits for its last token, thinks, repeats.

    Benchmarks at a fixed concurrency, load generators with virtual users, and agents are of
    this kind. A user thinks before its first request, too: without thinking and without a
    ramp, all requests are there at time 0 and :math:`N` of them at any time.

    There is no arrival rate: it follows from how fast the engine answers. There is no
    question of stability either, as never more than :math:`N` requests are in the system.

    Parameters
    ----------
    users : int
        :math:`N` [requests], at least 1.
    think_time : Real
        :math:`Z` [s], mean time from an answer to the next request, at least 0.
    think_scv : Real
        Squared coefficient of variation of the think times [1], at least 0: 0 is constant, 1
        exponential. They are independent with a gamma law.
    ramp : Real
        Time [s] over which the users begin, evenly spaced: user i at ``i * ramp / users``.

    Raises
    ------
    InvalidArgument
        If a parameter is outside its range.

    Examples
    --------
    >>> from queueing_llm.model import ClosedArrivals
    >>> ClosedArrivals(4, think_time=1, ramp=2).starts(np.random.default_rng(1))
    array([1. , 1.5, 2. , 2.5])
    """

    users: Annotated[int, Domain("N", "requests", at_least=1, integer=True)]
    think_time: SecondsOrZero = 0
    think_scv: Annotated[Real, Domain("c^2", "1", at_least=0)] = 0
    ramp: SecondsOrZero = 0

    def __post_init__(self) -> None:
        validate(self)

    @property
    def rate(self) -> Real:
        """Refused: the rate of a closed system is its throughput, which the engine decides."""
        self._refuse("arrival rate")

    @property
    def gap_scv(self) -> Real | None:
        """None: gaps depend on the engine."""
        return None

    def scaled_to(self, rate: Real) -> Self:
        """Refused, as ``rate`` is."""
        self._refuse("arrival rate")

    def starts(self, rng: np.random.Generator) -> np.ndarray:
        """Return when the users send their first requests, float64 array, shape (N,) [s].

        In order of time.
        """
        check_kind(rng, "rng", kind=np.random.Generator, such_as="numpy.random.default_rng(1)")
        begin = np.arange(self.users) * (float(self.ramp) / self.users)
        return np.sort(begin + self._thinks(rng, self.users))

    def think_times(self, rng: np.random.Generator, size: int) -> Iterator[np.ndarray]:
        """Return the times that users think after one request after the other is finished.

        Parameters
        ----------
        rng : numpy.random.Generator
            Where the randomness comes from.
        size : int
            Times per chunk. The concatenation of the chunks does not depend on it.

        Returns
        -------
        iterator of float64 arrays, shape (size,)
            Think times [s], in order of the requests' completion; endless.
        """
        check_draw(rng, size, 0)
        return (self._thinks(rng, size) for _ in itertools.repeat(None))

    def _thinks(self, rng: np.random.Generator, size: int) -> np.ndarray:
        if self.think_scv == 0:
            return np.full(size, float(self.think_time))
        shape, scale = 1 / float(self.think_scv), float(self.think_scv) * float(self.think_time)
        return rng.standard_gamma(shape, size) * scale

    def _chunks(self, rng: np.random.Generator, size: int, phase: Real) -> Iterator[np.ndarray]:
        self._refuse("arrival times of its own")

    def _refuse(self, what: str) -> NoReturn:
        msg = (
            f"a closed workload of {self.users} users has no {what}: a request is sent when "
            f"an answer has come, so never more than {self.users} are in the system and the "
            "backlog cannot grow. Ask closed_loop or simulate for its throughput."
        )
        raise InvalidArgument(msg)


def check_open(arrivals: object, name: str) -> None:
    """Check that arrivals come from outside, whatever becomes of earlier requests."""
    if isinstance(arrivals, ClosedArrivals):
        msg = f"{name} must be open arrivals, which await no answer, got {name}={arrivals!r}."
        raise InvalidArgument(msg)
