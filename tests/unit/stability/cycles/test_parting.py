"""The time in which requests that start to decode together all finish."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.model import (
    EmpiricalLength,
    EmpiricalLengths,
    Engine,
    GeometricLength,
    LognormalLength,
    PoissonArrivals,
    PoissonLength,
    RequestClass,
    UniformLength,
    Workload,
)
from queueing_llm.stability.cycles._parting import parting_seconds
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

ONE_SECOND = AffineStepTime(base=1, per_token=0)


def engine(step_time=ONE_SECOND, **more):
    return Engine(step_time=step_time, token_budget=4096, **more)


def load(output, prompt=7):
    return Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)


def test_steps_of_a_second_count_the_longest_of_four():
    """Vector ft.critical.geometric: the mean of the largest of four geometric numbers."""
    value, error = parting_seconds(engine(), load(GeometricLength(100)), 4)
    assert value == pytest.approx(207.7899218196273, rel=1e-12)
    assert error < 1e-10 * value


@pytest.mark.parametrize(
    "output",
    [
        GeometricLength(50),
        PoissonLength(40),
        LognormalLength(30, 1.5, 5000),
        UniformLength(3, 90),
        EmpiricalLength([0, 4, 4, 100]),
    ],
    ids=repr,
)
def test_steps_that_cost_by_the_token_add_up_to_the_work(output):
    by_the_token = AffineStepTime(base=0, per_token=0.25)
    value, error = parting_seconds(engine(by_the_token), load(output), 6)
    assert value == pytest.approx(6 * 0.25 * float(output.mean), abs=error)


def exactly(system, workload, together, lengths):
    """Mean time in fractions, over lengths that are equally likely."""
    shift = 1 if system.first_token_from_prefill else 0
    total, longest = Fraction(0), max(lengths) - shift
    for step in range(1, longest + 1):
        chance = Fraction(sum(d - shift >= step for d in lengths), len(lengths))
        for n in range(1, together + 1):
            weight = math.comb(together, n) * chance**n * (1 - chance) ** (together - n)
            total += weight * system.step_time(0, n)
    slope = system.step_time.kv_slope
    return total + slope * together * workload.moments.kv_reads(-shift)


LAWS = [
    StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 3),
    AffineStepTime(Fraction(1, 10), Fraction(1, 100), Fraction(1, 1000)),
    TableStepTime.of_tokens([1, 3, 4096], [Fraction(2), Fraction(1), Fraction(3)]),
]


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    together=st.integers(1, 9),
    law=st.sampled_from(LAWS),
    emits=st.booleans(),
)
def test_exact_fractions_lie_within_the_error(lengths, together, law, emits):
    system = engine(law, first_token_from_prefill=emits)
    workload = load(EmpiricalLength(lengths))
    value, error = parting_seconds(system, workload, together)
    assert abs(value - exactly(system, workload, together, lengths)) <= error


def test_a_row_of_a_table_and_a_law_of_its_own_are_the_same():
    rows = Workload.of(PoissonArrivals(1), EmpiricalLengths([7] * 3, [1, 5, 9]))
    law = load(EmpiricalLength([1, 5, 9]))
    assert parting_seconds(engine(), rows, 5) == parting_seconds(engine(), law, 5)


def test_classes_are_mixed_by_their_shares():
    classes = [
        RequestClass("short", EmpiricalLengths([7], [2]), share=3),
        RequestClass("long", EmpiricalLengths([7], [8]), share=1),
    ]
    mixed = Workload(PoissonArrivals(1), classes)
    one_law = load(EmpiricalLength([2, 8], weights=[3, 1]))
    value, error = parting_seconds(engine(), mixed, 3)
    assert value == pytest.approx(parting_seconds(engine(), one_law, 3)[0], abs=error)


@given(st.integers(1, 60))
def test_more_requests_take_longer_but_less_than_one_by_one(together):
    output = load(GeometricLength(10))
    one, several, more = (parting_seconds(engine(), output, n)[0] for n in (1, together, 99))
    assert one * (1 - 1e-9) <= several <= min(more, together * one * (1 + 1e-9))


@pytest.mark.parametrize(
    ("system", "workload"),
    [
        (
            engine(),
            Workload.of(PoissonArrivals(1), EmpiricalLengths([7, 7], [1, 2], in_order=True)),
        ),
        (engine(first_token_from_prefill=True), load(EmpiricalLength([0, 5]))),
        (
            engine(TableStepTime.of_batches([0, 9], [0, 9], [0, 99], [[[1, 2]] * 2] * 2)),
            load(GeometricLength(5)),
        ),
        # Nine terms for each of the billions of steps that matter.
        (engine(AffineStepTime(0.1, 0.1)), load(GeometricLength(10**8))),
    ],
)
def test_other_systems_are_left_open(system, workload):
    assert parting_seconds(system, workload, 9) is None
