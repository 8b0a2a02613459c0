"""Small states: all of them, and those that a policy comes to."""

import itertools
from dataclasses import astuple

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.policies import Batch
from queueing_llm.verify.plays._exhaustive import Scope, all_states, reachable_states


def rows_of(state):
    return tuple(zip(*(c.tolist() for c in astuple(state)[2:5]), strict=True))


def is_legal(rows, *, capacity=None):
    """The definition, row by row."""
    for left, decodes, stored in rows:
        if min(left, decodes, stored) < 0 or left + decodes == 0 or left + stored == 0:
            return False
        if capacity is not None and left + decodes + stored > capacity:
            return False
    return capacity is None or sum(stored for _, _, stored in rows) <= capacity


@pytest.mark.parametrize("capacity", [None, 2, 3, 5])
def test_every_legal_state_is_found_once(capacity):
    found = [
        rows_of(s)
        for s in all_states(requests=2, tokens=2, token_budget=3, kv_capacity=capacity)
    ]
    cells = [r for r in itertools.product(range(3), repeat=3) if r[0] + r[2] <= 2]
    wanted = {
        rows
        for n in (1, 2)
        for rows in itertools.product(cells, repeat=n)
        if is_legal(rows, capacity=capacity)
    }
    assert len(found) == len(set(found))
    assert set(found) == wanted


@pytest.mark.parametrize(("tokens", "forms"), [(1, 3), (2, 13), (3, 33)])
def test_the_counts_are_those_of_the_formula(tokens, forms):
    assert forms == tokens * (tokens + 1) ** 2 // 2 + tokens**2
    count = sum(1 for _ in all_states(requests=3, tokens=tokens, token_budget=1))
    assert count == forms + forms**2 + forms**3


@pytest.mark.parametrize("source", ["all", "reachable"])
def test_states_come_smallest_first_and_cannot_be_written_to(source):
    scope = {"requests": 3, "tokens": 2, "token_budget": 2}
    states = all_states(**scope) if source == "all" else reachable_states(ql.ORCA, **scope)
    sizes = []
    for state in states:
        rows = rows_of(state)
        sizes.append((len(rows), sum(map(sum, rows))))
        assert not state.prompt_left.flags.writeable
        assert state.request.tolist() == list(range(len(rows)))
    assert sizes == sorted(sizes)


def test_the_first_state_that_breaks_something_is_minimal():
    states = all_states(requests=3, tokens=3, token_budget=2)
    first = next(s for s in states if 0 < ql.VANILLA_VLLM(s).tokens.sum() < min(2, s.demand))
    assert rows_of(first) in {((1, 0, 0), (0, 1, 1)), ((0, 1, 1), (1, 0, 0))}


def played(policy, *, requests, tokens, limits, emits, arrivals):
    """Return every state with few requests that finite lists of arrivals lead to."""
    engine = ql.Engine(
        step_time=ql.AffineStepTime(1, 0), first_token_from_prefill=emits, **limits
    )
    lengths = list(itertools.product(range(1, tokens + 1), range(int(emits), tokens + 1)))
    if "kv_capacity" in limits:
        lengths = [(p, d) for p, d in lengths if p + d - emits <= limits["kv_capacity"]]
    found = set()
    for times in arrivals:
        for chosen in itertools.product(lengths, repeat=len(times)):
            prompts, outputs = zip(*chosen, strict=True)
            load = ql.Workload.of_requests(
                list(times), prompt_tokens=list(prompts), output_tokens=list(outputs)
            )
            trail = set()
            for step in ql.watch(engine, load, policy=policy, horizon=40):
                if len(step.state.request) > requests:
                    break
                trail.add(rows_of(step.state))
            found |= trail
    return found


@pytest.mark.parametrize("rule", [ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM], ids=lambda r: r.name)
@pytest.mark.parametrize("limits", [{}, {"max_batch_size": 1}, {"kv_capacity": 2}])
def test_reachable_states_are_exactly_those_that_the_simulator_comes_to(rule, limits):
    limits = {"token_budget": 2, **limits}
    arrivals = [
        t for n in (1, 2, 3) for t in itertools.combinations_with_replacement(range(4), n)
    ]
    seen = played(rule, requests=2, tokens=1, limits=limits, emits=False, arrivals=arrivals)
    found = {rows_of(s) for s in reachable_states(rule, requests=2, tokens=1, **limits)}
    assert seen == found


def test_recomputed_requests_are_followed_when_prefills_emit():
    limits = {"token_budget": 3, "kv_capacity": 5}
    scope = {"requests": 2, "tokens": 3, **limits}
    arrivals = [(0, 0), (0, 1)]
    seen = played(
        ql.SARATHI, requests=2, tokens=3, limits=limits, emits=True, arrivals=arrivals
    )
    emitting = reachable_states(ql.SARATHI, **scope, first_token_from_prefill=True)
    found = {rows_of(s) for s in emitting}
    assert seen <= found
    assert not seen <= {rows_of(s) for s in reachable_states(ql.SARATHI, **scope)}
    assert any(left + stored > 3 for rows in seen for left, _, stored in rows if left)


def test_a_policy_does_not_come_to_every_legal_state():
    scope = {"requests": 2, "tokens": 3, "token_budget": 2}
    found = {rows_of(s) for s in reachable_states(ql.SARATHI, **scope)}
    assert all(is_legal(rows) for rows in found)
    partial = [sum(left > 0 < stored for left, _, stored in rows) for rows in found]
    assert max(partial) == 1
    two_cut = ((1, 1, 1), (1, 1, 1))
    assert two_cut in {rows_of(s) for s in all_states(**scope)} - found


def test_an_illegal_answer_ends_the_way():
    def greedy(state):
        return Batch(np.full(len(state.request), state.token_budget + 1))

    scope = {"requests": 2, "tokens": 1, "token_budget": 1}
    found = {rows_of(s) for s in reachable_states(greedy, **scope)}
    assert all(stored == 0 for rows in found for _, _, stored in rows)
    assert len(found) == 2 + 4


def test_bounds_must_be_positive_integers():
    with pytest.raises(ql.InvalidArgument, match="requests must be an integer at least 1"):
        next(all_states(requests=0, tokens=1, token_budget=1))
    with pytest.raises(ql.InvalidArgument, match="policy must be"):
        next(reachable_states("orca", requests=1, tokens=1, token_budget=1))
    limited = Scope(requests=1, tokens=2, token_budget=3, kv_capacity=4)
    assert str(limited).endswith("at most 2 tokens, token_budget=3, kv_capacity=4")
