"""Foster's drift: constants against recorded numbers, simulation, and its limits."""

from fractions import Fraction

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.stability import foster_drift

MAIN = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
ENGINE = ql.Engine(step_time=MAIN, token_budget=512)
LOAD = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=100)
CAPACITY = ql.capacity(ENGINE, LOAD).requests_per_second


@pytest.mark.parametrize(
    ("load", "lower", "upper", "simulated"),
    [
        # thm2.foster_bound
        ("0.5", 100, 204_628, 2_873.5),
        ("0.8", 400, 512_219.2, 7_350.7),
        ("0.9", 900, 1_024_973.6, 11_296.9),
        ("0.95", 1_900, 2_050_520.8, 13_268.2),
    ],
)
def test_the_bounds_enclose_the_simulated_backlog(load, lower, upper, simulated):
    workload = LOAD.scale_to(Fraction(load) * CAPACITY)
    found = foster_drift(ENGINE, workload, ql.SARATHI)
    assert isinstance(found.upper_bound, Fraction)
    assert float(found.lower_bound) == pytest.approx(lower, rel=1e-12)
    assert float(found.upper_bound) == pytest.approx(upper, rel=1e-9)
    assert found.drift == -512 * (1 - Fraction(load))
    run = ql.simulate(ENGINE, workload, policy=ql.SARATHI, horizon=40_000, warmup=2_000)
    mean = run.mean_backlog_tokens
    assert mean.value == pytest.approx(simulated, rel=0.02)
    assert lower < mean.value < upper


@pytest.mark.parametrize("emits", [False, True])
def test_above_the_exceptional_set_batches_are_full_and_the_drift_is_right(emits):
    """An overloaded start on a small engine, so that many batches begin above B."""
    engine = ql.Engine(
        step_time=ql.AffineStepTime(Fraction(1, 2), Fraction(1, 8)),
        token_budget=4,
        first_token_from_prefill=emits,
    )
    lengths = ql.IndependentLengths(ql.UniformLength(1, 4), ql.UniformLength(1, 3))
    shape = ql.Workload.of(ql.PoissonArrivals(1), lengths)
    load = shape.scale_to(ql.capacity(engine, shape).requests_per_second * Fraction(4, 5))
    found = foster_drift(engine, load, ql.ORCA)
    assert found.exceptional_tokens == 3 * (7 - emits)
    assert found.drift == Fraction(-4, 5)
    changes, returns = [], []
    for seed in range(40):
        backlog = _after_a_burst(engine, load, seed=seed)
        above = backlog[:-1] > found.exceptional_tokens
        changes += list(np.diff(backlog)[above])
        returns.append(int(np.argmin(above)) * float(found.batch_seconds))
    error = np.std(changes) / np.sqrt(len(changes))
    assert len(changes) > 3_000
    assert abs(np.mean(changes) - float(found.drift)) < 4 * error
    start = 400
    bound = float(found.return_seconds(start))
    assert np.mean(returns) < bound
    assert np.mean(returns) > 0.7 * bound, "the bound is not idle either"
    assert found.return_seconds(found.exceptional_tokens) == 0


def _after_a_burst(engine, load, *, seed):
    """Return the backlog at the ends of batches, begun with 400 tokens of work."""
    rng = np.random.default_rng(seed)
    times, prompts, outputs = [], [], []
    work = 0
    while work < 400:
        prompt, output = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        prompts.append(prompt)
        outputs.append(output)
        times.append(0.0)
        work += engine.work_tokens(prompt, output)
    for chunk in load.chunks(rng, 3_000):
        times += list(chunk.arrival_times)
        prompts += list(chunk.prompt_tokens)
        outputs += list(chunk.output_tokens)
        break
    everything = ql.Workload.of_requests(times, prompt_tokens=prompts, output_tokens=outputs)
    states = [
        int(step.state.prompt_left.sum() + step.state.decode_left.sum())
        for step in ql.watch(engine, everything, policy=ql.ORCA, horizon=600)
    ]
    return np.array(states)


@pytest.mark.parametrize(
    ("engine", "workload", "policy"),
    [
        (ENGINE, LOAD.scale_to(CAPACITY), ql.SARATHI),
        (ENGINE, LOAD.scale_to(2 * CAPACITY), ql.SARATHI),
        (ENGINE, LOAD, ql.VANILLA_VLLM),
        (ENGINE, ql.Workload.of(ql.DeterministicArrivals(1), LOAD.classes[0].lengths), ql.ORCA),
        (
            ENGINE,
            ql.Workload.poisson(1, prompt_tokens=9, output_tokens=ql.GeometricLength(9)),
            ql.ORCA,
        ),
        (ql.Engine(step_time=MAIN, token_budget=130), LOAD, ql.SARATHI),
        (ql.Engine(step_time=MAIN, token_budget=512, kv_capacity=4_000), LOAD, ql.SARATHI),
    ],
    ids=["critical", "overload", "policy", "arrivals", "unbounded", "budget", "memory"],
)
def test_nothing_is_claimed_where_a_hypothesis_fails(engine, workload, policy):
    assert foster_drift(engine, workload, policy) is None


def test_a_negative_backlog_is_refused():
    found = foster_drift(ENGINE, LOAD, ql.SARATHI)
    with pytest.raises(ql.InvalidArgument, match="backlog_tokens must be"):
        found.return_seconds(-1)
