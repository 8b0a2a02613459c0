"""The arrays of the compiled network: tournaments and rows in lines of the cache."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.simulate.networks._kernel import NEVER, replay
from queueing_llm.simulate.networks._tables import LINE, aligned, tournament

some_times = st.integers(0, 4) | st.sampled_from([NEVER - 1, NEVER])


@given(st.lists(some_times, min_size=1, max_size=9), st.data())
def test_a_tournament_finds_the_first_of_the_earliest(times, data):
    nodes, winner = tournament(np.array(times))
    for _ in range(12):
        assert nodes[1] == min(times)
        assert winner[1] == times.index(min(times))
        leaf = data.draw(st.integers(0, len(times) - 1))
        times[leaf] = data.draw(some_times)
        replay(nodes, winner, leaf, times[leaf])


def test_nobody_takes_part():
    nodes, _ = tournament(np.zeros(0, dtype=np.int64))
    assert nodes[1] == NEVER


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_rows_begin_at_a_line_of_the_cache(rows):
    block = aligned(rows, 8)
    assert block.shape == (rows, 8)
    assert block.flags.c_contiguous
    assert not block.any()
    assert block.ctypes.data % LINE == 0
