"""The trace: what its columns must satisfy, and its rate."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Trace


def trace(prompt=(5, 7), output=(1, 2), times=(0.0, 0.5)):
    times = None if times is None else np.array(times, dtype=float)
    return Trace("t", np.array(prompt, np.int64), np.array(output, np.int64), times, {})


def test_the_rate_counts_gaps():
    assert trace(times=(0, 4)).arrival_rate == 0.25
    assert len(trace()) == 2


@pytest.mark.parametrize("times", [None, (1, 1)])
def test_without_a_span_there_is_no_rate(times):
    with pytest.raises(InvalidArgument, match="'t' has no arrival rate"):
        _ = trace(times=times).arrival_rate


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prompt": (), "output": (), "times": ()}, "trace 't' is empty"),
        ({"output": (1,)}, "output_tokens has 1 rows"),
        ({"prompt": (5, 0)}, "prompt_tokens must be int64 and at least 1"),
        ({"output": (5, -1)}, "output_tokens must be int64 and at least 0"),
        ({"times": (1, 0)}, "must be 2 nondecreasing numbers"),
        ({"times": (0, np.nan)}, "must be 2 nondecreasing numbers"),
        ({"times": (0, 1, 2)}, "must be 2 nondecreasing numbers"),
    ],
)
def test_columns_outside_the_domain_are_refused(columns, words):
    with pytest.raises(InvalidArgument, match=words):
        trace(**columns)
