"""What no policy can exceed: the capacity of an engine."""

from numbers import Rational
from typing import Annotated

from queueing_llm._ops import ratio
from queueing_llm._validate import Domain, Real, check
from queueing_llm.evidence import Capacity, Evidence, RequestCost
from queueing_llm.model import EmpiricalLengths, Engine, IndependentLengths, Workload
from queueing_llm.stability.bounds._batches import on_a_table
from queueing_llm.stability.bounds._best_rate import best_rate
from queueing_llm.stability.bounds._lifetime import kv_lifetime
from queueing_llm.stability.bounds._planning import (
    RequestUse,
    ResourcePrices,
    batch_size_binds,
    resource_prices,
    token_prices,
    tokens_decide,
)
from queueing_llm.stability.bounds._priced_batches import known_reads

ROUNDING = 1e-12
Servers = Annotated[int, Domain("K", "engines", at_least=1, integer=True)]


def capacity(engine: Engine, workload: Workload, *, servers: int = 1) -> Capacity:
    r"""Return the arrival rate that no policy can exceed.

    .. math:: \lambda^\star = \frac{r^\star}{\bar w}
       \qquad\text{or}\qquad \frac{1}{\bar w / r^\star + \gamma G}

    where the step time grows by :math:`\gamma` per KV token read and a request reads
    :math:`G` of them. Theorem 2(a) of arXiv:2504.07347v3: a batch of :math:`n` tokens takes
    at least :math:`n / r^\star`, so above this rate the backlog grows under every policy.
    A batch-size limit and a KV cache, whose slots are held for as many batches as requests
    live, can lower it to the optimum of one linear programme, :func:`resource_prices`. So do
    the KV reads of a table of batches, of which no slope is assumed.

    Parameters
    ----------
    engine, workload
        The system; only the lengths of the workload matter, not its rate.
    servers : int
        Identical engines :math:`K`, fed by join-shortest-queue (Proposition 3).

    Returns
    -------
    Capacity
        ``is_attained`` says whether some policy is stable at every rate below, which is so
        without batch-size and KV limits. ``cost`` says which resource limits it.

    Notes
    -----
    With ``kv_capacity``, or ``max_batch_size`` below the token budget, this is an upper bound:
    the optimum of static planning, in which one request can fill a batch with prefill and
    memory is used evenly, but for the slots that blocks leave idle, which are bounded from
    below. It is one, too, where the step time is not a function of the token
    count plus a multiple of the KV tokens read; and where a prefill yields a token and reading
    a KV token takes longer than computing one, since preempted requests could recompute
    instead of reading. Of a table it is a bound for the policies whose batches read no more
    than the table knows.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(10.4, prompt_tokens=129, output_tokens=112)
    >>> round(float(ql.capacity(engine, load).requests_per_second), 4)
    13.871
    """
    check(servers, "servers", Servers)
    engine = on_a_table(engine)
    best = best_rate(engine)
    prices = token_prices(engine, workload, best=best)
    basis = "Theorem 2(a): no batch serves more than r* = max n/t(n) tokens per second"
    evidence = Evidence.THEOREM
    planned = None
    if not tokens_decide(engine):
        shortest = shortest_prompt(workload)
        planned = resource_prices(engine, workload, shortest_prompt=shortest)
    if planned is not None and _exceeds(planned.seconds, prices.seconds):
        prices, evidence = planned, Evidence.NUMERICAL
        basis = _static_planning(engine, workload, planned)
    loose = _left_out(engine, prices, is_planned=planned is not None)
    if loose:
        basis += f"; an upper bound, since {' and '.join(loose)} can only lower it"
    return Capacity(
        requests_per_second=ratio(servers, prices.seconds),
        tokens_per_second=servers * best.tokens_per_second,
        best_batch=(best.prefill_tokens, best.decode_tokens),
        is_attained=not loose,
        basis=basis,
        evidence=evidence,
        cost=_cost(engine, workload, prices),
    )


def shortest_prompt(workload: Workload) -> int:
    """Return the fewest tokens that a prompt may have; 1 where a law of lengths hides it."""
    fewest = []
    for kind in workload.classes:
        match kind.lengths:
            case IndependentLengths(prompt=prompt):
                fewest.append(prompt.smallest)
            case EmpiricalLengths(prompt_tokens=prompts):
                fewest.append(int(min(prompts)))
            case _:
                return 1
    return min(fewest)


def _left_out(engine: Engine, prices: ResourcePrices, *, is_planned: bool) -> list[str]:
    """Return what the prices do not wholly account for."""
    slope = engine.step_time.kv_slope
    if slope is not None:
        reads, is_loose = "KV reads", prices.kv_read < slope
    else:
        reads, is_loose = "how batches follow each other" if is_planned else "KV reads", True
    named = {
        "max_batch_size": batch_size_binds(engine),
        "kv_capacity": engine.kv_capacity is not None,
        reads: is_loose,
    }
    return [name for name, is_left_out in named.items() if is_left_out]


def _cost(engine: Engine, workload: Workload, prices: ResourcePrices) -> RequestCost:
    use = RequestUse.of(engine, workload)
    return RequestCost(
        prefill_seconds=prices.prefill * use.prefill,
        decode_seconds=(prices.decode - prices.place) * use.decode,
        place_seconds=prices.place * use.decode,
        kv_memory_seconds=prices.memory * use.memory if prices.memory else 0,
        kv_read_seconds=prices.kv_read * use.kv_read if prices.kv_read else 0,
    )


def _exceeds(seconds: Real, others: Real) -> bool:
    """Whether a cost is larger by more than rounding."""
    if isinstance(seconds, Rational) and isinstance(others, Rational):
        return seconds > others
    return seconds > others * (1 + ROUNDING)


def _static_planning(engine: Engine, workload: Workload, prices: ResourcePrices) -> str:
    """Return the argument in a sentence, which names the resources that bind."""
    worth = [
        f"{1000 * float(price):.5g} ms a {kind} token"
        for kind, price in (("prefill", prices.prefill), ("decode", prices.decode))
        if price > 0
    ]
    limits = []
    if batch_size_binds(engine) and prices.decode > prices.prefill:
        limits.append(f"{engine.max_batch_size} requests")
    if prices.memory > 0:
        lifetime = float(kv_lifetime(engine, workload))
        worth.append(
            f"{10**6 * float(prices.memory):.5g} ms per 1,000 KV slots in a batch, of which a "
            f"request holds {lifetime:,.6g} over its life"
        )
        limits.append(f"{engine.kv_capacity:,} KV slots")
    if prices.kv_read > 0 and engine.step_time.kv_slope is None:
        worth.append(f"{10**6 * float(prices.kv_read):.5g} ms per 1,000 KV tokens read")
        known = known_reads(engine)
        if known is not None and known < (engine.kv_capacity or known + 1):
            limits.append(f"{known:,} KV tokens read, where the table ends,")
    batch = f"batch of at most {' and '.join(limits)}" if limits else "batch"
    return f"static planning: at {' and '.join(worth)}, no {batch} is worth more than its time"
