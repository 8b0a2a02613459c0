"""Tables: interpolation, range, and what they refuse."""

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import StaircaseStepTime, TableStepTime

TIMES = st.fractions(Fraction(1, 100), 3, max_denominator=100)


def grid_table(seconds=None):
    """A grid of 3 x 2 x 2 batches, trilinear in the middle: not monotone, not affine."""
    values = np.arange(1, 13).reshape(3, 2, 2) if seconds is None else seconds
    return TableStepTime.of_batches([0, 4, 8], [0, 2], [0, 10], values)


def test_linear_between_two_entries_is_exact():
    step = TableStepTime.of_tokens([1, 4, 10], [1, Fraction(3, 2), 1])
    assert [step(n) for n in (1, 2, 3, 4, 7, 10)] == [
        1,
        Fraction(7, 6),
        Fraction(4, 3),
        Fraction(3, 2),
        Fraction(5, 4),
        1,
    ]
    assert step(3, 4) == step(7)


@given(st.integers(1, 512))
def test_next_entry_is_a_staircase_read_from_data(n):
    law = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
    sizes = [128, 256, 384, 512]
    table = TableStepTime.of_tokens(sizes, [law(size) for size in sizes], between="next")
    assert table(n) == law(n)
    assert table.kv_slope == 0


@given(data=st.data())
def test_grid_reproduces_a_multilinear_function(data):
    coefficient = [data.draw(TIMES) for _ in range(8)]

    def law(x, y, kv):
        terms = (1, x, y, kv, x * y, x * kv, y * kv, x * y * kv)
        return sum(c * t for c, t in zip(coefficient, terms, strict=True))

    axes = [[0, 3, 8], [0, 5], [0, 2, 9]]
    seconds = [[[law(x, y, kv) for kv in axes[2]] for y in axes[1]] for x in axes[0]]
    table = TableStepTime.of_batches(*axes, seconds)
    x, y, kv = (data.draw(st.integers(0, axis[-1])) for axis in axes)
    assert table(x, y, kv) == law(x, y, kv)


def test_entries_of_a_grid_are_reproduced_exactly_in_floats():
    seconds = np.random.default_rng(1).uniform(1e-3, 1, (3, 2, 2))
    table = grid_table(seconds)
    x, y, kv = np.meshgrid([0, 4, 8], [0, 2], [0, 10], indexing="ij")
    assert (table(x, y, kv) == seconds).all()


def test_an_axis_of_none_makes_no_difference():
    table = TableStepTime.of_batches([0, 4], None, [0, 10], [[[1, 2]], [[3, 4]]])
    assert table(2, 10**9, 5) == table(2, 0, 5) == Fraction(5, 2)
    assert table(np.asarray([2, 2]), np.asarray([0, 77]), 5).tolist() == [2.5, 2.5]


def test_equal_tables_are_equal_values():
    assert grid_table() == grid_table(np.arange(1, 13).reshape(3, 2, 2).tolist())
    assert hash(grid_table()) == hash(grid_table())


def test_the_input_is_copied():
    seconds = np.ones((3, 2, 2))
    table = grid_table(seconds)
    seconds[:] = 2
    assert table(0) == 1


@pytest.mark.parametrize("n", [0, 11, 10.5])
def test_outside_a_table_of_tokens(n):
    step = TableStepTime.of_tokens([1, 10], [1.0, 2.0])
    with pytest.raises(InvalidArgument, match=rf"1 to 10 \[tokens\], got tokens={n}"):
        step(n)
    with pytest.raises(InvalidArgument, match="tokens must lie in the table, 1 to 10"):
        step(np.asarray([1, n]))


@pytest.mark.parametrize("batch", [(9, 0, 0), (0, 3, 0), (0, 0, 11)])
def test_outside_a_grid(batch):
    names = ("prefill_tokens", "decode_tokens", "kv_tokens")
    name = next(n for n, count in zip(names, batch, strict=True) if count)
    with pytest.raises(InvalidArgument, match=f"{name} must lie in the table"):
        grid_table()(*batch)


