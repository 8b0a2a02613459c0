"""The exponent of a queue between segments: the root, its bound, and random walks."""

import decimal
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability.memory._boundary_exponent import (
    boundary_exponent,
    hoeffding_exponent,
)


@pytest.mark.parametrize(
    ("previous", "threshold", "probability", "root", "bound"),
    [
        (100, 40, Fraction("0.3"), 0.8710610885646197, "0.8"),
        (50, 20, Fraction("0.35"), 0.42415211840661915, "0.4"),
        (200, 110, Fraction("0.5"), 0.4026918087518202, "0.4"),
    ],
)
def test_known_roots(previous, threshold, probability, root, bound):
    assert boundary_exponent(threshold, previous, probability) == pytest.approx(root, rel=1e-12)
    assert hoeffding_exponent(threshold, previous, probability) == Fraction(bound)


@st.composite
def drifting_down(draw):
    previous = draw(st.integers(2, 10_000))
    threshold = draw(st.integers(1, previous - 1))
    share = draw(st.fractions(Fraction(1, 10**6), Fraction(999, 1000), max_denominator=10**6))
    return previous, threshold, share * Fraction(threshold, previous)


@given(drifting_down())
def test_the_root_is_a_root_above_the_bound(case):
    """The logarithm of the mean changes sign there, in 60 decimal digits."""
    previous, threshold, probability = case
    theta = boundary_exponent(threshold, previous, probability)
    assert theta >= float(hoeffding_exponent(threshold, previous, probability))
    with decimal.localcontext(prec=60):
        p = Decimal(probability.numerator) / Decimal(probability.denominator)

        def log_mean(at):
            return previous * (1 - p + p * at.exp()).ln() - threshold * at

        near = Decimal("1e-7")
        assert log_mean(Decimal(theta) * (1 - near)) < 0 < log_mean(Decimal(theta) * (1 + near))


@pytest.mark.parametrize(("previous", "threshold", "probability"), [(6, 3, 0.4), (10, 5, 0.4)])
def test_queues_are_as_rarely_long_as_the_exponent_says(previous, threshold, probability):
    """A walk with binomial steps less n_k: its maximum exceeds x with chance e^(-theta x)."""
    theta = boundary_exponent(threshold, previous, probability)
    rng = np.random.default_rng(1)
    walks = (rng.binomial(previous, probability, (20_000, 300)) - threshold).cumsum(axis=1)
    highest = np.maximum(walks.max(axis=1), 0)
    for x in (1, 2, 4, 6):
        seen, bound = (highest >= x).mean(), math.exp(-theta * x)
        error = math.sqrt(bound / 20_000)
        assert seen < bound + 4 * error
        assert seen > bound / 6, "the exponent is that of the walk, not only a bound"


@pytest.mark.parametrize(
    ("threshold", "previous", "probability", "message"),
    [
        (30, 100, Fraction("0.3"), "threshold must be above 30 and below 100"),
        (100, 100, 0.3, "threshold must be above 30 and below 100"),
        (5, 0, 0.3, "previous must be"),
        (5, 10, 0, "probability must be"),
    ],
)
def test_queues_without_a_root_are_refused(threshold, previous, probability, message):
    with pytest.raises(ql.InvalidArgument, match=message):
        boundary_exponent(threshold, previous, probability)
