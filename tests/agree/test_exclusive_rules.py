"""Critical rates of the rules, computed and simulated: constant, random, and traced lengths.

The simulation knows nothing of cycles: it grows a backlog and looks for the rate at which the
backlog stops growing. Its 99 % interval, widened by 0.2 % for the ends of its window, must
hold the computed rate in every case of the grid, 50 of them; the packaged traces are drawn
from their joint tables of prompts and outputs.

The simulation leaves three systems open, and says so; a third route says who is right. All
have long prompts and short outputs, so that prefill alone is nearly critical: two under
vanilla vLLM, and Orca on the code trace, which has a theorem beside it.
"""

import numpy as np
import pytest

from queueing_llm.evidence import Evidence
from queueing_llm.model import (
    EmpiricalLength,
    Engine,
    GeometricLength,
    LognormalLength,
    PoissonArrivals,
    PoissonLength,
    UniformLength,
    Workload,
)
from queueing_llm.policies import FASTER_TRANSFORMER, ORCA, SARATHI, VANILLA_VLLM
from queueing_llm.simulate import bracket_critical_rate, simulate
from queueing_llm.stability import (
    capacity,
    overload_growth,
    prefill_burst_rate,
    replacement_rate,
    request_level_rate,
    work_conserving_rate,
)
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime
from queueing_llm.traces import preset

A100 = StaircaseStepTime(0.01128, 0.03547, 128)
PER_TOKEN = AffineStepTime(base=0.01, per_token=2e-4)
READS_KV = AffineStepTime(base=0.01, per_token=2e-4, per_kv_token=1e-6)
WHOLE, CHUNKED = VANILLA_VLLM, VANILLA_VLLM.variant(chunked=True)
RESIDENTS = VANILLA_VLLM.variant(limit_counts="residents")
BATCHED, SPLIT = FASTER_TRANSFORMER, FASTER_TRANSFORMER.variant(chunked=True)
PAPER, REAL = False, True
WIDER = 0.002
UP_TO_257, SKEWED = UniformLength(1, 257), LognormalLength(60, 1.2, 400)
CHAT, CODE = preset("azure-conv-2023"), preset("azure-code-2023")
PAPERS, LONG = preset("arxiv-summarization"), preset("mooncake-conversation")

QUICK = [
    (WHOLE, A100, 512, None, PAPER, 129, 112),
    (WHOLE, PER_TOKEN, 32, 2, REAL, 10, 3),
    (CHUNKED, PER_TOKEN, 32, None, REAL, 10, GeometricLength(6)),
    (RESIDENTS, PER_TOKEN, 64, 100, REAL, 20, GeometricLength(5)),
    (BATCHED, PER_TOKEN, 256, None, REAL, 40, UniformLength(1, 60)),
    (SPLIT, PER_TOKEN, 64, None, PAPER, 150, GeometricLength(10)),
    (CHUNKED, PER_TOKEN, 32, None, REAL, UniformLength(4, 20), 6),
    (BATCHED, PER_TOKEN, 400, None, REAL, SKEWED, UniformLength(1, 90)),
    (SPLIT, A100, 512, None, PAPER, CODE, None),
]
SLOW = [
    (WHOLE, A100, 512, None, PAPER, 100, 100),
    (WHOLE, A100, 512, None, PAPER, 64, 200),
    (WHOLE, A100, 256, None, PAPER, 129, 112),
    (WHOLE, A100, 512, 128, PAPER, 129, 112),
    (WHOLE, A100, 512, None, PAPER, 129, GeometricLength(112)),
    (WHOLE, A100, 512, None, REAL, 129, LognormalLength(80, 0.8, 1000)),
    (WHOLE, PER_TOKEN, 512, None, REAL, 129, 112),
    (WHOLE, PER_TOKEN, 64, None, REAL, 20, UniformLength(1, 30)),
    (WHOLE, A100, 256, 8, PAPER, 40, GeometricLength(20)),
    (WHOLE, PER_TOKEN, 16, None, PAPER, 1, 4),
    (CHUNKED, A100, 512, None, PAPER, 129, 112),
    (CHUNKED, A100, 256, None, PAPER, 300, 100),
    (CHUNKED, PER_TOKEN, 32, 8, PAPER, 10, 6),
    (RESIDENTS, A100, 512, 128, PAPER, 129, GeometricLength(112)),
    (RESIDENTS, A100, 512, 32, REAL, 129, GeometricLength(20)),
    (RESIDENTS, PER_TOKEN, 64, 3, PAPER, 20, GeometricLength(5)),
    (BATCHED, A100, 512, None, PAPER, 129, 112),
    (BATCHED, A100, 512, None, PAPER, 128, GeometricLength(100)),
    (BATCHED, READS_KV, 256, 4, PAPER, 40, GeometricLength(30)),
    (BATCHED, PER_TOKEN, 256, None, REAL, 20, EmpiricalLength([1, 2, 90])),
    (BATCHED, A100, 1024, None, PAPER, 100, PoissonLength(50)),
    (SPLIT, A100, 512, None, PAPER, 129, 112),
    (SPLIT, PER_TOKEN, 256, None, REAL, 100, GeometricLength(30)),
    (SPLIT, READS_KV, 256, None, REAL, 100, UniformLength(1, 60)),
    (BATCHED, A100, 512, None, PAPER, UP_TO_257, UniformLength(1, 223)),
    (BATCHED, A100, 512, 3, REAL, UP_TO_257, GeometricLength(50)),
    (SPLIT, A100, 512, None, PAPER, UP_TO_257, GeometricLength(112)),
    (SPLIT, PER_TOKEN, 256, None, REAL, GeometricLength(100), UniformLength(1, 60)),
    (SPLIT, READS_KV, 96, None, PAPER, SKEWED, UniformLength(1, 60)),
    (CHUNKED, A100, 512, None, PAPER, UP_TO_257, UniformLength(1, 223)),
    (CHUNKED, PER_TOKEN, 64, None, PAPER, GeometricLength(20), GeometricLength(8)),
    (CHUNKED, PER_TOKEN, 32, 9, PAPER, UniformLength(4, 20), 6),
    (BATCHED, PER_TOKEN, 8192, None, PAPER, CODE, None),
    (BATCHED, A100, 4096, None, REAL, PAPERS, None),
    (SPLIT, A100, 2048, None, REAL, CHAT, None),
    (SPLIT, PER_TOKEN, 512, None, PAPER, PAPERS, None),
    (SPLIT, PER_TOKEN, 2048, None, REAL, LONG, None),
    (SARATHI, A100, 512, None, PAPER, CHAT, None),
    (SARATHI, PER_TOKEN, 2048, None, REAL, LONG, None),
    (ORCA, A100, 512, None, PAPER, CHAT, None),
    (ORCA, PER_TOKEN, 512, None, PAPER, PAPERS, None),
]
GRID = QUICK + [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW]


