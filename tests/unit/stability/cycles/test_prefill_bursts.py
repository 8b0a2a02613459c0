"""The critical rate of vanilla vLLM, and how fast its backlog grows beyond it."""

import importlib.util
import itertools
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.evidence import Evidence
from queueing_llm.model import (
    DeterministicArrivals,
    EmpiricalLength,
    EmpiricalLengths,
    Engine,
    GeometricLength,
    LognormalLength,
    PoissonArrivals,
    RequestClass,
    UniformLength,
    Workload,
)
from queueing_llm.policies import FASTER_TRANSFORMER, ORCA, VANILLA_VLLM
from queueing_llm.stability import (
    capacity,
    prefill_burst_growth,
    prefill_burst_rate,
)
from queueing_llm.stability.cycles import _burst_system
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
SMALL = AffineStepTime(base=Fraction(1, 100), per_token=Fraction(1, 5000))
CHUNKED = VANILLA_VLLM.variant(chunked=True)
EMPTY = EmpiricalLength([0, 2])
RESIDENTS = VANILLA_VLLM.variant(limit_counts="residents")


def engine(step_time=A100, token_budget=512, **limits):
    return Engine(step_time=step_time, token_budget=token_budget, **limits)


def load(prompt, output, rate=1):
    return Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


def rate_of(system, workload, rule=VANILLA_VLLM):
    return prefill_burst_rate(system, workload, rule).value


@pytest.mark.parametrize(
    ("budget", "prompt", "output", "members", "expected"),
    [
        # Vectors vllm.critical.*, whose roots were found to about 1e-9.
        (512, 129, 112, None, 10.497291878029193),
        (512, 100, 100, None, 14.257475603404634),
        (512, 128, 128, None, 12.542265576003192),
        (512, 64, 200, None, 11.014212744136643),
        (256, 129, 112, None, 8.46086320359123),
        (1024, 129, 112, None, 11.471167408966284),
        (2048, 129, 112, None, 12.392968382493049),
        (512, 129, 112, 128, 9.088909457597937),
        (512, 128, 128, 100, 9.600850758900725),
    ],
)
def test_the_critical_rate_of_whole_prompts(budget, prompt, output, members, expected):
    system = engine(token_budget=budget, max_batch_size=members)
    found = prefill_burst_rate(system, load(prompt, output), VANILLA_VLLM)
    assert found.value == pytest.approx(expected, rel=4e-9)
    assert found.evidence is Evidence.NUMERICAL
    assert found.low < found.value < found.high
    assert found.high / found.low - 1 < 1e-9


@pytest.mark.parametrize(
    ("budget", "prompt", "output", "expected"),
    # Vector vllm.critical.chunked.
    [(512, 129, 112, 10.6866), (256, 300, 100, 7.3522)],
)
def test_the_critical_rate_of_chunked_prompts(budget, prompt, output, expected):
    found = prefill_burst_rate(engine(token_budget=budget), load(prompt, output), CHUNKED)
    assert found.value == pytest.approx(expected, rel=2e-4)
    assert found.high / found.low - 1 < 1e-9


@pytest.mark.parametrize(("members", "prompt", "output"), [(None, 129, 112), (3, 60, 20)])
def test_the_slow_twin_finds_the_same_rate(members, prompt, output):
    """An independent programme over the prefill phase itself, accurate to about 1e-9."""
    file = Path(__file__).parents[3] / "reference" / "prefill_phase.py"
    spec = importlib.util.spec_from_file_location("prefill_phase", file)
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    law = StaircaseStepTime(0.01128, 0.03547, 128)
    found = rate_of(engine(law, max_batch_size=members), load(prompt, output))
    slow = twin.critical_rate(law, budget=512, prompt=prompt, output=output, members=members)
    assert found == pytest.approx(slow, rel=1e-8)


def test_one_prompt_at_a_time_in_closed_form():
    """Only a batch of one prompt fits: each request costs its prefill and its decode share."""
    found = prefill_burst_rate(engine(), load(400, 20), VANILLA_VLLM)
    exact = 1 / (A100(400) + 20 * A100(0, 512) / 512)
    assert found.low <= exact <= found.high


