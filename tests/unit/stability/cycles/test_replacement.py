"""The critical rate of vanilla vLLM with a limit on residents."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.evidence import Evidence
from queueing_llm.model import (
    EmpiricalLengths,
    Engine,
    GeometricLength,
    PoissonArrivals,
    RequestClass,
    UniformLength,
    Workload,
)
from queueing_llm.policies import FASTER_TRANSFORMER, VANILLA_VLLM, VLLM_V1
from queueing_llm.stability import overload_growth, replacement_rate
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
SMALL = AffineStepTime(base=Fraction(1, 100), per_token=Fraction(1, 5000))
RULE = VANILLA_VLLM.variant(limit_counts="residents")


def engine(step_time=A100, token_budget=512, residents=128, **more):
    return Engine(
        step_time=step_time, token_budget=token_budget, max_batch_size=residents, **more
    )


def load(prompt, output, rate=1):
    return Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


def test_the_published_derivation_in_numbers():
    """Vector vllm.critical.residents.geometric."""
    found = replacement_rate(engine(), load(129, GeometricLength(112)), RULE)
    assert found.value == pytest.approx(9.48126865533436, rel=1e-12)
    assert found.evidence is Evidence.NUMERICAL
    assert found.high / found.low - 1 < 1e-10


def exactly(system, prompt, mean):
    """The same rate in fractions, every place followed on its own."""
    chance = 1 / Fraction(mean)
    at_once = chance if system.first_token_from_prefill else Fraction(0)
    places = min(system.token_budget, system.max_batch_size)
    together = min(system.token_budget // prompt, places)

    def binomial(count, p):
        return [math.comb(count, k) * p**k * (1 - p) ** (count - k) for k in range(count + 1)]

    filling, starts = [Fraction(0)], [Fraction(0)]
    for free in range(1, places + 1):
        started = min(free, together)
        again = binomial(started, at_once)
        kept = 1 - again[started]
        later = [(again[k], free - started + k) for k in range(started)]
        time = system.step_time(started * prompt) + sum(p * filling[n] for p, n in later)
        filling.append(time / kept)
        starts.append((started + sum(p * starts[n] for p, n in later)) / kept)
    finished = binomial(places, chance)
    cycle = system.step_time(0, places)
    cycle += sum(p * t for p, t in zip(finished, filling, strict=True))
    return sum(p * n for p, n in zip(finished, starts, strict=True)) / cycle


@settings(max_examples=40)
@given(
    budget=st.integers(1, 24),
    prompt=st.integers(1, 12),
    residents=st.integers(1, 12),
    mean=st.fractions(Fraction(11, 10), 20, max_denominator=10),
    emits=st.booleans(),
)
def test_exact_fractions_lie_in_the_interval(budget, prompt, residents, mean, emits):
    system = engine(SMALL, max(budget, prompt), residents, first_token_from_prefill=emits)
    found = replacement_rate(system, load(prompt, GeometricLength(mean)), RULE)
    assert found.low <= exactly(system, prompt, mean) <= found.high


@pytest.mark.parametrize("excess", [10**6, 10**9, 10**12])
def test_outputs_of_hardly_ever_more_than_one_token(excess):
    """Almost all end with their prefill: a place stays free but for a tiny chance."""
    system = engine(SMALL, 24, 12, first_token_from_prefill=True)
    mean = 1 + Fraction(1, excess)
    found = replacement_rate(system, load(2, GeometricLength(mean)), RULE)
    assert found.low <= exactly(system, 2, mean) <= found.high


def test_a_single_resident_by_hand():
    found = replacement_rate(engine(residents=1), load(129, GeometricLength(10)), RULE)
    assert found.value == pytest.approx(1 / float(A100(129) + 10 * A100(1)), rel=1e-12)


def test_when_every_output_is_one_token_all_are_replaced():
    found = replacement_rate(engine(residents=3), load(129, GeometricLength(1)), RULE)
    assert found.value == pytest.approx(3 / float(A100(387) + A100(3)), rel=1e-12)


def test_in_overload_untouched_requests_wait():
    """The growth that the notes predict at 1.2 times the critical rate: 1.896 requests/s."""
    rate = 1.2 * 9.48126865533436
    workload = load(129, GeometricLength(112), rate)
    found = replacement_rate(engine(), workload, RULE)
    growth = overload_growth(engine(), workload, RULE, found)
    assert growth / 241 == pytest.approx(0.2 * 9.48126865533436, rel=1e-9)


@pytest.mark.parametrize(
    ("system", "workload", "rule"),
    [
        (engine(), load(129, 112), RULE),
        (engine(), load(129, UniformLength(1, 223)), RULE),
        (engine(), load(UniformLength(1, 223), GeometricLength(112)), RULE),
        (engine(), load(600, GeometricLength(112)), RULE),
        (engine(residents=None), load(129, GeometricLength(112)), RULE),
        (engine(kv_capacity=10**6), load(129, GeometricLength(112)), RULE),
        (engine(AffineStepTime(0.01, 1e-4, 1e-7)), load(129, GeometricLength(112)), RULE),
        (engine(), load(129, GeometricLength(112)), VANILLA_VLLM),
        (engine(), load(129, GeometricLength(112)), RULE.variant(chunked=True)),
        (engine(), load(129, GeometricLength(112)), VLLM_V1),
        (engine(), load(129, GeometricLength(112)), FASTER_TRANSFORMER),
        (engine(), load(129, GeometricLength(112)), lambda state: RULE(state)),
        (engine(first_token_from_prefill=True), load(129, GeometricLength(1)), RULE),
        (engine(token_budget=2**24, residents=2**24), load(129, GeometricLength(112)), RULE),
        (engine(token_budget=2**20, residents=2**20), load(1, GeometricLength(112)), RULE),
        (engine(), Workload.of(PoissonArrivals(1), EmpiricalLengths([9], [1])), RULE),
        (
            engine(),
            Workload(
                PoissonArrivals(1),
                [RequestClass(name, EmpiricalLengths([9], [1])) for name in ("a", "b")],
            ),
            RULE,
        ),
        (
            engine(),
            Workload.of_requests([0, 1], prompt_tokens=[1, 1], output_tokens=[1, 1]),
            RULE,
        ),
    ],
)
def test_other_systems_are_left_open(system, workload, rule):
    assert replacement_rate(system, workload, rule) is None
