"""What no policy can exceed: the best token rate of an engine, and its capacity."""

from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Real, check
from queueing_llm.evidence import Capacity, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.stability._batches import has_known_shape
from queueing_llm.stability._memory import kv_lifetime, memory_seconds
from queueing_llm.stability._region import stability_region

NEARLY_BEST = 1e-9
ROUNDING = 1e-14
Servers = Annotated[int, Domain("K", "engines", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class BestRate:
    r"""The largest token rate of an engine and the batch that attains it.

    Parameters
    ----------
    tokens_per_second : number
        :math:`r^\star = \max (x + y) / t(x, y, K)`; a Fraction if the law is exact.
    prefill_tokens, decode_tokens : int
        The batch :math:`(x, y)`; the largest one, if several are equally good [tokens].
    """

    tokens_per_second: Real
    prefill_tokens: int
    decode_tokens: int

    @property
    def batch_tokens(self) -> int:
        r""":math:`n^\star`, the effective token budget [tokens]."""
        return self.prefill_tokens + self.decode_tokens


def best_rate(engine: Engine) -> BestRate:
    r"""Return the most tokens per second that any batch of the engine attains.

    .. math:: r^\star = \max_{(x, y, K)} \frac{x + y}{t(x, y, K)}

    over the batches within the token budget, the batch-size limit and the KV cache. Every
    size is compared: a full batch need not be the best one, and real step times are not
    monotone.

    Parameters
    ----------
    engine : Engine
        The engine.

    Returns
    -------
    BestRate
        Exact if the parameters of the law are integers or Fractions.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=11, per_block=35, block=128)
    >>> best = ql.best_rate(ql.Engine(step_time=step, token_budget=130))
    >>> best.tokens_per_second, best.batch_tokens
    (Fraction(64, 23), 128)
    """
    law = engine.step_time
    batches = law.candidate_batches(
        engine.batch_tokens_limit(), most_decode_tokens=engine.max_batch_size
    )
    rates = (batches[0] + batches[1]) / np.asarray(law(*batches))
    # Floating point finds the few that may be best; exact parameters decide between them,
    # and floats that differ by rounding alone count as equal.
    near = np.flatnonzero(rates >= rates.max() * (1 - NEARLY_BEST))
    contenders = [tuple(int(counts[i]) for counts in batches) for i in near]
    ranked = [(_rate(engine, batch), batch[0] + batch[1], batch) for batch in contenders]
    best = max(rate for rate, _, _ in ranked)
    least = best * (1 - ROUNDING) if isinstance(best, float) else best
    _, _, batch = max((entry for entry in ranked if entry[0] >= least), key=itemgetter(1))
    return BestRate(best, batch[0], batch[1])


def _rate(engine: Engine, batch: tuple[int, ...]) -> Real:
    seconds = engine.step_time(*batch)
    tokens = batch[0] + batch[1]
    return tokens / (Fraction(seconds) if isinstance(seconds, int) else seconds)


def capacity(engine: Engine, workload: Workload, *, servers: int = 1) -> Capacity:
    r"""Return the arrival rate that no policy can exceed.

    .. math:: \lambda^\star = \frac{r^\star}{\bar w}
       \qquad\text{or}\qquad \frac{1}{\bar w / r^\star + \gamma G}

    where the step time grows by :math:`\gamma` per KV token read and a request reads
    :math:`G` of them. Theorem 2(a) of arXiv:2504.07347v3: a batch of :math:`n` tokens takes
    at least :math:`n / r^\star`, so above this rate the backlog grows under every policy.
    A batch-size limit can lower it to ``stability_region(engine).largest_rate(workload)``,
    and a KV cache to the rate at which its slots, held for as many batches as requests live,
    are used up.

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
        without batch-size and KV limits.

    Notes
    -----
    With ``kv_capacity``, or ``max_batch_size`` below the token budget, this is an upper bound:
    the optimum of static planning, in which one request can fill a batch with prefill and
    memory is used evenly. It is one, too, where the step time is not a function of the token
    count plus a multiple of the KV tokens read.

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
    best = best_rate(engine)
    moments = workload.moments
    work = engine.work_tokens(moments.prompt, moments.output)
    slope = engine.step_time.kv_slope
    reads = slope * moments.kv_reads(engine.decode_steps(0)) if slope else 0
    rate = servers / (work / best.tokens_per_second + reads)
    basis = "Theorem 2(a): no batch serves more than r* = max n/t(n) tokens per second"
    evidence = Evidence.THEOREM
    for bound in (_planned(engine, workload), _remembered(engine, workload)):
        if bound is not None and servers * bound[0] < rate:
            rate, basis, evidence = servers * bound[0], bound[1], Evidence.NUMERICAL
    loose = [
        name
        for name, is_loose in (
            ("max_batch_size", _batch_size_binds(engine)),
            ("kv_capacity", engine.kv_capacity is not None),
            ("KV reads", slope is None),
        )
        if is_loose
    ]
    if loose:
        basis += f"; an upper bound, since {' and '.join(loose)} can only lower it"
    return Capacity(
        requests_per_second=rate,
        tokens_per_second=servers * best.tokens_per_second,
        best_batch=(best.prefill_tokens, best.decode_tokens),
        is_attained=not loose,
        basis=basis,
        evidence=evidence,
    )


def _planned(engine: Engine, workload: Workload) -> tuple[Real, str] | None:
    """Return what static planning allows under a batch-size limit, and the argument."""
    if not _batch_size_binds(engine) or not has_known_shape(engine.step_time):
        return None
    region = stability_region(engine)
    rate, moments = region.largest_rate(workload), workload.moments
    facet = region.binding_facet(moments.prompt, engine.decode_steps(moments.output))
    prefill, decode = (f"{1000 * float(price):.5g}" for price in facet.prices)
    basis = (
        f"static planning: at {prefill} ms a prefill token and {decode} ms a decode token, no "
        f"batch of at most {engine.max_batch_size} requests is worth more than its time"
    )
    return rate, basis


def _batch_size_binds(engine: Engine) -> bool:
    """Whether a batch within the budget may have too many requests: it has one per token."""
    return engine.max_batch_size is not None and engine.max_batch_size < engine.token_budget


def _remembered(engine: Engine, workload: Workload) -> tuple[Real, str] | None:
    """Return what the KV cache allows, and the argument."""
    seconds = memory_seconds(engine, workload)
    if seconds is None:
        return None
    lifetime = float(kv_lifetime(engine, workload))
    basis = (
        f"KV memory: a request holds {lifetime:,.6g} slots, summed over its batches, of "
        f"{engine.kv_capacity:,} in each, and no such batches are faster"
    )
    return 1 / seconds, basis
