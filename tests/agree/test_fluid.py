"""Fluid paths against token-exact simulation, started ever larger.

Started with ``n`` times the initial backlog and watched at ``n`` times the time, the backlog
over ``n`` must come near the path. By then work worth ``w sqrt(lambda T / n)``, in standard
deviations, has arrived too much or too little, and O(1) tokens are in flight or in requests
partly served, so the largest distance on ``[0, T]`` is of order ``1 / sqrt(n)``. Asserted is
that the mean over replications stays below three such deviations plus ``2 b w / n``, and
falls at least fourfold while ``n`` grows a hundredfold (tenfold would be exact).

Backlog tokens V and requests R give both coordinates, since all but O(1) requests of the pool
are untouched: of the V tokens, R times the decode steps are decodes, the rest are prompts.
"""

from fractions import Fraction

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.fluid import FluidState, fluid_path
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import Arrival
from queueing_llm.simulate._recorder import Recorder
from queueing_llm.simulate._reference import steps

PER_TOKEN = ql.AffineStepTime(Fraction(1, 2), Fraction(1, 8))
READS_KV = ql.AffineStepTime(Fraction(1, 2), Fraction(1, 8), Fraction(1, 40))
A100 = ql.StaircaseStepTime(0.01128, 0.03547, 128)
SCALES = (10, 100, 1000)
REPLICATIONS = 6
DEVIATIONS = 3
PROMPTS = FluidState(prompt_tokens=12)
DECODES = FluidState(prompt_tokens=6, decode_tokens=10)
SMALL = {"step_time": PER_TOKEN, "token_budget": 8}

QUICK = [
    # Limits of the engine, policy, load over its own critical rate, prompt and output tokens.
    (SMALL, "sarathi", 0.7, 3, 5),
    (SMALL, "orca", 0.7, 3, 5),
    (SMALL, "orca", 1.3, 3, 5),
    (SMALL, "vanilla_vllm", 0.7, 3, 5),
    (SMALL, "vanilla_vllm", 1.2, 3, 5),
    (SMALL, "vanilla_vllm:chunked", 0.8, ql.UniformLength(1, 20), 5),
    (SMALL, "faster_transformer", 0.7, 3, 5),
    (SMALL, "faster_transformer", 1.5, 3, 5),
    (SMALL | {"step_time": READS_KV}, "orca", 1.3, 3, 5),
]
SLOW = [
    (SMALL, "sarathi", 1.3, 3, 5),
    (SMALL | {"first_token_from_prefill": True}, "orca", 0.8, 5, 3),
    (SMALL | {"max_batch_size": 8}, "vllm_v1", 0.8, 3, 5),
    (SMALL | {"step_time": READS_KV}, "orca", 0.7, 3, 5),
    (SMALL | {"step_time": READS_KV}, "sarathi", 0.7, 3, 5),
    (SMALL | {"step_time": READS_KV}, "faster_transformer", 0.7, 3, 5),
    (SMALL, "vanilla_vllm:chunked", 0.8, 5, 4),
    (SMALL, "vanilla_vllm:chunked", 1.2, 5, 4),
    (SMALL | {"max_batch_size": 2}, "vanilla_vllm", 0.7, 3, 5),
    (SMALL | {"max_batch_size": 2}, "vanilla_vllm", 1.3, 3, 5),
    (SMALL | {"max_batch_size": 4}, "vanilla_vllm:residents", 0.8, 3, ql.GeometricLength(4)),
    (SMALL, "faster_transformer:chunked", 0.8, 5, 4),
    (SMALL | {"max_batch_size": 2}, "faster_transformer", 0.7, 2, 5),
    (SMALL, "faster_transformer", 0.8, 2, ql.GeometricLength(4)),
    (SMALL, "faster_transformer", 0.8, ql.UniformLength(1, 8), ql.GeometricLength(4)),
    (SMALL, "vanilla_vllm:chunked", 1.2, ql.UniformLength(1, 20), 5),
    (SMALL, "vanilla_vllm:whole", 0.8, 3, ql.GeometricLength(4)),
    (SMALL, "orca", 0.8, ql.UniformLength(1, 20), ql.GeometricLength(4)),
    ({"step_time": A100, "token_budget": 512}, "vanilla_vllm", 0.9, 129, 112),
    ({"step_time": A100, "token_budget": 512}, "orca", 0.9, 129, 112),
]


def case(limits, name, load, prompt, output):
    """Return the engine, the workload at that load, and the rule."""
    engine, rule = ql.Engine(**limits), ql.policy_named(name)
    shape = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    own = ql.critical_rate(engine, shape, policy=rule).value
    return engine, shape.scale_to(float(own) * load), rule


def horizon_of(path):
    """A third longer than it takes to drain; a hundred seconds if it never does."""
    return 1.3 * float(path.drain_time or 75)


def bound(engine, workload, *, horizon, scale):
    moments, offset = workload.moments, engine.decode_steps(0)
    work = float(moments.prompt + moments.output + offset)
    square = float(moments.prompt_squared + 2 * moments.product + moments.output_squared)
    square += 2 * offset * float(moments.prompt + moments.output) + offset**2
    deviation = np.sqrt(float(workload.arrival_rate) * square * horizon / scale)
    return DEVIATIONS * deviation + 2 * engine.token_budget * work / scale


