"""Thresholds of WAIT: the least ones against a search, and the policy itself."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies._wait import Wait
from queueing_llm.stability.memory._wait import wait_equilibrium
from queueing_llm.stability.memory._wait_thresholds import check_thresholds, smallest_thresholds

LAW = ql.AffineStepTime(Fraction(1, 10), Fraction(1, 1000), Fraction(1, 1000))


def wait_engine(capacity=None):
    return ql.Engine(step_time=LAW, token_budget=10**5, kv_capacity=capacity)


def mixed(*types, rate):
    classes = [
        ql.RequestClass(f"{l}/{o}", ql.EmpiricalLengths([l], [o]), share)
        for l, o, share in types
    ]
    return ql.Workload(ql.PoissonArrivals(rate), classes)


LOAD = mixed((4, 2, 7), (4, 6, 3), rate=10)


def test_the_conditions_in_numbers():
    """Lifetimes 15 and 49: 2 and 1 of them hold 79, and a batch of them takes 0.179 s."""
    found = check_thresholds(wait_engine(79), LOAD, [2, 1])
    assert found.memory_tokens == 79
    assert found.iteration_seconds == Fraction(179, 1000)
    assert found.slack_seconds == (
        Fraction(2, 7) - Fraction(179, 1000),
        Fraction(1, 3) - Fraction(179, 1000),
    )
    assert found.is_feasible
    assert not check_thresholds(wait_engine(78), LOAD, [2, 1]).is_feasible
    too_low = check_thresholds(wait_engine(), LOAD, [1, 1])
    assert too_low.fits
    assert not too_low.is_feasible


shapes = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 4)),
    min_size=1,
    max_size=2,
    unique_by=lambda t: t[:2],
)
rates = st.fractions(Fraction(1, 2), 40, max_denominator=9)


@example(types=[(1, 1, 1), (1, 7, 2)], rate=Fraction(40), floats=True)
@given(shapes, rates, st.booleans())
def test_the_smallest_are_the_smallest(types, rate, floats):
    load = mixed(*types, rate=float(rate) if floats else rate)
    engine = wait_engine()
    found = smallest_thresholds(engine, load)
    equilibrium = wait_equilibrium(engine, load)
    if equilibrium is None:
        assert found is None
        return
    assert found.is_feasible
    # Floats may miss a load of exactly 1 by rounding; there are too many to search, too.
    rounding = Fraction(1, 10**12) if floats else 0
    assert found.memory_tokens >= Fraction(equilibrium.memory_tokens) * (1 - rounding)
    if sum(found.thresholds) >= 60:
        return
    for counts in itertools.product(*(range(1, n + 1) for n in found.thresholds)):
        if counts != found.thresholds:
            assert not check_thresholds(engine, load, counts).is_feasible


@given(shapes, rates, st.integers(1, 400))
def test_with_memory_either_the_same_or_none(types, rate, capacity):
    load = mixed(*types, rate=rate)
    free, tight = (smallest_thresholds(wait_engine(c), load) for c in (None, capacity))
    if free is None or free.memory_tokens > capacity:
        assert tight is None
    else:
        assert tight == free


def test_near_the_pole_the_search_is_short():
    engine, load = wait_engine(), mixed(*((5 + i, 3 + i, 1 + i) for i in range(6)), rate=1)
    pole = 1 / wait_equilibrium(engine, load).load
    found = smallest_thresholds(engine, load.scale_to(pole * (1 - Fraction(1, 10**6))))
    assert found.is_feasible
    assert min(found.thresholds) > 10**4
    assert smallest_thresholds(engine, load.scale_to(pole)) is None


def test_a_search_that_would_take_too_long_is_given_up_aloud():
    """A rare class beside a heavy one: every round adds a request or two of a trillion."""
    engine, load = wait_engine(), mixed((4, 2, 1), (5, 2, 1e-9), rate=1.0)
    pole = 1 / wait_equilibrium(engine, load).load
    with pytest.raises(ql.InvalidArgument, match="must leave more of the time"):
        smallest_thresholds(engine, load.scale_to(pole * (1 - 1e-12)))


def test_the_policy_holds_what_they_say_and_keeps_up():
    found = smallest_thresholds(wait_engine(79), LOAD)
    policy = Wait(found.thresholds)
    steps = list(ql.watch(wait_engine(79), LOAD, policy=policy, horizon=60, seed=1))
    held = [int((step.state.stored + step.batch.tokens).sum()) for step in steps]
    assert max(held) == found.memory_tokens
    run = ql.simulate(wait_engine(79), LOAD, policy=policy, horizon=150, seed=2)
    assert run.preemptions == 0
    assert not run.grows
    assert run.requests_in_system[0].max() < 60


def test_thresholds_that_do_not_fill_in_time_fall_behind():
    """Control: with n/lambda below the time of a batch, a class grows."""
    load = mixed((4, 2, 7), (4, 6, 3), rate=14)
    assert not check_thresholds(wait_engine(), load, [1, 1]).is_feasible
    run = ql.simulate(wait_engine(), load, policy=Wait([1, 1]), horizon=100, seed=1)
    assert run.grows


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [([1], "one entry for each of 2 classes"), ([1, 0], r"thresholds\[1\] must be")],
)
def test_bad_thresholds_are_named(thresholds, message):
    with pytest.raises(ql.InvalidArgument, match=message):
        check_thresholds(wait_engine(), LOAD, thresholds)


def test_lengths_that_vary_within_a_class_are_refused():
    """Their sums are means only, and so no bound of what residents hold."""
    load = ql.Workload.poisson(1, prompt_tokens=4, output_tokens=ql.GeometricLength(3))
    assert wait_equilibrium(wait_engine(), load) is not None
    for question in (smallest_thresholds, lambda *system: check_thresholds(*system, [1])):
        with pytest.raises(ql.InvalidArgument, match="must have constant lengths"):
            question(wait_engine(), load)


@pytest.mark.parametrize("thresholds", [None, 4, [[1], [2]]])
def test_what_is_no_list_of_thresholds_is_named(thresholds):
    with pytest.raises(ql.InvalidArgument, match="one entry for each of 2 classes"):
        check_thresholds(wait_engine(), LOAD, thresholds)
