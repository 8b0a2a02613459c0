"""Growth of the backlog: formulas against simulation.

Growth is measured over the second half of a run. Its standard error is the larger of the
one seen and that of the arrivals alone, sqrt(lambda E[w^2] / (T / 2) / runs). Every case
has its own seed.
"""

import math
import zlib

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.stability import overload_growth, request_level_rate

STEP = ql.StaircaseStepTime(0.01128, 0.03547, 128)


def engine(budget=512, **limits):
    return ql.Engine(step_time=STEP, token_budget=budget, **limits)


def poisson(rate, prompt, output):
    return ql.Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


def measured(system, load, policy, *, horizon, runs):
    """Growth [tokens/s] and its standard error."""
    case = (system.token_budget, policy, f"{float(load.arrival_rate):.6f}", horizon)
    run = ql.simulate(
        system, load, policy=ql.policy_named(policy), horizon=horizon, replications=runs,
        seed=zlib.crc32(str(case).encode()),
    )  # fmt: skip
    moments = load.moments
    work_squared = moments.prompt_squared + 2 * moments.product + moments.output_squared
    arrivals = math.sqrt(load.arrival_rate * work_squared / (horizon / 2) / runs)
    return run.growth.value, max(run.growth.standard_error, arrivals)


@pytest.mark.parametrize("policy", ["sarathi", "orca", "vllm_v1"])
@pytest.mark.parametrize(
    ("load", "expected"), [(0.9, 0), (1.1, 334.2909375816143), (1.2, 668.5818751632279)]
)
def test_work_conserving_rules_grow_by_the_excess_over_capacity(policy, load, expected):
    """Vectors thm2.growth.sim.*, within 3 standard errors."""
    overload = poisson(16.7145468790807 * load, 100, 100)
    found, error = measured(engine(), overload, policy, horizon=2000, runs=20)
    assert abs(found - expected) < 3 * error
    critical = ql.critical_rate(engine(), overload, policy=ql.policy_named(policy))
    formula = overload_growth(engine(), overload, ql.policy_named(policy), critical)
    assert formula == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("offered", "full", "trimmed"), [(1400, 0, 0), (1700, 118.876186, 0), (2000, 418.876186, 0)]
)
def test_the_larger_budget_is_unstable_where_the_trimmed_one_is_not(offered, full, trimmed):
    """Vector thm2.budget130.instability: 130 tokens pay for two blocks, 128 for one."""
    load = poisson(offered / 200, 100, 100)
    for budget, expected in ((130, full), (128, trimmed)):
        found, error = measured(engine(budget), load, "sarathi", horizon=2000, runs=16)
        assert abs(found - expected) < 4 * error


def test_growth_where_the_kv_cache_is_read():
    """Vector step.kv.overload_slope: Sarathi accumulates untouched requests."""
    law = ql.AffineStepTime(base=0.01, per_token=5e-5, per_kv_token=1e-7)
    system = ql.Engine(step_time=law, token_budget=512)
    load = poisson(1.05 * 64.92979465952439, 100, 100)
    found, error = measured(system, load, "sarathi", horizon=2000, runs=8)
    assert abs(found - 649.2979465952445) < 4 * error


@pytest.mark.parametrize(
    ("budget", "prompt", "output", "policy", "load", "horizon", "expected"),
    [
        # Vectors ft.growth.*.
        (512, 129, 112, "faster_transformer", 1.2, 20_000, 26.831639810285825),
        (512, 129, 112, "faster_transformer:chunked", 1.2, 20_000, 35.49819013660554),
        (512, 100, 100, "faster_transformer", 3, 5000, 414.23647932131497),
        (1024, 129, 112, "faster_transformer", 3, 5000, 610.0118603372964),
    ],
)
def test_faster_transformer_grows_by_untouched_requests(
    budget, prompt, output, policy, load, horizon, expected
):
    rule = ql.policy_named(policy)
    own = request_level_rate(engine(budget), poisson(1, prompt, output), rule).value
    overload = poisson(load * own, prompt, output)
    found, error = measured(engine(budget), overload, policy, horizon=horizon, runs=8)
    assert abs(found - expected) < 4 * error


