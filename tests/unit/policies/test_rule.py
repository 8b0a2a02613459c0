"""Rules as data: what they accept, and their batches in a few telling states."""

import dataclasses

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import (
    FASTER_TRANSFORMER,
    ORCA,
    SARATHI,
    VANILLA_VLLM,
    VLLM_V1,
    BatchRule,
)
from tests.contracts.states import state_of


def tokens(rule, rows, *, token_budget=16, **limits):
    """Tokens and victims for rows of (prompt left, decode left, stored)."""
    prompt_left, decode_left, stored = zip(*rows, strict=True)
    batch = rule(
        state_of(
            prompt_left=prompt_left,
            decode_left=decode_left,
            stored=stored,
            token_budget=token_budget,
            **limits,
        )
    )
    return batch.tokens.tolist(), [i for i, lost in enumerate(batch.preempted) if lost]


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [("first", "prefil", "did you mean 'prefill'"), ("limit_counts", "batch", "'residents'")],
)
def test_a_rule_accepts_two_words_and_names_them(field, value, hint):
    fields = {"name": "mine", "first": "decode", "mixed": True, "chunked": True, field: value}
    with pytest.raises(InvalidArgument, match=f"{field} must be .*{value!r}.*{hint}"):
        BatchRule(**fields)


def test_a_rule_is_a_frozen_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SARATHI.chunked = False
    assert SARATHI.variant() == SARATHI
    assert SARATHI.variant(chunked=True) == SARATHI


DECODES_AND_PROMPTS = [(0, 2, 5), (0, 1, 4), (6, 2, 0), (5, 1, 0)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (FASTER_TRANSFORMER, [1, 1, 0, 0]),
        (VANILLA_VLLM, [0, 0, 6, 0]),
        (VANILLA_VLLM.variant(chunked=True), [0, 0, 6, 2]),
        (ORCA, [0, 0, 6, 2]),
        (ORCA.variant(chunked=False), [1, 1, 6, 0]),
        (SARATHI, [1, 1, 6, 0]),
        (VLLM_V1, [1, 1, 6, 0]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_who_is_served_when_the_budget_is_short(rule, expected):
    assert tokens(rule, DECODES_AND_PROMPTS, token_budget=8)[0] == expected


def test_a_prompt_that_does_not_fit_blocks_the_shorter_one_behind_it():
    rows = [(6, 1, 0), (2, 1, 0)]
    assert tokens(VANILLA_VLLM, rows, token_budget=5)[0] == [0, 0]
    assert tokens(SARATHI, rows, token_budget=5)[0] == [5, 0]


def test_members_and_residents_are_counted_differently():
    """Two requests decode: nobody else may start, or nobody else is in the batch."""
    rows = DECODES_AND_PROMPTS[:3]
    by_residents = VANILLA_VLLM.variant(limit_counts="residents")
    assert tokens(VANILLA_VLLM, rows, max_batch_size=2)[0] == [0, 0, 6]
    assert tokens(by_residents, rows, max_batch_size=2)[0] == [1, 1, 0]
    assert tokens(VLLM_V1, rows, max_batch_size=3)[0] == [1, 1, 6]


def test_the_newest_resident_makes_room_for_older_decodes():
    """10 slots, 9 taken, two decodes: the newer one goes, and nothing is prefilled."""
    rows = [(0, 3, 5), (0, 3, 4), (1, 1, 0)]
    assert tokens(SARATHI, rows, kv_capacity=10) == ([1, 0, 0], [1])
    assert tokens(SARATHI, rows, kv_capacity=12) == ([1, 1, 1], [])


def test_a_partly_prefilled_request_is_the_first_victim():
    rows = [(0, 3, 5), (0, 3, 4), (2, 1, 2)]
    assert tokens(SARATHI, rows, kv_capacity=12) == ([1, 1, 0], [2])


def test_a_waiting_prompt_needs_room_for_all_of_it_and_a_started_one_takes_what_is_free():
    assert tokens(SARATHI, [(0, 3, 5), (4, 1, 0)], kv_capacity=9)[0] == [1, 0]
    assert tokens(SARATHI, [(0, 3, 5), (4, 1, 1)], kv_capacity=9)[0] == [1, 2]


def test_a_rule_without_mixing_makes_room_only_when_it_decodes():
    rows = [(0, 3, 5), (0, 3, 4), (1, 1, 0)]
    assert tokens(VANILLA_VLLM, rows, kv_capacity=10) == ([0, 0, 1], [])
    assert tokens(FASTER_TRANSFORMER, rows, kv_capacity=10) == ([1, 0, 0], [1])
