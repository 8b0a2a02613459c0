"""Multi-bin batching: exact throughputs, and what the policy does."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from paper_repro.guldogan2024.bins import (
    BATCH,
    LONGEST,
    MultiBinBatching,
    batch_tokens,
    engine,
    equal_bins,
    throughput,
    throughput_of_the_library,
)

cuts = st.sets(st.integers(1, LONGEST - 1), max_size=5).map(lambda c: (*sorted(c), LONGEST))


@given(shortest=st.integers(1, 40), values=st.integers(1, 40))
def test_the_longest_of_a_batch_has_its_mean_by_definition(shortest, values):
    chances = [Fraction(i, values) ** BATCH for i in range(values + 1)]
    mean = sum((shortest + i) * (chances[i + 1] - chances[i]) for i in range(values))
    assert batch_tokens(shortest, shortest + values - 1) == mean


@given(ends=cuts, extra=st.integers(1, LONGEST - 1))
def test_cutting_a_bin_in_two_never_lowers_the_throughput(ends, extra):
    finer = tuple(sorted({*ends, extra}))
    assert throughput(finer) >= throughput(ends)
    assert (throughput(finer) > throughput(ends)) == (finer != ends)
    assert throughput(ends) <= throughput(equal_bins(LONGEST))


@given(ends=cuts)
@settings(max_examples=10, deadline=None)
def test_the_critical_rates_of_the_library_give_the_same(ends):
    assert throughput_of_the_library(ends) == pytest.approx(float(throughput(ends)), rel=1e-12)


def batches(ends, lengths, gaps):
    """Return the groups of requests that the policy ran together, in order."""
    times = np.cumsum(gaps)
    load = ql.Workload.of_requests(
        times, prompt_tokens=np.ones(len(lengths), dtype=int), output_tokens=lengths
    )
    groups, steps = [], ql.watch(engine(), load, policy=MultiBinBatching(ends), horizon=1e3)
    for step in steps:
        served = step.state.request[step.batch.tokens > 0]
        if step.batch.prefill_tokens(step.state):
            assert not step.batch.decode_tokens(step.state), "a batch begins alone"
            groups.append(served.tolist())
        else:
            assert set(served) <= set(groups[-1])
            assert len(served) == len(step.state.decoding), "all that run are served"
    return groups


@given(data=st.data(), ends=cuts, count=st.integers(0, 120))
@settings(max_examples=40, deadline=None)
def test_batches_are_full_of_one_bin_and_first_come_first_served(data, ends, count):
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, LONGEST + 1, count)
    groups = batches(ends, lengths, rng.exponential(0.01, count)) if count else []
    bins = np.searchsorted(ends, lengths)
    for group in groups:
        assert len(group) == BATCH
        assert len({bins[i] for i in group}) == 1
    for i in range(len(ends)):
        own = np.flatnonzero(bins == i)
        served = [request for group in groups for request in group if bins[request] == i]
        assert served == own[: len(own) // BATCH * BATCH].tolist()


def test_the_batch_that_was_formed_first_runs_first():
    """Long requests come first, but the short ones fill their bin before them."""
    lengths = np.array([16] * 7 + [1] * 8 + [16])
    groups = batches((8, 16), lengths, np.zeros(16))
    assert groups == [list(range(7, 15)), [*range(7), 15]]


def test_a_bin_that_is_not_full_waits_for_ever():
    assert batches((16,), np.full(7, 3), np.zeros(7)) == []
