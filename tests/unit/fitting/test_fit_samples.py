"""Samples: kept as they are, closed to change, refused outside their domain."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, compare_step_times, fit_step_time


def test_columns_are_private_copies():
    tokens = np.array([512.0, 0.0])
    samples = StepSamples(tokens, [0, 8], [0, 4096], (0.05, 0.01), "a bench")
    tokens[0] = 1
    assert samples.tokens.tolist() == [512, 8]
    assert samples.kv_tokens.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        samples.seconds[0] = 1


def test_select_by_mask_and_by_position():
    samples = StepSamples([1, 2, 3], [0, 1, 0], [0, 9, 0], [0.1, 0.2, 0.3], "s")
    assert samples.select(samples.tokens > 1).seconds.tolist() == [0.2, 0.3]
    chosen = samples.select([2, 0])
    assert (chosen.prefill_tokens.tolist(), chosen.source) == ([3, 1], "s")
    assert len(samples) == 3


def test_means_of_several_steps_are_told_from_single_steps():
    assert StepSamples([0], [7.5], [900.25], [0.01]).is_averaged
    assert not StepSamples([0], [7], [900.25], [0.01]).is_averaged


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (([], [], [], []), "columns of one length, at least 1"),
        (([1, 2], [0], [0], [0.1]), r"one length, at least 1, got lengths \[2, 1, 1, 1\]"),
        (([1], [0], [0], [0]), r"seconds must be from 1e-12 to 1e.12 \[s\], got seconds=0 in"),
        (([1, 1], [0, 0], [0, 0], [1, float("nan")]), "seconds must be finite, .* sample 1"),
        (([-1], [2], [0], [1]), "prefill_tokens must be from 0 to 9.0072e.15"),
        (([0], [0], [0], [1]), "prefill_tokens . decode_tokens must be above 0"),
        (([5], [0], [7], [1]), "kv_tokens must be 0 where nothing decodes, got kv_tokens=7"),
        (([[1]], [0], [0], [1]), "prefill_tokens must be a flat sequence of numbers"),
        ((["a"], [0], [0], [1]), "prefill_tokens must be a flat sequence of numbers"),
    ],
)
def test_what_is_no_sample(columns, words):
    with pytest.raises(InvalidArgument, match=words):
        StepSamples(*columns)


def test_nothing_selected():
    with pytest.raises(InvalidArgument, match="at least 1"):
        StepSamples.of_tokens([1], [1]).select([False])


@pytest.mark.parametrize("ask", [fit_step_time, compare_step_times])
def test_only_samples_can_be_fitted(ask):
    with pytest.raises(InvalidArgument, match="samples must be of type StepSamples"):
        ask([1, 2, 3])
