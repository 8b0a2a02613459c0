"""The arrays handed to compiled code: their layout and their range."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import (
    AffineStepTime,
    RooflineStepTime,
    StaircaseStepTime,
    TableStepTime,
)


def test_layout_of_a_law_of_total_tokens():
    form = AffineStepTime(base=1, per_token=2, per_kv_token=3).kernel_form(4)
    assert form.by_tokens.tolist() == [[1, 3, 5, 7, 9], [-np.inf] * 5]
    assert form.per_kv.tolist() == [3, 0]
    assert form.seconds.shape == (0, 0, 0)
    assert form.prefill_grid.size == form.decode_grid.size == form.kv_grid.size == 0


def test_layout_of_a_roofline():
    form = RooflineStepTime(1, 10, 2, 3).kernel_form(2)
    assert form.by_tokens.tolist() == [[11, 11, 11], [1, 3, 5]]
    assert form.per_kv.tolist() == [3, 0]


def test_layout_of_a_grid():
    table = TableStepTime.of_batches([0, 4], [0, 2], None, [[[1], [2]], [[3], [4]]])
    form = table.kernel_form(6)
    assert form.by_tokens.shape == (2, 0)
    assert form.seconds.shape == (2, 2, 2)
    assert form.prefill_grid.tolist() == [0, 4]
    assert form.kv_grid.size == 2
    assert form.seconds_of(2, 1, 10**12) == form.seconds_of(2, 1, 0) == 2.5


@pytest.mark.parametrize("name", ["by_tokens", "per_kv", "prefill_grid", "kv_grid", "seconds"])
@pytest.mark.parametrize(
    "law",
    [
        StaircaseStepTime(0, 1, 2),
        TableStepTime.of_batches([0, 4], None, None, [[[1]], [[3]]]),
    ],
)
def test_arrays_are_plain(law, name):
    array = getattr(law.kernel_form(4), name)
    assert array.dtype == np.float64
    assert array.flags.c_contiguous


@pytest.mark.parametrize("batch", [(5,), (3, 2), (-1,), (0, -1), (5, -1), (1, 0, -1)])
def test_outside_the_rows(batch):
    with pytest.raises(InvalidArgument, match="must lie between 0 and"):
        StaircaseStepTime(0, 1, 2).kernel_form(4).seconds_of(*batch)


@pytest.mark.parametrize("batch", [(5, 0, 0), (0, 3, 0), (0, 0, 11), (-1, 0, 0)])
def test_outside_the_grid(batch):
    table = TableStepTime.of_batches([0, 4], [0, 2], [0, 10], np.ones((2, 2, 2)))
    with pytest.raises(InvalidArgument, match="must lie between 0 and"):
        table.kernel_form(4).seconds_of(*batch)


def test_an_empty_batch_has_no_time_in_a_table_that_starts_at_one():
    form = TableStepTime.of_tokens([1, 4], [1.0, 2.0]).kernel_form(4)
    assert form.seconds_of(1) == 1.0
    with pytest.raises(InvalidArgument, match="0 tokens is not known"):
        form.seconds_of(0)


@pytest.mark.parametrize("most_tokens", [0, -1, 1.5, True])
@pytest.mark.parametrize(
    "law",
    [
        StaircaseStepTime(0, 1, 2),
        TableStepTime.of_tokens([1, 4], [1, 2]),
        TableStepTime.of_batches([0, 4], None, None, [[[1]], [[3]]]),
    ],
)
def test_limit_outside_its_domain(law, most_tokens):
    for ask in (law.kernel_form, law.candidate_batches):
        with pytest.raises(InvalidArgument, match=f"most_tokens={most_tokens}"):
            ask(most_tokens)
    with pytest.raises(InvalidArgument, match=f"most_decode_tokens={most_tokens}"):
        law.candidate_batches(4, most_decode_tokens=most_tokens)


def test_symbols_have_no_arrays():
    sympy = pytest.importorskip("sympy")
    for law in (
        StaircaseStepTime(sympy.Symbol("c"), 1, 2),
        AffineStepTime(1, 1, sympy.Symbol("g")),
    ):
        with pytest.raises(InvalidArgument, match="substitute its symbols first"):
            law.kernel_form(4)
