"""The fixed point: where it is exact, what it tends to, and how far it is from simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.closed import closed_loop
from queueing_llm.closed._fixed_point import MEASURED, independent_phases, kind_of
from queueing_llm.stability import replacement_rate, request_level_rate
from tests.reference.closed_loop import play

MAIN = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
READING = ql.AffineStepTime(0.008, 6e-5, 8e-8)
NAMES = ("sarathi", "vllm_v1", "orca", "vanilla_vllm", "faster_transformer")


def closed(users, prompt, output, *, think=0.0):
    return ql.Workload.closed(
        users, think_time=think, think_scv=1, prompt_tokens=prompt, output_tokens=output
    )


@given(
    st.sampled_from(NAMES),
    st.sampled_from([MAIN, READING]),
    st.integers(1, 600),
    st.integers(1, 40),
    st.booleans(),
    st.floats(0, 20),
)
@settings(max_examples=40)
def test_one_user_is_exact(name, step, prompt, output, emits, think):
    """Against a plain event loop: the time of a request alone, and of its first token."""
    rule = ql.policy_named(name)
    prompt = prompt if rule.chunked else min(prompt, 256)
    engine = ql.Engine(step_time=step, token_budget=256, first_token_from_prefill=emits)
    point = independent_phases(engine, closed(1, prompt, output, think=think), rule)
    lengths, thinks = itertools.repeat((prompt, output)), itertools.repeat(think)
    done, _ = play(engine, rule, starts=[0.0], lengths=lengths, thinks=thinks, completions=3)
    response = float(done[-1].finished - done[-1].arrived)
    assert point.throughput == pytest.approx(1 / (think + response), rel=1e-6)
    assert point.response_time == pytest.approx(response, rel=1e-4, abs=1e-5 * think)
    first = float(done[-1].first - done[-1].arrived)
    assert point.time_to_first_token == pytest.approx(first, rel=1e-4, abs=1e-5 * think)


@pytest.mark.parametrize("name", ["sarathi", "orca", "vllm_v1"])
@pytest.mark.parametrize("emits", [False, True])
def test_independent_phases_without_limits(name, emits):
    """The binomial mean of the docstring, for geometric outputs that nothing holds up."""
    users, prompt, mean = 30, 64, 25
    engine = ql.Engine(step_time=MAIN, token_budget=4096, first_token_from_prefill=emits)
    load = closed(users, prompt, ql.GeometricLength(mean))
    found = independent_phases(engine, load, ql.policy_named(name)).throughput
    chance = 1 / (1 + mean - emits)
    chances = [math.comb(users, j) * chance**j * (1 - chance) ** (users - j) for j in range(31)]
    step = sum(p * MAIN(j * prompt, users - j) for j, p in enumerate(chances))
    # With the first token from its prefill a request may end there, and is not out of step.
    slack = 1e-3 if emits else 1e-9
    assert found == pytest.approx(users * chance / step, rel=slack)


def test_many_users_reach_closed_critical_rates():
    """Endless prompts wait: full batches, replaced residents, groups of the most that fit."""
    output = ql.GeometricLength(40)
    engine = ql.Engine(step_time=MAIN, token_budget=512)
    open_load = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=output)
    crowd = closed(1500, 100, output)
    full = independent_phases(engine, crowd, ql.SARATHI).throughput
    rate = float(ql.critical_rate(engine, open_load, policy=ql.SARATHI).value)
    assert full == pytest.approx(rate, rel=2e-3)
    limited = ql.Engine(step_time=MAIN, token_budget=512, max_batch_size=24)
    rule = ql.VANILLA_VLLM.variant(limit_counts="residents")
    found = independent_phases(limited, closed(60, 100, output), rule).throughput
    assert found == pytest.approx(replacement_rate(limited, open_load, rule).value, rel=1e-6)
    group = independent_phases(engine, closed(9, 100, output), ql.FASTER_TRANSFORMER)
    rate = request_level_rate(engine, open_load, ql.FASTER_TRANSFORMER).value
    assert group.throughput == pytest.approx(rate, rel=5e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("think", [0.0, 2.0])
def test_tokens_are_conserved(name, think):
    """What steps hold, times steps per second, is what requests bring per second."""
    engine = ql.Engine(step_time=READING, token_budget=512, first_token_from_prefill=True)
    load = closed(40, ql.UniformLength(50, 250), ql.GeometricLength(60), think=think)
    point = independent_phases(engine, load, ql.policy_named(name))
    steps = point.utilisation / point.step_seconds
    prompts = point.throughput * float(load.mean_prompt_tokens)
    decodes = point.throughput * float(load.mean_output_tokens - 1)
    assert point.prefill_tokens * steps == pytest.approx(prompts, rel=0.02)
    assert point.decode_tokens * steps == pytest.approx(decodes, rel=0.01)


def test_a_table_of_a_law_settles_where_the_law_does():
    tokens, reads = [0, 512], [0, 10**6]
    grid = [[[READING(x, y, k) for k in reads] for y in tokens] for x in tokens]
    table = ql.TableStepTime.of_batches(tokens, tokens, reads, grid)
    load = closed(20, ql.GeometricLength(300), 50, think=1.0)
    points = [
        independent_phases(ql.Engine(step_time=law, token_budget=512), load, ql.VLLM_V1)
        for law in (READING, table)
    ]
    assert points[0].throughput == pytest.approx(points[1].throughput, rel=1e-9)
    assert points[0].time_to_first_token == pytest.approx(
        points[1].time_to_first_token, rel=1e-6
    )


def drawn(rng, kind, thinking):
    """Draw a system of one kind; lengths vary, so phases spread."""
    names = {"prefills first": ["vanilla_vllm"], "groups": ["faster_transformer"]}
    rule = ql.policy_named(str(rng.choice(names.get(kind, ["sarathi", "vllm_v1", "orca"]))))
    budget = int(rng.choice([256, 512, 2048]))
    floor, slope = rng.uniform(0.004, 0.02), rng.uniform(2e-5, 2e-4)
    step = ql.AffineStepTime(floor, slope, rng.uniform(0, 1e-7))
    if rng.random() < 0.5:
        step = ql.StaircaseStepTime(floor, 128 * slope, 128)
    engine = ql.Engine(
        step_time=step,
        token_budget=budget,
        max_batch_size=int(rng.integers(4, 64)) if rng.random() < 0.3 else None,
        first_token_from_prefill=bool(rng.random() < 0.5),
    )
    prompt, output = int(np.exp(rng.uniform(3, 7))), int(np.exp(rng.uniform(2, 5)))
    prompt = prompt if rule.chunked else min(prompt, budget // 2)
    long = ql.UniformLength(max(1, prompt // 4), 2 * prompt - max(1, prompt // 4))
    think = float(np.exp(rng.uniform(-2, 2))) if thinking == "irregular" else 0.0
    users = int(np.exp(rng.uniform(0, 5)))
    return engine, closed(users, long, ql.GeometricLength(output), think=think), rule


def error_of(rng, kind, thinking):
    """Return the relative error of the throughput against the compiled simulation."""
    engine, load, rule = drawn(rng, kind, thinking)
    assert kind_of(rule) == kind
    point = closed_loop(engine, load, policy=rule).operating_point
    assert point.measured_error == MEASURED[kind, thinking]
    horizon = 12_000 / point.throughput
    run = ql.simulate(engine, load, policy=rule, horizon=horizon, warmup=horizon / 10, seed=1)
    return point.throughput / run.throughput.value - 1


@pytest.mark.parametrize(("kind", "thinking"), MEASURED)
def test_the_measured_error(kind, thinking):
    """Few systems: none is twice as far off as 19 of 20 should be, plus 2 % of noise.

    12,000 geometric outputs leave a standard error of about 1 % in a throughput.
    """
    rng = np.random.default_rng(7)
    errors = [abs(error_of(rng, kind, thinking)) for _ in range(4)]
    assert max(errors) < 2 * MEASURED[kind, thinking] + 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "thinking"), MEASURED)
def test_the_measured_error_of_many(kind, thinking):
    rng = np.random.default_rng(8)
    errors = np.abs([error_of(rng, kind, thinking) for _ in range(40)])
    assert np.quantile(errors, 0.9) < MEASURED[kind, thinking] + 0.01
    assert np.median(errors) < 0.02
