"""Declared domains: what passes, what is refused, and what the refusal says."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm._validate import (
    Domain,
    Real,
    Seconds,
    Tokens,
    TokensOrZero,
    check,
    domains,
    is_symbolic,
    validate,
)
from queueing_llm.errors import InvalidArgument, nearest


@dataclass(frozen=True)
class Model:
    """A model with one field of each kind."""

    wait: Seconds
    size: Annotated[int | None, Domain("n", "tokens", at_least=2, integer=True, optional=True)]
    share: Annotated[Real, Domain("q", "1", at_least=0, at_most=1)] = 1
    label: str = "unchecked"


@pytest.mark.parametrize("value", [np.int64(3), np.int32(3), np.float64(2.5)])
def test_scalars_of_numpy_become_python_numbers(value):
    """Beside a Fraction, an integer of fixed width would overflow."""
    model = Model(wait=value, size=None)
    validate(model)
    assert type(model.wait) in (int, float)
    assert model.wait == value


@pytest.mark.parametrize("value", [10**400, Fraction(10**400, 3)])
def test_numbers_beyond_double_precision_are_refused(value):
    with pytest.raises(InvalidArgument, match="must be a finite number"):
        check(value, "wait", Seconds)


@pytest.mark.parametrize(
    "value", [1, 0.5, Fraction(1, 3), np.float64(2), np.int64(3), sympy.Rational(1, 3)]
)
def test_every_kind_of_real_number_is_a_time(value):
    check(value, "wait", Seconds)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0, -1, "1", None, 1j, True])
def test_what_is_not_a_positive_time_is_refused_by_name_and_value(value):
    with pytest.raises(InvalidArgument) as caught:
        check(value, "wait", Seconds)
    assert str(caught.value) == f"wait must be a finite number above 0 [s], got wait={value!r}."


@pytest.mark.parametrize(
    "value", [0, -3, 1.0, 2.5, np.float64(3), True, np.bool_(1), None, "3"]
)
def test_tokens_are_positive_integers(value):
    with pytest.raises(InvalidArgument, match="size must be an integer at least 1"):
        check(value, "size", Tokens)


@given(st.integers(1, 2**60))
def test_integers_of_python_and_numpy_count_tokens(value):
    check(value, "size", Tokens)
    check(np.int64(value), "size", Tokens)
    check(value - 1, "size", TokensOrZero)


def test_a_symbol_passes_until_it_is_a_number():
    check(sympy.Symbol("t"), "wait", Seconds)
    with pytest.raises(InvalidArgument, match="got wait=-1"):
        check(sympy.Integer(-1), "wait", Seconds)
    assert is_symbolic(sympy.Symbol("t"))
    assert not is_symbolic(Fraction(1, 2))


def test_only_declared_fields_are_checked():
    assert list(domains(Model)) == ["wait", "size", "share"]
    validate(Model(wait=1, size=None, label=None))
    for broken in ({"wait": 0}, {"size": 1}, {"share": 2}, {"share": -1e-9}):
        with pytest.raises(InvalidArgument, match=f"{next(iter(broken))} must be"):
            validate(Model(**{"wait": 1, "size": 2, **broken}))


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Domain("x", "1"), "a finite number"),
        (Domain("x", "s", above=0, at_most=9), "a finite number above 0 and at most 9 [s]"),
        (Domain("n", "1", at_least=2, integer=True), "an integer at least 2"),
        (Domain("n", "tokens", integer=True, optional=True), "an integer [tokens] or None"),
    ],
)
def test_a_domain_says_what_it_accepts(domain, text):
    assert str(domain) == text


@pytest.mark.parametrize(
    ("word", "clause"),
    [
        ("sarath", "did you mean 'sarathi'? Accepted: 'orca', 'sarathi'"),
        ("xyz", "accepted: 'orca', 'sarathi'"),
    ],
)
def test_the_nearest_word_is_suggested_only_when_one_is_near(word, clause):
    assert nearest(word, {"sarathi", "orca"}) == clause


def test_an_invalid_argument_is_a_value_error_of_this_package():
    with pytest.raises(ValueError, match="wait"):
        check(0, "wait", Seconds)
