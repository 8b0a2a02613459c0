"""The queue recursion of ``fig_flow_control`` in one pass, against its loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.dong2026 import fig_flow_control


@given(st.lists(st.lists(st.integers(0, 9), min_size=12, max_size=12), min_size=1, max_size=3))
def test_the_queues_are_those_of_the_loop(arrivals):
    found = fig_flow_control._waiting(np.array(arrivals))
    for row, expected in zip(arrivals, found, strict=True):
        queue = 0
        for count, waiting in zip(row, expected, strict=True):
            queue = max(0, queue + count - fig_flow_control.BUDGET)
            assert queue == waiting
