"""What the KV cache leaves: requests occupy it for as many batches as they live."""

import itertools

from queueing_llm._validate import Real
from queueing_llm.model import Engine, Workload
from queueing_llm.stability._batches import TimedBatch, is_of_token_count
from queueing_llm.stability._frontier import boundary, edge_prices


def kv_lifetime(engine: Engine, workload: Workload) -> Real:
    r"""Return the least KV slots that a request holds, summed over its batches.

    .. math:: E[g] = E\Bigl[ p + \sum_{j=1}^{D} (p + j) \Bigr]
       = E[p] + E[p D] + E[D (D + 1)] / 2

    The batch that completes the prompt holds all of it, and the decode step :math:`j` holds
    the prompt and :math:`j` decoded tokens. Chunks and preemptions only add to it.

    Parameters
    ----------
    engine, workload
        The system; :math:`D` is the number of decode steps by the engine's convention.

    Returns
    -------
    number
        :math:`E[g]` [token batches/request].

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    >>> kv_lifetime(engine, ql.Workload.poisson(1, prompt_tokens=100, output_tokens=400))
    Fraction(120300, 1)
    """
    moments = workload.moments
    reads = moments.kv_reads(engine.decode_steps(0))
    return moments.prompt + reads + engine.decode_steps(moments.output)


def memory_seconds(engine: Engine, workload: Workload) -> Real | None:
    r"""Return the time that a request costs at least, because of tokens and KV memory.

    :math:`N` batches serve the tokens of the requests and hold at most :math:`N M` KV slots,
    so a request needs :math:`E[g] / M` batches as well as :math:`\bar w` tokens of them:

    .. math:: \min \sum_n u_n t(n) \quad \text{s.t.} \quad \sum_n u_n n \ge \bar w,
       \; \sum_n u_n \ge E[g] / M,

    by its dual: the best prices of a token and of a batch at which no batch is worth more
    than its time. With a constant batch time it is the overload condition of
    arXiv:2605.04595.

    Parameters
    ----------
    engine, workload
        The system; only the lengths of the workload matter.

    Returns
    -------
    number or None
        Seconds per request, exact for exact data; None without ``kv_capacity``, or if the
        step time is not one of the token count (a multiple of the KV reads may add to it).

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.AffineStepTime(base=0.01128, per_token=0.03547 / 128)
    >>> engine = ql.Engine(step_time=step, token_budget=512, kv_capacity=20_000)
    >>> load = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=400)
    >>> round(1 / memory_seconds(engine, load), 3)
    4.845
    """
    law = engine.step_time
    if engine.kv_capacity is None or not is_of_token_count(law) or law.kv_slope is None:
        return None
    # Tokens and batches take the places of prefill and decode tokens.
    tallies = [TimedBatch(n, 1, law(n)) for n in range(1, engine.batch_tokens_limit() + 1)]
    _, rates = boundary(tallies)
    moments = workload.moments
    tokens = engine.work_tokens(moments.prompt, moments.output)
    batches = kv_lifetime(engine, workload) / engine.kv_capacity
    reads = moments.kv_reads(engine.decode_steps(0))
    prices = [edge_prices(*ends) for ends in itertools.pairwise(rates)]
    planned = max(per_token * tokens + per_batch * batches for per_token, per_batch in prices)
    return planned + law.kv_slope * reads
