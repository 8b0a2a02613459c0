"""The critical rate of a policy, by the strongest route there is."""

from dataclasses import replace
from typing import Annotated

import numpy as np

from queueing_llm._validate import Confidence, Domain, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import Policy, check_policy
from queueing_llm.simulate import bracket_critical_rate
from queueing_llm.stability import (
    capacity,
    exclusive_batching_rate,
    frozen_rate,
    limit_cycle,
    prefill_burst_rate,
    replacement_rate,
    request_level_rate,
    restart_hazard,
    work_conserving_rate,
)

CLOSED = (
    frozen_rate,
    request_level_rate,
    prefill_burst_rate,
    replacement_rate,
    exclusive_batching_rate,
)
BURST_BATCHES = 200_000
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
    check_question(engine, workload, policy=policy, servers=servers, confidence=confidence)
    closed = closed_rate(engine, workload, policy, servers=servers)
    return closed or simulated_rate(
        engine, workload, policy=policy, confidence=confidence, seed=seed
    )


def simulated_rate(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    confidence: float,
    seed: int | np.random.Generator,
) -> CriticalRate:
    """Return the critical rate of one engine from its simulated drift, and what may blur it."""
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


def closed_rate(
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
    cycle = limit_cycle(engine, workload, policy=policy, most_batches=BURST_BATCHES)
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


def _on_servers(critical: CriticalRate, servers: int) -> CriticalRate:
    if servers == 1:
        return critical
    return CriticalRate.exactly(
        servers * critical.low,
        critical.evidence,
        basis=f"{critical.basis}; Proposition 3: {servers} engines, join-shortest-queue",
        hypotheses=critical.hypotheses,
    )


def check_question(
    engine: Engine, workload: Workload, *, policy: Policy, servers: int, confidence: float
) -> None:
    """Raise :class:`InvalidArgument` unless stability is a question that can be asked."""
    check_policy(policy)
    check(servers, "servers", Servers)
    check(confidence, "confidence", Confidence)
    if not workload.is_endless:
        msg = (
            "workload must go on for ever: a finite list of requests is always finished; "
            "use Workload.from_trace to repeat it, or simulate to watch it."
        )
        raise InvalidArgument(msg)
    if workload.users is not None:
        # It refuses, and says that a closed workload has none.
        _ = workload.arrival_rate
    longest = workload.longest_request
    if engine.kv_capacity is not None and longest is not None and longest > engine.kv_capacity:
        msg = (
            f"kv_capacity={engine.kv_capacity} tokens cannot hold the longest request of "
            f"{longest} tokens: raise kv_capacity or shorten the requests."
        )
        raise InvalidArgument(msg)
