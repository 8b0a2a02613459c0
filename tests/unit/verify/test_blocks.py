"""Contracts and small states of engines whose KV cache is given out in blocks."""

import itertools
from dataclasses import astuple, replace

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import Batch, BatchRule
from queueing_llm.verify.contracts import _batch as contracts
from queueing_llm.verify.plays._exhaustive import Scope, all_states, reachable_states
from queueing_llm.verify.symbolic._scan import scanned

RULES = [
    BatchRule("any", first, mixed, chunked, counts)
    for first in ("decode", "prefill")
    for mixed in (True, False)
    for chunked in (True, False)
    for counts in ("members", "residents")
]
MEMORY = (
    contracts.kv_capacity,
    contracts.whole_prompt_fits,
    contracts.preempts_residents,
    contracts.preempts_on_overflow,
    contracts.admits_without_victims,
    contracts.newest_preempted_first,
    contracts.first_come_first_served,
)


def rows_of(state):
    return tuple(zip(*(c.tolist() for c in astuple(state)[2:5]), strict=True))


def small_states(policy, *, tokens=2, **limits):
    return reachable_states(policy, requests=2, tokens=tokens, **limits)


def breaches(policy, *, asked_about=None, **limits):
    """Return the contracts about memory that a policy breaks in a state that it comes to."""
    return {
        check.__name__
        for state in small_states(asked_about or policy, **limits)
        for check in MEMORY
        if check(state, policy(state))
    }


every_rule = pytest.mark.parametrize(
    "rule", RULES, ids=lambda r: "-".join(map(str, astuple(r)[1:]))
)


@every_rule
@pytest.mark.parametrize(("capacity", "size"), [(4, 2), (6, 3)])
def test_rules_keep_their_contracts_in_every_small_state(rule, capacity, size):
    limits = {"kv_capacity": capacity, "kv_block_size": size, "max_batch_size": None}
    assert not breaches(rule, token_budget=3, **limits)


@pytest.mark.slow
@every_rule
@pytest.mark.parametrize("places", [None, 2])
@pytest.mark.parametrize(("capacity", "size"), [(6, 2), (9, 3)])
def test_rules_keep_their_contracts_in_more_states(rule, capacity, size, places):
    limits = {"kv_capacity": capacity, "kv_block_size": size, "max_batch_size": places}
    for budget in (1, 2, 3, 5):
        assert not breaches(rule, token_budget=budget, tokens=3, **limits)


def test_a_work_conserving_rule_leaves_no_slot_that_a_request_could_take():
    limits = {"token_budget": 4, "kv_capacity": 6, "kv_block_size": 3}
    for state in small_states(ql.SARATHI, tokens=3, **limits):
        assert not contracts.work_conserving_within_limits(state, ql.SARATHI(state))


def in_tokens(state):
    """Control: count slots where there are blocks."""
    return ql.SARATHI(replace(state, kv_block_size=1))


def by_first_chunk(state):
    """Control: admit whoever gets a token into a free block."""
    tokens = np.zeros_like(state.stored)
    for i in (*state.decoding, *state.prefilling):
        tokens[i] = 1
        if state.blocks_of(state.stored + tokens).sum() > state.kv_blocks:
            tokens[i] = 0
    return Batch(tokens)


