"""Nested WAIT: its conditions in numbers, and the buffer against simulation."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies._wait import NestedWait
from queueing_llm.stability.memory._boundary_exponent import boundary_exponent
from queueing_llm.stability.memory._nested_wait import nested_wait_plan
from queueing_llm.stability.memory._wait_thresholds import check_thresholds

LAW = ql.AffineStepTime(Fraction(1, 10), Fraction(1, 1000), Fraction(1, 1000))
FREE = ql.Engine(step_time=LAW, token_budget=10**5)


def mixed(*types, rate):
    classes = [
        ql.RequestClass(f"{l}/{o}", ql.EmpiricalLengths([l], [o]), share)
        for l, o, share in types
    ]
    return ql.Workload(ql.PoissonArrivals(rate), classes)


LOAD = mixed((4, 6, 3), (4, 2, 7), rate=10)


def plan(engine=FREE, load=LOAD, thresholds=(10, 5), horizon=60, overflow_probability=0.01):
    return nested_wait_plan(
        engine,
        load,
        thresholds=thresholds,
        horizon=horizon,
        overflow_probability=overflow_probability,
    )


def test_the_conditions_in_numbers():
    """Stages 4, 5, 6 hold 15 tokens; stages 7 to 10 hold 34: 10 and 5 of them 320."""
    found = plan()
    assert found.advance_probabilities == (Fraction(3, 10),)
    assert found.memory_tokens == 10 * 15 + 5 * 34
    assert found.iteration_seconds == Fraction(42, 100)
    assert found.slack_seconds == Fraction(58, 100)
    theta = boundary_exponent(5, 10, Fraction(3, 10))
    assert found.exponents == (theta,)
    queue = 5 + math.log(2 * (1 + 60 / 0.1) / 0.01) / theta
    assert found.buffer_tokens == pytest.approx((4 + 2) * queue, rel=1e-12)
    assert found.is_feasible


def test_memory_and_slack_decide():
    need = math.ceil(plan().required_tokens)
    fitting, short = (
        ql.Engine(step_time=LAW, token_budget=10**5, kv_capacity=slots)
        for slots in (need, need - 1)
    )
    assert plan(fitting).is_feasible
    assert not plan(short).is_feasible
    assert not plan(load=LOAD.scale_to(Fraction(10_000, 420))).is_feasible
    assert plan(load=LOAD.scale_to(Fraction(10_000, 421))).is_feasible


outputs = st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True)


@given(outputs, st.integers(1, 20), st.integers(1, 40))
def test_equal_thresholds_would_hold_what_the_longest_class_holds_alone(steps, prompt, count):
    """The segments are a partition of the stages: memory and time by the stages themselves."""
    counts = [count + 3 * (len(steps) - k) for k in range(len(steps))]
    load = mixed(*((prompt, o, 1 / 10**k) for k, o in enumerate(sorted(steps))), rate=1)
    found = plan(load=load, thresholds=counts)
    held, tokens = 0, 0
    for stage in range(max(steps) + 1):
        segment = sum(stage > o for o in steps)
        held += counts[segment] * (prompt + stage)
        tokens += counts[segment] * (prompt if stage == 0 else 1)
    assert found.memory_tokens == held
    assert found.iteration_seconds == LAW.base + LAW.per_kv_token * held
    reading = ql.AffineStepTime(LAW.base, 0, Fraction(1, 7))
    engine = ql.Engine(step_time=reading, token_budget=99)
    seconds = LAW.base + Fraction(held - tokens, 7)
    assert plan(engine, load, thresholds=counts).iteration_seconds == seconds


def test_one_class_needs_no_buffer_and_is_wait():
    load = mixed((4, 2, 1), rate=7)
    found, wait = plan(load=load, thresholds=[3]), check_thresholds(FREE, load, [3])
    assert (found.buffer_tokens, found.exponents) == (0, ())
    assert found.memory_tokens == wait.memory_tokens
    assert (found.slack_seconds,) == wait.slack_seconds


def test_the_buffer_suffices_and_is_needed():
    found = plan(horizon=40, overflow_probability=0.01)
    policy = NestedWait([10, 5], [2, 6], prompt_tokens=4)
    peaks = [
        max(
            int((step.state.stored + step.batch.tokens).sum())
            for step in ql.watch(FREE, LOAD, policy=policy, horizon=40, seed=seed)
        )
        for seed in range(8)
    ]
    assert max(peaks) <= found.required_tokens
    assert min(peaks) > found.memory_tokens


def test_feasible_thresholds_keep_up():
    policy = NestedWait([10, 5], [2, 6], prompt_tokens=4)
    run = ql.simulate(FREE, LOAD, policy=policy, horizon=120, seed=3)
    assert not run.grows
    assert run.requests_in_system[0].max() < 150


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": [10]}, "one entry for each of 2 classes"),
        ({"thresholds": [10, 0]}, r"thresholds\[1\] must be"),
        ({"thresholds": [10, 3]}, "threshold must be above 3 and below 10"),
        ({"thresholds": [10, 10]}, "threshold must be above 3 and below 10"),
        ({"horizon": 0}, "horizon must be"),
        ({"overflow_probability": 0}, "overflow_probability must be"),
        ({"load": mixed((4, 2, 1), (5, 6, 1), rate=1)}, "one common prompt length"),
        (
            {
                "load": ql.Workload.poisson(
                    1, prompt_tokens=4, output_tokens=ql.GeometricLength(2)
                )
            },
            "must have constant lengths",
        ),
    ],
    ids=str,
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ql.InvalidArgument, match=message):
        plan(**options)
