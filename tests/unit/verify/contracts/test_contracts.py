"""Every contract about one batch: what keeps it, and what breaks it."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import ORCA, SARATHI, VLLM_V1, Batch
from queueing_llm.verify import CONTRACTS, check_policy, contract_named, fcfs_window, same_as
from tests.contracts.states import state_of

# Two decodes, a prompt that has started, two that wait.
COLUMNS = {
    "prompt_left": [0, 0, 3, 2, 4],
    "decode_left": [2, 1, 1, 1, 1],
    "stored": [4, 5, 1, 0, 0],
}
FREE = state_of(**COLUMNS, token_budget=6)
FULL = state_of(**COLUMNS, token_budget=6, kv_capacity=11)
TIGHT = state_of(**COLUMNS, token_budget=6, max_batch_size=3, kv_capacity=15)
CASES = [
    (
        "token_budget",
        FREE,
        [1, 1, 3, 1, 0],
        [1, 1, 3, 2, 0],
        "7 tokens in a batch of at most 6",
    ),
    ("prefill_before_decode", FREE, [0, 0, 3, 2, 0], [0, 0, 3, 3, 0], "request 6 gets 3"),
    ("one_decode_token", FREE, [1, 1, 0, 0, 0], [2, 1, 0, 0, 0], "request 3 gets 2 decode"),
    ("no_more_than_is_left", FREE, [2, 1, 4, 0, 0], [0, 2, 0, 0, 0], "request 4 gets 2"),
    (
        "batch_size",
        TIGHT,
        [1, 1, 3, 0, 0],
        [1, 1, 1, 1, 0],
        "4 requests in a batch of at most 3",
    ),
    ("residents", TIGHT, [1, 1, 3, 0, 0], [1, 1, 0, 1, 0], "1 start beside 3 residents"),
    ("kv_capacity", TIGHT, [1, 1, 3, 0, 0], [1, 1, 3, 1, 0], "16 tokens in a KV cache of 15"),
    ("whole_prompt_fits", TIGHT, [1, 1, 1, 2, 0], [1, 1, 1, 0, 1], "starts, but 17 > 15"),
    ("progress", FREE, [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], "requests present: 5"),
    ("work_conserving", FREE, [1, 1, 3, 1, 0], [1, 1, 3, 0, 0], "batch of 5"),
    ("work_conserving_within_limits", TIGHT, [1, 1, 3, 0, 0], [1, 1, 2, 0, 0], "request 5"),
    ("first_come_first_served", FREE, [1, 0, 3, 2, 0], [0, 1, 3, 2, 0], "request 4 gets 1"),
    ("first_come_first_served", FREE, [0, 0, 3, 2, 1], [0, 0, 2, 1, 0], "request 6 gets 1"),
    ("oldest_first", FREE, [1, 0, 0, 0, 0], [0, 1, 3, 2, 0], "request 3, the oldest"),
]
WITH_VICTIMS = [
    ("preempts_residents", [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [1, 1, 0, 0, 0], "holds 0"),
    ("preempts_nobody", [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0], "loses 1"),
    ("newest_preempted_first", [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0], "4 is"),
    ("preempts_on_overflow", [0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 0, 0, 0], "all 12"),
    ("admits_without_victims", [0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 0, 0, 2, 0], "starts"),
]


def batch_of(tokens, preempted=None):
    victims = None if preempted is None else np.array(preempted, dtype=np.bool_)
    return Batch(np.array(tokens), victims)


@pytest.mark.parametrize(
    ("name", "state", "good", "bad", "sentence"), CASES, ids=[case[0] for case in CASES]
)
def test_a_batch_keeps_or_breaks_a_contract(name, state, good, bad, sentence):
    contract = CONTRACTS[name]
    assert contract.applies(state)
    assert contract.check(state, batch_of(good)) is None
    assert sentence in contract.check(state, batch_of(bad))


@pytest.mark.parametrize(
    ("name", "good", "bad", "tokens", "sentence"),
    WITH_VICTIMS,
    ids=[c[0] for c in WITH_VICTIMS],
)
def test_victims_keep_or_break_a_contract(name, good, bad, tokens, sentence):
    contract = CONTRACTS[name]
    roomy = state_of(**COLUMNS, token_budget=6, kv_capacity=20)
    kept = FULL if name == "preempts_on_overflow" else roomy
    served = [1, 1, 0, 0, 0] if name == "admits_without_victims" else tokens
    assert contract.check(kept, batch_of(served, good)) is None
    assert sentence in contract.check(roomy, batch_of(tokens, bad))


def test_a_victim_that_is_served_is_noticed():
    sentence = CONTRACTS["preempts_residents"].check(
        FREE, batch_of([1, 1, 1, 0, 0], [0, 0, 1, 0, 0])
    )
    assert sentence == "request 5 is preempted and gets 1 tokens"


def test_a_head_of_line_that_is_stopped_excuses_those_behind_it():
    # One slot is free beside the two decodes: the prompt of request 6 does not fit, and
    # nobody has to overtake it.
    state = state_of(
        prompt_left=[0, 3, 1],
        decode_left=[1, 1, 1],
        stored=[4, 0, 0],
        token_budget=6,
        kv_capacity=7,
    )
    check = CONTRACTS["work_conserving_within_limits"].check
    assert check(state, batch_of([1, 0, 0])) is None
    assert "request 3" in check(state, batch_of([0, 0, 0]))


def test_a_window_counts_prompts_that_are_partly_processed():
    two_cut = batch_of([0, 0, 1, 1, 0])
    assert fcfs_window(2).check(FREE, two_cut) is None
    assert fcfs_window(1).check(FREE, two_cut) == "2 prompts are partly processed"


def test_equal_policies_are_step_equal_and_others_are_not():
    same = check_policy(VLLM_V1.variant(limit_counts="members"), contracts=[same_as(SARATHI)])
    assert not same.violated
    other = check_policy(ORCA, contracts=[same_as(SARATHI)])
    assert other.violated == ("same_as(sarathi)",)
    assert len(other.findings[0].counterexample.trial.arrivals) <= 2


def test_contracts_are_found_by_name():
    assert contract_named(" First-come first-served ").name == "first_come_first_served"
    with pytest.raises(InvalidArgument, match="did you mean 'token_budget'"):
        contract_named("token_bugdet")
    with pytest.raises(InvalidArgument, match="most_partial must be an integer"):
        fcfs_window(0)


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda c: c.name)
def test_every_contract_says_what_it_is(contract):
    assert contract.definition.endswith(".")
    assert contract.source.startswith(("ours", "(", "section", "K-FCFS"))
    assert contract.implies
