"""Laws by name: constructor parameters are the keys, mistakes name the nearest one."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    AbstractArrivals,
    AbstractLength,
    GeometricLength,
    UniformLength,
)
from queueing_llm.scenarios._laws import (
    LENGTHS,
    PROCESSES,
    STEP_TIMES,
    constructed,
    named_law,
)
from queueing_llm.steptime import AbstractStepTime

LAWS = [*STEP_TIMES.values(), *LENGTHS.values(), *PROCESSES.values()]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.fractions(-5, 200)
    | st.sampled_from([float("nan"), float("inf")])
    | st.text(max_size=3)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS)


@given(st.sampled_from(LAWS).flatmap(lambda law: st.tuples(st.just(law), _tables(law))))
def test_any_toml_value_gives_a_law_or_one_refusal(case):
    law, table = case
    try:
        answer = constructed(law, table, where="here")
    except InvalidArgument as refusal:
        answer = str(refusal)
    if isinstance(answer, str):
        assert answer.startswith("here")
        assert "\n" not in answer
    else:
        assert isinstance(answer, AbstractStepTime | AbstractLength | AbstractArrivals)


def _tables(law):
    names = list(inspect.signature(law).parameters)
    return st.fixed_dictionaries(dict.fromkeys(names, VALUES))


def test_a_law_is_found_by_its_name_and_leaves_its_parameters():
    law, values = named_law({"law": "geometric", "mean": 5}, LENGTHS, word="law", where="x")
    assert constructed(law, values, where="x") == GeometricLength(5)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"law": "unifrom"}, "here.law is 'unifrom'.*did you mean 'uniform'"),
        ({"law": 3}, "here.law is 3"),
        ({"mean": 3}, "here needs the key 'law'"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(table, words):
    with pytest.raises(InvalidArgument, match=words):
        named_law(table, LENGTHS, word="law", where="here")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"low": 1, "hihg": 2}, "no key 'hihg': did you mean 'high'"),
        ({"low": 1}, "needs the key 'high'; its keys are 'low', 'high'"),
        ({"low": 3, "high": 2}, "here: low must be at most high=2, got low=3"),
    ],
)
def test_a_wrong_parameter_is_named(values, words):
    with pytest.raises(InvalidArgument, match=words):
        constructed(UniformLength, values, where="here")


def test_a_parameter_supplied_from_elsewhere_is_not_offered():
    with pytest.raises(InvalidArgument, match="no key 'ratee'") as caught:
        constructed(
            PROCESSES["gamma"], {"ratee": 1, "rate": 2}, where="here", supplied=["rate"]
        )
    assert "'rate'" not in str(caught.value)
