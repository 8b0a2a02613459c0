"""Single values of a scenario replaced, everything else kept."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    DeterministicLength,
    EmpiricalLengths,
    GeometricLength,
    PoissonArrivals,
    Workload,
)
from queueing_llm.scenarios import (
    change_engine,
    change_workload,
    load_scenario,
)

LOAD = Workload.poisson(Fraction(5, 2), prompt_tokens=GeometricLength(9), output_tokens=7)
REPLAYED = Workload.of(
    PoissonArrivals(2), EmpiricalLengths([1, 2, 3], [4, 5, 6], in_order=True)
)


def test_nothing_given_changes_nothing():
    engine = load_scenario("vertex-c").engine
    assert change_engine(engine, token_budget=None, kv_capacity=None) == engine
    assert change_workload(LOAD) == LOAD


def test_limits_are_replaced_one_by_one():
    engine = load_scenario("vertex-c").engine
    changed = change_engine(engine, token_budget=1024)
    assert (changed.token_budget, changed.max_batch_size) == (1024, 100)
    assert engine.token_budget == 128


@given(
    rate=st.none() | st.fractions(Fraction(1, 99), 99),
    scale=st.fractions(Fraction(1, 9), 9),
)
def test_the_scale_applies_after_the_rate(rate, scale):
    changed = change_workload(LOAD, arrival_rate=rate, scale=scale)
    assert changed.arrival_rate == (LOAD.arrival_rate if rate is None else rate) * scale
    assert changed.classes == LOAD.classes


def test_one_length_keeps_the_law_of_the_other():
    lengths = change_workload(LOAD, output_tokens=3).classes[0].lengths
    assert lengths.prompt == GeometricLength(9)
    assert lengths.output == DeterministicLength(3)
    lengths = change_workload(LOAD, prompt_tokens=3).classes[0].lengths
    assert lengths.prompt == DeterministicLength(3)
    assert lengths.output == DeterministicLength(7)


def test_a_recorded_length_keeps_the_other_column_in_order():
    lengths = change_workload(REPLAYED, prompt_tokens=50).classes[0].lengths
    prompt, output = lengths.sample(np.random.default_rng(1), 4)
    assert prompt.tolist() == [50, 50, 50, 50]
    assert output.tolist() == [4, 5, 6, 4]
    lengths = change_workload(REPLAYED, output_tokens=0).classes[0].lengths
    assert lengths.sample(np.random.default_rng(1), 3)[1].tolist() == [0, 0, 0]
    assert REPLAYED.classes[0].lengths.moments.prompt == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrival_rate": -1}, "arrival_rate must be .*above 0.*=-1"),
        ({"scale": 0}, "scale must be .*scale=0"),
        ({"prompt_tokens": 0}, "prompt_tokens must be .*=0"),
        ({"output_tokens": -1}, "output_tokens must be .*=-1"),
    ],
)
def test_values_out_of_range_are_refused(changes, words):
    with pytest.raises(InvalidArgument, match=words):
        change_workload(LOAD, **changes)
