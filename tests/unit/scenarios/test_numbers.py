"""Decimal texts are read as the fractions that they are."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.scenarios import exact_number


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9))
def test_a_decimal_keeps_every_digit(decimal):
    expected = 0 if float(decimal) == 0 else Fraction(decimal)
    assert exact_number(str(decimal)) == expected


@given(st.fractions())
def test_a_ratio_is_read_exactly(value):
    assert exact_number(f"{value.numerator}/{value.denominator}") == value


def test_ten_point_four_is_no_binary_fraction():
    assert exact_number("10.4") == Fraction(52, 5) != Fraction(10.4)


@pytest.mark.parametrize("text", ["0", "0.0", "-0", "1e-999999999"])
def test_what_double_precision_calls_zero_is_an_exact_zero(text):
    zero = exact_number(text)
    assert zero == 0
    assert isinstance(zero, Fraction)


def test_a_huge_exponent_costs_no_memory():
    assert exact_number("1e999999999") == math.inf


def test_nan_is_left_for_the_domain_checks():
    assert math.isnan(exact_number("nan"))


@pytest.mark.parametrize("text", ["", "abc", "1/0", "1/2/3", "0x10"])
def test_other_texts_are_no_numbers(text):
    with pytest.raises(ValueError, match=r"."):
        exact_number(text)
