"""Activation budgets: published figures, simulation, and their limits."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability import kv_lifetime
from queueing_llm.stability.memory._chunked_lifetime import decode_lifetime
from queueing_llm.stability.memory._flow_control import flow_control

SHAPES = [(10, 20), (10, 40), (10, 60)]
BUDGETS = [4, 4, 4]


def test_the_published_example():
    """Three classes of arXiv:2604.11001; prompts take no batch of their own there."""
    lifetimes = [decode_lifetime(*shape) for shape in SHAPES]
    assert lifetimes == [410, 1220, 2430]
    found = flow_control(lifetimes, BUDGETS, arrivals_per_batch=[5] * 3, kv_capacity=16_492)
    assert (found.peak_tokens, found.fits, found.is_stable) == (16_240, True, False)
    assert sum(found.growth) == 3
    assert float(5 / found.memory_load) == pytest.approx(4.062068965517241, rel=1e-14)
    below = flow_control(lifetimes, BUDGETS, arrivals_per_batch=[3.9] * 3, kv_capacity=16_492)
    assert below.is_stable
    assert below.growth == (0, 0, 0)


def test_the_peak_is_reached_and_not_passed():
    """A saturated engine: as many requests of each age as the budgets allow, no eviction."""
    engine = ql.Engine(
        step_time=ql.AffineStepTime(1, 0), token_budget=16_492, kv_capacity=16_492
    )
    lifetimes = [
        kv_lifetime(engine, ql.Workload.poisson(1, prompt_tokens=l, output_tokens=o))
        for l, o in SHAPES
    ]
    found = flow_control(lifetimes, BUDGETS, arrivals_per_batch=[5] * 3, kv_capacity=16_492)
    lengths = [ql.EmpiricalLengths([l], [o]) for l, o in SHAPES]
    classes = [ql.RequestClass(str(k), law) for k, law in enumerate(lengths)]
    load = ql.Workload(ql.PoissonArrivals(15), classes)

    def budgeted(state):
        tokens = np.where(state.prompt_left == 0, 1, 0)
        for k, budget in enumerate(BUDGETS):
            waiting = np.flatnonzero((state.prompt_left > 0) & (state.class_index == k))
            tokens[waiting[:budget]] = state.prompt_left[waiting[:budget]]
        return ql.Batch(tokens)

    steps = list(ql.watch(engine, load, policy=budgeted, horizon=250, seed=1))
    held = [int((step.state.stored + step.batch.tokens).sum()) for step in steps]
    assert max(held) == found.peak_tokens == 16_360
    present = [len(step.state.request) for step in steps]
    growth = (present[-1] - present[100]) / (len(steps) - 101)
    error = np.sqrt(15 / (len(steps) - 101))
    assert abs(growth - float(sum(found.growth))) < 4 * error


@given(
    st.lists(
        st.tuples(st.integers(1, 99), st.integers(0, 9), st.fractions(0, 9, max_denominator=9)),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 2000),
)
def test_stable_budgets_are_within_what_is_necessary(classes, slots):
    lifetimes, budgets, arrivals = map(list, zip(*classes, strict=True))
    found = flow_control(lifetimes, budgets, arrivals_per_batch=arrivals, kv_capacity=slots)
    if found.is_stable:
        assert found.memory_load < 1
        assert not any(found.growth)
    assert found.fits == (found.peak_tokens <= slots)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lifetimes": [3]}, r"one entry for each class, got \[3\], "),
        ({"lifetimes": 3}, "one entry for each class, got 3, "),
        ({"lifetimes": [3, 0]}, r"lifetimes\[1\] must be"),
        ({"budgets": [1, -1]}, r"budgets\[1\] must be"),
        ({"arrivals_per_batch": [1, -1]}, r"arrivals_per_batch\[1\] must be"),
        ({"kv_capacity": 0}, "kv_capacity must be"),
    ],
)
def test_bad_input_is_named(change, message):
    sound = {
        "lifetimes": [3, 3],
        "budgets": [1, 1],
        "arrivals_per_batch": [Fraction(1, 2)] * 2,
        "kv_capacity": 9,
    }
    with pytest.raises(ql.InvalidArgument, match=message):
        flow_control(**{**sound, **change})
