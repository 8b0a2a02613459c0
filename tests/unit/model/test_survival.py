"""The survival function of every length law, against its definition and its moments."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.model import (
    DeterministicLength,
    EmpiricalLength,
    GeometricLength,
    LognormalLength,
    PoissonLength,
    UniformLength,
)

LAWS = [
    DeterministicLength(0),
    DeterministicLength(7),
    GeometricLength(1),
    GeometricLength(Fraction(5, 2)),
    GeometricLength(112.5),
    PoissonLength(1.01),
    PoissonLength(2500),
    UniformLength(3, 3),
    UniformLength(1, 300),
    LognormalLength(0.5, 2, 50),
    LognormalLength(100, 1, 1),
    LognormalLength(100, 0.8, 4096),
    EmpiricalLength([0, 5, 9]),
    EmpiricalLength([4, 1, 4], weights=[1, 2, 3]),
]


def enough(law):
    return np.arange(60 * int(law.mean) + 200 if law.largest is None else law.largest + 2)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_it_sums_to_the_mean_and_with_odd_weights_to_the_second_moment(law):
    n = enough(law)
    survival = law.survival(n)
    assert survival.dtype == np.float64
    assert survival.sum() == pytest.approx(float(law.mean), rel=1e-11)
    second = ((2 * n + 1) * survival).sum()
    assert second == pytest.approx(float(law.second_moment), rel=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_it_falls_from_one_below_the_smallest_to_zero_at_the_largest(law):
    survival = law.survival(enough(law))
    assert (np.diff(survival) <= 0).all()
    assert (survival[: law.smallest] == 1).all()
    if law.largest is not None:
        assert (survival[: law.largest] > 0).all()
        assert (survival[law.largest :] == 0).all()


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_samples_exceed_a_number_as_often_as_it_says(law):
    # Binomial z-tests of 200,000 draws at five numbers, within 4.5 standard errors.
    sample = law.sample(np.random.default_rng(22), 200_000)
    at = np.quantile(sample, [0, 0.2, 0.5, 0.8, 1]).astype(np.int64)
    for n, chance in zip(at, law.survival(at), strict=True):
        error = np.sqrt(chance * (1 - chance) / len(sample))
        assert abs(np.mean(sample > n) - chance) <= 4.5 * error + 1e-9


@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=8),
    at=st.lists(st.integers(0, 40), min_size=1, max_size=5),
)
def test_a_table_is_counted(rows, at):
    values, weights = zip(*rows, strict=True)
    counted = [sum(w for v, w in rows if v > n) / sum(weights) for n in at]
    law = EmpiricalLength(values, weights=weights)
    assert law.survival(np.array(at)) == pytest.approx(counted, abs=1e-15)
