"""Prices of all that a request uses, at which no batch is worth more than its time.

The dual of static planning: batches are columns there and rows here.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Rational
from typing import Annotated, NamedTuple, final

from queueing_llm._ops import ratio
from queueing_llm._validate import Domain, Real, check
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.bounds._batches import has_known_shape, is_of_token_count
from queueing_llm.stability.bounds._best_rate import BestRate, best_rate
from queueing_llm.stability.bounds._lifetime import kv_lifetime
from queueing_llm.stability.bounds._priced_batches import (
    DECODE,
    PricedBatches,
    Row,
    known_reads,
)
from queueing_llm.stability.bounds._pricing import Pricing, best_prices

ShortestPrompt = Annotated[int, Domain("p", "tokens", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class ResourcePrices:
    r"""What a request uses, priced so that no batch is worth more than its time.

    .. math:: \pi_p x + \pi_d y + \pi_m m + \pi_k K \le t(x, y, K)

    for every allowed batch, which holds :math:`m` KV slots, so a request costs at least
    :math:`\pi_p E[p] + \pi_d E[D] + \pi_m E[g] + \pi_k G` seconds under every policy.

    Parameters
    ----------
    prefill, decode : number
        :math:`\pi_p`, :math:`\pi_d` [s/token].
    memory : number
        :math:`\pi_m` of a KV slot during one batch [s/token].
    kv_read : number
        :math:`\pi_k` of a KV token that a decode step reads [s/token].
    seconds : number
        What a request costs at least, :math:`1 / \lambda^\star` [s].
    place : number
        The part of :math:`\pi_d` that the limit on requests in a batch causes [s/token].

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(3, 1), token_budget=4, kv_capacity=6)
    >>> load = ql.Workload.poisson(1, prompt_tokens=2, output_tokens=2)
    >>> prices = resource_prices(engine, load)
    >>> prices.memory, prices.seconds
    (Fraction(1, 2), Fraction(17, 2))
    """

    prefill: Real
    decode: Real
    memory: Real
    kv_read: Real
    seconds: Real
    place: Real = 0


class RequestUse(NamedTuple):
    """What one request uses on average, in the order of the prices."""

    prefill: Real
    decode: Real
    memory: Real
    kv_read: Real

    @classmethod
    def of(cls, engine: Engine, workload: Workload) -> "RequestUse":
        """Return the means of prompts, decode steps, slots held and tokens read."""
        moments, held = workload.moments, kv_lifetime(engine, workload)
        if not is_of_token_count(engine.step_time):
            # A batch of prefill alone is only said to hold what it prefills, no idle slots.
            tokens = kv_lifetime(replace(engine, kv_block_size=1), workload)
            held = max(tokens, held - (engine.kv_block_size - 1))
        return cls(
            prefill=moments.prompt,
            decode=engine.decode_steps(moments.output),
            memory=held,
            kv_read=moments.kv_reads(engine.decode_steps(0)),
        )


def resource_prices(
    engine: Engine, workload: Workload, *, shortest_prompt: int = 1
) -> ResourcePrices | None:
    r"""Return the prices that bound the arrival rate most tightly.

    .. math:: \max_{\pi \ge 0} \; \pi_p E[p] + \pi_d E[D] + \pi_m E[g] + \pi_k G

    subject to the rows of :class:`ResourcePrices`. Tokens, requests per batch, KV memory and
    KV reads are bounded together, which is at least as tight as the tightest of their own
    bounds.

    Parameters
    ----------
    engine, workload
        The system; only the lengths of the workload matter.
    shortest_prompt : int
        Fewest tokens that a prompt may have [tokens]; 1 is always right, and more may give a
        tighter bound on a grid where a prefill yields a token.

    Returns
    -------
    ResourcePrices or None
        Exact for exact data; floats are taken at their exact value, and answered in floats.
        None if the law is neither one of the token count nor a table.

    Raises
    ------
    InvalidArgument
        If an allowed batch has no known time, or the law holds symbols.

    Notes
    -----
    An upper bound on the rate of every policy, by weak duality; on a grid, of every policy
    whose batches read no more than the table knows. Where a prefill yields a token, a
    preempted request can have a decode step that reads :math:`s` tokens replaced by the
    recomputation of :math:`s + 1`. It then counts as one decode token of the batch that
    completes it and pays in prefill what it does not read, so :math:`\pi_k \le \pi_p`. Ours.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=1024, max_batch_size=100)
    >>> load = ql.Workload.poisson(1, prompt_tokens=290, output_tokens=990)
    >>> round(resource_prices(engine, load).seconds, 6)
    0.4675
    """
    check(shortest_prompt, "shortest_prompt", ShortestPrompt)
    if not has_known_shape(engine.step_time):
        return None
    if tokens_decide(engine):
        return token_prices(engine, workload, best=best_rate(engine))
    use, batches = (
        RequestUse.of(engine, workload),
        PricedBatches.of(engine, shortest_prompt=shortest_prompt),
    )
    rows, bounds = _side_conditions(engine)
    is_exact = batches.is_exact and all(isinstance(part, Rational) for part in (*use, *bounds))
    found = best_prices(use, batches, side_rows=rows, side_bounds=bounds, is_exact=is_exact)
    place = _place(engine, use, found, batches=batches)
    numbers = (*found.prices, found.seconds, place)
    return ResourcePrices(*(numbers if is_exact else map(float, numbers)))


def token_prices(engine: Engine, workload: Workload, *, best: BestRate) -> ResourcePrices:
    """Return the prices of Theorem 2(a): a token costs what it takes in the best batch."""
    use, slope = RequestUse.of(engine, workload), engine.step_time.kv_slope or 0
    token = ratio(1, best.tokens_per_second)
    kv_read = min(slope, token) if engine.first_token_from_prefill else slope
    reading = kv_read * use.kv_read if kv_read else 0
    seconds = (use.prefill + use.decode) * token + reading
    return ResourcePrices(token, token, 0, kv_read, seconds)


def tokens_decide(engine: Engine) -> bool:
    """Whether the prices of Theorem 2(a) are the best ones: nothing else limits a batch."""
    unlimited = engine.kv_capacity is None and not batch_size_binds(engine)
    return unlimited and is_of_token_count(engine.step_time)


def batch_size_binds(engine: Engine) -> bool:
    """Whether a batch within the budget may have too many requests: it has one per token."""
    return engine.max_batch_size is not None and engine.max_batch_size < engine.token_budget


def _side_conditions(engine: Engine) -> tuple[list[Row], list[Real]]:
    """Return the rows beside those of the batches, and their bounds."""
    rows, bounds = [], []
    if is_of_token_count(engine.step_time):
        rows, bounds = [(0, 0, 0, 1)], [engine.step_time.kv_slope or 0]
    elif known_reads(engine) is None:
        rows.append((0, 0, 0, 1))
    if engine.kv_capacity is None:
        rows.append((0, 0, 1, 0))
    if engine.first_token_from_prefill:
        rows.append((-1, 0, 0, 1))
    return rows, bounds + [0] * (len(rows) - len(bounds))


def _place(engine: Engine, use: RequestUse, found: Pricing, *, batches: PricedBatches) -> Real:
    """Return what of the price of a decode token the limit on requests causes.

    It is what a decode token costs beyond the time that it adds to the batch: that of a
    prefill token for a law of the tokens, and else by the batches of the plan that have all
    the decode tokens which the limit allows. There it is the mean over the later half of
    these: what the last one adds to a measured time is mostly noise.
    """
    prefill, decode, *_ = found.prices
    limit, law = engine.max_batch_size, engine.step_time
    if limit is None or not batch_size_binds(engine) or not use.decode:
        return 0
    if is_of_token_count(law):
        return max(decode - prefill, 0)
    excess: Real = 0
    for batch, times in found.plan:
        x, y, reads = map(int, batches.batches[batch])
        steps = int(batches.uses[batch, DECODE])
        if y > 0 and steps >= limit - (x > 0):
            of_half = Fraction(law(x, y, reads)) - Fraction(law(x, y // 2, reads))
            added = of_half / (y - y // 2)
            surplus: Real = max(decode - added, 0)
            excess += times * steps * surplus
    return min(ratio(excess, Fraction(use.decode)), decode)
