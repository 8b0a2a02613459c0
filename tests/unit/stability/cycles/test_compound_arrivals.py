"""Units that Poisson arrivals bring, against sums over the number of arrivals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.stability.cycles._compound_arrivals import (
    DenseMoves,
    compound_poisson,
    decay,
    nodes,
    quantile,
)

UNITS = np.array([0, 0.2, 0, 0.5, 0.3])


def by_arrivals(mean, units, size):
    total, several = np.zeros(size), np.append(1.0, np.zeros(size - 1))
    for arrivals in range(int(mean + 12 * math.sqrt(mean) + 30)):
        chance = math.exp(arrivals * math.log(mean) - mean - math.lgamma(arrivals + 1))
        total += chance * several
        several = np.convolve(several, units)[:size]
    return total


@settings(max_examples=30)
@given(mean=st.floats(0.01, 30), weights=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_the_transform_sums_over_the_number_of_arrivals(mean, weights):
    units = np.append(0, [*weights, 1]) / (sum(weights) + 1)
    (chances,) = compound_poisson(np.array([mean]), units)
    expected = by_arrivals(mean, units, len(chances))
    assert abs(chances - expected).max() < 1e-14
    counts = np.arange(len(units))
    assert chances @ np.arange(len(chances)) == pytest.approx(mean * (units @ counts))


@given(mean=st.floats(0.01, 30), nats=st.floats(1, 30))
def test_quantiles_are_upper_bounds(mean, nats):
    chances = by_arrivals(mean, UNITS, 800)
    assert chances[quantile(mean, UNITS, nats) :].sum() <= math.exp(-nats) * (1 + 1e-9)


@given(load=st.floats(0.05, 0.99), served=st.integers(1, 30))
def test_a_long_queue_decays_at_the_root(load, served):
    counts = np.arange(len(UNITS))
    mean = load * served / (UNITS @ counts)
    rate = decay(mean, UNITS, served)
    growth = mean * (np.exp(rate * counts) @ UNITS - 1)
    assert rate > 0
    assert growth == pytest.approx(rate * served, rel=1e-6)


@pytest.mark.parametrize("load", [1 - 1e-15, 1 - 1e-10, 1e-300])
def test_extreme_loads_have_some_decay(load):
    mean = load * 7 / (UNITS @ np.arange(len(UNITS)))
    assert 0 < decay(mean, UNITS, 7) < 1000


def matrix(seconds, arrival_rate, states):
    """The moves written out, and what leaves."""
    moves, escape = np.zeros((states, states)), np.zeros(states)
    for waiting in range(1, states + 1):
        served = min(waiting, len(seconds))
        chances = by_arrivals(arrival_rate * seconds[served - 1], UNITS, 4 * states)
        for units, chance in enumerate(chances):
            after = waiting - served + units
            if after > states:
                escape[waiting - 1] += chance
            elif after > 0:
                moves[waiting - 1, after - 1] += chance
    return moves, escape


MANY = 0.05 + 0.011 * np.arange(1, 41) ** 0.9
SYSTEMS = [(np.array([0.1, 0.1, 0.2, 0.2, 0.3]), 4.0, 60), (MANY, 11.0, 150), (MANY, 1.0, 30)]


@pytest.mark.parametrize(("seconds", "rate", "states"), SYSTEMS)
def test_moves_are_those_written_out(seconds, rate, states):
    if states < len(seconds):
        states = len(seconds)
    moves, escape = matrix(seconds, rate, states)
    dense = DenseMoves.of(seconds, rate, UNITS, states)
    rng = np.random.default_rng(1)
    values = rng.uniform(-1, 1, states)
    bound = dense.rounding(rate * seconds[-1])
    assert abs(dense @ values - moves @ values).max() <= bound < 1e-10
    assert abs(dense.escape - escape).max() <= bound
    gained = rng.uniform(0, 1, (states, 2))
    expected = np.linalg.solve(np.eye(states) - moves, gained)
    assert dense.solved(gained) == pytest.approx(expected, rel=1e-10)


def test_many_durations_are_reached_through_few():
    durations, weights = nodes(MANY, 11.0)
    assert len(durations) < len(MANY) / 1.5
    laws = compound_poisson(11.0 * durations, UNITS)
    exact = compound_poisson(11.0 * MANY, UNITS)
    size = min(laws.shape[1], exact.shape[1])
    assert abs((weights @ laws)[:, :size] - exact[:, :size]).sum(axis=1).max() < 1e-13


def test_few_durations_are_taken_as_they_are():
    durations, weights = nodes(np.array([0.2, 0.1, 0.2]), 5.0)
    assert durations.tolist() == [0.1, 0.2]
    assert weights.tolist() == [[0, 1], [1, 0], [0, 1]]