def distance(path, times, prompt, decode):
    expected = [path.at(float(time)) for time in times]
    expected = np.array([(s.prompt_tokens, s.decode_tokens) for s in expected], dtype=float)
    return float(abs(np.stack([prompt, decode], axis=1) - expected).max())


def burst_then_arrivals(workload, *, scale, prompt_tokens, horizon, rng):
    """Requests of the workload: a burst at 0 of about that many tokens, then its arrivals."""
    burst = round(scale * prompt_tokens / float(workload.mean_prompt_tokens))
    later = float(workload.arrival_rate) * scale * horizon
    chunk = next(workload.chunks(rng, burst + int(later + 9 * np.sqrt(later)) + 9))
    times = np.append(np.zeros(burst), chunk.arrival_times)[: len(chunk)]
    return ql.Workload.of_requests(
        times, prompt_tokens=chunk.prompt_tokens, output_tokens=chunk.output_tokens
    )


def simulated_distance(system, path, *, scale, seed):
    """Return the largest distance from the path, mean over replications [tokens]."""
    engine, workload, rule = system
    horizon, rng = horizon_of(path), np.random.default_rng([seed, scale])
    steps_each = float(engine.decode_steps(workload.mean_output_tokens))
    found = []
    for _ in range(REPLICATIONS):
        requests = burst_then_arrivals(
            workload,
            scale=scale,
            prompt_tokens=path.pieces[0].state.prompt_tokens,
            horizon=horizon,
            rng=rng,
        )
        run = ql.simulate(engine, requests, policy=rule, horizon=scale * horizon, samples=400)
        backlog, present = run.backlog_tokens[0] / scale, run.requests_in_system[0] / scale
        prompt = backlog - steps_each * present
        decode = backlog - prompt * (1 + float(path.steps_per_prompt_token))
        found.append(distance(path, run.times / scale, prompt, decode))
    return np.mean(found)


GRID = QUICK + [pytest.param(*c, marks=pytest.mark.slow) for c in SLOW]


@pytest.mark.parametrize(("limits", "name", "load", "prompt", "output"), GRID)
def test_a_large_backlog_of_prompts_follows_the_path(limits, name, load, prompt, output):
    system = engine, workload, rule = case(limits, name, load, prompt, output)
    start = FluidState(4 * workload.mean_prompt_tokens)
    path = fluid_path(engine, workload, policy=rule, initial=start)
    errors = [simulated_distance(system, path, scale=n, seed=5) for n in SCALES]
    for error, scale in zip(errors, SCALES, strict=True):
        assert error < bound(engine, workload, horizon=horizon_of(path), scale=scale)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < errors[0] / 4


@pytest.mark.parametrize(("simulated", "drawn"), [("sarathi", "orca"), ("orca", "sarathi")])
def test_the_path_of_another_rule_is_not_approached(simulated, drawn):
    """A control: both rules are work-conserving, their totals agree, their split does not."""
    system = engine, workload, _ = case(SMALL, simulated, 0.7, 3, 5)
    path = fluid_path(engine, workload, policy=ql.policy_named(drawn), initial=PROMPTS)
    assert simulated_distance(system, path, scale=1000, seed=5) > 4


def arrivals_from(initial, workload, *, scale, clock, rng):
    """Yield the initial decodes, which have no prompt left, then the prompts, then arrivals."""
    prompt, output = int(workload.mean_prompt_tokens), int(workload.mean_output_tokens)
    for _ in range(scale * initial.decode_tokens // output):
        yield Arrival(0, 0, output, 0)
    for _ in range(scale * initial.prompt_tokens // prompt):
        yield Arrival(0, prompt, output, 0)
    for chunk in workload.chunks(rng, 256):
        for tick in clock.arrival_ticks(chunk.arrival_times).tolist():
            yield Arrival(tick, prompt, output, 0)


def watched_distance(system, path, initial, *, scale, seed):
    """Return the largest distance at the start of any batch [tokens]; every token counted."""
    engine, workload, rule = system
    clock, rng = Clock.of(engine), np.random.default_rng([seed, scale])
    arrivals = arrivals_from(initial, workload, scale=scale, clock=clock, rng=rng)
    recorder = Recorder(clock.ticks([scale * horizon_of(path)]))
    seen = [
        (
            step.start * clock.tick,
            step.state.prompt_left.sum(),
            step.state.decode_left[step.state.prompt_left == 0].sum(),
        )
        for step in steps(engine, rule, arrivals=arrivals, clock=clock, recorder=recorder)
    ]
    times, prompt, decode = np.array(seen, dtype=float).T / scale
    return distance(path, times, prompt, decode)


@pytest.mark.parametrize(
    ("name", "load"),
    [("sarathi", 0.7), ("orca", 0.7), ("vanilla_vllm", 0.7), ("faster_transformer", 0.7)],
)
@pytest.mark.parametrize(
    "scales", [(10, 100), pytest.param((100, 1000), marks=pytest.mark.slow)]
)
def test_a_large_pool_of_decodes_follows_the_path(name, load, scales):
    system = engine, workload, rule = case(SMALL, name, load, 3, 5)
    path = fluid_path(engine, workload, policy=rule, initial=DECODES)
    errors = [
        np.mean([watched_distance(system, path, DECODES, scale=n, seed=i) for i in range(3)])
        for n in scales
    ]
    for error, scale in zip(errors, scales, strict=True):
        assert error < bound(engine, workload, horizon=horizon_of(path), scale=scale)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2
