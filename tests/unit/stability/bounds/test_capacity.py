"""The best token rate of an engine, and the arrival rate that no policy exceeds."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, GeometricLength, UniformLength, Workload
from queueing_llm.stability import best_rate, capacity
from queueing_llm.steptime import (
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
    TableStepTime,
)
from tests.reference.best_batch import best_token_rate

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
KV = AffineStepTime(
    base=Fraction(1, 100), per_token=Fraction(5, 100_000), per_kv_token=Fraction(1, 10**7)
)
SECONDS = st.fractions(Fraction(1, 20), 3, max_denominator=20)


def engine(step_time=A100, token_budget=512, **limits):
    return Engine(step_time=step_time, token_budget=token_budget, **limits)


def load(prompt=129, output=112):
    return Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)


@pytest.mark.parametrize(
    ("budget", "rate"),
    [
        # Vectors step.staircase.rate*.
        (128, 2737.9679144385027),
        (256, 3113.5976648017513),
        (384, 3262.8090746877388),
        (512, 3342.90937581614),
        (768, 3427.041499330656),
        (1024, 3470.715835140998),
    ],
)
def test_the_best_rate_of_the_fitted_staircase(budget, rate):
    best = best_rate(engine(token_budget=budget))
    assert isinstance(best.tokens_per_second, Fraction)
    assert float(best.tokens_per_second) == pytest.approx(rate, rel=1e-9)
    assert best.batch_tokens == budget
    assert best.tokens_per_second < Fraction(128) / A100.per_block  # step.staircase.limit


def test_a_budget_between_blocks_is_best_trimmed():
    """Vector step.staircase.trim130: a full batch loses 42 % of the rate."""
    best = best_rate(engine(token_budget=130))
    assert best.batch_tokens == 128
    assert float(best.tokens_per_second) == pytest.approx(2737.9679144385027, rel=1e-9)
    assert 130 / float(A100(130)) == pytest.approx(1581.1238141571393, rel=1e-9)


@pytest.mark.parametrize(
    ("floor", "per_token", "batch", "per_ms"),
    [
        # Vectors step.hinge.increasing and step.hinge.interior_peak.
        (Fraction(455, 10_000), Fraction(3, 10_000), 512, 2.8460255697609784),
        (Fraction(1, 100), Fraction(3, 10_000), 64, 6.4),
    ],
)
def test_the_best_batch_of_a_hinge_is_the_budget_or_the_knee(floor, per_token, batch, per_ms):
    best = best_rate(engine(HingeStepTime(floor=floor, per_token=per_token, knee=64)))
    assert best.batch_tokens == batch
    assert float(best.tokens_per_second) / 1000 == pytest.approx(per_ms, rel=1e-9)


def test_a_table_that_is_not_monotone_is_searched_whole():
    table = TableStepTime.of_tokens([1, 2, 3, 4, 5], [2, 1, 3, 2, 4])
    best = best_rate(engine(table, token_budget=5))
    assert (best.tokens_per_second, best.batch_tokens) == (2, 4)


def test_of_equally_good_batches_the_largest_is_named():
    table = TableStepTime.of_tokens([1, 2, 3, 4], [1, 2, 3, 5])
    best = best_rate(engine(table, token_budget=4))
    assert (best.tokens_per_second, best.batch_tokens) == (1, 3)


@given(overhead=SECONDS, per_block=SECONDS, block=st.integers(1, 9), budget=st.integers(1, 30))
def test_the_best_batch_of_a_staircase_is_that_of_brute_force(
    overhead, per_block, block, budget
):
    law = StaircaseStepTime(overhead, per_block, block)
    best = best_rate(engine(law, token_budget=budget))
    assert best.tokens_per_second == best_token_rate(law, budget)
    assert best.tokens_per_second == best.batch_tokens / law(best.batch_tokens)


@given(st.lists(SECONDS, min_size=2, max_size=24))
def test_the_best_batch_of_any_table_is_that_of_brute_force(seconds):
    law = TableStepTime.of_tokens(range(1, len(seconds) + 1), seconds)
    best = best_rate(engine(law, token_budget=len(seconds)))
    assert best.tokens_per_second == best_token_rate(law, len(seconds))


@given(
    seconds=st.lists(SECONDS, min_size=18, max_size=18),
    budget=st.integers(1, 8),
    places=st.none() | st.integers(1, 9),
)
def test_the_best_batch_on_a_grid_is_that_of_brute_force(seconds, budget, places):
    """The KV axis matters: a grid need not be monotone in it."""
    grid = np.array(seconds, dtype=object).reshape(3, 3, 2).tolist()
    law = TableStepTime.of_batches([0, 3, 8], [0, 2, 8], [0, 5], grid)
    best = best_rate(engine(law, token_budget=budget, max_batch_size=places))
    twin = best_token_rate(law, budget, most_decodes=places, kv_tokens=range(6))
    assert best.tokens_per_second == twin


def test_the_kv_cache_bounds_a_batch():
    assert best_rate(engine(kv_capacity=256)).batch_tokens == 256


@given(budget=st.integers(1, 600))
def test_floats_and_fractions_name_the_same_batch(budget):
    floats = StaircaseStepTime(0.01128, 0.03547, 128)
    exact, rounded = (best_rate(engine(law, token_budget=budget)) for law in (A100, floats))
    assert rounded.batch_tokens == exact.batch_tokens
    assert rounded.tokens_per_second == pytest.approx(float(exact.tokens_per_second), rel=1e-12)


@pytest.mark.parametrize(
    ("budget", "prompt", "output", "rate"),
    [
        # Vectors thm2.critical.*.
        (512, 100, 100, 16.7145468790807),
        (512, 129, 112, 13.870993260647884),
        (128, 290, 990, 2.1390374331550803),
        (1024, 290, 990, 2.7114967462039044),
    ],
)
def test_the_capacity_of_the_fitted_engine(budget, prompt, output, rate):
    found = capacity(engine(token_budget=budget), load(prompt, output))
    assert isinstance(found.requests_per_second, Fraction)
    assert float(found.requests_per_second) == pytest.approx(rate, rel=1e-9)
    assert found.best_batch == (budget, 0)
    assert found.is_attained


@pytest.mark.parametrize(
    ("from_prefill", "rate"), [(False, 13.870993260647884), (True, 13.928789065900583)]
)
def test_the_two_token_accountings(from_prefill, rate):
    """Vector acct.two_conventions: p + d tokens of work, or p + d - 1."""
    found = capacity(engine(first_token_from_prefill=from_prefill), load())
    assert float(found.requests_per_second) == pytest.approx(rate, rel=1e-9)


def test_reading_the_kv_cache_costs_capacity():
    """Vector step.kv.critical_rate: 64.93 requests/s, 71.91 without the reads."""
    found = capacity(engine(KV), load(100, 100))
    assert float(found.requests_per_second) == pytest.approx(64.92979465952439, rel=1e-9)
    free = AffineStepTime(base=KV.base, per_token=KV.per_token)
    without = capacity(engine(free), load(100, 100)).requests_per_second
    assert float(without) == pytest.approx(71.91011235955057, rel=1e-9)


def test_random_lengths_count_by_their_means():
    random = load(UniformLength(1, 257), GeometricLength(112))
    assert capacity(engine(), random).requests_per_second == (
        capacity(engine(), load()).requests_per_second
    )


@given(servers=st.integers(1, 9))
def test_servers_multiply_the_capacity(servers):
    """Proposition 3 of arXiv:2504.07347v3."""
    one, many = (capacity(engine(), load(100, 100), servers=n) for n in (1, servers))
    assert many.requests_per_second == servers * one.requests_per_second
    assert many.tokens_per_second == servers * one.tokens_per_second


def test_three_servers():
    """Vector jsq.homogeneous."""
    rate = capacity(engine(), load(100, 100), servers=3).requests_per_second
    assert float(rate) == pytest.approx(50.14364063724211, rel=1e-9)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"max_batch_size": 9}, "max_batch_size"),
        ({"kv_capacity": 900}, "kv_capacity"),
        (
            {
                "token_budget": 4,
                "step_time": TableStepTime.of_batches(
                    [0, 4], [0, 4], [0, 9], np.arange(1, 9).reshape(2, 2, 2)
                ),
            },
            "how batches follow each other",
        ),
    ],
)
def test_a_limit_that_the_formula_ignores_is_said(limits, named):
    found = capacity(engine(**limits), load())
    assert not found.is_attained
    assert named in found.basis


@pytest.mark.parametrize("servers", [0, -1, 1.5, True])
def test_servers_are_a_positive_integer(servers):
    with pytest.raises(InvalidArgument, match="servers must be an integer at least 1"):
        capacity(engine(), load(), servers=servers)
