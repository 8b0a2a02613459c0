"""The engine: limits and the two ways to count a request's tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.steptime import StaircaseStepTime

STEP = StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)


@given(prompt=st.integers(1, 10**6), output=st.integers(1, 10**6))
def test_a_prefill_that_yields_a_token_saves_one_decode_step(prompt, output):
    paper = Engine(step_time=STEP, token_budget=512)
    real = Engine(step_time=STEP, token_budget=512, first_token_from_prefill=True)
    assert paper.decode_steps(output) == output == real.decode_steps(output) + 1
    assert paper.work_tokens(prompt, output) == prompt + output
    assert real.work_tokens(prompt, output) == prompt + output - 1


@pytest.mark.parametrize(("capacity", "limit"), [(None, 512), (100, 100), (9000, 512)])
def test_budget_and_cache_both_limit_a_batch(capacity, limit):
    engine = Engine(step_time=STEP, token_budget=512, kv_capacity=capacity)
    assert engine.batch_tokens_limit() == limit


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token_budget": 0}, "token_budget must be an integer at least 1.*token_budget=0"),
        ({"token_budget": 512.0}, "token_budget=512.0"),
        ({"token_budget": 512, "max_batch_size": 0}, "max_batch_size=0"),
        ({"token_budget": 512, "kv_capacity": -5}, "kv_capacity=-5"),
        ({"token_budget": 512, "step_time": 0.01}, "step_time must be of type StepTime"),
    ],
)
def test_arguments_outside_the_domain_are_refused(options, words):
    with pytest.raises(InvalidArgument, match=words):
        Engine(**{"step_time": STEP, **options})