def system(law, budget, places, emits, prompt, output):
    """Return an engine and a Poisson workload; a preset stands for both of its lengths."""
    engine = Engine(
        step_time=law,
        token_budget=budget,
        max_batch_size=places,
        first_token_from_prefill=emits,
    )
    if output is None:
        return engine, Workload.of(PoissonArrivals(1), prompt.lengths)
    return engine, Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)


def computed(engine, workload, rule):
    routes = (work_conserving_rate, request_level_rate, prefill_burst_rate, replacement_rate)
    (rate,) = [r for r in (route(engine, workload, rule) for route in routes) if r is not None]
    assert rate.evidence is (Evidence.THEOREM if rule.mixed else Evidence.NUMERICAL)
    assert rate.high <= rate.low * (1 + 1e-8)
    return float(rate.value)


def simulated(engine, workload, rule):
    ceiling = float(capacity(engine, workload).requests_per_second)
    return bracket_critical_rate(engine, workload, policy=rule, at_most=ceiling, seed=7)


@pytest.mark.parametrize(("rule", "law", "budget", "places", "emits", "prompt", "output"), GRID)
def test_both_routes_agree(rule, law, budget, places, emits, prompt, output):
    engine, workload = system(law, budget, places, emits, prompt, output)
    interval = simulated(engine, workload, rule)
    assert interval.evidence is Evidence.SIMULATED
    own = computed(engine, workload, rule)
    assert interval.low * (1 - WIDER) <= own <= interval.high * (1 + WIDER)


MISLEADING = [
    (CHUNKED, PER_TOKEN, 24, None, PAPER, 100, 5),
    (WHOLE, A100, 512, None, REAL, 500, 10),
    (ORCA, A100, 512, None, REAL, CODE, None),
]
"""Prefill alone is nearly critical: prompts that were grown drain at the rate of capacity."""


@pytest.mark.parametrize("case", MISLEADING)
def test_the_bracket_admits_that_its_backlog_has_not_settled(case):
    """Prompts drain at capacity for longer than its window: tokens and requests disagree."""
    engine, workload = system(*case[1:])
    found = simulated(engine, workload, case[0])
    assert found.value is None
    assert "no common zero" in found.basis


@pytest.mark.slow
@pytest.mark.parametrize("case", MISLEADING[:2])
@pytest.mark.parametrize(("times", "grows"), [(0.999, False), (1.001, True), (1.003, True)])
def test_long_runs_from_empty_side_with_the_computed_rate(case, times, grows):
    rule, (engine, workload) = case[0], system(*case[1:])
    critical = prefill_burst_rate(engine, workload, rule)
    near = workload.scale_to(times * critical.value)
    horizon, replications = 400_000, 8
    run = simulate(
        engine, near, policy=rule, horizon=horizon, replications=replications, seed=3
    )
    half = run.backlog_tokens.shape[1] // 2
    growth = np.diff(run.backlog_tokens[:, [half, -1]], axis=1)[:, 0] / (horizon / 2)
    expected = overload_growth(engine, near, rule, critical)
    assert (expected > 0) == grows
    # Within 4 standard errors: arrivals in the window have the largest share of the noise.
    work = float(engine.work_tokens(workload.mean_prompt_tokens, workload.mean_output_tokens))
    error = work * np.sqrt(float(near.arrival_rate) / (horizon / 2) / replications)
    error += growth.std(ddof=1) / np.sqrt(replications)
    assert abs(growth.mean() - expected) < 4 * error
    assert not grows or growth.mean() > 0
