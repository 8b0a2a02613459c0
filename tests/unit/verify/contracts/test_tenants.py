"""Fairness between tenants: who keeps it, who breaks it, and the slow twin of the check."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import ORCA, POLICIES, SARATHI, Batch
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify import Arrival, Outcome, Trial, check_policy, play
from queueing_llm.verify.contracts._tenants import fair_between_tenants
from queueing_llm.verify.strategies import trials

ENGINE = Engine(step_time=AffineStepTime(1, 0), token_budget=4)
ONE = Engine(step_time=AffineStepTime(1, 0), token_budget=1)


def equal_shares(state):
    """Give each tenant the same part of the budget, first come, first served in it."""
    tokens = np.zeros(len(state.request), dtype=np.int64)
    tenants = np.unique(state.class_index)
    for tenant in tenants:
        room = state.token_budget // len(tenants)
        for i in np.flatnonzero(state.class_index == tenant):
            tokens[i] = min(room, max(1, state.prompt_left[i]))
            room -= tokens[i]
    return Batch(tokens)


class LeastServedFirst:
    """Serve the tenant that got the fewest tokens, one token after the other."""

    def __init__(self):
        self.served = {}

    def __call__(self, state):
        owners = state.class_index.tolist()
        if state.request[0] == 0 and not state.stored.any():
            self.served = {}
        left = np.maximum(state.prompt_left, 1)
        tokens = np.zeros_like(left)
        served = {tenant: self.served.get(tenant, self.most) for tenant in owners}
        for _ in range(min(state.token_budget, int(left.sum()))):
            i = min(np.flatnonzero(tokens < left), key=lambda i: (served[owners[i]], i))
            tokens[i] += 1
            served[owners[i]] += 1
        self.served = served
        # Who lacks nothing has no claim from the past.
        waiting = {tenant for tenant, got in zip(owners, tokens, strict=True) if got == 0}
        self.served = {t: s if t in waiting else self.most for t, s in served.items()}
        return Batch(tokens)

    @property
    def most(self):
        return max(self.served.values(), default=0)


def most_ahead(played):
    """The slow twin: every stretch of steps in which a tenant waits."""
    tenants = {arrival.class_index for arrival in played.trial.arrivals}
    steps = [
        list(zip(d.state.class_index, d.batch.tokens, strict=True)) for d in played.decisions
    ]
    most = 0
    for f, g in permutations(tenants, 2):
        for begin in range(len(steps)):
            ahead = 0
            for step in steps[begin:]:
                if not any(owner == f and tokens == 0 for owner, tokens in step):
                    break
                ahead += sum(t for owner, t in step if owner == g)
                ahead -= sum(t for owner, t in step if owner == f)
                most = max(most, int(ahead))
    return most


@given(
    trial=trials(classes=3),
    policy=st.sampled_from([*(r.variant(chunked=True) for r in POLICIES.values())]),
)
def test_the_bound_is_the_most_that_a_tenant_is_ahead(trial, policy):
    played = play(policy, trial)
    most = most_ahead(played)
    assert fair_between_tenants(most).check(played) is None
    if most:
        position, sentence = fair_between_tenants(most - 1).check(played)
        assert f"{most} tokens more" in sentence
        assert position < len(played.decisions)


@pytest.mark.parametrize("rule", [ORCA, SARATHI], ids=lambda rule: rule.name)
def test_first_come_first_served_is_not_fair(rule):
    found = check_policy(rule, contracts=[fair_between_tenants(4)]).findings[0]
    assert found.outcome is Outcome.VIOLATED
    arrivals = found.counterexample.trial.arrivals
    assert len(arrivals) == 2
    assert {arrival.class_index for arrival in arrivals} == {0, 1}


@pytest.mark.parametrize(
    ("policy", "most"), [(equal_shares, 0), (LeastServedFirst(), 2)], ids=["equal", "least"]
)
def test_policies_that_look_at_tenants_are_fair(policy, most):
    found = check_policy(policy, engine=ENGINE, contracts=[fair_between_tenants(most)])
    assert found.findings[0].outcome is Outcome.HOLDS, found


@given(trial=trials(engine=ENGINE, classes=3))
def test_equal_shares_never_put_a_waiting_tenant_behind(trial):
    played = play(equal_shares, trial)
    # Shares are rounded down, alike for all who are there.
    assert fair_between_tenants(0).check(played) is None


def test_a_tenant_that_is_gone_for_a_step_does_not_start_anew():
    # Tenant 0 comes twice, for one step each, while the request of tenant 1 waits all along.
    arrivals = (Arrival(0, 1, 1, 1), Arrival(0, 1, 1), Arrival(3, 1, 1))

    def strangers_first(state):
        served = np.flatnonzero(state.class_index == 0)[:1]
        tokens = np.zeros(len(state.request), dtype=np.int64)
        tokens[served] = 1
        return Batch(tokens)

    played = play(strangers_first, Trial(ONE, arrivals))
    assert most_ahead(played) == 4
    assert fair_between_tenants(3).check(played)[1].startswith("from step 0 on tenant 0 gets 4")


def test_one_tenant_alone_tests_nothing():
    trial = Trial(ONE, (Arrival(0, 3, 1), Arrival(0, 3, 1)))
    contract = fair_between_tenants(0)
    played = play(SARATHI, trial)
    assert contract.check(played) is None
    assert not any(map(contract.is_tested_by, played.decisions))


def test_a_bad_bound_is_refused():
    with pytest.raises(InvalidArgument, match="most_tokens must be an integer at least 0"):
        fair_between_tenants(0.5)
