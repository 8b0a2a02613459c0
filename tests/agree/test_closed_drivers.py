"""Closed workloads: the kernel and the transparent driver agree tick by tick."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.model import (
    ClosedArrivals,
    EmpiricalLengths,
    Engine,
    GeometricLength,
    IndependentLengths,
    RequestClass,
    UniformLength,
    Workload,
)
from queueing_llm.policies import ORCA, POLICIES, SARATHI, BatchRule
from queueing_llm.simulate._arrivals import one_by_one
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._drive import run_kernel
from queueing_llm.simulate._outcome import SAMPLE_COLUMNS
from queueing_llm.simulate._recorder import Recorder
from queueing_llm.simulate._reference import steps
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

ARRIVED = SAMPLE_COLUMNS.index("arrived")
ORCA_BOUNDED = ORCA.variant(limit_counts="residents")
TIMES = ("arrival", "start", "first", "finish", "prompt_tokens", "decode_steps", "class_index")

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

# Whole steps of the staircase, so that returns meet ends of batches, among others.
think_times = st.sampled_from([0, Fraction(1, 10), Fraction(4, 10), 0.8, 1.3, 20])


@st.composite
def lengths(draw):
    prompts = st.lists(st.integers(1, 9), min_size=1, max_size=5)
    prompt = draw(prompts)
    output = draw(st.lists(st.integers(1, 9), min_size=len(prompt), max_size=len(prompt)))
    return EmpiricalLengths(prompt, output, in_order=draw(st.booleans()))


@st.composite
def cases(draw):
    users = draw(st.integers(1, 9))
    arrivals = ClosedArrivals(
        users,
        think_time=draw(think_times),
        think_scv=draw(st.sampled_from([0, 1, Fraction(1, 4), 5])),
        ramp=draw(st.sampled_from([0, 1, 2.7])),
    )
    classes = [
        RequestClass(f"class {i}", law, share=1 + i)
        for i, law in enumerate(draw(st.lists(lengths(), min_size=1, max_size=2)))
    ]
    workload = Workload(arrivals, classes)
    block = draw(st.sampled_from([1, 1, 2, 3]))
    largest = -(-workload.longest_request // block) * block
    capacity = draw(st.none() | st.integers(largest, 3 * largest))
    engine = Engine(
        step_time=draw(step_times),
        token_budget=draw(st.integers(1, 12)),
        max_batch_size=draw(st.none() | st.integers(1, 6)),
        kv_capacity=capacity if block == 1 or capacity is None else capacity // block * block,
        kv_block_size=1 if capacity is None else block,
        first_token_from_prefill=draw(st.booleans()),
    )
    return engine, workload, draw(rules), draw(st.sampled_from([3.0, 10.0, 60.0]))


def both(engine, workload, rule, horizon, *, chunk=4, seed=0, late=0, thoughtful=0):
    """Run the kernel with and without requests kept, and the transparent driver.

    The users of the last may start some ticks late, or think some ticks longer.
    """
    clock = Clock.of(engine)
    sample_at = clock.ticks(np.linspace(0.0, horizon, 7))
    starts = clock.arrival_ticks(workload.arrivals.starts(np.random.default_rng(seed)))

    def chunks(size):
        return workload.chunks(np.random.default_rng(seed), size)

    def fast(**kept):
        return run_kernel(
            engine,
            rule,
            chunks=chunks(chunk),
            clock=clock,
            sample_at=sample_at,
            starts=starts,
            **kept,
        )

    recorder = Recorder(sample_at, log_size=1000)
    arrivals = (
        arrival._replace(think_ticks=arrival.think_ticks + thoughtful)
        for arrival in one_by_one(chunks(3), engine, clock=clock)
    )
    for _ in steps(
        engine, rule, arrivals=arrivals, clock=clock, recorder=recorder, starts=starts + late
    ):
        pass
    return fast(log_size=1000, keep_requests=True), fast(), recorder.outcome()


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 3))
def test_every_rule_gives_the_same_batches_times_and_totals(case, seed):
    fast, lean, slow = both(*case, seed=seed)
    np.testing.assert_array_equal(fast.log, slow.log)
    np.testing.assert_array_equal(fast.samples, slow.samples)
    np.testing.assert_array_equal(lean.samples, slow.samples)
    for field in TIMES:
        np.testing.assert_array_equal(
            getattr(fast.requests, field), getattr(slow.requests, field), err_msg=field
        )


@pytest.mark.parametrize("rule", [*POLICIES.values(), ORCA_BOUNDED], ids=lambda r: r.name)
@pytest.mark.parametrize(
    "limits", [{"max_batch_size": 12}, {"kv_capacity": 960, "kv_block_size": 16}]
)
@pytest.mark.parametrize("think_time", [0, 2.5])
def test_long_random_runs_agree(rule, limits, think_time):
    """Every user comes back, and the KV cache has to take requests back."""
    engine = Engine(
        step_time=StaircaseStepTime(overhead=0.01, per_block=0.02, block=16),
        token_budget=64,
        **limits,
    )
    arrivals = ClosedArrivals(30, think_time=think_time, think_scv=1)
    lengths = IndependentLengths(UniformLength(1, 60), UniformLength(1, 50))
    fast, lean, slow = both(engine, Workload.of(arrivals, lengths), rule, 30.0, chunk=100)
    assert fast.samples[-1, ARRIVED] > 50
    np.testing.assert_array_equal(fast.log, slow.log)
    np.testing.assert_array_equal(fast.samples, slow.samples)
    np.testing.assert_array_equal(lean.samples, slow.samples)


def test_a_few_users_with_long_answers_agree():
    """The kernel runs ahead between completions, which bring users back."""
    engine = Engine(
        step_time=StaircaseStepTime(overhead=0.01, per_block=0.02, block=16), token_budget=64
    )
    lengths = IndependentLengths(UniformLength(1, 60), GeometricLength(80))
    for think_time in (0, 0.03, 5):
        workload = Workload.of(ClosedArrivals(3, think_time, 1), lengths)
        fast, lean, slow = both(engine, workload, SARATHI, 60.0, chunk=7)
        np.testing.assert_array_equal(fast.samples, slow.samples)
        np.testing.assert_array_equal(lean.samples, slow.samples)


def test_a_list_that_is_played_once_ends():
    """Users who come back to an empty list go home."""
    engine = Engine(step_time=StaircaseStepTime(1, 1, 4), token_budget=4)
    workload = Workload.closed(3, think_time=1, prompt_tokens=4, output_tokens=2)
    clock = Clock.of(engine)
    sample_at = clock.ticks([30.0, 90.0])
    starts = clock.arrival_ticks(workload.arrivals.starts(np.random.default_rng(0)))

    def ten():
        return itertools.islice(workload.chunks(np.random.default_rng(0), 5), 2)

    fast = run_kernel(
        engine, SARATHI, chunks=ten(), clock=clock, sample_at=sample_at, starts=starts
    )
    recorder = Recorder(sample_at)
    arrivals = one_by_one(ten(), engine, clock=clock)
    taken = steps(
        engine, SARATHI, arrivals=arrivals, clock=clock, recorder=recorder, starts=starts
    )
    assert sum(1 for _ in taken) == fast.samples[-1, SAMPLE_COLUMNS.index("steps")]
    np.testing.assert_array_equal(fast.samples, recorder.outcome().samples)
    assert fast.samples[-1, ARRIVED] == 10


@pytest.mark.parametrize("change", [{"late": 1}, {"thoughtful": 1}])
def test_one_tick_of_one_user_would_be_seen(change):
    """Control: a driver whose users start, or think, a tick longer makes other times."""
    engine = Engine(step_time=StaircaseStepTime(1, 1, 4), token_budget=4)
    workload = Workload.closed(3, think_time=2, prompt_tokens=4, output_tokens=1)
    fast, _, slow = both(engine, workload, SARATHI, 30.0, **change)
    assert not np.array_equal(fast.log, slow.log)
    assert not np.array_equal(fast.requests.finish, slow.requests.finish)
