"""The front door: ask every route, answer with the strongest evidence.

``stability`` knows closed answers, ``simulate`` measures; they do not know each other. This
module asks them in order of the grade of their evidence and compares the arrival rate with
the critical rate that comes back.
"""

from dataclasses import replace
from typing import Annotated

import numpy as np

from queueing_llm._validate import Confidence, Domain, Real, check
from queueing_llm.certificates import certify_overload, certify_stability
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Capacity, CriticalRate, Evidence, Status, Verdict
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy, check_policy
from queueing_llm.simulate import bracket_critical_rate
from queueing_llm.stability import (
    LimitCycle,
    capacity,
    exclusive_batching_rate,
    frozen_rate,
    limit_cycle,
    overload_growth,
    prefill_burst_rate,
    replacement_rate,
    request_level_rate,
    restart_hazard,
    work_conserving_rate,
)

FOSTER = (
    "; the certified drift of full batches is negative, so it is stable by Foster's criterion"
)
CLOSED = (
    frozen_rate,
    request_level_rate,
    prefill_burst_rate,
    replacement_rate,
    exclusive_batching_rate,
)
MOST_BATCHES = 1_000_000
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
    closed = _closed_rate(engine, workload, policy, servers=servers)
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
    if hazard:
        return replace(measured, basis=f"{measured.basis}; {hazard}")
    return _with_cycle(measured, engine, workload, policy=policy)


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
    with a certificate. Equal requests that arrive evenly, where no closed critical rate is
    known, are followed from an empty engine until it repeats itself.

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
    check_policy(policy)
    check(servers, "servers", Servers)
    check(confidence, "confidence", Confidence)
    _check_answerable(engine, workload)
    ceiling = capacity(engine, workload, servers=servers)
    if (
        workload.arrival_rate <= ceiling.requests_per_second
        and _closed_rate(engine, workload, policy, servers=servers) is None
    ):
        cycle = limit_cycle(
            engine, workload, policy=policy, start="empty", most_batches=MOST_BATCHES
        )
        if cycle is not None:
            return _of_cycle(cycle, engine, workload, policy=policy, ceiling=ceiling)
    critical = critical_rate(
        engine, workload, policy=policy, servers=servers, confidence=confidence, seed=seed
    )
    status, evidence, reason = _compare(workload.arrival_rate, critical, ceiling)
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
        policy=_name(policy),
        arrival_rate=workload.arrival_rate,
        critical_rate=critical,
        capacity=ceiling,
        growth=overload_growth(engine, workload, policy, critical) if servers == 1 else None,
        reason=reason,
        certificate=certificate,
    )


def _closed_rate(
    engine: Engine, workload: Workload, policy: Policy, *, servers: int
) -> CriticalRate | None:
    """Return the critical rate by the strongest closed route; None if there is none."""
    by_theorem = work_conserving_rate(engine, workload, policy)
    if by_theorem is not None:
        return _on_servers(by_theorem, servers)
    if servers > 1:
        basis = "join-shortest-queue is decided for work-conserving policies without limits"
        high = capacity(engine, workload, servers=servers).requests_per_second
        return CriticalRate(None, 0, high, Evidence.NONE, basis)
    rates = (route(engine, workload, policy) for route in CLOSED)
    return next((rate for rate in rates if rate is not None), None)


def _with_cycle(
    measured: CriticalRate, engine: Engine, workload: Workload, *, policy: Policy
) -> CriticalRate:
    """Widen an interval to the rate at which a burst of equal requests is served."""
    cycle = limit_cycle(engine, workload, policy=policy, most_batches=MOST_BATCHES // 5)
    if measured.value is None or cycle is None or cycle.decode_growth != 0:
        return measured
    rate = float(cycle.rate)
    if measured.low <= rate <= measured.high:
        return measured
    return replace(
        measured,
        low=min(measured.low, rate),
        high=max(measured.high, rate),
        basis=f"{measured.basis}; after a burst of equal requests the engine repeats a cycle "
        f"that serves {rate:.4g}/s, and the interval covers that too",
    )


def _of_cycle(
    cycle: LimitCycle,
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    ceiling: Capacity,
) -> Verdict:
    """Return the verdict on an engine that runs into a known cycle from empty."""
    moments = workload.moments
    steps = engine.decode_steps(moments.output)
    assert cycle.growth is not None, "a cycle from empty has arrivals"
    waiting = cycle.growth - cycle.decode_growth
    repeats = (
        f"from empty the engine runs into a cycle of {cycle.batches:,} batches in "
        f"{float(cycle.seconds):.6g} s, with {_counted(cycle.completed)} completed"
    )
    return Verdict(
        status=Status.UNSTABLE if cycle.growth > 0 else Status.STABLE,
        evidence=Evidence.NUMERICAL,
        policy=_name(policy),
        arrival_rate=workload.arrival_rate,
        critical_rate=CriticalRate(
            None,
            low=0,
            high=ceiling.requests_per_second,
            evidence=Evidence.NONE,
            basis="none that would not depend on how the engine was filled, since equal "
            "requests that decode in step stay in step",
        ),
        capacity=ceiling,
        growth=moments.prompt * waiting + steps * cycle.growth,
        reason=f"{repeats}, {'fewer than' if cycle.growth > 0 else 'as many as'} arrive",
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


def _counted(requests: int) -> str:
    return "1 request" if requests == 1 else f"{requests:,} requests"


def _name(policy: Policy) -> str:
    if isinstance(policy, BatchRule):
        return policy.name
    return getattr(policy, "__name__", type(policy).__name__)
