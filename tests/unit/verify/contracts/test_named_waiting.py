"""Idle steps in a row, and steps in a row without a token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import ORCA, SARATHI, VANILLA_VLLM, Batch, Wait
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify import CONTRACTS, Arrival, Outcome, Trial, check_policy, play
from queueing_llm.verify.contracts._waiting import progress_within, starvation_bound
from queueing_llm.verify.strategies import trials

ONE, TWO = (Engine(step_time=AffineStepTime(1, 0), token_budget=budget) for budget in (1, 2))


def never_the_second(state):
    """Serve as Sarathi, but never request 1."""
    tokens = SARATHI(state).tokens.copy()
    tokens[state.request == 1] = 0
    return Batch(tokens)


def steps_without_tokens(played):
    """The slow twin: every step of a play, one by one, and who gets nothing in it."""
    longest, since = 0, {}
    for decision, after in zip(played.decisions, [*played.decisions[1:], None], strict=True):
        got = dict(zip(decision.state.request, decision.batch.tokens, strict=True))
        idle = not any(got.values())
        end = after.step if idle and after is not None else decision.step + 1
        for step in range(decision.step, end):
            for number, tokens in got.items():
                if tokens:
                    since.pop(number, None)
                else:
                    longest = max(longest, step - since.setdefault(number, step) + 1)
    return longest


@given(
    trial=trials(), rule=st.sampled_from([SARATHI, ORCA, VANILLA_VLLM.variant(chunked=True)])
)
def test_the_bound_is_the_longest_wait(trial, rule):
    played = play(rule, trial)
    longest = steps_without_tokens(played)
    assert starvation_bound(longest).check(played) is None
    if longest:
        assert starvation_bound(longest - 1).check(played) is not None


@given(trial=trials(), threshold=st.integers(1, 3))
def test_no_idle_step_is_progress(trial, threshold):
    played = play(Wait([threshold]), trial)
    strict = CONTRACTS["progress"].first_breach(Wait([threshold]), played)
    assert (strict is None) == (progress_within(0).check(played) is None)


def test_waiting_for_the_next_request_is_progress_if_it_comes_in_time():
    def waits_for_two(state):
        batch = SARATHI(state)
        lonely = len(state.request) == 1 and state.request[0] == 0
        return Batch(0 * batch.tokens) if lonely else batch

    pairs = [(Arrival(0, 9, 1), Arrival(gap, 1, 1)) for gap in (3, 4)]
    in_time, late = (play(waits_for_two, Trial(TWO, pair)) for pair in pairs)
    assert progress_within(3).check(in_time) is None
    assert progress_within(3).check(late) == (0, "idles for 4 steps with requests present: 1")


def test_idling_with_nothing_to_come_is_idling_for_ever():
    played = play(Wait([2]), Trial(ONE, (Arrival(0, 1, 1),)))
    position, sentence = progress_within(10**6).check(played)
    assert (position, sentence) == (
        0,
        "idles for ever from step 0 on, with requests present: 1",
    )


@pytest.mark.parametrize("contract", [starvation_bound(10**9)])
def test_a_request_that_is_never_served_breaks_every_bound(contract):
    found = check_policy(never_the_second, contracts=[contract]).findings[0]
    assert found.outcome is Outcome.VIOLATED
    assert len(found.counterexample.trial.arrivals) == 2


def test_a_bound_that_no_trial_could_break_is_not_called_kept():
    found = check_policy(SARATHI, contracts=[starvation_bound(10**6)]).findings[0]
    assert found.outcome is Outcome.UNDECIDED


def test_a_victim_waits():
    engine = Engine(step_time=AffineStepTime(1, 0), token_budget=4, kv_capacity=5)
    arrivals = (Arrival(0, 2, 3), Arrival(0, 1, 3))
    played = play(SARATHI, Trial(engine, arrivals))
    assert any(decision.batch.preempted.any() for decision in played.decisions)
    assert starvation_bound(0).check(played) is not None


def test_an_unreadable_answer_is_no_wait():
    played = play(lambda state: None, Trial(ONE, (Arrival(0, 1, 1),)))
    assert starvation_bound(0).check(played) is None
    assert progress_within(0).check(played) is None


@pytest.mark.parametrize("contract", [progress_within, starvation_bound])
def test_bad_bounds_are_refused(contract):
    with pytest.raises(InvalidArgument, match="steps must be an integer at least 0"):
        contract(-1)


def test_batches_without_tokens_are_idle_even_if_they_preempt():
    def evicts(state):
        return Batch(np.zeros_like(state.stored), state.stored > 0)

    assert progress_within(9).check(play(evicts, Trial(ONE, (Arrival(0, 1, 1),)))) is not None
