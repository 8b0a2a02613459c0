"""The staircase law against the published fit and its closed form."""

import math
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import StaircaseStepTime

PAPER = StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
PAPER_EXACT = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)


@pytest.mark.parametrize(
    ("tokens", "milliseconds"),
    [
        (1, "46.75"),
        (100, "46.75"),
        (128, "46.75"),
        (129, "82.22"),
        (256, "82.22"),
        (257, "117.69"),
        (384, "117.69"),
        (512, "153.16"),
        (768, "224.1"),
        (870, "259.57"),
        (1024, "295.04"),
    ],
)
def test_published_times(tokens, milliseconds):
    expected = Fraction(milliseconds) / 1000
    assert PAPER_EXACT(tokens) == expected
    assert PAPER(tokens) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize(
    ("tokens", "rate"),
    [
        (128, 2737.9679144385027),
        (256, 3113.5976648017513),
        (384, 3262.8090746877388),
        (512, 3342.90937581614),
        (768, 3427.041499330656),
        (1024, 3470.715835140998),
    ],
)
def test_rate_at_multiples_of_the_block(tokens, rate):
    assert tokens / PAPER(tokens) == pytest.approx(rate, rel=1e-12)


def test_filling_a_budget_that_the_block_does_not_divide_is_not_best():
    prefill, decode, kv = PAPER.candidate_batches(130)
    rates = (prefill + decode) / PAPER(prefill, decode, kv)
    assert prefill[rates.argmax()] == 128
    assert rates.max() == pytest.approx(2737.9679144385027, rel=1e-12)
    assert rates[-1] == pytest.approx(1581.1238141571393, rel=1e-12)


@given(
    n=st.integers(0, 10**6), c=st.fractions(0, 9), a=st.fractions(1, 9), b0=st.integers(1, 999)
)
def test_is_the_ceiling_of_assumption_1(n, c, a, b0):
    assert StaircaseStepTime(c, a, b0)(n) == c + a * math.ceil(Fraction(n, b0))


@given(st.integers(1, 2**50), st.integers(1, 10**6))
def test_the_ceiling_is_exact_on_float_arrays(n, b0):
    steps = StaircaseStepTime(overhead=0, per_block=1, block=b0)
    assert int(steps(np.asarray([n]))[0]) == steps(n)


def test_only_the_total_counts_and_not_the_kv_cache():
    assert PAPER(100, 29, 10**6) == PAPER(129)
    assert PAPER.kv_slope == 0


def test_with_reads_each_kv_token_adds_its_time():
    step = StaircaseStepTime(Fraction(1, 100), Fraction(3, 100), 128, Fraction(1, 10**7))
    assert step(100, 29, 10**6) == step(129) + Fraction(1, 10)
    assert step.kv_slope == Fraction(1, 10**7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"overhead": -0.1}, "overhead must be a finite number at least 0"),
        ({"overhead": float("nan")}, "overhead="),
        ({"per_block": 0}, "per_block must be a finite number above 0"),
        ({"per_block": float("inf")}, "per_block=inf"),
        ({"block": 128.0}, "block must be an integer at least 1"),
        ({"block": True}, "block=True"),
        ({"block": 0}, "block=0"),
        ({"per_kv_token": -1}, "per_kv_token=-1"),
    ],
)
def test_parameters_outside_their_domain(change, words):
    with pytest.raises(InvalidArgument, match=words):
        StaircaseStepTime(**{"overhead": 0.01, "per_block": 0.03, "block": 128} | change)
