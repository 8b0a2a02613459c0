"""A verdict follows from what is expected and obtained, and cannot be had by noise."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from queueing_llm.reproduce import Claim, Verdict, judge
from queueing_llm.simulate import Estimate

numbers = st.fractions(-1000, 1000, max_denominator=1000)


def claim(**fields):
    given_ = {
        "id": "c",
        "source": "eq. (1)",
        "stated_by": "paper",
        "statement": "Something.",
        "kind": "exact",
        "status": "reproduced",
        "figure": "fig_x",
        "value": "x",
    }
    return Claim(**(given_ | fields))


def estimate(value, error):
    return Estimate(value, error, 8, "replications")


@given(expected=numbers, tolerance=st.fractions(0, 10, max_denominator=100), shift=numbers)
def test_exact_claims_hold_within_their_tolerance_and_nowhere_else(expected, tolerance, shift):
    assume(expected == 0 or tolerance < abs(expected))
    verdict = judge(claim(expected=expected, tolerance=tolerance), expected + shift).verdict
    assert (verdict is Verdict.REPRODUCED) == (abs(shift) <= tolerance)


@pytest.mark.parametrize(
    "obtained",
    [math.nan, math.inf, 10**400, True, "1", None, (1,), np.ones(1), estimate(1.0, 0.0)],
)
def test_nothing_but_the_number_is_that_number(obtained):
    judgement = judge(claim(expected=1, tolerance=Fraction(1, 2)), obtained)
    assert judgement.verdict is Verdict.FAILED
    assert judgement.written()[0] == "1"


def test_numpy_numbers_are_numbers():
    assert judge(claim(expected=2), np.int64(2)).verdict is Verdict.REPRODUCED
    assert judge(claim(expected=Fraction(1, 2)), np.float64(0.5)).verdict is Verdict.REPRODUCED


@given(error=st.floats(1e-6, 10), errors=st.floats(-6, 6), resolution=st.floats(1e-6, 1.6))
def test_statistical_claims_hold_within_three_standard_errors_if_these_are_small(
    error, errors, resolution
):
    stated = claim(kind="statistical", expected=5, resolution=Fraction(resolution))
    verdict = judge(stated, estimate(5 + errors * error, error)).verdict
    if error > resolution:
        assert verdict is Verdict.TOO_NOISY
    elif abs(errors) < 2.999:
        assert verdict is Verdict.REPRODUCED
    elif abs(errors) > 3.001:
        assert verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "obtained",
    [
        5.0,
        estimate(5.0, math.nan),
        (estimate(5.0, 0.1), 5.0),
        Estimate(5.0, 0.0, 1, "replications"),
    ],
)
def test_a_statistical_claim_needs_a_standard_error(obtained):
    stated = claim(kind="statistical", expected=5, resolution=1)
    assert judge(stated, obtained).verdict is Verdict.TOO_NOISY


@pytest.mark.parametrize(
    ("expected", "obtained", "holds"),
    [
        ("STABLE", "STABLE", True),
        ("STABLE", "UNSTABLE", False),
        (True, True, True),
        (True, 1, False),
        (["A", "B"], ("A", "B"), True),
        (["A", "B"], ("B", "A"), False),
        (["A"], "A", False),
    ],
)
def test_words_are_compared_as_words(expected, obtained, holds):
    verdict = judge(claim(kind="qualitative", expected=expected), obtained).verdict
    assert (verdict is Verdict.REPRODUCED) == holds


@pytest.mark.parametrize(
    ("obtained", "verdict"),
    [(2, Verdict.DIFFERS), (3, Verdict.FAILED), (4, Verdict.FAILED)],
)
def test_a_claim_that_differs_must_differ_as_it_says(obtained, verdict):
    """Were it obtained as expected after all, its entry would be out of date."""
    stated = claim(expected=3, obtained=2, status="differs", reason="Rounding.")
    assert judge(stated, obtained).verdict is verdict


def test_only_what_contradicts_its_claim_is_a_failure():
    failures = {verdict for verdict in Verdict if verdict.is_a_failure}
    assert failures == {Verdict.FAILED, Verdict.TOO_NOISY}
