"""KV memory in blocks: what is legal, and what the policies do with it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import Batch, ExclusiveBatching, Wait, check_batch
from queueing_llm.policies._contract import blocks_for, check_blocks
from tests.contracts.states import engine_states, state_of


@st.composite
def states_in_blocks(draw):
    """Draw a state whose residents fit in blocks, and each request alone."""
    state = draw(engine_states(limits=False))
    size = draw(st.integers(2, 5))
    alone = state.prompt_left + state.decode_left + state.stored
    held = int(blocks_for(state.stored, block_size=size).sum())
    least = max(held, int(blocks_for(alone, block_size=size).max()))
    started = max(1, int((state.stored > 0).sum()))
    return replace(
        state,
        max_batch_size=draw(st.none() | st.integers(started, started + 6)),
        kv_capacity=size * draw(st.integers(least, least + 4)),
        kv_block_size=size,
    )


@given(st.integers(0, 200), st.integers(1, 20))
def test_blocks_are_counted_one_token_at_a_time(tokens, size):
    begun = sum(1 for token in range(tokens) if token % size == 0)
    assert blocks_for(tokens, block_size=size) == begun
    assert blocks_for(np.array([tokens]), block_size=size).tolist() == [begun]


@pytest.mark.parametrize(("capacity", "size"), [(None, 2), (15, 2), (1, 2)])
def test_a_cache_consists_of_whole_blocks(capacity, size):
    with pytest.raises(InvalidArgument, match=r"kv_capacity must be a multiple of kv_block_si"):
        check_blocks(capacity, block_size=size)
    with pytest.raises(InvalidArgument, match=f"got kv_capacity={capacity}"):
        ql.Engine(ql.AffineStepTime(1, 1), 8, kv_capacity=capacity, kv_block_size=size)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None])
def test_a_block_is_a_positive_number_of_tokens(size):
    with pytest.raises(InvalidArgument, match="kv_block_size must be an integer at least 1"):
        ql.Engine(ql.AffineStepTime(1, 1), 8, kv_capacity=16, kv_block_size=size)


def seven_five(**limits):
    """Two decodes that store 7 and 5 tokens, and a prompt of 4 that waits."""
    columns = {"prompt_left": [0, 0, 4], "decode_left": [3, 3, 1], "stored": [7, 5, 0]}
    return state_of(**columns, **{"token_budget": 8, "kv_block_size": 4, **limits})


def test_decodes_with_room_in_their_blocks_need_none():
    check_batch(seven_five(kv_capacity=16), Batch(np.array([1, 1, 0])))
    assert ql.SARATHI(seven_five(kv_capacity=16)).tokens.tolist() == [1, 1, 0]
    assert ql.SARATHI(seven_five(kv_capacity=20)).tokens.tolist() == [1, 1, 4]


def test_the_last_free_slots_of_others_hold_no_prompt():
    """Four slots are free, but not in one block: legal in tokens, not in blocks."""
    answer = Batch(np.array([0, 0, 4]))
    check_batch(seven_five(kv_capacity=16, kv_block_size=1), answer)
    complaint = "blocks of 4 tokens in the KV cache exceed kv_capacity, got 5 > 4"
    with pytest.raises(InvalidArgument, match=complaint):
        check_batch(seven_five(kv_capacity=16), answer)


def full_blocks(**limits):
    """A decode at the end of its block, a younger one that is not, and a cut prompt."""
    columns = {"prompt_left": [0, 0, 9], "decode_left": [3, 3, 1], "stored": [8, 5, 3]}
    return state_of(**columns, **{"token_budget": 8, "kv_block_size": 4, **limits})


@pytest.mark.parametrize(
    ("capacity", "tokens", "preempted"),
    [
        (20, [1, 1, 0], [False, False, True]),
        (24, [1, 1, 1], [False, False, False]),
        (28, [1, 1, 5], [False, False, False]),
        (32, [1, 1, 6], [False, False, False]),
    ],
)
def test_decodes_take_blocks_first_and_a_cut_prompt_fills_its_own(capacity, tokens, preempted):
    batch = ql.VLLM_V1(full_blocks(kv_capacity=capacity))
    assert (batch.tokens.tolist(), batch.preempted.tolist()) == (tokens, preempted)


def test_the_newest_give_way_until_the_others_have_their_blocks():
    columns = {"prompt_left": [0, 0, 0], "decode_left": [3] * 3, "stored": [8, 8, 5]}
    state = state_of(**columns, token_budget=8, kv_capacity=24, kv_block_size=4)
    batch = ql.SARATHI(state)
    assert batch.tokens.tolist() == [1, 1, 0]
    assert batch.preempted.tolist() == [False, False, True]
    # In single slots all three would be served.
    assert ql.SARATHI(replace(state, kv_block_size=1)).tokens.tolist() == [1, 1, 1]


def test_a_prompt_that_is_cut_for_want_of_memory_is_not_overtaken():
    """The younger one has room in its own block, but is behind the one that has none left."""
    columns = {"prompt_left": [5, 5], "decode_left": [1, 1], "stored": [3, 2]}
    state = state_of(**columns, token_budget=8, kv_capacity=8, kv_block_size=4)
    assert ql.SARATHI(state).tokens.tolist() == [1, 0]


def test_prefill_first_leaves_the_blocks_that_decodes_need():
    columns = {"prompt_left": [0, 6], "decode_left": [3, 1], "stored": [4, 0]}
    full = state_of(**columns, token_budget=8, kv_capacity=16, kv_block_size=4)
    assert ql.ORCA(full).tokens.tolist() == [1, 6]
    assert ql.ORCA(replace(full, kv_capacity=12)).tokens.tolist() == [1, 0]


POLICIES = (*ql.POLICIES.values(), ExclusiveBatching(4, refill=2), Wait([2]))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: getattr(p, "name", type(p).__name__))
@given(state=states_in_blocks())
def test_batches_are_legal_in_blocks(policy, state):
    check_batch(state, policy(state))


@given(state=states_in_blocks())
def test_what_is_legal_in_blocks_is_legal_in_tokens(state):
    """Why bounds on every policy hold for blocks: there are fewer batches."""
    batch = ql.SARATHI(state)
    check_batch(state, batch)
    check_batch(replace(state, kv_block_size=1), batch)


def test_exclusive_batching_finishes_in_the_smallest_cache():
    engine = ql.Engine(
        ql.AffineStepTime(1, 1), token_budget=40, kv_capacity=36, kv_block_size=4
    )
    load = ql.Workload.of_requests(
        [0] * 6, prompt_tokens=[5, 17, 9, 30, 2, 8], output_tokens=[6] * 6
    )
    steps = list(ql.watch(engine, load, policy=ExclusiveBatching(3, refill=2), horizon=9999))
    last = steps[-1]
    left = last.state.prompt_left + last.state.decode_left - last.batch.tokens
    assert not left.any()
    # It started what did not fit for long, and computed some of it again.
    assert any(step.preempted.any() for step in steps)
    assert sum(int(step.batch.tokens.sum()) for step in steps) > 71 + 36
