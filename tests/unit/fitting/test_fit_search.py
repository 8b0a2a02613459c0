"""The exact search for a knee against a grid of knees and SciPy's optimiser."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import optimize

from queueing_llm.fitting._search import best_hinges, least_squares

SEEDS = st.integers(0, 2**32 - 1)


def problem(seed, *, others):
    """Return random measurements; some follow a hinge, some nothing at all."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(6, 40))
    tokens = rng.integers(1, 60, size).astype(float)
    tokens[:3] = 1, 30, 59
    columns = rng.integers(0, 5000, (size, others)).astype(float)
    hinge = rng.integers(0, 2) * np.maximum(0, tokens - rng.uniform(0, 60)) / 30
    noise = rng.normal(0, 10.0 ** rng.uniform(-3, 0), size)
    seconds = np.abs(1 + hinge + columns.sum(axis=1) / 9000 + noise) + 0.01
    return tokens, columns, seconds, 1 / seconds if rng.integers(2) else np.ones(size)


def squares(knee, tokens, others, seconds, weights):
    columns = np.column_stack([np.ones_like(tokens), np.maximum(0, tokens - knee), others])
    weighted = columns * weights[:, None]
    found = np.linalg.lstsq(weighted, seconds * weights, rcond=None)[0]
    return float(np.sum((weighted @ found - seconds * weights) ** 2)), found


@given(seed=SEEDS, others=st.integers(0, 1))
def test_no_knee_of_a_grid_is_better(seed, others):
    tokens, columns, seconds, weights = problem(seed, others=others)
    found = best_hinges(tokens, columns, seconds[:, None], weights=weights)
    best, coefficients = squares(found.knees[0], tokens, columns, seconds, weights)
    np.testing.assert_allclose(found.coefficients[:, 0], coefficients, rtol=1e-5, atol=1e-9)
    for knee in np.linspace(1, 58.9, 500):
        other, coefficients = squares(knee, tokens, columns, seconds, weights)
        if coefficients[1] >= 0:
            assert best <= other * (1 + 1e-9) + 1e-12


@given(seed=SEEDS)
def test_no_knee_of_an_optimiser_is_better(seed):
    tokens, columns, seconds, weights = problem(seed, others=1)
    found = best_hinges(tokens, columns, seconds[:, None], weights=weights)
    best, _ = squares(found.knees[0], tokens, columns, seconds, weights)

    def of_a_rising_hinge(knee):
        least, coefficients = squares(knee, tokens, columns, seconds, weights)
        return least if coefficients[1] >= 0 else 1e6 + least

    for ends in itertools.pairwise(np.unique(tokens)):
        other = optimize.minimize_scalar(of_a_rising_hinge, bounds=ends, method="bounded")
        assert best <= other.fun * (1 + 1e-9) + 1e-12


@given(seed=SEEDS)
def test_many_measurements_at_once_are_each_on_its_own(seed):
    tokens, columns, seconds, weights = problem(seed, others=1)
    several = seconds[:, None] * np.random.default_rng(seed).uniform(0.5, 2, (len(tokens), 4))
    together = best_hinges(tokens, columns, several, weights=weights)
    for index in range(4):
        alone = best_hinges(tokens, columns, several[:, [index]], weights=weights)
        assert together.knees[index] == pytest.approx(alone.knees[0], rel=1e-9)
        np.testing.assert_allclose(together.coefficients[:, [index]], alone.coefficients)


def test_a_planted_hinge_is_found_exactly():
    tokens = np.arange(1, 200, 3).astype(float)
    reads = (tokens * 37) % 1000
    seconds = 0.01 + 3e-4 * np.maximum(0, tokens - 65.25) + 1e-7 * reads
    found = best_hinges(tokens, reads[:, None], seconds[:, None], weights=1 / seconds)
    assert found.knees[0] == pytest.approx(65.25, rel=1e-7)
    np.testing.assert_allclose(found.coefficients[:, 0], [0.01, 3e-4, 1e-7], rtol=1e-6)


@given(seed=SEEDS)
def test_least_squares_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    columns = np.column_stack([np.ones(12), rng.uniform(1, 4096, 12), rng.uniform(0, 1e6, 12)])
    seconds, weights = rng.uniform(0.01, 1, 12), rng.uniform(1, 100, 12)
    ours = least_squares(columns, seconds[:, None], weights=weights)[:, 0]
    theirs = optimize.lsq_linear(columns * weights[:, None], seconds * weights).x
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)