def test_the_cheapest_batches_bound_it_from_above():
    """Vector vllm.critical.upper_bound."""
    bound = 1 / (112 * A100(512) / 512 + min(A100(129 * s) / s for s in (1, 2, 3)))
    assert float(bound) == pytest.approx(11.826330338972193, rel=1e-9)
    assert rate_of(engine(), load(129, 112)) < bound


@settings(max_examples=25)
@given(
    budget=st.integers(4, 64),
    prompt=st.integers(1, 40),
    output=st.integers(1, 30),
    chunked=st.booleans(),
    law=st.sampled_from([SMALL, StaircaseStepTime(0.01, 0.02, 8)]),
)
def test_it_lies_below_the_capacity(budget, prompt, output, chunked, law):
    system, workload = engine(law, budget), load(min(prompt, budget), output)
    rule = CHUNKED if chunked else VANILLA_VLLM
    found = prefill_burst_rate(system, workload, rule)
    ceiling = float(capacity(system, workload).requests_per_second)
    # The cycle of one full batch after the other attains the capacity.
    assert found.low <= ceiling * (1 + 1e-12)
    assert found.high / found.low - 1 < 1e-8


@given(output=st.integers(1, 200), extra=st.integers(1, 50))
@settings(max_examples=15)
def test_longer_outputs_lower_it(output, extra):
    assert rate_of(engine(), load(100, output + extra)) < rate_of(engine(), load(100, output))


@pytest.mark.parametrize(
    "output", [GeometricLength(112), UniformLength(1, 223), UniformLength(112, 112)], ids=repr
)
def test_only_the_mean_output_matters(output):
    assert rate_of(engine(), load(129, output)) == rate_of(engine(), load(129, 112))


def test_classes_that_differ_in_outputs_only_are_averaged():
    classes = [
        RequestClass("short", EmpiricalLengths([129], [12]), share=1),
        RequestClass("long", EmpiricalLengths([129, 129], [0, 424]), share=1),
    ]
    mixed = Workload(PoissonArrivals(1), classes)
    assert rate_of(engine(), mixed) == rate_of(engine(), load(129, 112))


def test_the_first_token_of_a_prefill_saves_a_decode_step():
    real = engine(first_token_from_prefill=True)
    assert rate_of(real, load(129, 113)) == rate_of(engine(), load(129, 112))


@pytest.mark.parametrize(("rule", "tokens"), [(VANILLA_VLLM, 387), (CHUNKED, 512)])
def test_without_decode_steps_full_prefill_batches_decide(rule, tokens):
    real = engine(first_token_from_prefill=True)
    found = prefill_burst_rate(real, load(129, 1), rule)
    assert found.low == found.value == found.high == tokens / (129 * A100(tokens))


def test_prompts_that_divide_the_budget_need_no_chunks():
    assert rate_of(engine(), load(128, 50), CHUNKED) == pytest.approx(
        rate_of(engine(), load(128, 50)), rel=1e-10
    )


def test_a_limit_on_members_that_chunks_never_reach_only_caps_decodes():
    """A batch of 32 tokens touches at most five prompts of 10: 2 + 10 + 10 + 8 + ..."""
    limited = rate_of(engine(SMALL, 32, max_batch_size=32), load(10, 6), CHUNKED)
    assert limited == rate_of(engine(SMALL, 32), load(10, 6), CHUNKED)
    assert prefill_burst_rate(engine(SMALL, 32, max_batch_size=3), load(10, 6), CHUNKED) is None


