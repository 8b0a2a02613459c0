r"""The cycle that an engine of equal requests runs into, found exactly.

With constant lengths a saturated engine is a deterministic machine, and apart from requests
that nothing touched it has finitely many states. So it repeats itself sooner or later, and
serves as many requests per second as one cycle does. Which cycle it is depends on how the
engine was filled: with a batch-size limit, requests that once decode in step stay in step, and
there need not be one critical rate.
"""

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple, final

from queueing_llm._validate import Domain, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import DeterministicArrivals, Engine, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability.cycles._equal_requests import (
    ENDLESS,
    Arrivals,
    EqualRequests,
    Shape,
)
from queueing_llm.stability.cycles._recurrence import Mark, first_recurrence

Batches = Annotated[int, Domain("n", "batches", at_least=1, integer=True)]
STARTS = ("burst", "empty")


@final
class BatchShape(NamedTuple):
    """The batches of one shape in a cycle.

    Parameters
    ----------
    prefill_tokens, decode_tokens : int
        :math:`x` and :math:`y` of each [tokens].
    batches : int
        How many there are.
    time_share : Fraction
        The share of the cycle that they take [1].

    Examples
    --------
    >>> BatchShape(0, 100, 957, Fraction(4, 5)).decode_tokens
    100
    """

    prefill_tokens: int
    decode_tokens: int
    batches: int
    time_share: Fraction


@final
@dataclass(frozen=True, slots=True)
class LimitCycle:
    r"""What an engine repeats for ever.

    Parameters
    ----------
    since : Fraction
        A time from which it repeats the cycle, not always the first [s].
    seconds : Fraction
        Length of the cycle [s].
    prefilled, completed : int
        Prompts completed, and requests completed, in one cycle [requests].
    shapes : tuple of BatchShape
        The batches in it, those that take most time first. Their shares of time sum to 1
        unless the engine idles.
    arrival_rate : Fraction or None
        :math:`\lambda` of the arrivals that fill the engine [requests/s]; None if endless
        prompts wait.

    Examples
    --------
    A larger token budget loses capacity where at most 100 requests share a batch. It prefills
    each prompt at once, and then decodes 100 requests in a batch that has time for 128 tokens:

    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> load = ql.Workload.poisson(1, prompt_tokens=290, output_tokens=990)
    >>> for budget in (128, 1024):
    ...     engine = ql.Engine(step_time=step, token_budget=budget, max_batch_size=100)
    ...     found = limit_cycle(engine, load, policy=ql.SARATHI)
    ...     x, y, _, share = found.shapes[0]
    ...     print(round(float(found.rate), 4), (x, y), round(float(share), 3))
    2.139 (29, 99) 1.0
    1.8305 (0, 100) 0.819
    """

    since: Fraction
    seconds: Fraction
    prefilled: int
    completed: int
    shapes: tuple[BatchShape, ...]
    arrival_rate: Fraction | None

    @property
    def rate(self) -> Fraction:
        """Requests completed per second [requests/s]."""
        return self.completed / self.seconds

    @property
    def batches(self) -> int:
        """Batches in one cycle."""
        return sum(shape.batches for shape in self.shapes)

    @property
    def mean_batch(self) -> Fraction:
        """Mean tokens in a batch [tokens]."""
        tokens = sum((s.prefill_tokens + s.decode_tokens) * s.batches for s in self.shapes)
        return Fraction(tokens, self.batches)

    @property
    def growth(self) -> Fraction | None:
        r"""Growth of the requests present, :math:`\lambda` less the rate [requests/s].

        It is 0 if and only if the backlog stays bounded; None if endless prompts wait.
        """
        return None if self.arrival_rate is None else self.arrival_rate - self.rate

    @property
    def decode_growth(self) -> Fraction:
        """Growth of the requests in decode [requests/s].

        If it is not 0, the rule takes in prompts faster than it finishes requests: there is
        then no saturated equilibrium, and ``rate`` is not a rate that could be sustained.
        """
        return (self.prefilled - self.completed) / self.seconds


