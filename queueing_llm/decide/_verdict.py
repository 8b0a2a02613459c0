"""The verdict: the arrival rate against the critical rate."""

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.certificates import certify_overload, certify_stability
from queueing_llm.decide._critical import check_question, closed_rate, simulated_rate
from queueing_llm.decide._start import (
    cycle_from_empty,
    is_even,
    name_of,
    start_matters,
    verdict_of_cycle,
)
from queueing_llm.evidence import Capacity, CriticalRate, Evidence, Status, Verdict
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import Policy
from queueing_llm.stability import capacity, overload_growth

FOSTER = (
    "; the certified drift of full batches is negative, so it is stable by Foster's criterion"
)
EVEN = (
    "; that rate is one of a saturated engine, and arrivals without surges may never saturate "
    "an engine whose smaller batches serve more"
)


def check_stability(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    servers: int = 1,
    confidence: float = 0.99,
    seed: int | np.random.Generator = 0,
) -> Verdict:
    r"""Decide whether a policy keeps an engine stable under a workload.

    Above the capacity every policy is unstable (Theorem 2(a)). Otherwise the arrival rate
    is compared with the policy's own critical rate, and an answer of UNDECIDED means just
    that: the rate is at the boundary, inside the interval, or the boundary is not known.
    For exact data, overload of the capacity and stability by the drift of full batches come
    with a certificate. Equal requests that arrive evenly are followed from an empty engine
    until it repeats itself, unless a closed critical rate says that they are kept up with.

    Parameters
    ----------
    engine, workload, policy
        The system.
    servers, confidence, seed
        As for :func:`critical_rate`.

    Returns
    -------
    Verdict
        Status, evidence, critical rate, capacity, load, margin, and the reason.

    Raises
    ------
    InvalidArgument
        If the workload ends, or holds a request that can never fit in the KV cache.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(10.4, prompt_tokens=129, output_tokens=112)
    >>> verdict = ql.check_stability(engine, load, policy=ql.SARATHI)
    >>> verdict.status.name, verdict.evidence.name, round(verdict.margin, 3)
    ('STABLE', 'THEOREM', 0.25)
    """
    check_question(engine, workload, policy=policy, servers=servers, confidence=confidence)
    ceiling = capacity(engine, workload, servers=servers)
    closed = closed_rate(engine, workload, policy, servers=servers)
    cycle = None
    if servers == 1 and start_matters(workload.arrival_rate, closed, ceiling):
        cycle = cycle_from_empty(engine, workload, policy)
    if cycle is not None and (closed is None or cycle.growth == 0):
        return verdict_of_cycle(
            cycle, engine, workload, policy=policy, ceiling=ceiling, saturated=closed
        )
    critical = closed or simulated_rate(
        engine, workload, policy=policy, confidence=confidence, seed=seed
    )
    status, evidence, reason = _compare(workload.arrival_rate, critical, ceiling)
    if cycle is None and status is Status.UNSTABLE and critical.value and is_even(workload):
        reason += EVEN if workload.arrival_rate <= ceiling.requests_per_second else ""
    certificate = None
    if servers == 1 and status is Status.UNSTABLE:
        certificate = certify_overload(engine, workload)
    elif servers == 1 and status is Status.STABLE:
        certificate = certify_stability(engine, workload, policy=policy)
        reason += FOSTER if certificate is not None else ""
    if certificate is not None:
        evidence = Evidence.PROVED
    return Verdict(
        status=status,
        evidence=evidence,
        policy=name_of(policy),
        arrival_rate=workload.arrival_rate,
        critical_rate=critical,
        capacity=ceiling,
        growth=overload_growth(engine, workload, policy, critical) if servers == 1 else None,
        reason=reason,
        certificate=certificate,
    )


def _compare(
    rate: Real, critical: CriticalRate, ceiling: Capacity
) -> tuple[Status, Evidence, str]:
    own = critical.evidence
    if rate > ceiling.requests_per_second:
        reason = "the arrival rate exceeds the capacity, which no policy can"
        return Status.UNSTABLE, ceiling.evidence, reason
    if critical.value is None:
        return Status.UNDECIDED, Evidence.NONE, critical.basis
    if rate < critical.low:
        return Status.STABLE, own, "the arrival rate is below the policy's critical rate"
    if rate > critical.high:
        return Status.UNSTABLE, own, "the arrival rate is above the policy's critical rate"
    if critical.low == critical.high:
        return Status.UNDECIDED, Evidence.NONE, "the arrival rate is exactly critical"
    reason = "the arrival rate lies inside the interval of the critical rate"
    return Status.UNDECIDED, Evidence.NONE, reason
