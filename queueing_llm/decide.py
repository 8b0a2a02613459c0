"""The front door: ask every route, answer with the strongest evidence.

``stability`` knows closed answers, ``simulate`` measures; they do not know each other. This
module asks them in order of the grade of their evidence and compares the arrival rate with
the critical rate that comes back.
"""

from dataclasses import replace
from typing import Annotated

import numpy as np

from queueing_llm._validate import Confidence, Domain, Real, check
from queueing_llm.certificates import certify_overload
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Capacity, CriticalRate, Evidence, Status, Verdict
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy, check_policy
from queueing_llm.simulate import bracket_critical_rate
from queueing_llm.stability import (
    capacity,
    frozen_rate,
    overload_growth,
    prefill_burst_rate,
    replacement_rate,
    request_level_rate,
    restart_hazard,
    work_conserving_rate,
)

Servers = Annotated[int, Domain("K", "engines", at_least=1, integer=True)]


def critical_rate(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    servers: int = 1,
    confidence: float = 0.99,
    seed: int | np.random.Generator = 0,
) -> CriticalRate:
    r"""Return the arrival rate at which a policy stops keeping up.

    Parameters
    ----------
    engine, workload, policy
        The system; the rate of the workload does not matter.
    servers : int
        Identical engines :math:`K` fed by join-shortest-queue; answered for
        work-conserving policies without limits (Proposition 3 of arXiv:2504.07347v3).
    confidence : float
        Of the interval, where the answer is simulated.
    seed : int or numpy.random.Generator
        Source of randomness, where the answer is simulated.

    Returns
    -------
    CriticalRate
        The strongest available: Theorem 2, a closed form or a computation with an error
        bound, or the zero of the simulated drift.

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
    >>> rate = ql.critical_rate(engine, load, policy=ql.ORCA)
    >>> round(rate.value, 4), rate.evidence.value
    (13.871, 'theorem')
    """
    check_policy(policy)
    check(servers, "servers", Servers)
    check(confidence, "confidence", Confidence)
    _check_answerable(engine, workload)
    by_theorem = work_conserving_rate(engine, workload, policy)
    if by_theorem is not None:
        return _on_servers(by_theorem, servers)
    if servers > 1:
        basis = "join-shortest-queue is decided for work-conserving policies without limits"
        high = capacity(engine, workload, servers=servers).requests_per_second
        return CriticalRate(None, 0, high, Evidence.NONE, basis)
    for route in (frozen_rate, request_level_rate, prefill_burst_rate, replacement_rate):
        closed = route(engine, workload, policy)
        if closed is not None:
            return closed
    measured = bracket_critical_rate(
        engine,
        workload,
        policy=policy,
        at_most=float(capacity(engine, workload).requests_per_second),
        confidence=confidence,
        seed=seed,
    )
    hazard = restart_hazard(engine, workload, policy)
    return replace(measured, basis=f"{measured.basis}; {hazard}") if hazard else measured


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
    critical = critical_rate(
        engine, workload, policy=policy, servers=servers, confidence=confidence, seed=seed
    )
    ceiling = capacity(engine, workload, servers=servers)
    status, evidence, reason = _compare(workload.arrival_rate, critical, ceiling)
    certificate = certify_overload(engine, workload) if servers == 1 else None
    if certificate is not None:
        evidence = Evidence.PROVED
    return Verdict(
        status=status,
        evidence=evidence,
        policy=policy.name if isinstance(policy, BatchRule) else _name(policy),
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


def _on_servers(critical: CriticalRate, servers: int) -> CriticalRate:
    if servers == 1:
        return critical
    return CriticalRate.exactly(
        servers * critical.low,
        critical.evidence,
        basis=f"{critical.basis}; Proposition 3: {servers} engines, join-shortest-queue",
        hypotheses=critical.hypotheses,
    )


def _check_answerable(engine: Engine, workload: Workload) -> None:
    if not workload.is_endless:
        msg = (
            "workload must go on for ever: a finite list of requests is always finished; "
            "use Workload.from_trace to repeat it, or simulate to watch it."
        )
        raise InvalidArgument(msg)
    longest = workload.longest_request
    if engine.kv_capacity is not None and longest is not None and longest > engine.kv_capacity:
        msg = (
            f"kv_capacity={engine.kv_capacity} tokens cannot hold the longest request of "
            f"{longest} tokens: raise kv_capacity or shorten the requests."
        )
        raise InvalidArgument(msg)


def _name(policy: Policy) -> str:
    return getattr(policy, "__name__", type(policy).__name__)
