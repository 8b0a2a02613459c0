"""The fluid server behind the lower bound on every backlog, against its obvious twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.dai2025.table_lower_bound import LENGTHS, fluid_backlog

GAPS = st.lists(st.floats(0, 3), min_size=1, max_size=12)


def event_by_event(times: np.ndarray, at: float, *, rate: float) -> float:
    """Serve at a constant rate from arrival to arrival, and stop when nothing is left."""
    backlog, now = 0.0, 0.0
    for time in times[times <= at]:
        backlog = max(0.0, backlog - rate * (time - now)) + sum(LENGTHS)
        now = time
    return max(0.0, backlog - rate * (at - now))


@given(GAPS, st.lists(st.floats(0, 40), min_size=1, max_size=8), st.floats(1, 2000))
def test_reflection_is_what_serving_event_by_event_gives(gaps, at, rate):
    times = np.cumsum(gaps)
    found = fluid_backlog(times, np.array(at), rate=rate)
    assert found == pytest.approx(
        [event_by_event(times, time, rate=rate) for time in at], abs=1e-6
    )


def test_a_request_counts_from_the_time_of_its_arrival():
    before, then = fluid_backlog(np.array([1.0]), np.array([0.999, 1.0]), rate=100.0)
    assert (before, then) == (0.0, sum(LENGTHS))
