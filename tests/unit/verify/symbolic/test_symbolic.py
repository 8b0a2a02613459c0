"""Proofs for batch rules: the encoding is the rule, and what is false is not proved."""

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies import POLICIES, BatchRule
from queueing_llm.verify.contracts._listed import CONTRACTS
from queueing_llm.verify.plays._exhaustive import all_states
from queueing_llm.verify.symbolic import _prove, _rule
from queueing_llm.verify.symbolic._contracts import PROMISES
from queueing_llm.verify.symbolic._paths import by_multipliers, by_z3, cases_of
from queueing_llm.verify.symbolic._prove import LIMITS, counterexample, prove
from queueing_llm.verify.symbolic._scan import scanned

RULES = [
    BatchRule(
        f"{first}-{'mixed' if mixed else 'exclusive'}-{'cut' if chunked else 'whole'}-{counts}",
        first=first,
        mixed=mixed,
        chunked=chunked,
        limit_counts=counts,
    )
    for first in ("decode", "prefill")
    for mixed in (True, False)
    for chunked in (True, False)
    for counts in ("members", "residents")
]
EVERYWHERE = {
    "token_budget",
    "prefill_before_decode",
    "one_decode_token",
    "no_more_than_is_left",
    "batch_size",
    "kv_capacity",
    "whole_prompt_fits",
    "preempts_residents",
    "first_come_first_served",
}


def slow(rules):
    return [pytest.param(rule, marks=pytest.mark.slow) for rule in rules]


def small_states(*, requests=2, tokens=2, budgets=(1, 3), every=1):
    engines = itertools.product(budgets, (None, 1, 2), (None, 3, 4))
    for budget, batch, cache in engines:
        limits = {"token_budget": budget, "max_batch_size": batch, "kv_capacity": cache}
        yield from itertools.islice(
            all_states(requests=requests, tokens=tokens, **limits), 0, None, every
        )


def disagreement(rule, states):
    """Return the first state in which the scan is not the rule."""
    for state in states:
        batch, twin = rule(state), scanned(rule, state)[1]
        same = np.array_equal(batch.tokens, twin.tokens)
        if not same or not np.array_equal(batch.preempted, twin.preempted):
            return state
    return None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_scan_is_the_rule_in_small_states(rule):
    assert disagreement(rule, small_states(budgets=(2,), every=2)) is None
    assert disagreement(rule, small_states(requests=3, budgets=(3,), every=89)) is None


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_scan_is_the_rule_in_every_state_of_three_requests(rule):
    assert disagreement(rule, small_states(requests=3, budgets=(1, 2, 3, 4))) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_goal_is_the_contract_of_that_name(rule):
    """Two definitions, one of accounts and one of arrays, agree on every batch."""
    named = {name: CONTRACTS[name] for name in PROMISES if name in CONTRACTS}
    assert set(PROMISES) - set(named) == {"one_phase"}
    states = [*small_states(budgets=(2,), every=3), *small_states(requests=3, every=397)]
    for state in states:
        account, batch = scanned(rule, state)
        for name, contract in named.items():
            if contract.applies(state):
                kept = contract.check(state, batch) is None
                assert PROMISES[name].goal(account) is kept, (name, state)


@pytest.mark.parametrize("rule", [ql.VLLM_V1, *slow(RULES)], ids=lambda rule: rule.name)
def test_what_every_rule_keeps_is_proved(rule):
    for name in EVERYWHERE:
        proof = prove(rule, name)
        assert proof is not None, name
        assert proof.cases > len(proof.lemmas) > 0
        assert proof.assumptions


@pytest.mark.parametrize("rule", [ql.ORCA, ql.SARATHI, ql.VLLM_V1], ids=lambda rule: rule.name)
def test_mixed_chunked_rules_are_work_conserving_in_every_state(rule):
    proof = prove(rule, "work_conserving")
    assert proof.statement == "a batch holds min(token_budget, demand) tokens"
    assert proof.limits == ()
    assert prove(rule, "progress") is not None
    assert prove(rule, "one_phase") is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_work_conservation_is_proved_exactly_where_the_rule_claims_it(rule):
    assert (prove(rule, "work_conserving") is not None) is rule.is_work_conserving
    assert (prove(rule, "one_phase", limits=()) is not None) is not rule.mixed


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("sarathi", LIMITS),
        ("vllm_v1", LIMITS),
        ("orca", ("max_batch_size",)),
        ("orca", ("kv_capacity",)),
    ],
)
def test_within_limits_nothing_is_wasted(name, limits):
    proof = prove(POLICIES[name], "work_conserving_within_limits", limits=limits)
    assert proof.limits == limits


