"""Equal users who do not think: the cycle is that of a plain event loop, exactly."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.closed._cycle import equal_users_cycle, settled
from queueing_llm.evidence import Evidence
from queueing_llm.stability.cycles._equal_requests import Arrivals, EqualRequests
from tests.reference.closed_loop import play

RULES = tuple(
    ql.policy_named(name)
    for name in (
        "sarathi",
        "vllm_v1",
        "orca",
        "orca:residents",
        "vanilla_vllm",
        "vanilla_vllm:chunked,residents",
        "faster_transformer",
        "faster_transformer:chunked",
    )
)


@st.composite
def systems(draw):
    """Draw a small engine with exact times, a rule, and users with equal requests."""
    rule, emits = draw(st.sampled_from(RULES)), draw(st.booleans())
    budget = draw(st.integers(1, 12))
    step = ql.AffineStepTime(draw(st.integers(1, 5)), draw(st.integers(1, 3)), Fraction(1, 7))
    engine = ql.Engine(
        step_time=draw(st.sampled_from([step, ql.StaircaseStepTime(1, 2, 4)])),
        token_budget=budget,
        max_batch_size=draw(st.none() | st.integers(1, 5)),
        first_token_from_prefill=emits,
    )
    prompt = draw(st.integers(1, 20 if rule.chunked else budget))
    output = draw(st.integers(1, 6))
    users = draw(st.integers(1, 7))
    return engine, rule, ql.Workload.closed(users, prompt_tokens=prompt, output_tokens=output)


def cycle_of(engine, rule, load):
    prompt, output = int(load.mean_prompt_tokens), int(load.mean_output_tokens)
    steps = int(engine.decode_steps(output))
    nobody = Arrivals(math.inf, 1)
    requests = EqualRequests(engine, rule, prompt=prompt, steps=steps, arrivals=nobody)
    requests.waiting = load.users
    found = settled(requests, emits=engine.first_token_from_prefill, most=50_000)
    assert found is not None
    total, apart = found
    assert apart is None
    return total


@given(systems())
@settings(max_examples=60)
def test_the_cycle_is_that_of_an_event_loop(system):
    """Times, first tokens and batches of one cycle, as equalities of fractions."""
    engine, rule, load = system
    found = cycle_of(*system)
    assume(found.completed < 60)
    lengths = (int(load.mean_prompt_tokens), int(load.mean_output_tokens))
    done, _ = play(
        engine,
        rule,
        starts=[0] * load.users,
        lengths=itertools.repeat(lengths),
        thinks=itertools.repeat(0),
        completions=found.completed * 2 + 200,
    )
    ends = [request.finished for request in done]
    late = len(done) - 1
    assert ends[late] - ends[late - found.completed] == found.seconds
    # Of requests that end together any may come first, so whole batches are compared.
    while ends[late] == ends[late - 1]:
        late -= 1
    cycle = done[late - found.completed : late]
    assert sum(r.first - r.arrived for r in cycle) == found.unanswered
    assert sum(r.finished - r.arrived for r in cycle) == load.users * found.seconds


@given(systems())
def test_tokens_are_conserved_in_a_cycle(system):
    found = cycle_of(*system)
    engine, _, load = system
    steps = engine.decode_steps(load.mean_output_tokens)
    assert found.tokens.prefill_tokens == found.completed * load.mean_prompt_tokens
    assert found.tokens.decode_tokens == found.completed * steps


def test_groups_cost_more_than_a_mean_batch():
    """64 users move in groups of prompts: less than independent phases would give."""
    step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    engine = ql.Engine(step_time=step, token_budget=512)
    load = ql.Workload.closed(64, prompt_tokens=129, output_tokens=112)
    grouped = equal_users_cycle(engine, load, ql.SARATHI)
    assert grouped.throughput == pytest.approx(8.47, abs=0.01)
    random = ql.Workload.closed(64, prompt_tokens=129, output_tokens=ql.GeometricLength(112))
    assert equal_users_cycle(engine, random, ql.SARATHI) is None


@pytest.mark.parametrize("change", [{"ramp": 5}, {"think_time": 1}])
def test_users_who_start_apart_or_think_have_no_cycle(change):
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    load = ql.Workload.closed(3, prompt_tokens=3, output_tokens=4, **change)
    assert equal_users_cycle(engine, load, ql.SARATHI) is None


def test_a_run_that_does_not_repeat_is_called_one():
    """Too few batches for a cycle: the later half of them, and what its parts differ by."""
    engine = ql.Engine(step_time=ql.AffineStepTime(0.01, 1e-4, 1e-7), token_budget=2048)
    load = ql.Workload.closed(64, prompt_tokens=1024, output_tokens=1000)
    point = equal_users_cycle(engine, load, ql.VLLM_V1)
    assert point.evidence is Evidence.SIMULATED
    assert 0 < point.measured_error < 0.01
    run = ql.simulate(engine, load, policy=ql.VLLM_V1, horizon=4000, warmup=400)
    tokens = run.token_throughput.value / (1024 + 1000)
    assert tokens == pytest.approx(point.throughput, rel=0.01)
