"""Values as text."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.reproduce import words
from queueing_llm.simulate import Estimate


@given(st.decimals(-1000, 1000, places=4))
def test_decimals_are_written_as_they_were(number):
    assert Fraction(words(Fraction(number)).replace(",", "")) == Fraction(number)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (False, "no"),
        (34377, "34,377"),
        (Fraction(1, 3), "1/3"),
        (Fraction(10**9 + 1, 3 * 10**8), "3.33333"),
        ("p/q", "p/q"),
        (((1, 2), "x"), "1; 2; x"),
        (Estimate(12345.678, 210.0, 4, "replications"), "12,346 ± 210"),
        (Estimate(0.5, float("nan"), 1, "replications"), "0.5 ± nan"),
    ],
)
def test_values_are_written_with_as_many_digits_as_mean_something(value, text):
    assert words(value) == text
