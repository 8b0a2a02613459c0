"""Watching an engine step by step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies import check_batch

STEP = ql.StaircaseStepTime(0, 1, 4)


def watched(arrivals, prompts, outputs, *, policy=ql.SARATHI, budget=4, horizon=99.0, **limits):
    engine = ql.Engine(step_time=STEP, token_budget=budget, **limits)
    load = ql.Workload.of_requests(arrivals, prompt_tokens=prompts, output_tokens=outputs)
    return list(ql.watch(engine, load, policy=policy, horizon=horizon))


def test_every_step_shows_what_the_policy_saw():
    first, second, *_ = watched([0, 0], [3, 2], [2, 1])
    assert first.state.prompt_left.tolist() == [3, 2]
    assert first.batch.tokens.tolist() == [3, 1]
    assert second.state.prompt_left.tolist() == [0, 1]
    assert second.state.stored.tolist() == [3, 1]
    assert (second.start, second.end, second.kv_tokens) == (10**9, 2 * 10**9, 3)
    assert not second.preempted.any()


def test_an_arrival_at_the_end_of_a_batch_joins_the_next_one():
    on_time, late = (
        [step.start for step in watched([0, second], [4, 4], [0, 0], horizon=9.0)]
        for second in (1.0, 1.5)
    )
    assert on_time == [0, 10**9]
    assert late == [0, 1_500_000_000]


def test_nothing_starts_at_or_after_the_horizon():
    assert [s.start for s in watched([0], [20], [0], horizon=3.0)] == [0, 10**9, 2 * 10**9]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6),
    name=st.sampled_from(sorted(ql.POLICIES)),
    emits=st.booleans(),
)
def test_residents_are_always_the_oldest_requests(sizes, name, emits):
    """The states that the contracts are tested on are those that an engine reaches."""
    prompts, outputs = zip(*sizes, strict=True)
    capacity = max(p + d for p, d in sizes) + 3
    rule = ql.policy_named(f"{name}:chunked")
    steps = watched(
        range(len(sizes)), prompts, outputs, policy=rule, budget=6, kv_capacity=capacity,
        max_batch_size=3, first_token_from_prefill=emits,
    )  # fmt: skip
    for step in steps:
        stored, left = step.state.stored, step.state.prompt_left
        residents = int((stored > 0).sum())
        assert (stored[:residents] > 0).all()
        assert ((left > 0) & (stored > 0)).sum() <= 1
        assert (left[: max(0, residents - 1)] == 0).all()
        check_batch(step.state, step.batch)
    assert (
        steps[-1].batch.tokens.sum()
        == (steps[-1].state.prompt_left + steps[-1].state.decode_left).sum()
    )


def test_a_horizon_that_is_not_positive_is_refused():
    with pytest.raises(ql.InvalidArgument, match="horizon must be"):
        watched([0], [1], [1], horizon=0)
