"""The check of an optimum rejects whatever is moved by a billionth."""

from dataclasses import replace
from fractions import Fraction

import pytest

from queueing_llm.linear import exact_maximum, is_optimal

TINY = Fraction(1, 10**9)
OBJECTIVE = [3, 5]
PROGRAMME = {
    "rows": [[1, 0], [0, 2], [Fraction(3, 7), Fraction(2, 7)]],
    "bounds": [4, 12, Fraction(18, 7)],
}
OPTIMUM = exact_maximum(OBJECTIVE, **PROGRAMME)


def moved(values, place, by):
    return tuple(v + by * (i == place) for i, v in enumerate(values))


def test_the_optimum_is_accepted():
    assert OPTIMUM.value == 36
    assert OPTIMUM.point == (2, 6)
    assert OPTIMUM.multipliers == (0, Fraction(3, 2), 7)
    assert is_optimal(OPTIMUM, OBJECTIVE, **PROGRAMME)


@pytest.mark.parametrize("by", [TINY, -TINY])
@pytest.mark.parametrize(
    ("field", "place"),
    [("point", 0), ("point", 1), *(("multipliers", row) for row in range(3))],
)
def test_a_moved_coordinate_is_rejected(field, place, by):
    values = moved(getattr(OPTIMUM, field), place, by)
    worse = replace(OPTIMUM, **{field: values})
    assert not is_optimal(worse, OBJECTIVE, **PROGRAMME)


def test_a_point_that_is_feasible_but_worse_is_rejected_with_its_own_value():
    point = (OPTIMUM.point[0] - TINY, OPTIMUM.point[1])
    worse = replace(OPTIMUM, point=point, value=OPTIMUM.value - 3 * TINY)
    assert not is_optimal(worse, OBJECTIVE, **PROGRAMME)


def test_a_value_of_its_own_or_another_length_is_rejected():
    for wrong in (
        replace(OPTIMUM, value=OPTIMUM.value + TINY),
        replace(OPTIMUM, point=OPTIMUM.point[:1]),
        replace(OPTIMUM, multipliers=(*OPTIMUM.multipliers, Fraction(0))),
    ):
        assert not is_optimal(wrong, OBJECTIVE, **PROGRAMME)


def test_balanced_but_infeasible_pairs_are_rejected():
    """Equal values prove nothing where a sign, a row or a column fails."""
    ray = {"rows": [[1, -1]], "bounds": [0]}
    for point, multipliers in [
        ((Fraction(-1), Fraction(1)), (Fraction(1),)),
        ((Fraction(0), Fraction(0)), (Fraction(1),)),
        ((Fraction(0), Fraction(0)), (Fraction(-1),)),
    ]:
        claim = replace(OPTIMUM, value=Fraction(0), point=point, multipliers=multipliers)
        assert not is_optimal(claim, [1, 1], **ray)


def test_a_negative_multiplier_alone_is_rejected():
    """All else fits: the columns are covered and the values are equal, yet 1 is better."""
    claim = replace(
        OPTIMUM,
        value=Fraction(0),
        point=(Fraction(0),),
        multipliers=(Fraction(2), -Fraction(1)),
    )
    assert not is_optimal(claim, [1], rows=[[1], [1]], bounds=[1, 2])
