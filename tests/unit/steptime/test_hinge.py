"""The hinge law: its two regimes."""

from fractions import Fraction

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import HingeStepTime


def rates(step, most_tokens):
    batches = zip(*step.candidate_batches(most_tokens), strict=True)
    return {int(x + y): (x + y) / step(x, y, kv) for x, y, kv in batches}


def test_rate_rises_when_the_floor_outweighs_the_knee():
    step = HingeStepTime(floor=0.0455, per_token=0.0003, knee=64)
    assert step(64) == 0.0455
    assert step(512) == pytest.approx(0.1799, rel=1e-12)
    by_tokens = rates(step, 512)
    assert max(by_tokens, key=by_tokens.get) == 512
    assert by_tokens[512] == pytest.approx(2846.0255697609784, rel=1e-12)


def test_rate_peaks_at_the_knee_when_the_slope_is_steep():
    step = HingeStepTime(floor=0.01, per_token=0.0003, knee=64)
    by_tokens = rates(step, 512)
    assert max(by_tokens, key=by_tokens.get) == 64
    assert by_tokens[64] == pytest.approx(6400, rel=1e-12)
    assert by_tokens[512] == pytest.approx(3545.7063711911356, rel=1e-12)


def test_fractions_stay_exact():
    step = HingeStepTime(Fraction(1, 100), Fraction(3, 10_000), Fraction(129, 2))
    assert step(40, 25) == Fraction(1, 100) + Fraction(3, 20_000)
    assert step.kv_slope == 0


def test_decodes_on_the_floor_still_read_their_caches():
    step = HingeStepTime(Fraction(1, 100), Fraction(3, 10_000), 64, Fraction(1, 10**7))
    assert step.kv_slope == Fraction(1, 10**7)
    assert step(0, 32, 40_000) == Fraction(1, 100) + Fraction(4, 1000)
    assert step(100, 32, 40_000) == step(132) + Fraction(4, 1000)


@pytest.mark.parametrize(
    "change",
    [
        {"floor": 0},
        {"per_token": -1e-9},
        {"knee": -1},
        {"knee": False},
        {"per_kv_token": -1e-9},
    ],
)
def test_parameters_outside_their_domain(change):
    ((name, value),) = change.items()
    with pytest.raises(InvalidArgument, match=f"{name} must be .* got {name}={value}"):
        HingeStepTime(**{"floor": 0.01, "per_token": 0.0003, "knee": 64} | change)
