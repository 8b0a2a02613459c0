"""The admission rules of the pacing figure: what they promise, on small engines."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from paper_repro.nie2026.fig_pacing import look_ahead, paced_policy
from paper_repro.nie2026.table_mixture import gap_percent
from paper_repro.nie2026.workloads import WORKLOADS, word_for

STEP = ql.AffineStepTime(base=1, per_token=1)
requests = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9)), min_size=1, max_size=12)


def steps_of(policy, wanted, *, slots, budget=64, batches=200):
    prompts, outputs = zip(*wanted, strict=True)
    engine = ql.Engine(step_time=STEP, token_budget=budget, kv_capacity=slots)
    load = ql.Workload.of_requests(
        [0] * len(wanted), prompt_tokens=list(prompts), output_tokens=list(outputs)
    )
    watched = ql.watch(engine, load, policy=policy, horizon=10**6)
    return list(itertools.islice(watched, batches))


@settings(max_examples=60, deadline=None)
@given(requests, st.integers(15, 40), st.integers(16, 64))
def test_look_ahead_serves_everybody_and_never_overflows(wanted, slots, budget):
    steps = steps_of(look_ahead, wanted, slots=slots, budget=budget)
    assert not any(step.preempted.any() for step in steps)
    served = sum(int(step.batch.tokens.sum()) for step in steps)
    assert served == sum(prompt + output for prompt, output in wanted)
    for step in steps:
        residents = step.state.prompt_left == 0
        assert (step.batch.tokens[residents] == 1).all()


def test_look_ahead_admits_all_that_the_next_batches_can_hold():
    """Of 3 + 2 tokens 4 fit for life in 20 slots; 6 fit now, and must be evicted."""
    wanted = [(3, 2)] * 8
    first = steps_of(look_ahead, wanted, slots=20)[0]
    assert np.count_nonzero(first.batch.tokens) == 4
    greedy = steps_of(ql.VLLM_V1, wanted, slots=20)
    assert np.count_nonzero(greedy[0].batch.tokens) == 6
    assert any(step.preempted.any() for step in greedy)


@pytest.mark.parametrize("every", [2, 3, 7])
def test_pacing_admits_one_prompt_every_so_many_batches(every):
    policy = paced_policy(every)
    wanted = [(100, 30)] * 40
    steps = steps_of(policy, wanted, slots=10_000, budget=512, batches=60)
    admitted = [int((step.batch.tokens == 100).sum()) for step in steps]
    assert admitted == [int(i % every == 0) for i in range(60)]
    assert all((step.batch.tokens[step.state.prompt_left == 0] == 1).all() for step in steps)


def test_gaps_are_relative_to_the_measurement():
    assert gap_percent(5, 4) == 25
    assert gap_percent(3, 4) == 25


@given(st.floats(0.01, 10))
def test_words_agree_with_the_threshold(rate):
    found = WORKLOADS[1].threshold()
    word = word_for(rate, found)
    assert (word == "UNSTABLE") == (rate > found.unstable_above)
    assert (word == "STABLE") == (rate < found.stable_below)