@pytest.mark.parametrize(
    ("system", "workload", "rule"),
    [
        (engine(), load(GeometricLength(129), 112), VANILLA_VLLM),
        (engine(), load(LognormalLength(100, 1, 400), 112), VANILLA_VLLM),
        (engine(kv_capacity=10**6), load(129, 112), VANILLA_VLLM),
        (engine(AffineStepTime(0.01, 1e-4, 1e-7)), load(129, 112), VANILLA_VLLM),
        (engine(max_batch_size=128), load(129, 112), RESIDENTS),
        (engine(token_budget=128), load(129, 112), VANILLA_VLLM),
        (engine(), load(129, 112), FASTER_TRANSFORMER),
        (engine(), load(129, 112), ORCA),
        (engine(), load(129, 112), lambda state: VANILLA_VLLM(state)),
        (engine(first_token_from_prefill=True), load(129, EMPTY), VANILLA_VLLM),
        (
            engine(),
            Workload.of(DeterministicArrivals(1), EmpiricalLengths([129], [112])),
            VANILLA_VLLM,
        ),
        (
            engine(),
            Workload.of(PoissonArrivals(1), EmpiricalLengths([9, 9], [1, 2], in_order=True)),
            VANILLA_VLLM,
        ),
        # Longer batches that take less time: more arrivals may then shorten a cycle.
        (
            engine(TableStepTime.of_tokens([1, 200, 600], [0.1, 0.2, 0.05])),
            load(129, 112),
            VANILLA_VLLM,
        ),
    ],
)
def test_other_systems_are_left_open(system, workload, rule):
    assert prefill_burst_rate(system, workload, rule) is None
    assert prefill_burst_growth(system, workload, rule) is None


def test_what_would_need_a_system_too_large_is_left_open(monkeypatch):
    assert prefill_burst_rate(engine(SMALL, 64), load(8, 5), VANILLA_VLLM) is not None
    monkeypatch.setattr(_burst_system, "MOST_ENTRIES", 500)
    assert prefill_burst_rate(engine(SMALL, 64), load(8, 5), VANILLA_VLLM) is None
    assert prefill_burst_growth(engine(SMALL, 64), load(8, 5), VANILLA_VLLM) is None


def test_a_burst_of_dozens_of_batches_is_solved():
    """Prompts of one token, and so few decodes that prefill takes nearly all the time."""
    found = prefill_burst_rate(engine(SMALL, 256), load(1, 1), VANILLA_VLLM)
    cycle = 256 / found.value
    assert cycle > 60 * float(SMALL(1))
    assert found.high / found.low - 1 < 1e-8


@pytest.mark.parametrize(
    ("prompt", "output", "critical", "times", "per_ms"),
    [
        # Vectors vllm.growth.*.
        (129, 112, 10.497291878029193, 1.05, 0.14290664553585164),
        (129, 112, 10.497291878029193, 1.1, 0.28388388930285413),
        (100, 100, 14.257475603404634, 1.05, 0.154301574206418),
        (100, 100, 14.257475603404634, 1.1, 0.3071654604168115),
    ],
)
def test_the_pool_of_decodes_grows_in_overload(prompt, output, critical, times, per_ms):
    overload = load(prompt, output, rate=times * critical)
    growth = prefill_burst_growth(engine(), overload, VANILLA_VLLM)
    assert growth / 1000 == pytest.approx(per_ms, rel=1e-9)


def test_growth_begins_at_the_critical_rate_and_never_falls():
    found = prefill_burst_rate(engine(), load(129, 112), VANILLA_VLLM)
    rates = [found.low, found.value * 1.001, 12, 15, 18, 19, 20, 40]
    growth = [
        prefill_burst_growth(engine(), load(129, 112, rate=r), VANILLA_VLLM) for r in rates
    ]
    assert growth[0] == 0
    assert all(later > earlier for earlier, later in itertools.pairwise(growth))


def test_where_prefill_never_ends_nothing_is_decoded():
    most = 3 / float(A100(387))
    growth = prefill_burst_growth(engine(), load(129, 112, rate=2 * most), VANILLA_VLLM)
    assert growth == pytest.approx(2 * most * 112 + 129 * most, rel=1e-12)


RANDOM = UniformLength(1, 39)


def test_split_prompts_may_be_random():
    """Uniform on 1 to 257, of the mean 129 that costs a constant prompt a second block."""
    found = prefill_burst_rate(engine(), load(UniformLength(1, 257), 112), CHUNKED)
    assert found.value == pytest.approx(11.9456949, abs=1e-7)
    assert found.evidence is Evidence.NUMERICAL
    assert found.low < found.value < found.high < found.low * (1 + 1e-8)


