"""The tables that stand for a trace keep its requests, its means and its order of sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.traces._tables import batch_table, cuts, gap_table, length_table


@given(count=st.integers(1, 5000), bins=st.integers(1, 64), least=st.integers(1, 8))
def test_cuts_leave_no_cell_with_too_few(count, bins, least):
    edges = cuts(count, bins, least=least)
    assert edges[0] == 0
    assert edges[-1] == count
    assert min(np.diff(edges)) >= min(least, count)


def test_cuts_get_finer_in_the_tail_only():
    sizes = np.diff(cuts(3200, 32)).tolist()
    assert sizes[:31] == [100] * 31
    assert sizes[31:-1] == sorted(sizes[31:-1], reverse=True)
    assert max(sizes[-3:]) <= 3


@given(st.integers(1, 2000), st.integers(0, 2**32 - 1))
def test_a_length_table_counts_every_request_and_keeps_the_means(count, seed):
    rng = np.random.default_rng(seed)
    prompt, output = 1 + rng.integers(0, 5000, count), 1 + rng.geometric(0.01, count)
    table = length_table(prompt, output)
    weights = np.array(table["weights"])
    assert weights.sum() == count
    assert weights.min() >= min(2, count)
    for tokens, recorded in (
        (table["prompt_tokens"], prompt),
        (table["output_tokens"], output),
    ):
        # Rounding moves each representative by at most half a token.
        assert abs(weights @ tokens / count - recorded.mean()) <= 0.5
        assert recorded.min() <= min(tokens)
        assert max(tokens) <= recorded.max()


@given(st.permutations(range(60)))
def test_a_length_table_does_not_depend_on_the_order_of_requests(order):
    prompt, output = np.arange(1, 61), np.arange(60, 0, -1) % 7 + 1
    assert length_table(prompt[order], output[order]) == length_table(prompt, output)


def test_equal_requests_make_equal_cells():
    table = length_table(np.full(1000, 129), np.full(1000, 112))
    assert set(table["prompt_tokens"]) == {129}
    assert set(table["output_tokens"]) == {112}


@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=300))
def test_a_gap_table_keeps_the_mean_gap(gaps):
    times = np.cumsum([0.0, *gaps])
    table = gap_table(times)
    assert sum(table["weights"]) == len(gaps)
    kept = float(np.dot(table["gaps"], table["weights"]))
    assert kept == pytest.approx(times[-1], rel=1e-9, abs=1e-9)
    assert table["gaps"] == sorted(table["gaps"])


def test_a_batch_table_counts_ticks_also_without_requests():
    times = np.array([0.0, 0.001, 3.002, 2.999, 3.0, 9.001])
    assert batch_table(times, interval=3) == {"sizes": [0, 1, 2, 3], "weights": [1, 1, 1, 1]}
