"""What the figures on WAIT compute by themselves, against slower or other routes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from paper_repro.ao2025.engines import alike, engine_with, fitted_engine, kinds, lifetime
from paper_repro.ao2025.fig_eviction_cycle import ARRIVALS, DECODES, PROMPTS, SLOTS, _as_told
from paper_repro.ao2025.fig_nested_wait import FIRST, PASSING, SECOND, _queue_left


@given(st.integers(1, 40), st.integers(0, 40))
def test_a_lifetime_is_the_sum_over_stages(prompt, output):
    assert lifetime(prompt, output) == sum(prompt + s for s in range(output + 1))


@settings(max_examples=40)
@given(st.integers(1, 600), st.integers(1, 300), st.integers(1, 88))
def test_the_fitted_memory_does_not_depend_on_the_lengths(prompt, output, rate):
    one = ql.wait_equilibrium(fitted_engine(prompt, output), alike(rate, prompt, output))
    other = ql.wait_equilibrium(fitted_engine(7, 3), alike(rate, 7, 3))
    assert one.memory_tokens == other.memory_tokens
    longer = ql.wait_equilibrium(fitted_engine(7, 3), alike(rate, 7, 4))
    assert longer is None or longer.memory_tokens > other.memory_tokens, "control"


def test_a_batch_takes_d0_and_d1_for_each_cached_token():
    """Two prompts of 8 and a decode at progress 3 hold 8 + 8 + 11 tokens."""
    law = engine_with(Fraction(1, 2), Fraction(1, 4), kv_capacity=None).step_time
    assert law(16, 1, 10) == Fraction(1, 2) + Fraction(27, 4)


def test_kinds_without_arrivals_are_left_out():
    load = kinds({(8, 4): 2, (8, 10): 0})
    assert [requests.name for requests in load.classes] == ["8+4"]


def test_the_example_as_told_keeps_its_books():
    done, evicted = _as_told(50)
    assert done[:4] == [3, 4, 3, 3]
    assert evicted[:2] == [0, 2]
    waiting, decoding = PROMPTS, DECODES
    for served, lost in zip(done, evicted, strict=True):
        admitted = min(waiting, SLOTS)
        assert admitted + 2 * served <= SLOTS
        assert served == decoding - lost
        assert lost == 0 or admitted + 2 * (served + 1) > SLOTS, "nobody is evicted in vain"
        waiting, decoding = waiting - admitted + lost + ARRIVALS, admitted
    assert waiting + decoding == PROMPTS + DECODES + 50 * ARRIVALS - sum(done)


def test_the_stationary_queue_is_what_the_recursion_settles_at():
    rng = np.random.default_rng(1)
    brought = rng.binomial(FIRST, float(PASSING), size=(400, 2_000))
    left = np.zeros(2_000, dtype=int)
    for batch in brought:
        left += batch
        left -= SECOND * (left >= SECOND)
    chain = _queue_left()
    assert chain.sum() == pytest.approx(1)
    assert (chain > -1e-12).all()
    mean, error = left.mean(), left.std() / np.sqrt(len(left))
    assert abs(mean - np.arange(len(chain)) @ chain) < 4 * error
    assert abs(mean - 1.5) > 4 * error, "control: the mean of one batch"
