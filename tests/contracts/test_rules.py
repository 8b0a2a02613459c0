"""Every published rule, in every reading, against what a scheduler must and may promise."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from queueing_llm.policies import POLICIES, SARATHI, Batch, EngineState, check_batch
from tests.contracts.states import engine_states, reachable_by, state_of
from tests.reference.batch_rules import granted

RULES = [
    rule.variant(chunked=chunked, limit_counts=counts)
    for rule in POLICIES.values()
    for chunked in (True, False)
    for counts in ("members", "residents")
]
CHUNKED = [rule for rule in RULES if rule.chunked]
CONSERVING = {"orca", "sarathi", "vllm_v1"}


def by_name(rule):
    return rule.name


every_rule = pytest.mark.parametrize("rule", RULES, ids=by_name)
every_chunked_rule = pytest.mark.parametrize("rule", CHUNKED, ids=by_name)


def served_in_order(tokens: np.ndarray) -> bool:
    """Whether nobody is served behind somebody who got nothing."""
    return not np.any(np.diff((tokens > 0).astype(int)) > 0)


def has_full_batch(state: EngineState, batch: Batch) -> bool:
    """(8)-(9) of arXiv:2504.07347v3: the batch holds min(budget, demand) tokens."""
    return int(batch.tokens.sum()) == min(state.token_budget, state.demand)


@every_rule
@given(data=st.data())
def test_every_batch_is_legal(rule, data):
    state = data.draw(reachable_by(rule))
    check_batch(state, rule(state))


@every_rule
@given(state=engine_states())
def test_a_state_is_only_read_and_always_answered_alike(rule, state):
    # The arrays of a drawn state refuse to be written to.
    once, again = rule(state), rule(state)
    np.testing.assert_array_equal(once.tokens, again.tokens)
    np.testing.assert_array_equal(once.preempted, again.preempted)
    assert not np.shares_memory(once.tokens, state.prompt_left)


@every_rule
@given(state=engine_states())
def test_each_phase_is_served_first_come_first_served(rule, state):
    batch = rule(state)
    assert served_in_order(batch.tokens[state.decoding])
    prefills = batch.tokens[state.prefilling]
    assert served_in_order(prefills)
    cut = prefills[(prefills > 0) & (prefills < state.prompt_left[state.prefilling])]
    assert len(cut) <= (1 if rule.chunked else 0)


def test_a_batch_that_skips_the_oldest_request_is_noticed():
    """Control of the check above."""
    assert not served_in_order(np.array([0, 3]))
    assert not served_in_order(np.array([1, 0, 1]))


@every_rule
@given(state=engine_states())
def test_victims_are_the_newest_residents_and_nothing_is_prefilled_beside_them(rule, state):
    batch = rule(state)
    residents = np.flatnonzero(state.stored > 0)
    assert not np.any(np.diff(batch.preempted[residents].astype(int)) < 0)
    if batch.preempted.any():
        assert state.kv_capacity is not None
        assert batch.prefill_tokens(state) == 0


@every_chunked_rule
@given(state=engine_states())
def test_work_present_means_work_done(rule, state):
    assert rule(state).tokens.any()


@every_rule
@given(state=engine_states())
def test_a_rule_that_does_not_mix_forms_batches_of_one_phase(rule, state):
    batch = rule(state)
    if not rule.mixed:
        assert not (batch.prefill_tokens(state) and batch.decode_tokens(state))


@pytest.mark.parametrize("rule", [r for r in RULES if r.limit_counts == "members"], ids=by_name)
@given(state=engine_states())
def test_batches_without_a_kv_limit_are_those_of_the_slow_twin(rule, state):
    assume(state.kv_capacity is None)
    twin = granted(
        state.prompt_left.tolist(),
        budget=state.token_budget,
        limit=state.max_batch_size,
        first=rule.first,
        mixed=rule.mixed,
        chunked=rule.chunked,
    )
    assert rule(state).tokens.tolist() == twin


@pytest.mark.parametrize(
    "rule", [r for r in RULES if r.limit_counts == "residents"], ids=by_name
)
@given(state=engine_states())
def test_no_request_starts_beyond_the_limit_on_residents(rule, state):
    assume(state.max_batch_size is not None)
    started = rule(state).tokens[state.stored == 0] > 0
    places = max(0, state.max_batch_size - int((state.stored > 0).sum()))
    assert started.sum() <= places


def work_conserving_cases():
    reason = "whole prompts or exclusive phases leave room that demand could fill"
    for rule in RULES:
        keeps = rule.chunked and rule.name.partition(":")[0] in CONSERVING
        marks = () if keeps else pytest.mark.xfail(reason=reason, strict=True)
        yield pytest.param(rule, marks=marks, id=rule.name)


@pytest.mark.parametrize("rule", list(work_conserving_cases()))
@given(state=engine_states(limits=False))
def test_batches_hold_as_much_as_budget_and_demand_allow(rule, state):
    assert has_full_batch(state, rule(state))


@every_rule
def test_a_rule_knows_whether_it_is_work_conserving(rule):
    keeps = rule.chunked and rule.name.partition(":")[0] in CONSERVING
    assert rule.is_work_conserving is keeps


BESIDE_A_DECODE = {"prompt_left": [0, 1], "decode_left": [1, 0], "stored": [1, 0]}
TOO_LONG = {"prompt_left": [2], "decode_left": [0], "stored": [0]}


@pytest.mark.parametrize(
    ("name", "witness", "budget", "tokens"),
    [
        ("faster_transformer", BESIDE_A_DECODE, 2, 1),
        ("vanilla_vllm", BESIDE_A_DECODE, 2, 1),
        ("orca:whole", TOO_LONG, 1, 0),
        ("sarathi:whole", TOO_LONG, 1, 0),
    ],
)
def test_the_smallest_state_in_which_a_rule_leaves_room(name, witness, budget, tokens):
    """Two tokens of demand are the fewest that can break work conservation."""
    stem, _, reading = name.partition(":")
    rule = POLICIES[stem].variant(chunked=False if reading else None)
    state = state_of(**witness, token_budget=budget)
    assert int(rule(state).tokens.sum()) == tokens < min(budget, state.demand)


@pytest.mark.parametrize("name", sorted(CONSERVING))
@pytest.mark.parametrize(("budget", "tokens"), [(4, 4), (10, 10), (16, 10)])
def test_vector_wc_demand(name, budget, tokens):
    """(8) of arXiv:2504.07347v3: vector wc.demand."""
    state = state_of(
        prompt_left=[5, 0, 0, 3],
        decode_left=[2, 1, 7, 4],
        stored=[0, 4, 4, 0],
        token_budget=budget,
    )
    assert state.demand == 10
    assert int(POLICIES[name](state).tokens.sum()) == tokens


def test_a_policy_that_writes_to_its_state_is_caught():
    """Control: the drawn states cannot be changed in silence."""

    def vandal(state):
        state.prompt_left[0] = 0
        return SARATHI(state)

    with pytest.raises(ValueError, match="read-only"):
        vandal(state_of(prompt_left=[2], decode_left=[1], stored=[0], token_budget=4))
