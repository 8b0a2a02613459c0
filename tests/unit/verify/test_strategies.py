"""What the strategies draw, and how far it shrinks."""

import subprocess
import sys

import pytest
from hypothesis import find, given, settings

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import SARATHI, VLLM_V1, check_batch
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify.strategies import crowds, engine_states, engines, trials, workloads

SMALLEST = settings(database=None, derandomize=True, deadline=None, max_examples=60)
LARGE = Engine(step_time=AffineStepTime(1, 0), token_budget=512, kv_capacity=600)


@given(trial=trials(engine=LARGE))
def test_trials_fit_the_engine_that_is_given(trial):
    assert trial.engine is LARGE
    assert all(a.prompt_tokens + a.output_tokens <= 600 for a in trial.arrivals)


@given(state=engine_states(engine=LARGE, reachable_by=VLLM_V1))
def test_reached_states_have_the_limits_of_the_engine(state):
    assert (state.token_budget, state.max_batch_size, state.kv_capacity) == (512, None, 600)
    check_batch(state, VLLM_V1(state))


@given(state=engine_states(limits=False))
def test_states_can_be_drawn_without_limits(state):
    assert state.max_batch_size is state.kv_capacity is None
    assert len(state.request) >= 1


@given(workload=workloads())
def test_workloads_have_a_mean(workload):
    assert workload.arrival_rate > 0
    assert workload.moments.prompt >= 1


def test_little_is_left_of_a_counterexample():
    trial = find(trials(), lambda t: len(t.arrivals) > 2, settings=SMALLEST)
    assert trial.work_tokens == 6
    assert trial.engine.kv_capacity is None
    engine = find(engines(), lambda e: e.max_batch_size is not None, settings=SMALLEST)
    assert (engine.token_budget, engine.max_batch_size) == (1, 1)


def test_little_is_left_of_a_reached_state():
    states = engine_states(reachable_by=SARATHI)
    state = find(states, lambda s: len(s.decoding) > 1, settings=SMALLEST)
    assert state.stored.tolist() == [1, 1]


@given(trial=trials(classes=3))
def test_tenants_are_drawn_where_asked(trial):
    assert {arrival.class_index for arrival in trial.arrivals} <= {0, 1, 2}


@given(trial=trials())
def test_by_default_there_is_one_tenant(trial):
    assert {arrival.class_index for arrival in trial.arrivals} == {0}


def test_tenants_shrink_to_one():
    trial = find(trials(classes=3), lambda t: len(t.arrivals) > 1, settings=SMALLEST)
    assert [arrival.class_index for arrival in trial.arrivals] == [0, 0]
    other = find(
        trials(classes=3),
        lambda t: len({a.class_index for a in t.arrivals}) > 1,
        settings=SMALLEST,
    )
    assert {arrival.class_index for arrival in other.arrivals} == {0, 1}


@given(engine=engines())
def test_caches_hold_whole_blocks(engine):
    assert engine.kv_capacity is None or engine.kv_capacity % engine.kv_block_size == 0
    assert engine.kv_capacity is not None or engine.kv_block_size == 1


@given(trial=crowds(engine=LARGE, lengths=[(30, 4), (100, 2)], demand=512))
def test_crowds_have_the_lengths_that_they_may_have(trial):
    assert {(a.prompt_tokens, a.output_tokens) for a in trial.arrivals} <= {(30, 4), (100, 2)}
    assert trial.engine is LARGE


@pytest.mark.parametrize("phase", ["prompts", "decodes"])
def test_a_crowd_can_make_the_demand(phase):
    def has_it(trial):
        prompts = sum(a.prompt_tokens for a in trial.arrivals if a.step == 0)
        return (prompts if phase == "prompts" else len(trial.arrivals)) >= 64

    drawn = crowds(engine=LARGE, lengths=[(10, 2)], demand=64)
    found = find(drawn, has_it, settings=SMALLEST)
    assert len(found.arrivals) == {"prompts": 7, "decodes": 64}[phase]


def test_what_cannot_be_drawn_is_refused():
    tiny = Engine(step_time=AffineStepTime(1, 0), token_budget=4, kv_capacity=1)
    with pytest.raises(InvalidArgument, match="kv_capacity=1"):
        find(trials(engine=tiny), lambda trial: True, settings=SMALLEST)
    with pytest.raises(InvalidArgument, match="classes must be"):
        find(trials(classes=0), lambda trial: True, settings=SMALLEST)
    with pytest.raises(InvalidArgument, match="engine needs reachable_by"):
        engine_states(engine=LARGE)


def test_importing_verify_leaves_hypothesis_alone():
    code = "import queueing_llm.verify, sys; print('hypothesis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


@given(trial=trials(whole=True, most_block_size=4))
def test_whole_prompts_fit_in_a_batch(trial):
    longest = max(a.prompt_tokens + a.output_tokens for a in trial.arrivals)
    assert longest <= trial.engine.token_budget <= longest + 2


@given(trial=trials(whole=True, engine=Engine(AffineStepTime(1, 0), token_budget=7)))
def test_whole_prompts_fit_in_a_batch_of_a_given_engine(trial):
    assert all(a.prompt_tokens + a.output_tokens <= 7 for a in trial.arrivals)
