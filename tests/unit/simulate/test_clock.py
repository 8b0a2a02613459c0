"""Simulated time in whole ticks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.simulate._clock import Clock
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

LAWS = {
    "staircase": StaircaseStepTime(0.01128, 0.03547, 128),
    "affine": AffineStepTime(base=0.01, per_token=5e-5, per_kv_token=1e-7),
    "grid": TableStepTime.of_batches(
        [0, 64], [0, 64], [0, 9000], np.arange(1, 9).reshape(2, 2, 2)
    ),
}


def clock_of(law, **choices):
    return Clock.of(Engine(step_time=law, token_budget=64), **choices)


@pytest.mark.parametrize("name", LAWS)
@given(prefill=st.integers(0, 40), decode=st.integers(0, 24), kv=st.integers(0, 9000))
def test_a_batch_lasts_its_step_time_to_the_tick(name, prefill, decode, kv):
    """Two terms are rounded apart, so up to one nanosecond is lost."""
    if prefill + decode == 0:
        return
    seconds = float(LAWS[name](prefill, decode, kv))
    assert abs(clock_of(LAWS[name]).step_ticks(prefill, decode, kv) - seconds * 1e9) <= 1.001


def test_times_are_rounded_to_the_nearest_tick():
    clock = clock_of(LAWS["staircase"])
    assert clock.ticks([0, 1.4e-9, 1.6e-9, 0.4675]).tolist() == [0, 1, 2, 467_500_000]
    assert clock.ticks(0.25).dtype == np.int64


def test_a_tick_that_would_distort_a_step_is_refused():
    with pytest.raises(InvalidArgument, match=r"tick must be at most 2e-6 .* got tick=0\.001"):
        clock_of(LAWS["staircase"], tick=1e-3)
    assert clock_of(LAWS["staircase"], tick=1e-8).step_ticks(1, 0, 0) == 4_675_000


@pytest.mark.parametrize("seconds", [1e10, np.nan, np.inf])
def test_times_beyond_the_clock_are_refused(seconds):
    with pytest.raises(InvalidArgument, match="times must stay below"):
        clock_of(LAWS["staircase"]).ticks([0.0, seconds])
