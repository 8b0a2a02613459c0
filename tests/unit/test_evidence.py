"""What an answer says about itself."""

from fractions import Fraction

import pytest

from queueing_llm.evidence import Capacity, CriticalRate, Evidence, Status, Verdict


def verdict(*, rate, critical):
    ceiling = Capacity(Fraction(8), Fraction(80), (4, 0), is_attained=True, basis="given")
    own = CriticalRate(critical, critical or 0, critical or 8, Evidence.NUMERICAL, "given")
    return Verdict(
        status=Status.UNDECIDED,
        evidence=Evidence.NONE,
        policy="any",
        arrival_rate=rate,
        critical_rate=own,
        capacity=ceiling,
        growth=None,
        reason="given",
    )


def test_grades_are_listed_strongest_first():
    assert [grade.value for grade in Evidence] == [
        "proved",
        "theorem",
        "numerical",
        "simulated",
        "none",
    ]


@pytest.mark.parametrize(
    ("rate", "margin"), [(3, Fraction(1, 4)), (4, 0), (5, Fraction(-1, 4))]
)
def test_the_margin_is_the_share_of_the_own_critical_rate_that_is_left(rate, margin):
    answer = verdict(rate=Fraction(rate), critical=Fraction(4))
    assert answer.margin == margin
    assert answer.load == Fraction(rate, 8)


@pytest.mark.parametrize("critical", [None, Fraction(0)])
def test_there_is_no_margin_to_a_rate_that_is_unknown_or_zero(critical):
    assert verdict(rate=Fraction(1), critical=critical).margin is None


def test_a_rate_known_exactly_is_its_own_interval():
    rate = CriticalRate.exactly(Fraction(1, 3), Evidence.THEOREM, basis="given")
    assert rate.low == rate.value == rate.high == Fraction(1, 3)
