"""Point estimates and how sure they are."""

import math

import numpy as np
import pytest

from queueing_llm.simulate import Estimate


def test_a_mean_and_its_standard_error():
    found = Estimate.of(np.array([1.0, 2.0, 3.0, np.nan]), "replications")
    assert (found.value, found.observations) == (2, 3)
    assert found.standard_error == pytest.approx(1 / math.sqrt(3))


def test_the_interval_is_students():
    """Two-sided 95 % with 2 degrees of freedom: 4.302653 standard errors."""
    low, high = Estimate(10.0, 1.0, 3, "replications").interval()
    assert (low, high) == (pytest.approx(10 - 4.302653), pytest.approx(10 + 4.302653))


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_intervals_cover_the_truth_as_often_as_they_say(confidence):
    """4,000 samples of five normal numbers, within 4 standard errors of the share."""
    draws = np.random.default_rng(8).normal(3.0, 2.0, (4000, 5))
    intervals = [Estimate.of(row, "replications").interval(confidence) for row in draws]
    covered = np.mean([low <= 3.0 <= high for low, high in intervals])
    assert abs(covered - confidence) < 4 * math.sqrt(confidence * (1 - confidence) / 4000)


@pytest.mark.parametrize("values", [[], [np.nan], [5.0]])
def test_fewer_than_two_observations_give_no_interval(values):
    found = Estimate.of(np.array(values), "batch means")
    assert math.isnan(found.standard_error)
    assert all(math.isnan(bound) for bound in found.interval())


def test_an_estimate_prints_its_error_and_its_method():
    assert str(Estimate(1.23456789, 0.0123, 8, "replications")) == (
        "1.23457 ± 0.012 (8 replications)"
    )