@pytest.mark.parametrize("rule", [ql.FASTER_TRANSFORMER, ql.VANILLA_VLLM], ids=lambda r: r.name)
def test_exclusive_rules_leave_room_with_two_requests(rule):
    assert prove(rule, "work_conserving") is None
    state = counterexample(rule, "work_conserving")
    assert len(state.request) == 2
    assert 0 < rule(state).tokens.sum() < min(state.token_budget, state.demand)


@pytest.mark.parametrize(
    ("name", "contract"),
    [
        ("orca", "residents"),
        ("vanilla_vllm", "progress"),
        ("sarathi", "one_phase"),
        ("faster_transformer", "work_conserving_within_limits"),
    ],
)
def test_a_counterexample_breaks_the_contract(name, contract):
    rule = POLICIES[name]
    assert prove(rule, contract) is None
    state = counterexample(rule, contract)
    batch = rule(state)
    if contract in CONTRACTS:
        assert CONTRACTS[contract].check(state, batch) is not None
    else:
        assert batch.prefill_tokens(state) > 0 < batch.decode_tokens(state)


def test_what_is_proved_has_no_counterexample():
    assert counterexample(ql.SARATHI, "work_conserving") is None
    assert counterexample(ql.VLLM_V1, "residents") is None


def test_the_limit_on_residents_needs_its_assumption():
    proof = prove(ql.VLLM_V1, "batch_size")
    assert any("started" in given for given in proof.assumptions)
    assert not any("no more requests" in g for g in prove(ql.SARATHI, "batch_size").assumptions)


def test_words_are_checked():
    with pytest.raises(ql.InvalidArgument, match="did you mean 'work_conserving'"):
        prove(ql.SARATHI, "work_conservng")
    with pytest.raises(ql.InvalidArgument, match="did you mean 'kv_capacity'"):
        prove(ql.SARATHI, "token_budget", limits=("kv_capacty",))
    with pytest.raises(ql.InvalidArgument, match="rule must be a BatchRule"):
        counterexample(lambda state: None, "token_budget")


# Controls: rules that are wrong in one place.


def mutated(name, change):
    """Return a scan whose function ``name`` is changed, for ``monkeypatch``."""
    original = getattr(_rule, name)
    return lambda *args, **kwargs: change(original, *args, **kwargs)


def takes_all(original, rule, account, *, left, stored):
    answer = original(rule, account, left=left, stored=stored)
    return answer if answer is None else left


def leaves_a_token(original, rule, account, *, left, stored):
    answer = original(rule, account, left=left, stored=stored)
    return answer - 1 if answer is not None and answer > 1 else answer


def spends_reserved(original, rule, account, *, left, stored):
    return original(rule, replace(account, reserved=0), left=left, stored=stored)


def never_stops(original, rule, account, *, left, stored):
    return original(rule, replace(account, closed=False), left=left, stored=stored)


def one_more_seat(original, rule, account):
    limit = original(rule, account)
    return None if limit is None else limit + 1


def forgets_to_close(original, stage, account):
    return account


def lets_phases_mix(original, rule):
    return tuple(replace(stage, needs_empty=False) for stage in original(rule))


def blocks_on_empty_rest(original, rule, account, *, left, stored):
    """Stop one token before the budget is exhausted."""
    return None if account.room == 1 else original(rule, account, left=left, stored=stored)


