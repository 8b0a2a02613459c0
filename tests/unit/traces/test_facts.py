"""Facts against hand counts and against published statistics of the public traces."""

import dataclasses

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Trace
from queueing_llm.traces import preset, trace_facts


def trace(prompt, output, times=None) -> Trace:
    lengths = (np.array(v, dtype=np.int64) for v in (prompt, output))
    return Trace("tiny", *lengths, None if times is None else np.array(times, float), {})


def test_every_fact_of_a_tiny_trace():
    facts = trace_facts(trace([1, 2, 3, 10], [4, 2, 2, 1], [0, 1, 11, 20]))
    assert facts.duration == 20
    assert facts.arrival_rate == pytest.approx(3 / 20)
    assert facts.gap_scv == pytest.approx(np.var([1, 10, 9]) / (20 / 3) ** 2)
    # Two whole windows of 10 s hold 2 and 1 arrivals; the last one falls after them.
    assert facts.dispersion_10s == pytest.approx(0.25 / 1.5)
    assert facts.dispersion_60s is None
    assert dataclasses.astuple(facts.prompt) == (4.0, 28.5, 2, 10, 10)
    assert dataclasses.astuple(facts.output) == (2.25, 6.25, 2, 4, 4)
    assert facts.product_moment == (4 + 4 + 6 + 10) / 4
    assert facts.kv_reads == ((4 + 10) + (4 + 3) + (6 + 3) + (10 + 1)) / 4
    assert facts.pearson == pytest.approx(-3 / np.sqrt(12.5 * 1.1875))
    # Ranks 1 2 3 4 and 4 2.5 2.5 1.
    assert facts.spearman == pytest.approx(-4.5 / np.sqrt(5 * 4.5))


def test_what_a_trace_does_not_tell_is_none():
    facts = trace_facts(trace([5, 5], [1, 2]))
    assert facts.duration is facts.arrival_rate is facts.gap_scv is facts.dispersion_10s is None
    assert facts.pearson is facts.spearman is None


def test_times_that_span_no_time_are_refused():
    with pytest.raises(InvalidArgument, match="spans no time"):
        trace_facts(trace([5, 5], [1, 2], [0, 0]))
    with pytest.raises(InvalidArgument, match="must be a Trace"):
        trace_facts([1, 2])


# rows, rate, SCV of the gaps, dispersion at 10 s and 60 s; prompt mean, p50, p90, p99, SCV;
# output mean, p50, p90, p99, SCV; Pearson, Spearman, KV reads: computed independently of
# this package from the same files.
PUBLISHED = {
    "azure-code-2023": (
        (8819, 2.57, 173, 71.6, 164),
        (2048, 1469, 5188, 7436, 0.93),
        (27.9, 13, 55, 251, 4.61),
        (0.001, -0.02, 5.94e4),
    ),
    "azure-conv-2023": (
        (19366, 5.53, 1.20, 3.9, 16.1),
        (1155, 1020, 2735, 4142, 0.92),
        (211, 129, 424, 601, 0.60),
        (-0.11, 0.07, 2.59e5),
    ),
    "mooncake-conversation": (
        (12031, 3.40, 9.2, 2.1, 3.0),
        (12035, 6909, 27367, 85400, 1.72),
        (343, 350, 597, 1119, 0.53),
        (0.07, 0.07, 4.50e6),
    ),
    "arxiv-summarization": (
        (28257, None, None, None, None),
        (2588, 2730, 3702, 3933, 0.13),
        (291, 167, 372, 3271, 3.31),
        (-0.46, -0.11, 7.05e5),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_facts_agree_with_published_statistics(name):
    known, facts = preset(name), preset(name).facts
    (rows, *in_time), prompt, output, (pearson, spearman, kv_reads) = PUBLISHED[name]
    assert known.rows == rows
    # Mooncake's clock ticks every 3 s, so that noise decides in which window an arrival on a
    # border falls: its dispersion depends on how windows are laid.
    measured = (
        (facts.arrival_rate, 0.005),
        (facts.gap_scv, 0.005),
        (facts.dispersion_10s, 0.015),
        (facts.dispersion_60s, 0.04),
    )
    for (value, tolerance), published in zip(measured, in_time, strict=True):
        assert value is published or value == pytest.approx(published, rel=tolerance)
    for length, published in ((facts.prompt, prompt), (facts.output, output)):
        scv = length.second_moment / length.mean**2 - 1
        values = (length.mean, length.median, length.p90, length.p99, scv)
        assert values == pytest.approx(published, rel=0.005, abs=0.005)
    assert (facts.pearson, facts.spearman) == pytest.approx((pearson, spearman), abs=0.006)
    assert facts.kv_reads == pytest.approx(kv_reads, rel=0.002)
