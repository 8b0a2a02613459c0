"""Latencies and throughput of a benchmark run, from a step time and a policy alone."""

from dataclasses import dataclass
from typing import final

import numpy as np

from paper_repro.validation.silicon_engines import (
    DEFAULTS,
    MEMORY_FRACTION,
    POLICIES,
    RESERVES,
    Benchmark,
)
from paper_repro.validation.silicon_host import FITTED, HostCosts
from paper_repro.validation.silicon_runs import DENSE
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import ClosedArrivals, Engine, IndependentLengths, Workload
from queueing_llm.policies import BatchRule
from queueing_llm.simulate import simulate
from queueing_llm.steptime import MeasuredStepTime

_BLOCK = 16
_FEW = 128
_TABLE_ERROR = 0.02
_FIRST_HORIZON = 60.0
_MOST_DOUBLINGS = 8


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """Means over the requests of a run.

    Parameters
    ----------
    ttft, tpot : float
        Time to first token and per token after it [s], as a client sees them.
    rate : float
        Requests [1/s] by Little's law from these, as for the measured runs.
    residents : float
        How many of the requests the KV cache holds at the end of their answers; the run is
        limited by memory if that is less than its users.
    """

    ttft: float
    tpot: float
    rate: float
    residents: float


def predict(
    model: str,
    system: str,
    *,
    backend: str,
    tp: int = 1,
    gemm_precision: str | None = None,
    prompt_tokens: int,
    output_tokens: int,
    users: int,
    benchmark: Benchmark = DEFAULTS,
    costs: HostCosts | None = None,
    seed: int = 1,
) -> Prediction:
    """Predict a run of a benchmark with a fixed number of users.

    Parameters
    ----------
    model, system, backend, tp, gemm_precision
        Whose step time: see :class:`MeasuredStepTime`.
    prompt_tokens, output_tokens : int
        Stated lengths of the benchmark [tokens].
    users : int
        Concurrency.
    benchmark : Benchmark
        What is known of the campaign.
    costs : HostCosts, optional
        What steps take beside their operators; the fitted constants if left out.
    seed : int
        Of the lengths and of the times in the frontend.

    Raises
    ------
    InvalidArgument
        If the backend is unknown, or one request needs more KV cache than there is.
    """
    if backend not in POLICIES:
        msg = f"backend must be known, got backend={backend!r}: {nearest(backend, POLICIES)}."
        raise InvalidArgument(msg)
    costs = FITTED if costs is None else costs
    prompt, output = benchmark.length(prompt_tokens), benchmark.length(output_tokens)
    law = MeasuredStepTime(
        DENSE.get(model, model),
        system,
        backend=backend,
        tp=tp,
        prompt_tokens=round(prompt.second_moment / prompt.mean),
        gemm_precision=gemm_precision,
        kv_precision=benchmark.kv_precision(backend, system, gemm_precision=gemm_precision),
        host=costs.of_step(
            backend, ahead=benchmark.schedules_ahead, quantised=gemm_precision is not None
        ),
    )
    kv_capacity = law.kv_capacity(MEMORY_FRACTION[backend])
    residents = kv_capacity / float(prompt.mean + output.mean)
    budget = benchmark.token_budget[backend]
    if not POLICIES[backend].chunked:
        budget = max(budget, prompt_tokens + users)
    most_decodes = _FEW if users <= _FEW else users
    steps = law.table(budget, most_decode_tokens=most_decodes, relative_error=_TABLE_ERROR)
    ttft, tpot = _latencies(
        Engine(
            step_time=steps,
            token_budget=budget,
            max_batch_size=max(1, int(residents)) if backend in RESERVES else None,
            kv_capacity=kv_capacity // _BLOCK * _BLOCK,
            kv_block_size=_BLOCK,
            first_token_from_prefill=True,
        ),
        IndependentLengths(prompt, output),
        backend=backend,
        users=users,
        benchmark=benchmark,
        frontend=costs.frontend,
        patience=benchmark.wait_steps(
            backend, tp=tp, prompt_tokens=prompt_tokens, output_tokens=output_tokens
        ),
        seed=seed,
    )
    return Prediction(ttft, tpot, users / (ttft + (output_tokens - 1) * tpot), residents)


def _latencies(
    engine: Engine,
    lengths: IndependentLengths,
    *,
    backend: str,
    users: int,
    benchmark: Benchmark,
    frontend: float,
    patience: int,
    seed: int,
) -> tuple[float, float]:
    """Return mean TTFT and TPOT [s] of a run.

    A request on its way to the scheduler, or kept waiting for others by it, is a user that
    thinks. How long it waits depends on the time of a step, so there is a second run.
    """
    ttft = tpot = wait = 0.0
    for _ in range(2 if patience else 1):
        away = frontend + wait
        scv = (frontend / away) ** 2 if away else 0.0
        arrivals = ClosedArrivals(users, away, scv, benchmark.spacing * users)
        found, tpot = _first_requests(
            engine,
            Workload.of(arrivals, lengths),
            policy=POLICIES[backend],
            count=benchmark.requests_per_user * users,
            seed=seed,
        )
        ttft = found + away
        per_step = users * tpot / (ttft + (float(lengths.output.mean) - 1) * tpot)
        wait = _mean_wait(patience, per_step) * tpot
    return ttft, tpot


def _mean_wait(steps: int, arrivals_per_step: float) -> float:
    r"""Return how many steps a prompt waits if the first of a group waits for ``steps``.

    The rest of the group come at rate :math:`a` in the :math:`n` steps and wait for what is
    left: :math:`n (1 + a n / 2) / (1 + a n)`.

    Examples
    --------
    >>> _mean_wait(20, 0.0), _mean_wait(20, 0.1)
    (20.0, 13.333333333333334)
    """
    more = arrivals_per_step * steps
    return steps * (1 + more / 2) / (1 + more)


def _first_requests(
    engine: Engine, workload: Workload, *, policy: BatchRule, count: int, seed: int
) -> tuple[float, float]:
    """Return mean TTFT and TPOT [s] of the first ``count`` requests that are sent."""
    horizon = _FIRST_HORIZON
    for _ in range(_MOST_DOUBLINGS):
        run = simulate(
            engine, workload, policy=policy, horizon=horizon, keep_requests=True, seed=seed
        )
        log = run.outcomes[0].requests
        if log is not None and len(log.finish) >= count and (log.finish[:count] >= 0).all():
            first, arrival, finish = (
                values[:count] * run.tick for values in (log.first, log.arrival, log.finish)
            )
            decodes = np.maximum(1, log.decode_steps[:count])
            return float(np.mean(first - arrival)), float(np.mean((finish - first) / decodes))
        horizon *= 4
    msg = f"the first {count} requests were not finished within {horizon / 4:g} s."
    raise InvalidArgument(msg)