MUTATIONS = [
    ("decode_take", lambda original, rule, account: 1, ql.SARATHI, "token_budget"),
    ("decode_take", lambda original, rule, account: 2, ql.SARATHI, "one_decode_token"),
    ("decode_take", lambda original, rule, account: 0, ql.ORCA, "work_conserving"),
    ("has_place", lambda original, rule, account: True, ql.SARATHI, "batch_size"),
    ("prompt_take", takes_all, ql.ORCA, "token_budget"),
    ("prompt_take", leaves_a_token, ql.SARATHI, "work_conserving"),
    ("prompt_take", blocks_on_empty_rest, ql.ORCA, "work_conserving"),
    ("prompt_take", spends_reserved, ql.ORCA, "kv_capacity"),
    (
        "prompt_take",
        never_stops,
        BatchRule("whole", first="decode", mixed=True, chunked=False),
        "first_come_first_served",
    ),
    ("resident_limit", one_more_seat, ql.VLLM_V1, "residents"),
    ("needs_room", lambda original, rule, account: False, ql.SARATHI, "kv_capacity"),
    ("entered", forgets_to_close, ql.SARATHI, "preempts_residents"),
    ("stages", lets_phases_mix, ql.VANILLA_VLLM, "one_phase"),
]


@pytest.mark.parametrize(("name", "change", "rule", "contract"), MUTATIONS)
def test_a_wrong_scan_is_not_proved_and_is_told_from_the_rule(
    name, change, rule, contract, monkeypatch
):
    assert prove(rule, contract) is not None
    monkeypatch.setattr(_rule, name, mutated(name, change))
    monkeypatch.setattr(_prove, "_carried", _prove._carried.__wrapped__)
    assert prove(rule, contract) is None
    states = itertools.chain(small_states(), small_states(requests=3, budgets=(2, 3), every=5))
    assert disagreement(rule, states) is not None


def test_a_promise_cannot_look_at_a_note_that_is_not_kept(monkeypatch):
    blind = replace(PROMISES["first_come_first_served"], watches=())
    monkeypatch.setattr(_prove, "PROMISES", {"blind": blind})
    with pytest.raises(TypeError, match="does not watch"):
        prove(ql.SARATHI, "blind")


# The arithmetic.


def test_false_statements_are_not_proved():
    def smaller(path):
        return path.natural("one") < path.natural("other")

    def half(path):
        one = path.natural("one")
        return one + one != 1

    assert cases_of(smaller, contradiction=by_multipliers) is None
    # True of integers, not of rationals: multipliers do not see it.
    assert cases_of(half, contradiction=by_multipliers) is None


entries = st.integers(-3, 3)
systems = st.lists(st.tuples(entries, entries, st.integers(-4, 4)), min_size=1, max_size=5)


def has_small_solution(rows):
    points = itertools.product(range(13), repeat=2)
    return any(all(a * x + b * y + c >= 0 for a, b, c in rows) for x, y in points)


def inequalities_of(rows):
    return [(tuple((n, w) for n, w in (("x", a), ("y", b)) if w), c) for a, b, c in rows]


@given(rows=systems)
@settings(max_examples=60, deadline=None)
def test_multipliers_contradict_only_what_has_no_solution(rows):
    core = by_multipliers(inequalities_of(rows))
    if core is not None:
        assert core <= set(inequalities_of(rows))
        assert by_multipliers(list(core)) is not None
        assert not has_small_solution(rows)


@given(rows=systems)
@settings(max_examples=60, deadline=None)
def test_z3_finds_every_contradiction_that_multipliers_find(rows):
    pytest.importorskip("z3", reason="z3 is an extra: queueing-llm[prove]")
    system = inequalities_of(rows)
    if by_multipliers(system) is not None:
        assert by_z3(system) is not None
    if has_small_solution(rows):
        assert by_z3(system) is None


@pytest.mark.parametrize("rule", [ql.VLLM_V1, *slow(RULES)], ids=lambda rule: rule.name)
def test_z3_proves_the_same(rule):
    pytest.importorskip("z3", reason="z3 is an extra: queueing-llm[prove]")
    for name in ("kv_capacity", "first_come_first_served", "work_conserving", "one_phase"):
        one, other = prove(rule, name), prove(rule, name, route="z3")
        assert (one is None) is (other is None)
        assert one is None or one.lemmas == other.lemmas


def test_without_z3_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "z3", None)
    with pytest.raises(ql.errors.MissingDependency, match=r"queueing-llm\[prove\]"):
        prove(ql.SARATHI, "work_conserving", route="z3")
    assert prove(ql.SARATHI, "work_conserving") is not None
