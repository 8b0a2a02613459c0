"""The bulk queue by its roots, by its chain, and by formulas for special cases."""

import cmath

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from paper_repro.bailey1954.bulk_queue import (
    distribution,
    mean_by_roots,
    poisson_weights,
    roots,
    simulated,
)

STATES = 250
LOADS = st.floats(0.1, 0.8)


@given(LOADS, st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_roots_and_chain_agree(load, batch):
    law = distribution(load * batch, batch, states=STATES)
    assert mean_by_roots(load * batch, batch) == pytest.approx(
        law @ np.arange(STATES), rel=1e-7
    )


@given(LOADS, st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_roots_solve_the_equation_and_are_different(load, batch):
    rate = load * batch
    found = roots(rate, batch)
    assert len(found) == batch - 1
    for i, root in enumerate(found):
        assert abs(root) < 1
        assert abs(root**batch - cmath.exp(-rate * (1 - root))) < 1e-10
        assert all(abs(root - other) > 1e-6 for other in found[:i])


@given(LOADS)
def test_batches_of_one_are_the_queue_of_pollaczek_and_khinchine(load):
    assert mean_by_roots(load, 1) == pytest.approx(load + load**2 / (2 * (1 - load)))


def test_batches_that_are_never_full_leave_the_arrivals_alone():
    assert mean_by_roots(0.5, 30) == pytest.approx(0.5)


def test_the_chain_has_the_law_of_its_own_step():
    law = distribution(3.0, 5, states=STATES)
    left = np.zeros(STATES)
    for queue, share in enumerate(law):
        left[max(queue - 5, 0)] += share
    after = np.convolve(left, poisson_weights(3.0, STATES))[:STATES]
    assert law.sum() == pytest.approx(1)
    assert after == pytest.approx(law, abs=1e-12)


def test_an_engine_is_that_chain():
    run = simulated(4.0, 6, epochs=20_000, replications=4, seed=3)
    mean = run.mean_requests
    assert mean.standard_error < 0.05
    assert abs(mean.value - mean_by_roots(4.0, 6)) < 4 * mean.standard_error


def test_control_another_batch_has_another_mean():
    run = simulated(4.0, 6, epochs=20_000, replications=4, seed=3)
    mean = run.mean_requests
    assert abs(mean.value - mean_by_roots(4.0, 5)) > 10 * mean.standard_error
