"""Exclusive batching: the chain of its residents against token-exact simulation."""

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.policies._exclusive import ExclusiveBatching, HybridBatching
from queueing_llm.stability.batching._batching_costs import BatchingCosts
from queueing_llm.stability.batching._exclusive_or_mixed import compare_batching
from queueing_llm.stability.batching._observed_crossover import ObservedCrossover
from queueing_llm.stability.cycles._exclusive_rate import (
    decode_phase_seconds,
    exclusive_batching_rate,
)

A100 = ql.StaircaseStepTime(0.01128, 0.03547, 128)
PER_TOKEN = ql.AffineStepTime(base=0.01, per_token=2e-4)
READS_KV = ql.AffineStepTime(base=0.01, per_token=2e-4, per_kv_token=1e-6)
PAPER, REAL = False, True

GRID = [
    # step time, token budget, accounting, slots, refill, prompt, mean output
    (A100, 512, PAPER, 32, 8, 129, 20),
    (PER_TOKEN, 64, PAPER, 16, 5, 20, 6),
    (PER_TOKEN, 64, REAL, 16, 5, 20, 3),
    (PER_TOKEN, 64, PAPER, 40, 37, 20, 1.3),
    (READS_KV, 256, REAL, 8, 8, 40, 9),
]


def system(law, budget, emits, prompt, output):
    engine = ql.Engine(step_time=law, token_budget=budget, first_token_from_prefill=emits)
    lengths = {"prompt_tokens": prompt, "output_tokens": ql.GeometricLength(output)}
    return engine, ql.Workload.poisson(1, **lengths)


def starts(engine, policy, *, prompt, output, requests, seed):
    """Return when refills have begun [s], and how many requests have started by then."""
    drawn = ql.GeometricLength(output).sample(np.random.default_rng(seed), requests)
    load = ql.Workload.of_requests(
        np.zeros(requests), prompt_tokens=np.full(requests, prompt), output_tokens=drawn
    )
    found = []
    for step in ql.watch(engine, load, policy=policy, horizon=1e6):
        waiting = int((step.state.stored == 0).sum())
        if waiting < policy.refill:
            break
        found.append((step.start * 1e-9, requests - waiting))
    path = np.array(found)
    return path[1:][np.diff(path[:, 1]) > 0]


@pytest.mark.parametrize(
    ("law", "budget", "emits", "slots", "refill", "prompt", "output"), GRID
)
def test_a_saturated_engine_starts_requests_at_the_computed_rate(
    law, budget, emits, slots, refill, prompt, output
):
    engine, load = system(law, budget, emits, prompt, output)
    policy = ExclusiveBatching(slots, refill)
    own = exclusive_batching_rate(engine, load, policy).value
    rates = []
    for seed in range(8):
        path = starts(
            engine, policy, prompt=prompt, output=output, requests=600 + 4 * slots, seed=seed
        )
        times, started = path[np.searchsorted(path[:, 1], 2 * slots) :].T
        rates.append((started[-1] - started[0]) / (times[-1] - times[0]))
    error = np.std(rates, ddof=1) / np.sqrt(len(rates))
    assert error < 0.03 * own
    assert abs(np.mean(rates) - own) < 4 * error
    other = exclusive_batching_rate(engine, load, ExclusiveBatching(slots, 1)).value
    assert abs(np.mean(rates) - other) > 4 * error, "control: another refill"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "budget", "emits", "slots", "refill", "prompt", "output"), GRID[1:4]
)
def test_the_zero_of_the_simulated_drift_is_the_computed_rate(
    law, budget, emits, slots, refill, prompt, output
):
    engine, load = system(law, budget, emits, prompt, output)
    policy = ExclusiveBatching(slots, refill)
    own = exclusive_batching_rate(engine, load, policy).value
    ceiling = float(ql.capacity(engine, load).requests_per_second)
    found = ql.bracket_critical_rate(
        engine, load, policy=policy, at_most=ceiling, requests=1_500, seed=7
    )
    assert found.low * 0.995 <= own <= found.high * 1.005


def test_the_exact_length_of_a_phase_is_the_simulated_one():
    """N = 256, k = 32, hazard 0.01, decode times of arXiv:2606.00516; all slots taken."""
    base, slope, slots, refill, output = 8.9212e-3, 4.5865e-5, 256, 32, 100
    exact = decode_phase_seconds(
        base + slope * np.arange(slots + 1), refill=refill, finishing=1 / output
    )
    rng = np.random.default_rng(11)
    ends = np.sort(rng.geometric(1 / output, (20_000, slots)), axis=1)
    steps = ends[:, refill - 1]
    # A request that ends with step s takes part in the steps 1, ..., s.
    tokens = np.minimum(ends, steps[:, None]).sum(axis=1)
    seconds = base * steps + slope * tokens
    error = seconds.std() / np.sqrt(len(seconds))
    assert abs(seconds.mean() - exact) < 4 * error
    assert error < 2e-3 * exact


def test_costs_of_an_affine_law_give_the_rate_of_its_engine():
    """The bridge: constants of the cost model are those of the step time, phase by phase."""
    engine, load = system(PER_TOKEN, 512, PAPER, 20, 6)
    sizes = {"prompt_tokens": 20, "output_tokens": 6, "slots": 16, "refill": 5}
    found = compare_batching(BatchingCosts.of_step_time(PER_TOKEN), **sizes)
    own = exclusive_batching_rate(engine, load, ExclusiveBatching(16, 5)).value
    assert 1 / found.exact_exclusive_seconds == pytest.approx(own, rel=1e-12)
    assert found.exclusive_seconds == pytest.approx(1 / own, rel=0.02)
    # Sarathi with 16 residents: prefills join decodes, no batch is for prefill alone.
    mixed = ql.VLLM_V1
    engine = ql.Engine(step_time=PER_TOKEN, token_budget=512, max_batch_size=16)
    run = ql.simulate(
        engine, load.scale_to(2 * own), policy=mixed, horizon=400, warmup=20, seed=1
    )
    assert found.is_mixed_better
    assert run.throughput.value > own
    assert run.throughput.value == pytest.approx(1 / found.mixed_seconds, rel=0.02)


@pytest.mark.parametrize("mixed_token_seconds", [2e-4, 2e-2])
def test_the_hybrid_takes_the_side_that_the_crossover_prefers(mixed_token_seconds):
    """On a saturated engine it starts requests as fast as the better policy by the costs."""
    costs = BatchingCosts(0.01, 2e-4, 0.01, 2e-4, 0.01, (mixed_token_seconds, 0, 0))
    exclusive = ExclusiveBatching(16, 5)
    hybrid = HybridBatching(exclusive, ql.VLLM_V1, ObservedCrossover(costs))
    law = PER_TOKEN
    engine = ql.Engine(step_time=law, token_budget=512, max_batch_size=16)
    load = ql.Workload.poisson(200, prompt_tokens=20, output_tokens=ql.GeometricLength(6))

    def kinds(policy):
        """Return how many of the late batches are mixed, and how many not."""
        steps = list(ql.watch(engine, load, policy=policy, horizon=4, seed=2))[20:]
        parts = [
            (s.batch.prefill_tokens(s.state), s.batch.decode_tokens(s.state)) for s in steps
        ]
        return sum(x > 0 < y for x, y in parts), len(parts)

    mixed, batches = kinds(hybrid)
    if mixed_token_seconds > 1e-3:
        assert mixed == 0 < batches
        assert kinds(exclusive) == (0, batches)
    else:
        assert mixed > batches / 2
        assert kinds(ql.VLLM_V1) == (mixed, batches)
