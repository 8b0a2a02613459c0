"""Theorem 2(b): work-conserving policies are stable up to the rate of full batches."""

from queueing_llm._validate import Real
from queueing_llm.evidence import CriticalRate, Evidence, Hypothesis
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability.bounds._best_rate import best_rate

THEOREM_2 = "Theorem 2 of arXiv:2504.07347v3"


def theorem_2_hypotheses(
    engine: Engine, workload: Workload, policy: Policy
) -> tuple[Hypothesis, ...]:
    """Check what Theorem 2(b) needs, one by one.

    Parameters
    ----------
    engine, workload, policy
        The system.

    Returns
    -------
    tuple of Hypothesis
        The theorem applies if all hold. The last one, that a full batch is the best batch,
        is Assumption 1 of the paper in the form in which its proof uses it; without it
        full batches still decide, but they do not reach the capacity.
    """
    best, budget = best_rate(engine), engine.token_budget
    slope = engine.step_time.kv_slope
    is_full = best.batch_tokens == budget
    return (
        Hypothesis(
            "the policy is work-conserving and first come, first served",
            holds=isinstance(policy, BatchRule) and policy.is_work_conserving,
            how=(
                f"a rule with mixed={policy.mixed}, chunked={policy.chunked}"
                if isinstance(policy, BatchRule)
                else "not known for a policy given as code"
            ),
        ),
        Hypothesis(
            "no limit but the token budget binds",
            holds=engine.kv_capacity is None and not _batch_size_binds(engine, policy),
            how=f"max_batch_size={engine.max_batch_size}, kv_capacity={engine.kv_capacity}",
        ),
        Hypothesis(
            "requests arrive at random, independent of the engine, with finite mean work",
            holds=workload.is_endless and workload.users is None,
            how=_describe_arrivals(workload),
        ),
        Hypothesis(
            "the step time depends on the batch through its token count alone",
            holds=slope == 0,
            how="by the form of the law"
            if slope == 0
            else f"it grows by {_brief(slope)} per KV token read",
        ),
        Hypothesis(
            "a full batch serves the most tokens per second",
            holds=is_full,
            how=f"n/t(n) compared at every n <= {budget}: largest at n = {best.batch_tokens}",
        ),
    )


def work_conserving_rate(
    engine: Engine, workload: Workload, policy: Policy
) -> CriticalRate | None:
    r"""Return the critical rate of a work-conserving policy without further limits.

    Once the backlog exceeds what :math:`b - 1` requests can hold, every batch is full, so

    .. math:: \lambda_c = \frac{1}{\bar w\, t(b) / b + \gamma G},

    which is the capacity if a full batch is the best batch.

    Returns
    -------
    CriticalRate or None
        Evidence ``THEOREM`` if all hypotheses of Theorem 2 hold; ``NUMERICAL``, by the same
        drift argument, if only the last one or two fail; None if an earlier one fails.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(10.4, prompt_tokens=100, output_tokens=100)
    >>> round(work_conserving_rate(engine, load, ql.SARATHI).value, 4)
    16.7145
    """
    hypotheses = theorem_2_hypotheses(engine, workload, policy)
    slope = engine.step_time.kv_slope
    if slope is None or not all(h.holds for h in hypotheses[:3]):
        return None
    value = 1 / seconds_at_full_batches(engine, workload)
    if all(h.holds for h in hypotheses):
        basis = f"{THEOREM_2}: work-conserving policies reach capacity"
        return CriticalRate.exactly(value, Evidence.THEOREM, basis=basis, hypotheses=hypotheses)
    basis = "drift of full batches, the argument of Theorem 2(b) beyond its Assumption 1"
    if not hypotheses[4].holds:
        trimmed = best_rate(engine).batch_tokens
        basis += f"; token_budget={trimmed} would serve more than {engine.token_budget}"
    return CriticalRate.exactly(value, Evidence.NUMERICAL, basis=basis, hypotheses=hypotheses)


def _batch_size_binds(engine: Engine, policy: Policy) -> bool:
    """Whether the batch-size limit can ever leave room in a batch.

    A batch of b tokens has at most b members. Under a decode-first rule residents are at
    most b, too: a new one starts only while fewer than b requests decode, each resident that
    does not decode takes what room is left, and first come, first served, there is only one.
    """
    limit = engine.max_batch_size
    if limit is None:
        return False
    counts_at_most_budget = isinstance(policy, BatchRule) and (
        policy.limit_counts == "members" or policy.first == "decode"
    )
    return not (counts_at_most_budget and limit >= engine.token_budget)


def seconds_at_full_batches(engine: Engine, workload: Workload) -> Real:
    r"""Return the time that a request costs at full batches, :math:`E[v]` [s/request].

    .. math:: E[v] = \bar w\, t(b) / b + \gamma G

    for a law of the token count plus :math:`\gamma` per KV token read, of which a request
    reads :math:`G`.

    Parameters
    ----------
    engine, workload
        The system, of numbers or symbols.

    Returns
    -------
    number
        Seconds per request.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(1, prompt_tokens=3, output_tokens=1)
    >>> seconds_at_full_batches(engine, load)
    Fraction(5, 1)
    """
    moments, budget = workload.moments, engine.token_budget
    work = engine.work_tokens(moments.prompt, moments.output)
    reads = engine.step_time.kv_slope * moments.kv_reads(engine.decode_steps(0))
    return work * engine.step_time(budget) / budget + reads


def _describe_arrivals(workload: Workload) -> str:
    kind = type(workload.arrivals).__name__
    if not workload.is_endless:
        return f"{kind}: a finite list of requests, which every policy finishes"
    if not workload.has_iid_lengths:
        return f"{kind}: a recording replayed for ever, read as a stationary sample"
    return f"{kind}, i.i.d. lengths, finite means"


def _brief(slope: Real | None) -> str:
    return "an unknown amount" if slope is None else f"{float(slope):g} s"
