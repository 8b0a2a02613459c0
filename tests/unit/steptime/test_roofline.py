"""The roofline law and its hardware arithmetic."""

from fractions import Fraction

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import RooflineStepTime

A100 = {
    "weight_bytes": 14 * 10**9,
    "memory_bandwidth": Fraction(2039 * 10**9),
    "flops_per_token": 14 * 10**9,
    "peak_flops": Fraction(312 * 10**12),
}


def test_reading_the_weights_of_a_7b_model_on_an_a100():
    step = RooflineStepTime.from_hardware(
        weight_bytes=14e9, memory_bandwidth=2039e9, flops_per_token=14e9, peak_flops=312e12
    )
    assert step(1) == pytest.approx(6.866e-3, abs=5e-7)
    assert 1 / step(1) == pytest.approx(145.6, abs=0.05)


def test_arithmetic_takes_over_at_the_ridge():
    step = RooflineStepTime.from_hardware(**A100)
    ridge = Fraction(14 * 312 * 10**3, 2039 * 14)
    assert step(152) == Fraction(14, 2039) < step(154) == 154 * Fraction(14, 312_000)
    assert 152 < ridge < 154


def test_utilisation_and_overhead_lengthen_the_step():
    step = RooflineStepTime.from_hardware(
        **A100,
        kv_bytes_per_token=524_288,
        overhead=Fraction(1, 1000),
        memory_utilisation=Fraction(4, 5),
        compute_utilisation=Fraction(1, 2),
    )
    memory = (14 * 10**9 + 524_288 * 8000) / (Fraction(4, 5) * 2039 * 10**9)
    assert step(0, 8, 8000) == Fraction(1, 1000) + memory
    assert step(1000) == Fraction(1, 1000) + 1000 * Fraction(14, 156_000)


def test_kv_slope_exists_only_without_kv_cost():
    assert RooflineStepTime(0, 1, 1).kv_slope == 0
    assert RooflineStepTime(0, 1, 1, 1).kv_slope is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_bytes", -1),
        ("memory_bandwidth", 0),
        ("flops_per_token", 0),
        ("peak_flops", float("inf")),
        ("kv_bytes_per_token", -1),
        ("memory_utilisation", 1.01),
        ("compute_utilisation", 0),
        ("overhead", -1),
    ],
)
def test_hardware_outside_its_domain(name, value):
    with pytest.raises(InvalidArgument, match=f"{name} must be .* got {name}={value}"):
        RooflineStepTime.from_hardware(**A100 | {name: value})


def test_a_token_takes_time():
    with pytest.raises(InvalidArgument, match="per_token must be a finite number above 0"):
        RooflineStepTime(overhead=1, memory_seconds=1, per_token=0)