def block_for_every_decode(state):
    """Control: ask for a free block for each decode, as some engines do for simplicity."""
    return ql.SARATHI(replace(state, stored=-(-state.stored // 2) * 2))


@pytest.mark.parametrize(
    ("policy", "broken"),
    [
        (in_tokens, {"kv_capacity", "whole_prompt_fits"}),
        (by_first_chunk, {"whole_prompt_fits"}),
        (block_for_every_decode, {"preempts_on_overflow"}),
    ],
)
def test_policies_that_mistake_blocks_are_caught(policy, broken):
    limits = {"token_budget": 4, "kv_capacity": 6, "kv_block_size": 2, "tokens": 3}
    assert breaches(policy, asked_about=ql.SARATHI, **limits) >= broken


def test_a_search_finds_who_counts_tokens():
    engine = ql.Engine(ql.AffineStepTime(1, 0), 6, kv_capacity=16, kv_block_size=4)
    names = ["kv_capacity", "whole_prompt_fits"]
    for policy, outcome in ((in_tokens, "VIOLATED"), (ql.SARATHI, "HOLDS")):
        report = ql.verify.check_policy(policy, engine=engine, contracts=names)
        assert {finding.outcome.name for finding in report.findings} == {outcome}


def test_a_last_block_left_empty_is_caught():
    """Control: the prompt could fill its own block, though none is free."""
    columns = [np.array(c) for c in ([0, 1], [0, 0], [0, 3], [2, 1], [4, 1])]
    state = ql.EngineState(*columns, token_budget=4, kv_capacity=6, kv_block_size=2)
    short = Batch(np.array([0, 1]))
    sentence = contracts.work_conserving_within_limits(state, Batch(np.array([0, 0])))
    assert sentence == "request 1 could get more than 0"
    assert contracts.work_conserving_within_limits(state, short) is None


def test_sentences_count_blocks():
    columns = [np.array(c) for c in ([7, 8], [0, 0], [0, 3], [2, 1], [4, 0])]
    state = ql.EngineState(*columns, token_budget=8, kv_capacity=6, kv_block_size=2)
    both = Batch(np.array([1, 3]))
    assert contracts.kv_capacity(state, both) == "5 blocks of 2 tokens in a KV cache of 3"
    assert contracts.whole_prompt_fits(state, both) == (
        "request 8 starts, but 5 > 3 blocks of 2 tokens would not fit"
    )
    lost = Batch(np.array([0, 0]), np.array([True, False]))
    assert contracts.preempts_on_overflow(state, lost) == (
        "request 7 is preempted, but all 3 blocks of 2 tokens fit in 3"
    )


@pytest.mark.parametrize(("capacity", "size"), [(2, 2), (4, 2), (3, 3), (6, 3)])
def test_every_legal_state_is_found_once(capacity, size):
    scope = {"token_budget": 3, "kv_capacity": capacity, "kv_block_size": size}
    found = [rows_of(s) for s in all_states(requests=2, tokens=2, **scope)]
    cells = [r for r in itertools.product(range(3), repeat=3) if 1 <= r[0] + r[2] <= 2]
    alone = [r for r in cells if r[0] + r[1] and sum(r) <= capacity]
    wanted = {
        rows
        for n in (1, 2)
        for rows in itertools.product(alone, repeat=n)
        if sum(-(-stored // size) for _, _, stored in rows) * size <= capacity
    }
    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_reachable_states_are_those_that_the_simulator_comes_to():
    limits = {"token_budget": 2, "kv_capacity": 4, "kv_block_size": 2}
    found = {rows_of(s) for s in reachable_states(ql.SARATHI, requests=2, tokens=2, **limits)}
    engine = ql.Engine(ql.AffineStepTime(1, 0), **limits)
    seen = set()
    pairs = list(itertools.product((1, 2), repeat=2))
    for gap, (p, q), (d, e) in itertools.product(range(5), pairs, pairs):
        load = ql.Workload.of_requests([0, gap], prompt_tokens=[p, q], output_tokens=[d, e])
        seen |= {
            rows_of(s.state) for s in ql.watch(engine, load, policy=ql.SARATHI, horizon=99)
        }
    assert len(seen) > 20
    assert seen <= found
    in_slots = reachable_states(ql.SARATHI, requests=2, tokens=2, token_budget=2, kv_capacity=4)
    assert not {rows_of(s) for s in in_slots} <= found


def test_what_is_not_about_blocks_refuses_them():
    with pytest.raises(InvalidArgument, match="kv_capacity must be a multiple"):
        Scope(requests=1, tokens=2, token_budget=2, kv_capacity=5, kv_block_size=2)
    columns = [np.array(c) for c in ([0], [0], [1], [1], [0])]
    state = ql.EngineState(*columns, token_budget=4, kv_capacity=6, kv_block_size=2)
    with pytest.raises(InvalidArgument, match="kv_block_size must be 1, got kv_block_size=2"):
        scanned(ql.SARATHI, state)
    assert any(
        "blocks of one token" in a for a in ql.verify.prove(ql.ORCA, "progress").assumptions
    )
