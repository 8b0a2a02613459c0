"""The affine law, with and without the KV term."""

from fractions import Fraction

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import AffineStepTime

EXACT = AffineStepTime(Fraction(1, 100), Fraction(5, 100_000), Fraction(1, 10**7))


def test_time_cost_of_a_request_at_full_batches():
    # v = c w / b + sum over its tokens of their own time, for p = d = 100 and b = 512; the
    # decode steps read 100, ..., 199 tokens of KV cache.
    own = EXACT(100, 0, 0) + sum(EXACT(0, 1, 100 + j) for j in range(100)) - 101 * EXACT(0)
    cost = EXACT(0) * Fraction(200, 512) + own
    assert cost == Fraction("0.01540125")
    assert float(1 / cost) == pytest.approx(64.92979465952439, rel=1e-12)


def test_kv_slope():
    assert EXACT.kv_slope == Fraction(1, 10**7)
    assert AffineStepTime(0.01, 5e-5).kv_slope == 0
    assert EXACT(300, 80, 9000) == EXACT(380) + EXACT.kv_slope * 9000


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ((-1, 1), "base must be a finite number at least 0 .s., got base=-1"),
        ((1, float("nan")), "per_token="),
        ((1, 1, -1), "per_kv_token must be .* got per_kv_token=-1"),
        (("1", 1), "base='1'"),
        ((0, 0, 1), "a batch would take no time"),
    ],
)
def test_parameters_outside_their_domain(parameters, words):
    with pytest.raises(InvalidArgument, match=words):
        AffineStepTime(*parameters)
