"""Prices of all that a request uses, at which no batch is worth more than its time.

The dual of static planning: batches are columns there and rows here. Few of them matter, so
a linear programme over few is solved, all batches are priced, and the one worth most beyond
its time joins, until there is none.
"""

from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import NamedTuple, TypeAlias, final

import numpy as np

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.linear import exact_maximum
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.bounds._batches import (
    BatchLimits,
    TimedBatch,
    has_known_shape,
    is_of_token_count,
    shaping_batches,
)
from queueing_llm.stability.bounds._best_rate import BestRate, best_rate
from queueing_llm.stability.bounds._lifetime import kv_lifetime

NEARLY_TIGHT = 1e-9
ROUNDING = 1e-12

Row: TypeAlias = tuple[Real, ...]
"""A coefficient for each price, or the prices themselves: integers or Fractions."""


@final
@dataclass(frozen=True, slots=True)
class ResourcePrices:
    r"""What a request uses, priced so that no batch is worth more than its time.

    .. math:: \pi_p x + \pi_d y + \pi_m M \le t(x, y, 0), \qquad \pi_k \le \gamma

    for every allowed batch, so a request costs at least
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


class _Use(NamedTuple):
    """What one request uses on average, in the order of the prices."""

    prefill: Real
    decode: Real
    memory: Real
    kv_read: Real


def resource_prices(engine: Engine, workload: Workload) -> ResourcePrices | None:
    r"""Return the prices that bound the arrival rate most tightly.

    .. math:: \max_{\pi \ge 0} \; \pi_p E[p] + \pi_d E[D] + \pi_m E[g] + \pi_k G

    subject to the rows of :class:`ResourcePrices`. Tokens, requests per batch and KV memory
    are bounded together, which is at least as tight as the tightest of their own bounds.

    Parameters
    ----------
    engine, workload
        The system; only the lengths of the workload matter.

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
    An upper bound on the rate of every policy, by weak duality. Where a prefill yields a
    token, a preempted request can have a decode step replaced by the recomputation of all its
    tokens. It then counts as one decode token, so decodes may fill all places of a batch that
    prefills, and pays in prefill what it does not read, so :math:`\pi_k \le \pi_p`. Ours.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=1024, max_batch_size=100)
    >>> load = ql.Workload.poisson(1, prompt_tokens=290, output_tokens=990)
    >>> round(resource_prices(engine, load).seconds, 6)
    0.4675
    """
    law = engine.step_time
    if not has_known_shape(law):
        return None
    if tokens_decide(engine):
        return token_prices(engine, workload, best=best_rate(engine))
    use = _use(engine, workload)
    batches = _batches(engine)
    numbers = (*use, law.kv_slope or 0, *(batch.seconds for batch in batches))
    is_exact = all(isinstance(number, Rational) for number in numbers)
    found = _best_prices(engine, use, batches=batches, is_exact=is_exact)
    return ResourcePrices(*(found if is_exact else map(float, found)))


def token_prices(engine: Engine, workload: Workload, *, best: BestRate) -> ResourcePrices:
    """Return the prices of Theorem 2(a): a token costs what it takes in the best batch."""
    use, slope = _use(engine, workload), engine.step_time.kv_slope or 0
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


def _use(engine: Engine, workload: Workload) -> _Use:
    moments = workload.moments
    return _Use(
        prefill=moments.prompt,
        decode=engine.decode_steps(moments.output),
        memory=kv_lifetime(engine, workload),
        kv_read=moments.kv_reads(engine.decode_steps(0)),
    )


def _batches(engine: Engine) -> list[TimedBatch]:
    """Return batches among which, at any prices, one is worth the most per second."""
    limits, law = BatchLimits.of(engine, None), engine.step_time
    if not is_of_token_count(law):
        # Memory makes a batch worth something, however few tokens it has.
        return [*shaping_batches(law, limits), TimedBatch(1, 0, law(1, 0))]
    # Called for its check that every batch within the limits has a known time.
    law.candidate_batches(limits.tokens)
    batches = []
    for n in range(1, limits.tokens + 1):
        seconds = law(n)
        decode = limits.most_decode(n)
        if engine.first_token_from_prefill:
            decode = min(n, limits.requests)
        batches += [TimedBatch(n, 0, seconds), TimedBatch(n - decode, decode, seconds)]
    return batches


def _best_prices(
    engine: Engine, use: _Use, *, batches: list[TimedBatch], is_exact: bool
) -> Row:
    """Return the best prices and their value: solve over few rows, add what breaks them.

    Inside, the price of memory is that of the whole cache for one batch.
    """
    counts = np.array([(x, y, 1) for x, y, _ in batches], dtype=np.float64)
    times = np.array([_float(batch.seconds) for batch in batches])
    slots = engine.kv_capacity or 1
    objective = [Fraction(part) for part in use._replace(memory=ratio(use.memory, slots))]
    rows, bounds = _side_conditions(engine)
    entering = set(np.argmax(counts / times[:, None], axis=0))
    while True:
        rows += [(batches[i][0], batches[i][1], 1, 0) for i in entering]
        bounds += [Fraction(batches[i].seconds) for i in entering]
        optimum = exact_maximum(objective, rows, bounds=bounds)
        assert optimum is not None, "prices of zero satisfy every row"
        prices = optimum.point
        gains = counts @ np.array(prices[:3], dtype=np.float64) / times - 1
        entering = {_entering(batches, prices, gains=gains, is_exact=is_exact)}
        if entering == {None}:
            prefill, decode, memory, kv_read = prices
            return prefill, decode, memory / slots, kv_read, optimum.value


def _side_conditions(engine: Engine) -> tuple[list[Row], list[Real]]:
    """Return the rows beside those of the batches, and their bounds."""
    slope = engine.step_time.kv_slope or 0
    rows: list[Row] = [(0, 0, 0, 1)]
    if engine.kv_capacity is None:
        rows.append((0, 0, 1, 0))
    if engine.first_token_from_prefill:
        rows.append((-1, 0, 0, 1))
    if engine.first_token_from_prefill and not is_of_token_count(engine.step_time):
        # A decode step of s stored tokens is recomputed as s + 1 >= 2 prompt tokens.
        rows.append((-2, 1, 0, 0))
    return rows, [Fraction(slope), *(0 for _ in rows[1:])]


def _entering(
    batches: list[TimedBatch], prices: Row, *, gains: np.ndarray, is_exact: bool
) -> int | None:
    """Return the batch worth most beyond its time, None if there is none."""
    worst = int(np.argmax(gains))
    if gains[worst] > NEARLY_TIGHT:
        return worst
    if not is_exact:
        return worst if gains[worst] > ROUNDING else None
    # Floating point finds the few that may be worth too much; exact numbers decide.
    prefill, decode, memory, _ = prices
    beyond = {
        int(i): ratio(prefill * x + decode * y + memory, batches[i].seconds)
        for i in np.flatnonzero(gains > -NEARLY_TIGHT)
        for x, y, _ in (batches[i],)
    }
    worst = max(beyond, key=beyond.__getitem__)
    return worst if beyond[worst] > 1 else None


def _float(seconds: Real) -> float:
    try:
        return float(seconds)
    except TypeError:
        msg = f"step_time must have numbers as parameters, got {seconds} s for a batch."
        raise InvalidArgument(msg) from None
