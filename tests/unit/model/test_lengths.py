"""Length laws: exact moments against brute force and against samples."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    DeterministicLength,
    EmpiricalLength,
    GeometricLength,
    LognormalLength,
    PoissonLength,
    UniformLength,
)

LAWS = [
    DeterministicLength(7),
    GeometricLength(1),
    GeometricLength(Fraction(5, 2)),
    GeometricLength(112.5),
    PoissonLength(1.01),
    PoissonLength(3),
    PoissonLength(2500),
    UniformLength(3, 3),
    UniformLength(1, 300),
    LognormalLength(0.5, 2, 50),
    LognormalLength(100, 1, 1),
    LognormalLength(100, 0.8, 4096),
    EmpiricalLength([0, 5, 9]),
    EmpiricalLength([4, 1, 4], weights=[1, 2, 3]),
]


def probabilities(law) -> dict[int, float]:
    """The probability of every length, from the definition of the law alone."""
    match law:
        case DeterministicLength(n):
            return {n: 1.0}
        case GeometricLength(mean):
            p = 1 / float(mean)
            return {k: p * (1 - p) ** (k - 1) for k in range(1, 60 * math.ceil(mean))}
        case PoissonLength():
            from scipy.optimize import brentq
            from scipy.stats import poisson

            m = float(law.mean)
            rate = brentq(lambda r: r / -math.expm1(-r) - m, 1e-9, m + 1, xtol=1e-14)
            k = np.arange(1, int(2 * m) + 60)
            return dict(zip(k, poisson(rate).pmf(k) / -math.expm1(-rate), strict=True))
        case UniformLength(low, high):
            return dict.fromkeys(range(low, high + 1), 1 / (high - low + 1))
        case LognormalLength(median, sigma, most):
            from scipy.stats import lognorm

            k = np.arange(0, most)
            below = np.append(lognorm(sigma, scale=median).cdf(k), 1.0)
            return dict(zip(range(1, most + 1), np.diff(below), strict=True))
        case _:
            weights = np.ones(len(law.values)) if law.weights is None else law.weights
            total = sum(weights)
            table = {int(v): 0.0 for v in law.values}
            for value, weight in zip(law.values, weights, strict=True):
                table[int(value)] += weight / total
            return table


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_moments_equal_sums_over_the_probabilities(law):
    table = probabilities(law)
    assert math.isclose(sum(table.values()), 1, rel_tol=1e-11)
    assert float(law.mean) == pytest.approx(sum(k * p for k, p in table.items()), rel=1e-10)
    second = sum(k * k * p for k, p in table.items())
    assert float(law.second_moment) == pytest.approx(second, rel=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_samples_have_the_moments_and_the_range(law):
    # Two one-sample z-tests of 200,000 draws, within 4.5 standard errors.
    sample = law.sample(np.random.default_rng(20), 200_000)
    assert sample.dtype == np.int64
    assert sample.min() >= law.smallest
    assert law.largest is None or sample.max() <= law.largest
    for values, expected in (
        (sample, law.mean),
        (sample.astype(float) ** 2, law.second_moment),
    ):
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - float(expected)) <= 4.5 * error + 1e-9


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_sample_frequencies_follow_the_probabilities(law):
    # Each of the ten likeliest lengths: a binomial z-test within 4.5 standard errors.
    sample = law.sample(np.random.default_rng(21), 200_000)
    table = probabilities(law)
    for length in sorted(table, key=table.get, reverse=True)[:10]:
        p = table[length]
        error = math.sqrt(p * (1 - p) / len(sample)) if p < 1 else 0
        assert abs(np.mean(sample == length) - p) <= 4.5 * error + 1e-9


@pytest.mark.parametrize("law", LAWS, ids=repr)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8), seed=st.integers(0, 2**32))
def test_drawing_in_parts_equals_drawing_at_once(law, sizes, seed):
    parts, whole = np.random.default_rng(seed), np.random.default_rng(seed)
    drawn = np.concatenate([law.sample(parts, size) for size in sizes])
    assert np.array_equal(drawn, law.sample(whole, sum(sizes)))


@given(mean=st.fractions(1, 10**4))
def test_rational_parameters_give_rational_moments(mean):
    assert GeometricLength(mean).second_moment == 2 * mean * mean - mean
    assert isinstance(GeometricLength(mean).second_moment, Fraction)


@given(low=st.integers(1, 50), extra=st.integers(0, 50))
def test_uniform_moments_are_exact(low, extra):
    law, values = UniformLength(low, low + extra), range(low, low + extra + 1)
    assert law.mean == Fraction(sum(values), len(values))
    assert law.second_moment == Fraction(sum(v * v for v in values), len(values))


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2**53), st.integers(1, 2**40)), min_size=1, max_size=6
    )
)
def test_empirical_moments_are_exact_whatever_the_size_of_the_numbers(rows):
    values, weights = zip(*rows, strict=True)
    law, total = EmpiricalLength(values, weights=weights), sum(weights)
    assert law.mean == Fraction(sum(w * v for v, w in rows), total)
    assert law.second_moment == Fraction(sum(w * v * v for v, w in rows), total)


@given(mean=st.floats(1 + 1e-9, 1e6))
def test_zero_truncated_poisson_has_the_mean_that_was_asked_for(mean):
    rate = PoissonLength(mean).second_moment / mean - 1
    assert rate / -math.expm1(-rate) == pytest.approx(mean, rel=1e-12)


def test_lognormal_far_tail_is_cut_off_without_overflow():
    sample = LognormalLength(1, 10**9, 64).sample(np.random.default_rng(1), 1000)
    assert set(np.unique(sample)) == {1, 64}


def test_the_table_of_an_empirical_law_is_a_read_only_copy():
    values = np.array([3, 4])
    law = EmpiricalLength(values)
    values[0] = 99
    assert law.mean == Fraction(7, 2)
    with pytest.raises(ValueError, match="read-only"):
        law.values[0] = 5


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: DeterministicLength(-1), "tokens must be an integer at least 0.*tokens=-1"),
        (lambda: DeterministicLength(1.5), "tokens=1.5"),
        (lambda: DeterministicLength(True), "tokens=True"),
        (lambda: GeometricLength(0.99), "mean must be a finite number at least 1.*mean=0.99"),
        (lambda: GeometricLength(math.nan), "mean=nan"),
        (lambda: GeometricLength(math.inf), "mean=inf"),
        (lambda: PoissonLength(1), "mean must be .* above 1 .*mean=1"),
        (lambda: PoissonLength(1e7), "at most 1000000"),
        (lambda: UniformLength(0, 3), "low=0"),
        (lambda: UniformLength(5, 4), "low must be at most high=4, got low=5"),
        (lambda: UniformLength(1, 4.0), "high=4.0"),
        (lambda: LognormalLength(0, 1, 10), "median=0"),
        (lambda: LognormalLength(1, 0, 10), "sigma=0"),
        (lambda: LognormalLength(1, 1, 0), "max_tokens=0"),
        (lambda: EmpiricalLength([]), "values must be a non-empty column"),
        (lambda: EmpiricalLength([1.0]), "values must be a non-empty column of integers"),
        (lambda: EmpiricalLength([1, -2]), r"values\[1\]=-2"),
        (lambda: EmpiricalLength([[1], [2]]), "non-empty column"),
        (lambda: EmpiricalLength([[1], [2, 3]]), "one-dimensional"),
        (lambda: EmpiricalLength([True, False]), "column of integers"),
        (lambda: EmpiricalLength(np.array([2**63], np.uint64)), "at most 9007199254740992"),
        (lambda: EmpiricalLength([1, 2], weights=[1]), "one entry for each of 2 rows, got 1"),
        (lambda: EmpiricalLength([1, 2], weights=[1, 0]), r"weights\[1\]=0"),
        (lambda: EmpiricalLength([1, 2], weights=[2**53, 1]), "weights must sum to at most"),
    ],
)
def test_arguments_outside_the_domain_are_refused(build, words):
    with pytest.raises(InvalidArgument, match=words):
        build()


@pytest.mark.parametrize("mean", [1.0001, 2, 32, 512.5, 3e4])
def test_poisson_lengths_invert_one_uniform_number_each(mean):
    """The guide only saves the search; a block is 8192 numbers, whatever is asked for."""
    law = PoissonLength(mean)
    tokens = np.arange(int(mean + 40 * mean**0.5 + 60))
    distribution = 1 - law.survival(tokens)
    uniform = np.random.default_rng(5).random(20_000)
    rng = np.random.default_rng(5)
    drawn = np.concatenate([law.sample(rng, size) for size in (5, 8190, 11_805)])
    np.testing.assert_array_equal(drawn, np.searchsorted(distribution, uniform, side="right"))