@pytest.mark.parametrize(
    ("prompt", "output", "rate", "load", "expected"),
    [
        # Vectors vllm.growth.*; the pool of decodes is what grows.
        (129, 112, 10.497291878029193, 0.95, 0),
        (129, 112, 10.497291878029193, 1.05, 142.90664553585164),
        (129, 112, 10.497291878029193, 1.1, 283.88388930285413),
        (100, 100, 14.257475603404634, 1.05, 154.301574206418),
        (100, 100, 14.257475603404634, 1.1, 307.1654604168115),
    ],
)
def test_vanilla_vllm_grows_by_its_pool_of_decodes(prompt, output, rate, load, expected):
    overload = poisson(load * rate, prompt, output)
    found, error = measured(engine(), overload, "vanilla_vllm", horizon=6000, runs=16)
    assert abs(found - expected) < 4 * error


@pytest.mark.parametrize(
    ("load", "whole", "chunked"),
    [(0.95, 0, 0), (1.05, 0.424844931599966, 0), (1.15, 1.274534794799898, 0)],
)
def test_orca_without_chunking_is_not_work_conserving(load, whole, chunked):
    """Vector orca.whole_prompts_not_work_conserving; a request is 302 tokens."""
    overload = poisson(load * 8.49689863199932, 300, 2)
    for policy, expected in (("orca:whole", whole), ("orca", chunked)):
        found, error = measured(engine(), overload, policy, horizon=2000, runs=8)
        assert abs(found - 302 * expected) < 4 * error


@pytest.mark.parametrize(
    ("rate", "policy", "expected"),
    [
        # Vector contrast.129_112: mean requests at 1000 s.
        (10.4, "sarathi", 92.6),
        (10.4, "orca", 94.0),
        (10.4, "vanilla_vllm", 572.8),
        (10.4, "faster_transformer", 9817.6),
        (11.5, "sarathi", 160.4),
        (11.5, "orca", 178.6),
        (11.5, "vanilla_vllm", 2786.1),
        (11.5, "faster_transformer", 10922.8),
        (13.5, "sarathi", 239.4),
        (13.5, "orca", 407.1),
        (13.5, "vanilla_vllm", 7371.4),
        (13.5, "faster_transformer", 12932.5),
    ],
)
def test_what_waits_after_a_thousand_seconds(rate, policy, expected):
    """Within 15 %, the tolerance of the vector; the error of 48 runs is at most 4 %."""
    run = ql.simulate(
        engine(), poisson(rate, 129, 112), policy=ql.policy_named(policy), horizon=1000,
        replications=48, seed=17,
    )  # fmt: skip
    assert run.requests_in_system[:, -1].mean() == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("policy", "budget", "expected", "known_to"),
    [
        # Vector vertexC.poisson_0.9 [requests/s]; 1,280 tokens a request.
        ("sarathi", 128, 0.0, 0.0018),
        ("sarathi", 256, 0.062, 0.0088),
        ("sarathi", 1024, 0.172, 0.0083),
        ("orca", 128, 0.186, 0.011),
        ("vanilla_vllm", 1024, 0.253, 0.0108),
    ],
)
def test_prefilling_fast_fills_the_batch_with_decodes(policy, budget, expected, known_to):
    """Within 4 standard errors of the difference of two measurements."""
    run = ql.simulate(
        engine(budget, max_batch_size=100), poisson(0.9 / 0.4675, 290, 990),
        policy=ql.policy_named(policy), horizon=8000, replications=6, seed=budget,
    )  # fmt: skip
    half = run.requests_in_system[:, [100, 200]]
    slopes = np.diff(half, axis=1)[:, 0] / 4000
    error = math.hypot(slopes.std(ddof=1) / math.sqrt(6), known_to)
    assert abs(slopes.mean() - expected) < 4 * error
