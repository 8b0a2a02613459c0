"""What no policy can exceed: the best token rate of an engine, and its capacity."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Real, check
from queueing_llm.evidence import Capacity
from queueing_llm.model import Engine, Workload

NEARLY_BEST = 1e-9
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
    # Floating point finds the few that may be best; exact parameters decide between them.
    near = np.flatnonzero(rates >= rates.max() * (1 - NEARLY_BEST))
    contenders = [tuple(int(counts[i]) for counts in batches) for i in near]
    ranked = [(_rate(engine, batch), batch[0] + batch[1], batch) for batch in contenders]
    rate, _, batch = max(ranked)
    return BestRate(rate, batch[0], batch[1])


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
    With ``max_batch_size`` or ``kv_capacity`` this is an upper bound that ignores them; it
    is also one where the step time is not a function of the token count plus a multiple of
    the KV tokens read.

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
    ignored = [
        name
        for name, ignored_here in (
            ("max_batch_size", engine.max_batch_size is not None),
            ("kv_capacity", engine.kv_capacity is not None),
            ("KV reads", slope is None),
        )
        if ignored_here
    ]
    basis = "Theorem 2(a): no batch serves more than r* = max n/t(n) tokens per second"
    if ignored:
        basis += f"; an upper bound, since {' and '.join(ignored)} can only lower it"
    return Capacity(
        requests_per_second=rate,
        tokens_per_second=servers * best.tokens_per_second,
        best_batch=(best.prefill_tokens, best.decode_tokens),
        is_attained=not ignored,
        basis=basis,
    )
