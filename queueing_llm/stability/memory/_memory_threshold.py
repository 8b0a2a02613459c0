"""The arrival rate that KV memory allows when every batch takes the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._ops import Number, ratio
from queueing_llm._validate import Domain, Real, Seconds, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Hypothesis
from queueing_llm.model import Engine, PoissonArrivals, RequestClass, Workload
from queueing_llm.stability.bounds._lifetime import kv_lifetime
from queueing_llm.stability.memory._chunked_lifetime import (
    full_prefill,
    least_prefill,
    smooth_prefill,
)

Chunk = Annotated[
    int | None, Domain("s_hat", "tokens", at_least=1, integer=True, optional=True)
]
Servers = Annotated[int, Domain("n", "engines", at_least=1, integer=True)]
ComponentRate = Annotated[Real, Domain("mu", "requests/s", above=0)]
Share = Annotated[Real, Domain("q", "1", above=0)]


@final
@dataclass(frozen=True, slots=True)
class MemoryThreshold:
    r"""What KV memory decides: unstable above one rate, stable below another, open between.

    Parameters
    ----------
    lifetime : number
        :math:`E[g]`, the least that a request holds, summed over its batches
        [token batches/request].
    most_lifetime : number
        Bound on the same sum where prompts come in full chunks and the rest last; equal to
        ``lifetime`` if the order of the chunks cannot matter. With ``kv_block_size`` above 1
        residents may hold more.
    slack : number or None
        :math:`\delta`, the largest request over the capacity [1]; None if there is none.
    unstable_above : number
        :math:`\mu = n M / (\bar b E[g])`: above it every policy is unstable [requests/s].
    stable_below : number or None
        :math:`\mu' (1 - \delta)`, with ``most_lifetime`` in :math:`\mu'`: below it a policy is
        stable if its batches hold more than :math:`(1 - \delta) M` slots whenever a request
        is left out [requests/s]; None if a hypothesis fails.
    hypotheses : tuple of Hypothesis
        What the stable side needs of the engine and the workload.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> found = MemoryThreshold(20, 20, Fraction(1, 10), Fraction(5), Fraction(9, 2), ())
    >>> found.gap
    (Fraction(9, 2), Fraction(5, 1))
    """

    lifetime: Real
    most_lifetime: Real
    slack: Real | None
    unstable_above: Real
    stable_below: Real | None
    hypotheses: tuple[Hypothesis, ...]

    @property
    def gap(self) -> tuple[Real, Real] | None:
        """The rates at which nothing is known [requests/s]; None without a stable side."""
        return None if self.stable_below is None else (self.stable_below, self.unstable_above)

    @property
    def published_stable_below(self) -> Real | None:
        r""":math:`\mu (1 - \delta)` in the form of arXiv:2605.04595 [requests/s].

        It counts every prompt as a whole number of chunks, and ignores the hypotheses. Where
        that is not so it is no guarantee; ``stable_below`` is.
        """
        return None if self.slack is None else self.unstable_above * (1 - self.slack)


def memory_threshold(
    engine: Engine,
    workload: Workload,
    *,
    batch_seconds: Real,
    chunk_tokens: int | None = None,
    servers: int = 1,
) -> MemoryThreshold:
    r"""Return the two sides of the KV-memory threshold of arXiv:2605.04595.

    .. math:: \mu = \frac{n M}{\bar b \, E[g]}, \qquad
       \lambda > \mu \text{ overloaded}, \qquad \lambda < \mu (1 - \delta) \text{ stable},
       \qquad \delta = \frac{\operatorname{ess\,sup}(s + o)}{M}.

    Parameters
    ----------
    engine, workload
        The system; :math:`M` is ``kv_capacity``, and the rate of the workload and the step
        times of the engine do not matter.
    batch_seconds : number
        :math:`\bar b` [s], the time of every batch.
    chunk_tokens : int or None
        :math:`\hat s` [tokens], most prompt tokens of a request in a batch; None for whole
        prompts.
    servers : int
        :math:`n`, engines among which requests are split, at random for the stable side.

    Returns
    -------
    MemoryThreshold
        Exact for exact data.

    Raises
    ------
    InvalidArgument
        If an argument is out of range, the engine has no ``kv_capacity``, or the largest
        request does not fit in it.

    Notes
    -----
    The first side is an upper bound under every policy: a batch holds at most :math:`M`
    slots, so the lifetimes still to serve grow (``proofs/kv_threshold_overload.py``). Slots
    that blocks of several tokens leave idle only lower it.

    The second is for policies that may leave a request out of a batch at no cost in memory:
    only members of a batch count, and a policy is work-conserving if no request left out
    would fit. Then the lifetimes still to serve have negative drift
    (``proofs/kv_threshold_stable.py``). Engines whose residents keep their cache while they
    wait, and recompute it after preemption, are not covered: they can be unstable below it.

    What is between the sides is open.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.AffineStepTime(base=0.0372, per_token=0)
    >>> engine = ql.Engine(step_time=step, token_budget=131_000, kv_capacity=131_000)
    >>> lengths = ql.UniformLength(10, 1600)
    >>> load = ql.Workload.poisson(1, prompt_tokens=lengths, output_tokens=lengths)
    >>> found = memory_threshold(engine, load, batch_seconds=0.0372, chunk_tokens=512)
    >>> round(found.unstable_above, 3), round(found.published_stable_below, 3)
    (3.263, 3.184)
    """
    check(batch_seconds, "batch_seconds", Seconds)
    check(chunk_tokens, "chunk_tokens", Chunk)
    check(servers, "servers", Servers)
    capacity, largest = _capacity_and_largest(engine, workload)
    least, most = _lifetimes(engine, workload, chunk_tokens)
    hypotheses = _stable_hypotheses(engine, workload)
    slack = None if largest is None else ratio(largest, capacity)
    guaranteed = None
    if slack is not None and all(h.holds for h in hypotheses):
        guaranteed = threshold_rate(servers * capacity, batch_seconds, most) * (1 - slack)
    return MemoryThreshold(
        lifetime=least,
        most_lifetime=most,
        slack=slack,
        unstable_above=threshold_rate(servers * capacity, batch_seconds, least),
        stable_below=guaranteed,
        hypotheses=hypotheses,
    )


def threshold_rate(capacity: Number, batch_seconds: Number, lifetime: Number) -> Number:
    r"""Return :math:`\mu = M / (\bar b E[g])` [requests/s]; numbers, arrays or symbols."""
    return ratio(capacity, batch_seconds * lifetime)


def mixture_rate(rates: Sequence[Real], shares: Sequence[Real]) -> Real:
    r"""Return the threshold of a mixture whose components have their own batch times.

    .. math:: \mu_{mix} = \Bigl( \sum_l q_l / \mu_l \Bigr)^{-1}

    Parameters
    ----------
    rates : sequence of number
        :math:`\mu_l` of each component alone [requests/s].
    shares : sequence of number
        Weights of the components [1], above 0; only ratios matter.

    Returns
    -------
    number
        :math:`\mu_{mix}` [requests/s], exact for exact data.

    Raises
    ------
    InvalidArgument
        If a number is not positive, or there is not one share for each rate.

    Notes
    -----
    The formula of arXiv:2605.04595. It shares the time of the engine among the components;
    where batches mix them, what their time is remains a modelling choice.

    Examples
    --------
    >>> mixture_rate([2, 3], shares=[1, 1])
    Fraction(12, 5)
    """
    if not np.shape(rates) == np.shape(shares) == (max(1, np.size(rates)),):
        msg = f"shares must have one entry for each of the rates {rates!r}, got {shares!r}."
        raise InvalidArgument(msg)
    for i, (rate, share) in enumerate(zip(rates, shares, strict=True)):
        check(rate, f"rates[{i}]", ComponentRate)
        check(share, f"shares[{i}]", Share)
    seconds = sum(ratio(q, mu) for q, mu in zip(shares, rates, strict=True))
    return ratio(sum(shares), seconds)


def _capacity_and_largest(engine: Engine, workload: Workload) -> tuple[int, int | None]:
    """Return the KV capacity and the largest request that it must hold [tokens]."""
    capacity, longest = engine.kv_capacity, workload.longest_request
    if capacity is None:
        msg = "kv_capacity must be a number of tokens for a memory threshold, got None."
        raise InvalidArgument(msg)
    if longest is None:
        return capacity, None
    largest = int(engine.work_tokens(0, longest))
    if largest > capacity:
        msg = (
            f"kv_capacity must hold the largest request, of {largest} tokens, got "
            f"kv_capacity={capacity}."
        )
        raise InvalidArgument(msg)
    return capacity, largest


def _lifetimes(engine: Engine, workload: Workload, chunk: int | None) -> tuple[Real, Real]:
    """Return bounds on the mean lifetime of a request, over the orders of its chunks."""
    decode = kv_lifetime(engine, workload) - workload.moments.prompt
    bounds = [_prefill_bounds(c, chunk) for c in workload.classes]
    least, most = (
        sum(share * bound[side] for share, bound in zip(workload.shares, bounds, strict=True))
        for side in (0, 1)
    )
    return least + decode, most + decode


def _prefill_bounds(requests: RequestClass, chunk: int | None) -> tuple[Real, Real]:
    """Return the least and the most that the mean prompt of a class holds, over its chunks."""
    moments, longest = requests.lengths.moments, requests.lengths.longest_prompt
    mean, square = moments.prompt, moments.prompt_squared
    if chunk is None or (longest is not None and longest <= chunk):
        return mean, mean
    if square == mean**2:
        return least_prefill(int(mean), chunk=chunk), full_prefill(int(mean), chunk=chunk)
    smooth = smooth_prefill(mean, square, chunk=chunk)
    return max(smooth, mean), smooth + mean * (1 - ratio(1, chunk))


def _stable_hypotheses(engine: Engine, workload: Workload) -> tuple[Hypothesis, ...]:
    slots, size, block = engine.kv_capacity, engine.max_batch_size, engine.kv_block_size
    free = engine.batch_tokens_limit() == slots and (size is None or size >= slots)
    poisson = isinstance(workload.arrivals, PoissonArrivals) and workload.has_iid_lengths
    return (
        Hypothesis(
            "nothing but memory limits a batch",
            holds=free,
            how=(
                f"token_budget={engine.token_budget}, max_batch_size={size}, kv_capacity="
                f"{slots}: a batch takes at most one token and one request for each slot"
            ),
        ),
        Hypothesis(
            "KV slots are given out one by one",
            holds=block == 1,
            how=f"kv_block_size={block}: a last block has up to {block - 1} slots idle",
        ),
        Hypothesis(
            "requests are bounded",
            holds=workload.longest_request is not None,
            how=f"the largest has prompt + output = {workload.longest_request} tokens",
        ),
        Hypothesis(
            "arrivals are Poisson and lengths independent and identically distributed",
            holds=poisson,
            how=(
                f"{type(workload.arrivals).__name__}, lengths "
                f"{'drawn' if workload.has_iid_lengths else 'replayed'}"
            ),
        ),
    )
