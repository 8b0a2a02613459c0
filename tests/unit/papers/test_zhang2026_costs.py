"""Costs of the exclusive-batching paper: roots are roots, and the engine has these costs."""

import math

import pytest

from paper_repro.zhang2026 import fig_crossover, fig_simulated, fig_token_cost, table_controller
from paper_repro.zhang2026.calibration import GPUS, H200, TRAFFIC, compared


@pytest.mark.parametrize("name", list(GPUS))
def test_mixing_is_dearer_than_decoding_from_the_root_on(name):
    costs = GPUS[name]
    share = fig_token_cost._crossing(costs)
    decode = float(costs.decode_per_request)
    assert costs.mixed_token_seconds(share) == pytest.approx(decode, rel=1e-12)
    assert costs.mixed_token_seconds(share * 0.99) < decode
    assert costs.mixed_token_seconds(share * 1.01) > decode


@pytest.mark.parametrize("name", list(GPUS))
def test_both_kinds_of_batches_serve_the_same_at_the_crossover(name):
    slots = fig_crossover._crossover(GPUS[name])
    exclusive, mixed = compared(GPUS[name], TRAFFIC, slots=slots)
    assert exclusive == pytest.approx(mixed, rel=1e-9)
    exclusive, mixed = compared(GPUS[name], TRAFFIC, slots=2 * slots)
    assert exclusive > mixed


def test_the_step_time_of_the_engine_is_that_of_the_costs():
    law = fig_simulated._step_time(8192, 128)
    assert law(700, 0) == pytest.approx(H200.prefill_base + H200.prefill_per_token * 700)
    assert law(0, 77) == pytest.approx(H200.decode_base + H200.decode_per_request * 77)
    for prefill, decode in ((512, 100), (1024, 127), (700, 60), (300, 3)):
        exact = fig_simulated._batch_seconds(prefill, decode)
        assert law(prefill, decode) == pytest.approx(exact, rel=2e-3)


def test_the_implied_capacity_is_the_least_that_allows_the_slots():
    hazard, slots = 0.000475, 318
    capacity = table_controller._capacity(hazard, slots)
    assert math.floor(table_controller._slots(hazard, capacity + 1).published) == slots
    assert math.floor(table_controller._slots(hazard, capacity - 5).published) == slots - 1
