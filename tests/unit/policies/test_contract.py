"""What a policy sees, and the checker of what it answers."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import Batch, check_batch
from tests.contracts.states import state_of

STATE = {
    # A finished its prompt, B is in the middle of it, C waits.
    "prompt_left": [0, 3, 4],
    "decode_left": [2, 5, 1],
    "stored": [6, 2, 0],
}


def state(**limits):
    return state_of(**STATE, **{"token_budget": 8, **limits})


def batch(*tokens, preempted=None):
    return Batch(np.array(tokens), None if preempted is None else np.array(preempted))


def test_a_state_tells_who_decodes_and_who_prefills():
    seen = state()
    assert seen.decoding.tolist() == [0]
    assert seen.prefilling.tolist() == [1, 2]
    assert seen.demand == 1 + 3 + 4


def test_a_batch_counts_its_tokens_by_phase():
    mixed = batch(1, 3, 2)
    assert mixed.prefill_tokens(state()) == 5
    assert mixed.decode_tokens(state()) == 1


@pytest.mark.parametrize(
    ("answer", "limits"),
    [
        (batch(1, 3, 4), {}),
        (batch(0, 0, 0), {}),
        (batch(1, 3, 4, preempted=[False] * 3), {}),
        (batch(1, 0, 0, preempted=[False, True, False]), {"kv_capacity": 7}),
        (batch(1, 3, 0), {"token_budget": 4, "max_batch_size": 2, "kv_capacity": 12}),
    ],
)
def test_legal_batches_pass(answer, limits):
    check_batch(state(**limits), answer)


@pytest.mark.parametrize(
    ("answer", "limits", "complaint"),
    [
        (
            batch(1, 1),
            {},
            r"tokens must be integers of shape \(3,\), got int64 of shape \(2,\)",
        ),
        (batch(1.0, 1.0, 0.0), {}, "tokens must be integers of shape .* got float64"),
        (batch(True, False, False), {}, "tokens must be integers"),
        (batch(0, 0, 0, preempted=[True]), {}, "preempted must be booleans of shape"),
        (batch(0, 0, 0, preempted=[0, 1, 0]), {}, "preempted must be booleans .* got int64"),
        (batch(1, -1, 0), {}, "at least 0, got -1 for request 4"),
        (batch(2, 0, 0), {}, "one decode token, got 2 for request 3"),
        (batch(0, 4, 0), {}, "at most its prompt left, .* got 4 for request 4"),
        (batch(0, 0, 1, preempted=[False, False, True]), {}, "only a resident .* request 5"),
        (batch(0, 1, 0, preempted=[False, True, False]), {}, "preempted request gets nothing"),
        (batch(1, 3, 1), {"token_budget": 4}, "exceed token_budget, got 5 > 4"),
        (batch(1, 1, 1), {"max_batch_size": 2}, "exceed max_batch_size, got 3 > 2"),
        (batch(1, 1, 0), {"kv_capacity": 9}, "exceed kv_capacity, got 10 > 9"),
        (batch(0, 3, 0, preempted=[True, False, False]), {"kv_capacity": 4}, "got 5 > 4"),
    ],
)
def test_each_broken_rule_is_named(answer, limits, complaint):
    """Controls: one illegal batch for every clause of the contract."""
    with pytest.raises(InvalidArgument, match=f"illegal batch: .*{complaint}"):
        check_batch(state(**limits), answer)


def test_a_request_with_nothing_left_gets_nothing():
    finished = state_of(prompt_left=[0], decode_left=[0], stored=[4], token_budget=4)
    with pytest.raises(InvalidArgument, match="one decode token, got 1"):
        check_batch(finished, batch(1))