@settings(max_examples=10)
@given(
    prompts=st.lists(st.integers(1, 60), min_size=2, max_size=4, unique=True),
    output=st.integers(1, 30),
    law=st.sampled_from([SMALL, StaircaseStepTime(0.01, 0.02, 8)]),
)
def test_random_prompts_stay_below_the_capacity(prompts, output, law):
    workload = load(EmpiricalLength(prompts), output)
    found = prefill_burst_rate(engine(law, 32), workload, CHUNKED)
    ceiling = float(capacity(engine(law, 32), workload).requests_per_second)
    assert found.low <= ceiling * (1 + 1e-12)
    assert found.high / found.low - 1 < 1e-7


def test_how_outputs_follow_prompts_does_not_matter():
    together = Workload.of(PoissonArrivals(1), EmpiricalLengths([3, 30], [2, 40]))
    against = Workload.of(PoissonArrivals(1), EmpiricalLengths([3, 30], [40, 2]))
    rates = [rate_of(engine(SMALL, 32), load, CHUNKED) for load in (together, against)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


def test_seconds_of_another_length_scale_the_rate():
    slow = AffineStepTime(base=7 * SMALL.base, per_token=7 * SMALL.per_token)
    one, other = (rate_of(engine(s, 32), load(RANDOM, 9), CHUNKED) for s in (SMALL, slow))
    assert 7 * other == pytest.approx(one, rel=1e-9)


def test_blocks_of_tokens_are_counted_as_one():
    """Prompts and budget in multiples of 16, or of 1, where blocks cost the same."""
    coarse = StaircaseStepTime(0.01, 0.02, 16)
    fine = StaircaseStepTime(0.01, 0.02, 1)
    large = load(EmpiricalLength([16, 48, 112]), 16)
    small = load(EmpiricalLength([1, 3, 7]), 1)
    rates = [
        rate_of(engine(coarse, 64), large, CHUNKED),
        rate_of(engine(fine, 4), small, CHUNKED),
    ]
    assert rates[0] == pytest.approx(rates[1], rel=1e-9)


def test_a_limit_is_ignored_only_where_no_batch_can_touch_more():
    """32 tokens touch at most 2 + (32 - 2) // 4 prompts of 4 or more."""
    workload = load(UniformLength(4, 20), 6)
    free = engine(SMALL, 32)
    assert prefill_burst_rate(engine(SMALL, 32, max_batch_size=8), workload, CHUNKED) is None
    limited = engine(SMALL, 32, max_batch_size=9)
    assert rate_of(limited, workload, CHUNKED) < rate_of(free, workload, CHUNKED)


def test_growth_of_random_prompts_begins_at_the_critical_rate():
    found = prefill_burst_rate(engine(SMALL, 32), load(RANDOM, 6), CHUNKED)
    times = [1 - 1e-6, 1.01, 1.1, 50]
    growth = [
        prefill_burst_growth(engine(SMALL, 32), load(RANDOM, 6, t * found.value), CHUNKED)
        for t in times
    ]
    assert growth[0] == 0 < growth[1]
    assert sorted(growth) == growth
    most = 32 / (20 * float(SMALL(32)))
    rate = 50 * found.value
    assert growth[3] == pytest.approx(6 * rate + 20 * (rate - most), rel=1e-9)


def test_prompts_too_long_or_bursts_too_large_are_left_open(monkeypatch):
    wide = load(LognormalLength(2000, 1, 2**17), 50)
    assert prefill_burst_rate(engine(), wide, CHUNKED) is None
    assert prefill_burst_rate(engine(SMALL, 32), load(RANDOM, 6), CHUNKED) is not None
    monkeypatch.setattr(_burst_system, "MOST_STATES", 100)
    assert prefill_burst_rate(engine(SMALL, 32), load(RANDOM, 6), CHUNKED) is None
