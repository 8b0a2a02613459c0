"""The kernel and the transparent driver agree batch by batch and tick by tick."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from queueing_llm.model import Engine, Requests, Workload
from queueing_llm.policies import (
    FASTER_TRANSFORMER,
    ORCA,
    POLICIES,
    SARATHI,
    VANILLA_VLLM,
    BatchRule,
)
from queueing_llm.simulate._arrivals import one_by_one
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._drive import run_kernel
from queueing_llm.simulate._recorder import Recorder
from queueing_llm.simulate._reference import steps
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

rules = st.builds(
    BatchRule,
    name=st.just("any"),
    first=st.sampled_from(["decode", "prefill"]),
    mixed=st.booleans(),
    chunked=st.booleans(),
    limit_counts=st.sampled_from(["members", "residents"]),
)

step_times = st.sampled_from(
    [
        StaircaseStepTime(overhead=Fraction(1, 10), per_block=Fraction(3, 10), block=4),
        AffineStepTime(base=0.2, per_token=0.05, per_kv_token=0.01),
        TableStepTime.of_tokens([1, 2, 5, 9, 60], [1.0, 0.8, 1.1, 1.1, 3.0]),
        TableStepTime.of_batches(
            [0, 3, 60], [0, 20, 60], [0, 4000], np.arange(2, 20).reshape(3, 3, 2) / 7
        ),
    ]
)


@st.composite
def cases(draw):
    count = draw(st.integers(1, 14))
    sizes = st.lists(st.integers(1, 9), min_size=count, max_size=count)
    gaps = st.lists(st.sampled_from([0.0, 0.4, 0.4, 1.0, 3.0]), min_size=count, max_size=count)
    emits = draw(st.booleans())
    prompt, output = draw(sizes), draw(sizes)
    largest = max(p + d for p, d in zip(prompt, output, strict=True))
    engine = Engine(
        step_time=draw(step_times),
        token_budget=draw(st.integers(1, 12)),
        max_batch_size=draw(st.none() | st.integers(1, 6)),
        kv_capacity=draw(st.none() | st.integers(largest, 3 * largest)),
        first_token_from_prefill=emits,
    )
    workload = Workload.of_requests(
        np.cumsum(draw(gaps)), prompt_tokens=prompt, output_tokens=output
    )
    return engine, workload, draw(rules), draw(st.sampled_from([3.0, 10.0, 200.0]))


def both(engine, workload, rule, horizon, *, chunk=4):
    clock = Clock.of(engine)
    sample_at = clock.ticks(np.linspace(0.0, horizon, 7))
    fast = run_kernel(
        engine,
        rule,
        chunks=workload.chunks(np.random.default_rng(0), chunk),
        clock=clock,
        sample_at=sample_at,
        log_size=1000,
        keep_requests=True,
    )
    lean = run_kernel(
        engine,
        rule,
        chunks=workload.chunks(np.random.default_rng(0), chunk),
        clock=clock,
        sample_at=sample_at,
    )
    recorder = Recorder(sample_at, log_size=1000)
    arrivals = one_by_one(workload.chunks(np.random.default_rng(0), 3), engine, clock=clock)
    taken = list(steps(engine, rule, arrivals=arrivals, clock=clock, recorder=recorder))
    return fast, lean, recorder.outcome(), taken


@settings(max_examples=400, deadline=None)
@given(cases())
def test_every_rule_gives_the_same_batches_times_and_totals(case):
    fast, lean, slow, _ = both(*case)
    np.testing.assert_array_equal(fast.log, slow.log)
    np.testing.assert_array_equal(fast.samples, slow.samples)
    np.testing.assert_array_equal(lean.samples, slow.samples)
    for field in ("arrival", "start", "first", "finish", "prompt_tokens", "decode_steps"):
        np.testing.assert_array_equal(
            getattr(fast.requests, field), getattr(slow.requests, field), err_msg=field
        )


def test_requests_that_end_with_their_prefill_are_not_served_twice():
    """Regression: a finish before the first decode step was taken for a waiting request."""
    engine = Engine(
        step_time=StaircaseStepTime(1, 1, 4),
        token_budget=4,
        kv_capacity=4,
        first_token_from_prefill=True,
    )
    load = Workload.of_requests(
        [0.0] * 4 + [1.0], prompt_tokens=[1] * 5, output_tokens=[1] * 4 + [3]
    )
    fast, _, slow, _ = both(engine, load, FASTER_TRANSFORMER, 30.0)
    np.testing.assert_array_equal(fast.log, slow.log)


@pytest.mark.parametrize("rule", POLICIES.values(), ids=lambda r: r.name)
@pytest.mark.parametrize("limits", [{}, {"max_batch_size": 12}, {"kv_capacity": 900}])
def test_long_random_runs_agree(rule, limits):
    engine = Engine(
        step_time=AffineStepTime(base=0.01, per_token=0.0005, per_kv_token=1e-6),
        token_budget=64,
        **limits,
    )
    rng = np.random.default_rng(11)
    count = 1500
    workload = Workload.of_requests(
        np.cumsum(rng.exponential(0.03, count)),
        prompt_tokens=rng.integers(1, 60, count),
        output_tokens=rng.integers(1, 50, count),
    )
    fast, lean, slow, _ = both(engine, workload, rule, 40.0, chunk=100)
    assert len(slow.log) > 500
    np.testing.assert_array_equal(fast.log, slow.log)
    np.testing.assert_array_equal(fast.samples, slow.samples)
    np.testing.assert_array_equal(lean.samples, slow.samples)


def test_an_empty_chunk_does_not_end_the_arrivals():
    """Regression: a phase of arrivals that stops at a chunk boundary yields nothing once."""
    engine = Engine(step_time=StaircaseStepTime(1, 1, 4), token_budget=4)
    load = Workload.of_requests([0.0, 9.0], prompt_tokens=[4, 4], output_tokens=[1, 1])
    clock = Clock.of(engine)
    first, last = load.chunks(np.random.default_rng(0), 1)
    empty = Requests(*(np.zeros(0, dtype=c) for c in (np.float64, *[np.int64] * 3)))
    outcome = run_kernel(
        engine,
        SARATHI,
        chunks=iter([empty, first, empty, last]),
        clock=clock,
        sample_at=clock.ticks([50.0]),
    )
    assert outcome.samples[0, 4] == 2


def test_a_driver_that_rounds_arrivals_down_by_a_tick_is_caught():
    """Control: the comparison sees one tick."""
    engine = Engine(step_time=StaircaseStepTime(1, 1, 4), token_budget=4)
    load = Workload.of_requests([0.0, 2.0], prompt_tokens=[4, 4], output_tokens=[1, 1])
    late = Workload.of_requests([0.0, 2.0 + 1e-9], prompt_tokens=[4, 4], output_tokens=[1, 1])
    on_time = both(engine, load, SARATHI, 10.0)[0]
    delayed = both(engine, late, SARATHI, 10.0)[0]
    assert not np.array_equal(on_time.log, delayed.log)


def test_mutated_rules_are_told_apart():
    """Control: each published rule makes other batches on a plain workload."""
    engine = Engine(step_time=StaircaseStepTime(1, 1, 4), token_budget=5)
    load = Workload.of_requests(
        [0.0, 0.0, 1.0, 3.0], prompt_tokens=[3, 4, 6, 2], output_tokens=[4, 2, 3, 5]
    )
    chunked = FASTER_TRANSFORMER.variant(chunked=True)
    rules = (
        FASTER_TRANSFORMER,
        chunked,
        VANILLA_VLLM,
        ORCA,
        ORCA.variant(chunked=False),
        SARATHI,
    )
    logs = [both(engine, load, rule, 90.0)[0].log[:, 2:4].tobytes() for rule in rules]
    assert len(set(logs)) == len(rules)


@given(cases(), st.integers(0, 3))
def test_a_limit_of_at_least_the_budget_never_binds(case, more):
    """The step in Theorem 2's hypotheses: members, and residents of decode-first rules."""
    engine, workload, rule, horizon = case
    assume(rule.limit_counts == "members" or (rule.first == "decode" and rule.mixed))
    free = replace(engine, max_batch_size=None, kv_capacity=None)
    limited = replace(free, max_batch_size=engine.token_budget + more)
    unlimited_log = both(free, workload, rule, horizon)[0].log
    np.testing.assert_array_equal(both(limited, workload, rule, horizon)[0].log, unlimited_log)


def test_arrivals_long_after_the_horizon_do_no_harm():
    """A chunk at a tiny rate reaches beyond what ticks can count."""
    engine = Engine(step_time=StaircaseStepTime(1, 1, 4), token_budget=4)
    load = Workload.of_requests(
        [0.0, 1e12, 1e200], prompt_tokens=[4, 4, 4], output_tokens=[1, 1, 1]
    )
    fast, _, slow, _ = both(engine, load, SARATHI, 50.0)
    assert fast.samples[-1, 4] == 1
    np.testing.assert_array_equal(fast.samples, slow.samples)
