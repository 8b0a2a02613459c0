"""Foster's one-step condition: against the drift of full batches, and against the books."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import (
    FASTER_TRANSFORMER,
    ORCA,
    POLICIES,
    SARATHI,
    VANILLA_VLLM,
    VLLM_V1,
    Batch,
)
from queueing_llm.verify import Outcome, Support, Trial, play
from queueing_llm.verify.loads._drift import drift, expected_change
from queueing_llm.verify.strategies import trials

ENGINE = ql.Engine(step_time=ql.AffineStepTime(3, 1), token_budget=4)
LOAD = ql.Workload.poisson(Fraction(1, 8), prompt_tokens=2, output_tokens=2)
FULL = Fraction(1, 7)
"""The rate of full batches: 4 tokens in 7 s, 4 tokens of work in a request."""


def finding(policy, workload=LOAD, engine=ENGINE, **options):
    return drift(engine, workload, **options).check(policy)


@given(
    trial=trials(),
    rule=st.sampled_from([r.variant(chunked=True) for r in POLICIES.values()]),
    emits=st.booleans(),
)
def test_the_change_without_arrivals_is_that_of_the_books(trial, rule, emits):
    engine = replace(trial.engine, first_token_from_prefill=emits)
    played = play(rule, Trial(engine, trial.arrivals))
    for now, then in zip(played.decisions, played.decisions[1:], strict=False):
        state, batch = now.state, now.batch
        if not batch.tokens.any():
            continue
        seconds, change = expected_change(engine, LOAD, state=state, batch=batch)
        come = LOAD.arrival_rate * engine.work_tokens(2, 2) * seconds
        old = then.state.request <= state.request[-1]
        before, after = (s.prompt_left + s.decode_left for s in (state, then.state))
        assert change - come == int(after[old].sum()) - int(before.sum())


@given(trial=trials(engine=ENGINE))
def test_full_batches_drift_as_foster_says(trial):
    known = ql.foster_drift(ENGINE, LOAD, policy=SARATHI)
    for decision in play(SARATHI, trial).decisions:
        if decision.state.demand >= ENGINE.token_budget:
            seconds, change = expected_change(
                ENGINE, LOAD, state=decision.state, batch=decision.batch
            )
            assert (seconds, change) == (known.batch_seconds, known.drift)
            assert isinstance(change, Fraction)


@pytest.mark.parametrize("rule", [SARATHI, ORCA, VLLM_V1], ids=lambda rule: rule.name)
def test_full_batches_are_proved_to_suffice_below_their_rate(rule):
    found = finding(rule)
    assert (found.outcome, found.support) == (Outcome.HOLDS, Support.PROVED)
    assert "Foster" in found.contract.source


def test_a_policy_given_as_code_is_tested_only():
    found = finding(lambda state: SARATHI(state))
    assert (found.outcome, found.support) == (Outcome.HOLDS, Support.TESTED)


def test_floats_prove_nothing():
    step = ql.AffineStepTime(3.0, 1.0)
    engine = ql.Engine(step_time=step, token_budget=4)
    found = finding(SARATHI, LOAD.scale_to(0.125), engine)
    assert (found.outcome, found.support) == (Outcome.HOLDS, Support.TESTED)


@pytest.mark.parametrize("rate", [FULL, FULL + Fraction(1, 1000)])
def test_full_batches_do_not_suffice_from_their_rate_on(rate):
    found = finding(SARATHI, LOAD.scale_to(rate))
    assert found.outcome is Outcome.VIOLATED
    assert ql.foster_drift(ENGINE, LOAD.scale_to(rate), policy=SARATHI) is None


@pytest.mark.parametrize("rule", [FASTER_TRANSFORMER, VANILLA_VLLM], ids=lambda rule: rule.name)
def test_small_batches_with_a_large_demand_break_it(rule):
    found = finding(rule)
    assert (found.outcome, found.support) == (Outcome.VIOLATED, Support.COUNTEREXAMPLE)
    broken = found.counterexample
    assert broken.trial.engine == ENGINE
    assert {(a.prompt_tokens, a.output_tokens) for a in broken.trial.arrivals} == {(2, 2)}
    assert broken.state.demand >= ENGINE.token_budget > int(broken.decision.batch.tokens.sum())
    _, change = expected_change(ENGINE, LOAD, state=broken.state, batch=broken.decision.batch)
    assert change >= 0
    assert "no proof of instability" in found.contract.implies


def test_faster_transformer_on_the_main_fit():
    step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    engine = ql.Engine(step_time=step, token_budget=512)
    load = ql.Workload.poisson(Fraction("10.4"), prompt_tokens=129, output_tokens=112)
    found = finding(FASTER_TRANSFORMER, load, engine, plays=10)
    # One decode of 46.75 ms, while four prompts of 129 tokens wait: 10.4 * 241 * 0.04675.
    assert len(found.counterexample.trial.arrivals) == 5
    assert found.basis.endswith("takes 0.04675 s, in which 117.2 tokens come on average")


def test_a_smaller_bound_finds_small_states():
    found = finding(SARATHI, beyond=0)
    # One prompt alone: 2 tokens in 5 s, in which 5/8 requests of 4 tokens come.
    assert found.basis.startswith("with a demand of 2, a batch of 2 takes 5 s, in which 2.5 ")
    assert len(found.counterexample.trial.arrivals) == 1


def test_recomputation_is_work():
    def evicts(state):
        batch = SARATHI(state)
        if (state.stored > 0).sum() < 2:
            return batch
        victims = state.stored > 0
        victims[np.flatnonzero(victims)[0]] = False
        return Batch(np.where(victims, 0, batch.tokens), victims)

    assert finding(evicts).outcome is Outcome.VIOLATED


def test_an_idle_engine_has_no_drift():
    found = finding(lambda state: Batch(np.zeros_like(state.stored)))
    assert found.basis == "with a demand of 4, the batch is empty"


def test_illegal_answers_leave_it_open():
    def twice(state):
        return Batch(2 * SARATHI(state).tokens)

    assert finding(twice).outcome is Outcome.UNDECIDED
    assert finding(lambda state: None).support is Support.NONE


def test_states_that_no_crowd_comes_to_are_not_claimed():
    found = finding(lambda state: SARATHI(state), beyond=10**6, plays=2)
    assert found.outcome is Outcome.UNDECIDED
    assert "had a demand of 1000001 tokens" in found.basis


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (ql.Workload.of_requests([0], prompt_tokens=[1], output_tokens=[1]), "Poisson"),
        (
            ql.Workload.of(ql.DeterministicArrivals(1), LOAD.classes[0].lengths),
            "got DeterministicArrivals",
        ),
        (
            ql.Workload.poisson(1, prompt_tokens=1, output_tokens=ql.GeometricLength(3)),
            "longest_request=None",
        ),
    ],
)
def test_workloads_without_the_criterion_are_refused(workload, message):
    with pytest.raises(InvalidArgument, match=message):
        drift(ENGINE, workload)


@pytest.mark.parametrize("option", ["beyond", "plays", "seed"])
def test_numbers_out_of_range_are_refused(option):
    with pytest.raises(InvalidArgument, match=f"{option} must be"):
        drift(ENGINE, LOAD, **{option: -1})
