"""What holds for every step-time law."""

import itertools
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import (
    AffineStepTime,
    HingeStepTime,
    RooflineStepTime,
    StaircaseStepTime,
    TableStepTime,
)

MOST_TOKENS = 7
TIMES = st.fractions(Fraction(1, 100), 2, max_denominator=100)
READS = st.just(0) | TIMES
COUNTS = st.integers(1, 9)

AXES = st.builds(
    lambda inner, last: (0, *sorted(inner - {last}), last),
    st.sets(st.integers(1, MOST_TOKENS - 1), max_size=2),
    st.integers(MOST_TOKENS, MOST_TOKENS + 1),
)


@st.composite
def token_tables(draw):
    between = draw(st.sampled_from(["linear", "next"]))
    inner = draw(st.sets(st.integers(2, MOST_TOKENS - 1), max_size=4))
    axis = [1, *sorted(inner), draw(st.integers(MOST_TOKENS, 9))]
    seconds = draw(st.lists(TIMES, min_size=len(axis), max_size=len(axis)))
    return TableStepTime.of_tokens(axis, seconds, between=between)


@st.composite
def grid_tables(draw):
    axes = [draw(AXES | st.none()) for _ in range(2)] + [
        draw(st.sampled_from([(0, 3), (0, 1, 4), None]))
    ]
    if axes == [None] * 3:
        axes[0] = (0, MOST_TOKENS)
    shape = tuple(1 if axis is None else len(axis) for axis in axes)
    size = int(np.prod(shape))
    seconds = draw(st.lists(TIMES, min_size=size, max_size=size))
    return TableStepTime.of_batches(*axes, np.reshape(np.asarray(seconds, object), shape))


FORMULAS = st.one_of(
    st.builds(StaircaseStepTime, TIMES, TIMES, COUNTS, READS),
    st.builds(HingeStepTime, TIMES, TIMES, COUNTS, READS),
    st.builds(AffineStepTime, TIMES, TIMES, READS),
    st.builds(RooflineStepTime, TIMES, TIMES, TIMES, READS),
)
LAWS = st.one_of(FORMULAS, token_tables(), grid_tables())
BATCHES = [
    (x, y, kv)
    for x, y, kv in itertools.product(range(MOST_TOKENS + 1), range(MOST_TOKENS + 1), range(4))
    if 1 <= x + y <= MOST_TOKENS and (y > 0 or kv == 0)
]


def best_rate(law, batches):
    return max((x + y) / law(x, y, kv) for x, y, kv in batches)


def as_ints(arrays):
    return [tuple(map(int, batch)) for batch in zip(*arrays, strict=True)]


@settings(max_examples=200, deadline=None)
@given(law=LAWS, most_tokens=st.integers(1, MOST_TOKENS), data=st.data())
def test_candidates_contain_a_fastest_batch(law, most_tokens, data):
    most_decode = data.draw(st.none() | st.integers(1, MOST_TOKENS))
    cap = most_decode or most_tokens
    feasible = [b for b in BATCHES if b[0] + b[1] <= most_tokens and b[1] <= cap]
    candidates = as_ints(law.candidate_batches(most_tokens, most_decode_tokens=most_decode))
    for x, y, kv in candidates:
        assert min(x, y, kv) >= 0
        assert 1 <= x + y <= most_tokens
        assert y <= cap
        assert y > 0 or kv == 0
    assert best_rate(law, candidates) >= best_rate(law, feasible)


@given(token_tables(), st.integers(1, MOST_TOKENS))
def test_candidates_of_a_table_are_attained(law, most_tokens):
    candidates = as_ints(law.candidate_batches(most_tokens))
    feasible = [b for b in BATCHES if b[0] + b[1] <= most_tokens]
    assert best_rate(law, candidates) == best_rate(law, feasible)


@given(law=LAWS, batch=st.sampled_from(BATCHES))
def test_kernel_form_is_the_law(law, batch):
    form = law.kernel_form(MOST_TOKENS)
    assert form.seconds_of(*batch) == pytest.approx(float(law(*batch)), rel=1e-12)


@given(law=LAWS, batch=st.sampled_from(BATCHES))
def test_kv_slope_is_the_slope(law, batch):
    x, y, kv = batch
    if law.kv_slope is not None:
        assert law(x, y, kv) == law(x + y, 0, 0) + law.kv_slope * kv


@given(law=LAWS, batch=st.sampled_from(BATCHES))
def test_rational_in_rational_out_and_positive(law, batch):
    seconds = law(*batch)
    assert isinstance(seconds, Fraction | int)
    assert seconds > 0


@given(law=LAWS, batch=st.sampled_from(BATCHES))
def test_arrays_agree_with_exact_numbers(law, batch):
    arrays = [np.asarray([[count]]) for count in batch]
    seconds = law(*arrays)
    assert seconds.shape == (1, 1)
    assert seconds.dtype == np.float64
    assert seconds[0, 0] == pytest.approx(float(law(*batch)), rel=1e-14)
    assert [int(a[0, 0]) for a in arrays] == list(batch)


@given(law=FORMULAS, batch=st.sampled_from(BATCHES))
def test_more_work_never_takes_less_time(law, batch):
    x, y, kv = batch
    assert law(x, y, kv) <= min(law(x + 1, y, kv), law(x, y + 1, kv), law(x, y, kv + 1))


def test_float_parameters_give_a_float():
    assert type(StaircaseStepTime(0.1, 0.2, 3)(4)) is float
    assert type(AffineStepTime(0.1, 0.2)(np.int64(4))) is float


def test_a_numpy_integer_keeps_fractions_exact():
    assert AffineStepTime(Fraction(1, 3), Fraction(1, 7))(np.int64(5)) == Fraction(22, 21)


@pytest.mark.parametrize("name", ["prefill_tokens", "decode_tokens", "kv_tokens"])
@pytest.mark.parametrize(
    "value",
    [-1, float("nan"), float("inf"), np.asarray([1, -1]), np.asarray([1.0, np.nan]), -0.5],
    ids=str,
)
def test_counts_outside_their_domain(name, value):
    counts = {"prefill_tokens": 1} | {name: value}
    with pytest.raises(InvalidArgument, match=f"{name} must be finite and at least 0"):
        AffineStepTime(1, 1, 1)(**counts)


@pytest.mark.parametrize(
    "value", [True, "3", [1, 2], None, 1j, np.asarray([True]), np.asarray([1j])], ids=str
)
def test_counts_that_are_not_numbers(value):
    with pytest.raises(InvalidArgument, match="prefill_tokens must be a number or an array"):
        AffineStepTime(1, 1)(value)


def test_shapes_that_do_not_fit():
    with pytest.raises(InvalidArgument, match=r"\(2,\), \(3,\)"):
        AffineStepTime(1, 1)(np.ones(2), np.ones(3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64])
def test_narrow_and_unsigned_counts_do_not_wrap(dtype):
    step = StaircaseStepTime(overhead=0, per_block=1, block=1)
    n = np.asarray([100], dtype=dtype)
    assert step(n, n).tolist() == [200.0]


def test_laws_are_values():
    assert StaircaseStepTime(1, 2, 3) == StaircaseStepTime(1, 2, 3)
    assert len({AffineStepTime(1, 2), AffineStepTime(1, 2), AffineStepTime(1, 3)}) == 2
    with pytest.raises(AttributeError):
        AffineStepTime(1, 2).base = 3
