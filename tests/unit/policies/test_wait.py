"""WAIT and Nested WAIT, batch by batch: legal, as defined, blind to what they may not see."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies import check_batch
from queueing_llm.policies._wait import NestedWait, Wait
from tests.contracts.states import engine_states, state_of

thresholds = st.lists(st.integers(1, 3), min_size=3, max_size=3)
LIMITS = {"token_budget": 1_000}


def frozen(values):
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


@st.composite
def classed_states(draw, **choices):
    """Draw a state whose requests are of three classes."""
    state = draw(engine_states(**choices))
    size = len(state.request)
    classes = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    return replace(state, class_index=frozen(classes))


@st.composite
def common_prompt_states(draw, *, limits=True, prompt=4, longest=6):
    """Draw a state of requests with one prompt length and at most ``longest`` decode steps."""
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        total, left = draw(st.integers(1, longest)), draw(st.integers(0, prompt))
        done = draw(st.integers(0, total - 1)) if left == 0 else 0
        rows.append((left, total - done, prompt - left + done))
    prompt_left, decode_left, stored = zip(*rows, strict=True)
    needed = max(sum(stored), prompt + longest)
    return state_of(
        prompt_left=prompt_left,
        decode_left=decode_left,
        stored=stored,
        token_budget=draw(st.integers(1, 30)) if limits else 1_000,
        max_batch_size=draw(st.none() | st.integers(1, 8)) if limits else None,
        kv_capacity=draw(st.none() | st.integers(needed, needed + 20)) if limits else None,
    )


def members_of_wait(state, wanted):
    """Return whom WAIT serves without limits: the definition, request by request."""
    waiting = Counter(state.class_index[state.prompt_left > 0])
    taken, members = Counter(), set()
    for i in range(len(state.request)):
        j = int(state.class_index[i])
        stage = "prompt" if state.prompt_left[i] > 0 else int(state.decode_left[i])
        if waiting[j] >= wanted[j] and taken[j, stage] < wanted[j]:
            taken[j, stage] += 1
            members.add(i)
    return members


def members_of_nested_wait(state, policy):
    """Return whom Nested WAIT serves without limits, segment by segment."""
    begins = [-1, *policy.boundaries[:-1]]
    done = np.where(state.prompt_left > 0, -1, state.stored - policy.prompt_tokens)
    members = set()
    for begin, end, wanted in zip(begins, policy.boundaries, policy.thresholds, strict=True):
        if (done == begin).sum() < wanted:
            break
        for stage in range(begin, end):
            members |= set(np.flatnonzero(done == stage)[:wanted].tolist())
    return members


@given(state=classed_states(limits=False), wanted=thresholds)
def test_wait_serves_the_oldest_of_each_stage_of_classes_that_may_advance(state, wanted):
    state = replace(state, token_budget=1_000)
    tokens = Wait(wanted)(state).tokens
    assert set(np.flatnonzero(tokens).tolist()) == members_of_wait(state, wanted)
    served = tokens > 0
    np.testing.assert_array_equal(
        tokens[served], np.maximum(state.prompt_left, 1)[served], "whole prompts"
    )


@given(state=common_prompt_states(limits=False), wanted=thresholds)
def test_nested_wait_serves_the_largest_prefix_of_segments(state, wanted):
    policy = NestedWait(wanted, [2, 3, 6], prompt_tokens=4)
    tokens = policy(state).tokens
    assert set(np.flatnonzero(tokens).tolist()) == members_of_nested_wait(state, policy)


@given(state=classed_states(), wanted=thresholds)
def test_every_batch_of_wait_is_legal(state, wanted):
    policy = Wait(wanted)
    once, again = policy(state), policy(state)
    check_batch(state, once)
    np.testing.assert_array_equal(once.tokens, again.tokens)


@given(state=common_prompt_states(), wanted=thresholds)
def test_every_batch_of_nested_wait_is_legal(state, wanted):
    check_batch(state, NestedWait(wanted, [2, 3, 6], prompt_tokens=4)(state))


@given(state=common_prompt_states(), wanted=thresholds, seed=st.integers(0, 99))
def test_nested_wait_does_not_look_at_the_tokens_left(state, wanted, seed):
    policy = NestedWait(wanted, [2, 3, 6], prompt_tokens=4)
    left = np.random.default_rng(seed).integers(1, 50, len(state.request))
    other = replace(state, decode_left=frozen(left))
    np.testing.assert_array_equal(policy(state).tokens, policy(other).tokens)


def test_wait_does_look_at_them():
    """Control of the check above: a stage of WAIT is told by the decode steps left."""
    state = state_of(prompt_left=[0, 0, 4], decode_left=[2, 2, 2], stored=[5, 5, 0], **LIMITS)
    other = replace(state, decode_left=frozen([2, 3, 2]))
    assert Wait([1])(state).tokens.tolist() == [1, 0, 4]
    assert Wait([1])(other).tokens.tolist() == [1, 1, 4]


@given(state=classed_states(), wanted=thresholds)
def test_victims_are_newer_than_all_that_stay_and_pay_for_somebody(state, wanted):
    batch = Wait(wanted)(state)
    if batch.preempted is None or not batch.preempted.any():
        return
    first = int(np.argmax(batch.preempted))
    assert batch.tokens.any()
    assert not batch.tokens[first:].any()
    assert batch.preempted[first:][state.stored[first:] > 0].all()
    served = replace(state, kv_capacity=None)
    held = state.stored + Wait(wanted)(served).tokens
    assert held[: first + 1].sum() > state.kv_capacity


def test_an_engine_that_cannot_fit_anything_new_waits_with_its_residents():
    """Nobody is preempted for an empty batch."""
    state = state_of(
        prompt_left=[0, 5], decode_left=[3, 1], stored=[6, 0], kv_capacity=8, **LIMITS
    )
    other = replace(state, class_index=frozen([0, 1]))
    batch = Wait([1, 1])(other)
    assert not batch.tokens.any()
    assert not batch.preempted.any()


def test_prompts_that_exceed_the_budget_all_start():
    state = state_of(
        prompt_left=[0, 5, 5, 5], decode_left=[3] * 4, stored=[6, 0, 0, 0], token_budget=8
    )
    assert Wait([3])(state).tokens.tolist() == [1, 5, 1, 1]
    assert Wait([4])(state).tokens.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("bad", [[], [0], [1.5], [2, -1], 3, [True]])
def test_thresholds_must_be_positive_integers(bad):
    with pytest.raises(ql.InvalidArgument, match="thresholds"):
        Wait(bad)


@pytest.mark.parametrize("bad", [[2, 2], [3, 1], [1], [1, 2, 3]])
def test_boundaries_must_increase_with_one_for_each_threshold(bad):
    with pytest.raises(ql.InvalidArgument, match="boundaries must increase, one for each"):
        NestedWait([2, 1], bad, prompt_tokens=4)


def test_requests_outside_the_model_are_refused():
    state = state_of(prompt_left=[0], decode_left=[1], stored=[9], **LIMITS)
    with pytest.raises(ql.InvalidArgument, match="at most 3 decode steps, got request 3"):
        NestedWait([1], [3], prompt_tokens=6)(state)
    with pytest.raises(ql.InvalidArgument, match="must have prompts of prompt_tokens=10"):
        NestedWait([1], [3], prompt_tokens=10)(state)
    with pytest.raises(ql.InvalidArgument, match="1 of them and a request of class 2"):
        Wait([1])(replace(state, class_index=frozen([2])))
