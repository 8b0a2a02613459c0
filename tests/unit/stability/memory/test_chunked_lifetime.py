"""What a request holds over its batches: three sums, against counting."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability.memory._chunked_lifetime import (
    full_chunk_lifetime,
    least_lifetime,
    lifetime_demand,
)

lengths = {
    "prompt": st.integers(1, 60),
    "output": st.integers(0, 30),
    "chunk": st.integers(1, 70),
}


def counted(prompt, output, chunk, *, short_first):
    """Add up the slots batch by batch."""
    held, total = 0, 0
    while held < prompt:
        left = prompt - held
        held += (left % chunk or chunk) if short_first else min(chunk, left)
        total += held
    return total + sum(prompt + j for j in range(1, output + 1))


def test_the_published_lifetime():
    """arXiv:2605.04595: 1536 + 262144 + 32896."""
    for formula in (lifetime_demand, least_lifetime, full_chunk_lifetime):
        assert formula(1024, 256, chunk=512) == 296_576


@given(**lengths)
def test_the_sums_are_counts_and_are_ordered(prompt, output, chunk):
    formula = lifetime_demand(prompt, output, chunk=chunk)
    least = least_lifetime(prompt, output, chunk=chunk)
    full = full_chunk_lifetime(prompt, output, chunk=chunk)
    assert least == counted(prompt, output, chunk, short_first=True)
    assert full == counted(prompt, output, chunk, short_first=False)
    assert formula <= least <= full <= formula + prompt * (1 - Fraction(1, chunk))
    assert (formula == least) == (prompt % chunk == 0)


@given(prompt=st.integers(1, 12), output=st.integers(1, 8), chunk=st.integers(1, 14))
def test_a_lone_request_holds_what_full_chunks_say(prompt, output, chunk):
    """The simulator, with a budget of one chunk."""
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=chunk)
    alone = ql.Workload.of_requests([0], prompt_tokens=[prompt], output_tokens=[output])
    steps = ql.watch(engine, alone, policy=ql.SARATHI, horizon=100)
    held = sum(int((step.state.stored + step.batch.tokens).sum()) for step in steps)
    assert held == full_chunk_lifetime(prompt, output, chunk=chunk)


def test_arrays_and_symbols():
    prompts, outputs = np.array([1024, 700]), np.array([256, 0])
    assert full_chunk_lifetime(prompts, outputs, chunk=512).tolist() == [296_576, 1212]
    assert least_lifetime(prompts, outputs, chunk=512).tolist() == [296_576, 888]
    s, o, c = sympy.symbols("s o c", positive=True)
    formula = lifetime_demand(s, o, chunk=c)
    assert sympy.expand(formula - (s * (1 + s / c) / 2 + s * o + o * (1 + o) / 2)) == 0


@pytest.mark.parametrize(
    ("prompt", "output", "chunk", "name"),
    [
        (0, 1, 8, "prompt"),
        (1, -1, 8, "output"),
        (1, 1, 0, "chunk"),
        (float("nan"), 1, 8, "prompt"),
    ],
)
def test_lengths_out_of_range_are_refused(prompt, output, chunk, name):
    with pytest.raises(ql.InvalidArgument, match=f"{name} must be at least"):
        lifetime_demand(prompt, output, chunk=chunk)
