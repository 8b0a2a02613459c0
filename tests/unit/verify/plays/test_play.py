"""The step-by-step player against the transparent driver, and what it keeps on record."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import POLICIES, SARATHI, Batch, Wait
from queueing_llm.simulate import watch
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify import Arrival, Ending, Trial, play
from queueing_llm.verify.strategies import trials

RULES = [r.variant(chunked=c) for r in POLICIES.values() for c in (True, False)]


def engine_of(budget, **limits):
    return Engine(step_time=AffineStepTime(1, 0), token_budget=budget, **limits)


@given(trial=trials(), rule=st.sampled_from(RULES), emits=st.booleans())
def test_plays_are_those_of_the_transparent_driver(trial, rule, emits):
    engine = dataclasses.replace(trial.engine, first_token_from_prefill=emits)
    trial = Trial(engine, trial.arrivals)
    played = play(rule, trial)
    steps = list(watch(engine, trial.workload, policy=rule, horizon=10_000))
    served = [decision for decision in played.decisions if decision.batch.tokens.any()]
    assert len(served) == len(steps)
    for decision, step in zip(served, steps, strict=True):
        assert decision.step * 10**9 == step.start
        for name in ("request", "prompt_left", "decode_left", "stored"):
            np.testing.assert_array_equal(
                getattr(decision.state, name), getattr(step.state, name)
            )
        np.testing.assert_array_equal(decision.batch.tokens, step.batch.tokens)
        np.testing.assert_array_equal(decision.batch.preempted, step.preempted)


@given(trial=trials())
def test_tokens_are_conserved_and_every_request_finishes(trial):
    played = play(SARATHI, trial)
    served = sum(int(decision.batch.tokens.sum()) for decision in played.decisions)
    lost = sum(
        int(decision.state.stored[decision.batch.preempted].sum())
        for decision in played.decisions
    )
    assert played.ending is Ending.FINISHED
    assert served == trial.work_tokens + lost


def test_a_policy_that_waits_for_ever_is_stalled():
    played = play(Wait([2]), Trial(engine_of(4), (Arrival(0, 1, 1),)))
    assert played.ending is Ending.STALLED


def test_an_empty_batch_waits_for_the_next_arrival():
    played = play(Wait([2]), Trial(engine_of(4), (Arrival(0, 1, 1), Arrival(7, 1, 1))))
    assert [decision.step for decision in played.decisions][:2] == [0, 7]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (lambda state: None, "it returned None, which is no Batch"),
        (lambda state: 1 / 0, "it raised ZeroDivisionError: division by zero"),
        (lambda state: Batch(np.zeros(3, dtype=int)), "shape"),
        (lambda state: Batch(np.zeros(1)), "float64"),
        (lambda state: Batch(np.array([-1])), "a request gets -1 tokens"),
        (lambda state: Batch(np.array([1]), np.array([1])), "preempted is int64"),
    ],
)
def test_what_is_no_batch_ends_the_play(answer, failure):
    played = play(answer, Trial(engine_of(4), (Arrival(0, 1, 1),)))
    assert played.ending is Ending.ILLEGAL
    assert failure in played.decisions[-1].failure


def test_a_policy_that_writes_is_noticed_and_changes_nothing_else():
    def vandal(state):
        batch = SARATHI(state)
        state.decode_left[:] = 9
        return batch

    trial = Trial(engine_of(4), (Arrival(0, 2, 2),))
    played = play(vandal, trial)
    assert all(decision.wrote for decision in played.decisions)
    assert len(played.decisions) == len(play(SARATHI, trial).decisions) == 3


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        ((Arrival(1, 1, 1), Arrival(0, 1, 1)), "never decrease"),
        ((Arrival(0, 0, 1),), "at least 1"),
        ((Arrival(0, 4, 2),), "kv_capacity=5"),
    ],
)
def test_impossible_trials_are_refused(arrivals, message):
    with pytest.raises(InvalidArgument, match=message):
        Trial(engine_of(4, kv_capacity=5), arrivals)
