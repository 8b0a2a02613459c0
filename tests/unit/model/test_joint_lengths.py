"""Joint length laws and their moments."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    DeterministicLength,
    EmpiricalLength,
    EmpiricalLengths,
    GeometricLength,
    IndependentLengths,
    LengthMoments,
    LognormalLength,
    UniformLength,
)

LAWS = [
    IndependentLengths(DeterministicLength(129), DeterministicLength(0)),
    IndependentLengths(GeometricLength(129), UniformLength(1, 40)),
    IndependentLengths(LognormalLength(90, 1, 2048), GeometricLength(20)),
    EmpiricalLengths([10, 20, 400], [5, 0, 80]),
    EmpiricalLengths([10, 20, 400], [5, 1, 80], weights=[5, 3, 1]),
    EmpiricalLengths([10, 20, 400], [5, 1, 80], in_order=True),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_samples_have_the_moments_and_the_range(law):
    # Five one-sample z-tests of 200,000 draws, within 4.5 standard errors.
    prompt, output = (x.astype(float) for x in law.sample(np.random.default_rng(5), 200_000))
    m = law.moments
    for values, expected in (
        (prompt, m.prompt),
        (output, m.output),
        (prompt**2, m.prompt_squared),
        (output**2, m.output_squared),
        (prompt * output, m.product),
    ):
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - float(expected)) <= 4.5 * error + 1e-9
    assert prompt.min() >= 1
    assert output.min() >= m.shortest_output
    assert law.longest_prompt is None or prompt.max() <= law.longest_prompt
    assert law.longest_request is None or (prompt + output).max() <= law.longest_request


@pytest.mark.parametrize("law", LAWS, ids=repr)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8), seed=st.integers(0, 2**32))
def test_drawing_in_parts_equals_drawing_at_once(law, sizes, seed):
    parts = law.sampler(np.random.default_rng(seed), phase=0.4)
    whole = law.sampler(np.random.default_rng(seed), phase=0.4)(sum(sizes))
    drawn = [parts(size) for size in sizes]
    for column in (0, 1):
        assert np.array_equal(np.concatenate([d[column] for d in drawn]), whole[column])


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 10**6)),
        min_size=1,
        max_size=8,
    )
)
def test_empirical_moments_are_exact_averages(rows):
    prompt, output, weights = zip(*rows, strict=True)
    total = sum(weights)
    moments = EmpiricalLengths(prompt, output, weights=weights).moments
    assert moments.prompt == Fraction(sum(w * p for p, d, w in rows), total)
    assert moments.output_squared == Fraction(sum(w * d * d for p, d, w in rows), total)
    assert moments.product == Fraction(sum(w * p * d for p, d, w in rows), total)


def test_the_longest_request_of_a_table_is_a_row_not_a_sum_of_maxima():
    law = EmpiricalLengths([1000, 10], [1, 500])
    assert (law.longest_prompt, law.longest_request) == (1000, 1001)


def test_an_unbounded_length_makes_the_longest_request_none():
    law = IndependentLengths(DeterministicLength(5), GeometricLength(3))
    assert (law.longest_prompt, law.longest_request) == (5, None)


@pytest.mark.parametrize(("phase", "first"), [(0, 1), (0.32, 1), (0.34, 2), (0.99, 3)])
def test_a_replay_starts_at_its_phase_and_wraps_around(phase, first):
    law = EmpiricalLengths([1, 2, 3], [10, 20, 30], in_order=True)
    prompt, output = law.sampler(np.random.default_rng(0), phase=phase)(7)
    expected = (np.arange(7) + first - 1) % 3 + 1
    assert np.array_equal(prompt, expected)
    assert np.array_equal(output, 10 * expected)


def test_only_a_replay_is_not_iid():
    assert [law.is_iid for law in LAWS] == [True, True, True, True, True, False]


def kv_reads(prompt: int, steps: int) -> int:
    """Tokens read over the decode steps, added up one step at a time."""
    return sum(prompt + j for j in range(steps))


@pytest.mark.parametrize("offset", [0, -1])
@given(rows=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=5))
def test_kv_reads_equal_a_sum_over_steps(rows, offset):
    prompt, output = zip(*rows, strict=True)
    expected = Fraction(sum(kv_reads(p, d + offset) for p, d in rows), len(rows))
    assert EmpiricalLengths(prompt, output).moments.kv_reads(offset) == expected


def test_kv_reads_of_the_worked_example():
    law = IndependentLengths(DeterministicLength(100), DeterministicLength(100))
    assert law.moments.kv_reads(0) == 14_950


@pytest.mark.parametrize("offset", [1, -2, 0.5, True, False, None])
def test_kv_reads_refuse_another_accounting(offset):
    with pytest.raises(InvalidArgument, match="decode_steps_offset must be 0 or -1"):
        LengthMoments(1, 1, 1, 1, 1, 1).kv_reads(offset)


def test_kv_reads_refuse_empty_outputs_where_the_prefill_yields_a_token():
    moments = EmpiricalLengths([5, 5], [0, 3]).moments
    assert moments.kv_reads(0) == Fraction(5 + 6 + 7, 2)
    with pytest.raises(InvalidArgument, match="output lengths must be at least 1"):
        moments.kv_reads(-1)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: IndependentLengths(DeterministicLength(0), GeometricLength(2)), "prompt must"),
        (lambda: IndependentLengths(EmpiricalLength([0]), GeometricLength(2)), "at least 1"),
        (lambda: IndependentLengths(5, GeometricLength(2)), "prompt must be of type Length"),
        (lambda: IndependentLengths(GeometricLength(2), "ten"), "output='ten'"),
        (lambda: EmpiricalLengths([0], [1]), r"prompt_tokens\[0\]=0"),
        (lambda: EmpiricalLengths([1], [-1]), r"output_tokens\[0\]=-1"),
        (lambda: EmpiricalLengths([1, 2], [1]), "output_tokens has 1 rows"),
        (lambda: EmpiricalLengths([1, 2], [1, 1], weights=[1, 1], in_order=True), "weights"),
        (lambda: LAWS[0].sample(12345, 3), "rng must be of type Generator"),
        (lambda: LAWS[0].sample(np.random.default_rng(1), 0), "size must be an integer"),
    ],
)
def test_arguments_outside_the_domain_are_refused(build, words):
    with pytest.raises(InvalidArgument, match=words):
        build()