def limit_cycle(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    start: Literal["burst", "empty"] = "burst",
    most_batches: int = 1_000_000,
) -> LimitCycle | None:
    r"""Return the cycle that equal requests run into, exactly.

    Parameters
    ----------
    engine, workload, policy
        The system.
    start : {"burst", "empty"}
        Where it starts from: endless prompts that all wait (the arrivals do not matter), or
        an empty engine that the deterministic arrivals of the workload fill.
    most_batches : int
        How many batches to look at.

    Returns
    -------
    LimitCycle or None
        Exact for exact data; a float stands for its exact binary value, with which a cycle
        may be too long to find. None if there is none within ``most_batches``, the policy is
        not a :class:`BatchRule`, lengths are not constant, arrivals end or, from an empty
        engine, are not deterministic, there is a ``kv_capacity``, or prompts must be taken
        whole and exceed the token budget.

    Raises
    ------
    InvalidArgument
        If ``start`` is not one of the two words, ``most_batches`` not a positive integer, or
        a step time or rate is symbolic.

    Notes
    -----
    Derived here; ``stability/cycles/_recurrence.py`` says when a cycle is closed. Its
    rate is a critical rate only for the history that leads to it: the engine of the example
    below carries one request per 0.56 s, 1.786/s, if it fills slowly from empty, but once a
    surge has saturated it, it serves 1.755/s, and the same arrivals make its backlog grow.

    The experiment of section 6.2 of arXiv:2504.07347v3 is replayed by
    ``proofs/sarathi_128_holds_vertex_c.py`` and ``proofs/sarathi_1024_grows_at_vertex_c.py``.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> engine = ql.Engine(step_time=step, token_budget=1024, max_batch_size=100)
    >>> arrivals = ql.DeterministicArrivals.every(Fraction("0.4675"))
    >>> prompt, output = ql.DeterministicLength(290), ql.DeterministicLength(990)
    >>> load = ql.Workload.of(arrivals, ql.IndependentLengths(prompt, output))
    >>> found = limit_cycle(engine, load, policy=ql.SARATHI, start="empty")
    >>> round(float(found.rate), 4), round(float(found.growth), 4)
    (1.7553, 0.3837)
    """
    if start not in STARTS:
        msg = f"start must be one of two words, got start={start!r}: {nearest(start, STARTS)}."
        raise InvalidArgument(msg)
    check(most_batches, "most_batches", Batches)
    lengths = _constant_lengths(engine, workload)
    arrivals = _arrivals(workload) if start == "empty" else ENDLESS
    if not isinstance(policy, BatchRule) or lengths is None or arrivals is None:
        return None
    prompt, steps = lengths
    if not policy.chunked and prompt > engine.token_budget:
        return None
    requests = EqualRequests(engine, policy, prompt=prompt, steps=steps, arrivals=arrivals)
    found = first_recurrence(requests, most_batches)
    return None if found is None else _cycle(requests, *found)


def _cycle(requests: EqualRequests, mark: Mark, seen: Counter[Shape]) -> LimitCycle:
    seconds = requests.clock - mark.clock
    totals: dict[tuple[int, int], tuple[int, Fraction]] = {}
    for (prefill, decode, kv), count in seen.items():
        if prefill + decode:
            batches, spent = totals.get((prefill, decode), (0, Fraction(0)))
            spent += count * requests.seconds_of(prefill, decode, kv)
            totals[prefill, decode] = batches + count, spent
    shapes = [
        BatchShape(*xy, batches, spent / seconds) for xy, (batches, spent) in totals.items()
    ]
    return LimitCycle(
        since=mark.clock,
        seconds=seconds,
        prefilled=requests.prefilled - mark.prefilled,
        completed=requests.completed - mark.completed,
        shapes=tuple(sorted(shapes, key=lambda shape: -shape.time_share)),
        arrival_rate=None if requests.waiting == math.inf else 1 / requests.gap,
    )


def _constant_lengths(engine: Engine, workload: Workload) -> tuple[int, int] | None:
    """Return the prompt tokens and decode steps of every request, if they are all alike."""
    moments = workload.moments
    prompt, output = int(moments.prompt), int(moments.output)
    alike = (moments.prompt, moments.prompt_squared) == (prompt, prompt**2)
    alike &= (moments.output, moments.output_squared) == (output, output**2)
    if not alike or engine.kv_capacity is not None or not workload.is_endless:
        return None
    steps = int(engine.decode_steps(output))
    return None if steps < 0 else (prompt, steps)


def _arrivals(workload: Workload) -> Arrivals | None:
    arrivals = workload.arrivals
    if not isinstance(arrivals, DeterministicArrivals):
        return None
    try:
        gap = 1 / Fraction(arrivals.rate)
        return Arrivals(gap if arrivals.first is None else Fraction(arrivals.first), gap)
    except TypeError:
        msg = f"arrivals must have numbers for times, got {arrivals!r}."
        raise InvalidArgument(msg) from None
