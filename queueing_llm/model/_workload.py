"""The workload: when requests arrive and how long they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self, final

import numpy as np

from queueing_llm._validate import Domain, Rate, Real, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import Integers, Reals, check_draw, check_kind, exact
from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._closed_arrivals import ClosedArrivals
from queueing_llm.model._joint_lengths import (
    AbstractRequestLengths,
    EmpiricalLengths,
    independent_lengths,
    largest_of,
)
from queueing_llm.model._lengths import AbstractLength
from queueing_llm.model._moments import LengthMoments, mixed_moments
from queueing_llm.model._recorded_arrivals import ReplayArrivals, ScheduledArrivals
from queueing_llm.model._renewal_arrivals import PoissonArrivals
from queueing_llm.model._request_stream import request_chunks
from queueing_llm.model._requests import RequestClass, Requests
from queueing_llm.model._trace import Trace

Scale = Annotated[Real, Domain("s", "1", above=0)]


@final
@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one or more classes that arrive in one stream.

    The class of each request is drawn independently, with probability proportional to the
    class's share; its lengths then follow the law of its class.

    Parameters
    ----------
    arrivals : AbstractArrivals
        When requests arrive.
    classes : sequence of RequestClass
        What arrives; at least one, with different names.

    Raises
    ------
    InvalidArgument
        If an argument is of another kind, there is no class, or two share a name.

    Examples
    --------
    >>> from queueing_llm.model import Workload
    >>> load = Workload.poisson(arrival_rate=10.4, prompt_tokens=129, output_tokens=112)
    >>> load.moments.product
    Fraction(14448, 1)
    """

    arrivals: AbstractArrivals
    classes: Sequence[RequestClass]

    def __post_init__(self) -> None:
        check_kind(self.arrivals, "arrivals", kind=AbstractArrivals, such_as="PoissonArrivals")
        listed = isinstance(self.classes, list | tuple) and len(self.classes) > 0
        if not listed or not all(isinstance(c, RequestClass) for c in self.classes):
            msg = f"classes must be a non-empty list of RequestClass, got {self.classes!r}."
            raise InvalidArgument(msg)
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names):
            msg = f"classes must have different names, got {names!r}."
            raise InvalidArgument(msg)
        object.__setattr__(self, "classes", tuple(self.classes))

    @classmethod
    def of(cls, arrivals: AbstractArrivals, lengths: AbstractRequestLengths) -> Self:
        """Return the workload of one class with the given joint length law."""
        return cls(arrivals, (RequestClass("request", lengths),))

    @classmethod
    def poisson(
        cls,
        arrival_rate: Real,
        *,
        prompt_tokens: int | AbstractLength,
        output_tokens: int | AbstractLength,
    ) -> Self:
        r"""Return Poisson arrivals of requests with independent lengths.

        Parameters
        ----------
        arrival_rate : Real
            :math:`\lambda` [requests/s].
        prompt_tokens, output_tokens : int or AbstractLength
            :math:`p`, :math:`d` [tokens]; an integer makes all requests alike.

        Returns
        -------
        Workload
            The workload.

        Raises
        ------
        InvalidArgument
            If the rate is not positive or a length is neither an integer nor a law.
        """
        check(arrival_rate, "arrival_rate", Rate)
        lengths = independent_lengths(prompt_tokens, output_tokens)
        return cls.of(PoissonArrivals(arrival_rate), lengths)

    @classmethod
    def closed(
        cls,
        users: int,
        *,
        think_time: Real = 0,
        think_scv: Real = 0,
        ramp: Real = 0,
        prompt_tokens: int | AbstractLength,
        output_tokens: int | AbstractLength,
    ) -> Self:
        """Return a closed workload; for the parameters see ``ClosedArrivals`` and ``poisson``.

        Examples
        --------
        >>> Workload.closed(64, prompt_tokens=129, output_tokens=112).users
        64
        """
        lengths = independent_lengths(prompt_tokens, output_tokens)
        return cls.of(ClosedArrivals(users, think_time, think_scv, ramp), lengths)

    @classmethod
    def from_trace(
        cls, trace: Trace, *, scale: Real = 1, arrival_rate: Real | None = None
    ) -> Self:
        """Return the workload that a trace recorded, replayed for ever.

        Recorded arrival times and lengths are replayed together, in order. A trace without
        times gives Poisson arrivals of requests drawn from its rows.

        Parameters
        ----------
        trace : Trace
            The recording.
        scale : Real
            Factor on the arrival rate [1], above 0.
        arrival_rate : Real or None
            Rate to stretch time to, before scaling [requests/s]; None keeps the recorded.

        Returns
        -------
        Workload
            The workload.

        Raises
        ------
        InvalidArgument
            If the trace has no arrival times, or spans no time, and no rate is given.
        """
        check(scale, "scale", Scale)
        check_kind(trace, "trace", kind=Trace, such_as="the result of read_trace")
        timed = trace.arrival_times is not None
        if arrival_rate is not None:
            check(arrival_rate, "arrival_rate", Rate)
        elif not timed:
            msg = (
                f"trace {trace.name!r} has no arrival times: "
                "arrival_rate must be given [requests/s], got arrival_rate=None."
            )
            raise InvalidArgument(msg)
        lengths = EmpiricalLengths(trace.prompt_tokens, trace.output_tokens, in_order=timed)
        if trace.arrival_times is None:
            return cls.of(PoissonArrivals(arrival_rate * scale), lengths)
        recorded = ReplayArrivals(trace.arrival_times)
        base = recorded.rate if arrival_rate is None else arrival_rate
        return cls.of(recorded.scaled_to(base * scale), lengths)

    @classmethod
    def of_requests(
        cls, arrival_times: Reals, *, prompt_tokens: Integers, output_tokens: Integers
    ) -> Self:
        """Return the given requests, played once.

        Parameters
        ----------
        arrival_times : float array, shape (N,)
            Nondecreasing times [s], at least 0.
        prompt_tokens, output_tokens : int array, shape (N,)
            Lengths [tokens].

        Returns
        -------
        Workload
            The workload, which ends after the last request.

        Raises
        ------
        InvalidArgument
            If the columns differ in length or hold values out of range.
        """
        arrivals = ScheduledArrivals(arrival_times)
        lengths = EmpiricalLengths(prompt_tokens, output_tokens, in_order=True)
        rows, times = len(lengths.prompt_tokens), len(arrivals.times)
        if rows != times:
            msg = f"arrival_times has {times} rows, prompt_tokens has {rows}."
            raise InvalidArgument(msg)
        return cls.of(arrivals, lengths)

    @property
    def arrival_rate(self) -> Real:
        r""":math:`\lambda` [requests/s], a Fraction if it is rational; refused if closed."""
        return exact(self.arrivals.rate)

    @property
    def users(self) -> int | None:
        """How many users send the requests of a closed workload, None if it is open."""
        return self.arrivals.users if isinstance(self.arrivals, ClosedArrivals) else None

    def scale_to(self, arrival_rate: Real) -> Self:
        """Return the workload with time stretched to the given rate [requests/s]."""
        check(arrival_rate, "arrival_rate", Rate)
        return replace(self, arrivals=self.arrivals.scaled_to(arrival_rate))

    @property
    def shares(self) -> tuple[Real, ...]:
        """Probability of each class [1]."""
        total = sum(exact(c.share) for c in self.classes)
        return tuple(c.share / total for c in self.classes)

    @property
    def moments(self) -> LengthMoments:
        """Moments of the lengths of a request of any class."""
        return mixed_moments([c.lengths.moments for c in self.classes], self.shares)

    @property
    def mean_prompt_tokens(self) -> Real:
        """:math:`E[p]` [tokens]."""
        return self.moments.prompt

    @property
    def mean_output_tokens(self) -> Real:
        """:math:`E[d]` [tokens]."""
        return self.moments.output

    @property
    def longest_prompt(self) -> int | None:
        """The largest possible prompt [tokens], None if there is none."""
        return largest_of([c.lengths.longest_prompt for c in self.classes])

    @property
    def longest_request(self) -> int | None:
        """The largest possible :math:`p + d` [tokens], None if there is none."""
        return largest_of([c.lengths.longest_request for c in self.classes])

    @property
    def has_iid_lengths(self) -> bool:
        """Whether the lengths of successive requests are i.i.d. (not a replay)."""
        return all(c.lengths.is_iid for c in self.classes)

    @property
    def cycle(self) -> int:
        """Requests after which a replayed recording repeats; 1 if nothing is replayed."""
        laws = [c.lengths for c in self.classes]
        replays = [law for law in laws if isinstance(law, EmpiricalLengths) and law.in_order]
        return max((len(law.prompt_tokens) for law in replays), default=1)

    @property
    def is_endless(self) -> bool:
        """Whether requests never stop coming; stability is a question only then, if open."""
        return not isinstance(self.arrivals, ScheduledArrivals)

    def chunks(
        self, rng: np.random.Generator, size: int, *, phase: Real = 0.0
    ) -> Iterator[Requests]:
        """Return the requests in order of arrival, in chunks of ``size``.

        Parameters
        ----------
        rng : numpy.random.Generator
            Where the randomness comes from.
        size : int
            Requests per chunk. The concatenation of the chunks does not depend on it.
        phase : float
            Where replays start, as a fraction of their rows in [0, 1).

        Returns
        -------
        iterator of Requests
            Endless, unless the workload is played once. In a closed workload arrival times
            are not known (NaN), think times are.

        Raises
        ------
        InvalidArgument
            If an argument is out of range, or ``phase`` not 0 for a workload played once.
        """
        check_draw(rng, size, phase)
        return request_chunks(
            self.arrivals, self.classes, shares=self.shares, rng=rng, size=size, phase=phase
        )