@pytest.mark.parametrize(
    ("tokens", "seconds", "words"),
    [
        ([1, 1], [1, 2], "strictly increasing"),
        ([2, 1], [1, 2], "strictly increasing"),
        ([-1, 1], [1, 2], "tokens must be an integer at least 0"),
        ([1.0, 2.0], [1, 2], "tokens must be an integer"),
        ([True, 2], [1, 2], "tokens=True"),
        ([1, 2], [1, 0], "seconds must be a finite number above 0"),
        ([1, 2], [1, float("nan")], "seconds=nan"),
        ([1, 2], [1, float("inf")], "seconds=inf"),
        ([1, 2], [1], r"shape \(2,\), .* got \(1,\)"),
        ([1], [1], "at least 2 strictly increasing"),
        ([], [], "at least 2 strictly increasing"),
        (3, [1], "tokens must be a list of numbers nested 1 deep, got 3"),
        ([1, 2], [[1], [2, 3]], r"seconds=\[1\]"),
        ([1, 2], [[1, 2], [3, 4]], "seconds must be a list of numbers nested 1 deep"),
    ],
)
def test_tables_of_tokens_that_are_refused(tokens, seconds, words):
    with pytest.raises(InvalidArgument, match=words):
        TableStepTime.of_tokens(tokens, seconds)


def test_grids_that_are_refused():
    with pytest.raises(InvalidArgument, match="kv_tokens must be at least 2"):
        TableStepTime.of_batches([0, 1], [0, 1], [0], np.ones((2, 2, 1)))
    with pytest.raises(InvalidArgument, match=r"shape \(2, 1, 1\), .* got \(1, 2, 1\)"):
        TableStepTime.of_batches([0, 1], None, None, np.ones((1, 2, 1)))
    with pytest.raises(InvalidArgument, match="at least one axis"):
        TableStepTime.of_batches(None, None, None, np.ones((1, 1, 1)))


def test_rules_that_are_refused():
    with pytest.raises(InvalidArgument, match="did you mean 'linear'"):
        TableStepTime.of_tokens([1, 2], [1, 2], between="linaer")
    with pytest.raises(InvalidArgument, match="one axis of total tokens"):
        TableStepTime(((0, 1), None, None), (1, 2), between="next")


def test_symbols_cannot_be_looked_up():
    sympy = pytest.importorskip("sympy")
    n = sympy.Symbol("n", integer=True, positive=True)
    with pytest.raises(InvalidArgument, match="tokens must be a number to be looked up"):
        TableStepTime.of_tokens([1, 2], [1, 2])(n)
    assert TableStepTime.of_tokens([1, 3], [1, 2])(sympy.Integer(2)) == Fraction(3, 2)


@pytest.mark.parametrize("first", [0, 1])
def test_a_table_must_reach_every_batch_that_the_engine_may_form(first):
    table = TableStepTime.of_tokens([first, 64], [1.0, 2.0])
    assert len(table.candidate_batches(64)[0]) == 64
    for ask in (table.candidate_batches, table.kernel_form):
        with pytest.raises(InvalidArgument, match=f"from 1 to 65 tokens, got {first} to 64"):
            ask(65)
        with pytest.raises(InvalidArgument, match="from 1 to 64 tokens, got 2 to 64"):
            getattr(TableStepTime.of_tokens([2, 64], [1.0, 2.0]), ask.__name__)(64)


def test_a_grid_must_reach_every_batch_that_the_engine_may_form():
    table = grid_table()
    with pytest.raises(InvalidArgument, match="from 0 to 8 decode_tokens, got 0 to 2"):
        table.candidate_batches(8)
    assert max(table.candidate_batches(8, most_decode_tokens=2)[1]) == 2
    with pytest.raises(InvalidArgument, match="from 0 to 9 prefill_tokens, got 0 to 8"):
        table.candidate_batches(9, most_decode_tokens=2)
    late = TableStepTime.of_batches([0, 8], [0, 8], [5, 9], np.ones((2, 2, 2)))
    with pytest.raises(InvalidArgument, match="from 0 to 0 kv_tokens, got 5 to 9"):
        late.candidate_batches(8)


def test_a_table_says_what_it_covers_and_not_its_entries():
    law = TableStepTime.of_batches([0, 8], None, [0, 9, 30], np.ones((2, 1, 3)).tolist())
    assert repr(law) == (
        "TableStepTime(2 x 1 x 3 entries, 0 to 8 prefill_tokens, 0 to 30 kv_tokens, "
        "between='linear')"
    )


def test_axes_may_be_lists():
    assert TableStepTime([[1, 3]], (0.1, 0.2))(2) == pytest.approx(0.15)
