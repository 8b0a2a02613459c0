"""Presets: each number in a packaged file is recomputed from the trace where it is at hand."""

import dataclasses
import importlib.resources
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import BatchArrivals, PoissonArrivals, RenewalArrivals
from queueing_llm.traces import preset, preset_names, read_trace
from queueing_llm.traces._sources import SOURCES
from queueing_llm.traces._summarise import summarise

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared"
FILES = {
    "arxiv-summarization": (
        "arxiv_summarization/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv"
    ),
    "azure-code-2023": "azure_llm_2023/AzureLLMInferenceTrace_code.csv",
    "azure-conv-2023": "azure_llm_2023/AzureLLMInferenceTrace_conv.csv",
    "mooncake-conversation": "mooncake/conversation_trace.jsonl",
}
NAMES = tuple(FILES)
TIMED = ("azure-code-2023", "azure-conv-2023", "mooncake-conversation")


def packaged(name: str) -> str:
    folder = importlib.resources.files("queueing_llm.traces") / "presets"
    return (folder / f"{name}.json").read_text(encoding="utf-8")


def assert_same(stored, computed, *, path="") -> None:
    """Compare JSON values: floats to rounding, everything else exactly."""
    assert type(stored) is type(computed), path
    if isinstance(stored, dict):
        assert stored.keys() == computed.keys(), path
        for key in stored:
            assert_same(stored[key], computed[key], path=f"{path}/{key}")
    elif isinstance(stored, list):
        assert len(stored) == len(computed), path
        for index, (a, b) in enumerate(zip(stored, computed, strict=True)):
            assert_same(a, b, path=f"{path}/{index}")
    elif isinstance(stored, float):
        assert stored == pytest.approx(computed, rel=1e-11), path
    else:
        assert stored == computed, path


@pytest.mark.parametrize("name", NAMES)
def test_the_packaged_file_is_what_the_trace_gives(name):
    file = SHARED / "data" / FILES[name]
    if not file.exists():
        pytest.skip(f"the trace {file.name} is not beside the repository")
    trace = read_trace(file)
    assert trace.skipped == {}
    assert_same(json.loads(packaged(name)), summarise(trace, name))


def test_the_names_are_those_of_the_sources():
    assert preset_names() == tuple(sorted(SOURCES)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_file_is_small_and_says_where_it_comes_from(name):
    assert len(packaged(name)) < 40_000
    known = preset(name)
    assert known.name == name
    assert "github.com/" in known.source
    assert known.licence.split(",")[0] in {"CC-BY-4.0", "Apache-2.0", "MIT"}
    assert "arXiv:" in known.citation
    assert "joint table" in known.changes


@pytest.mark.parametrize("name", NAMES)
def test_the_length_table_keeps_first_and_second_moments(name):
    known = preset(name)
    moments, facts = known.lengths.moments, known.facts
    assert sum(known.lengths.weights) == known.rows
    assert min(known.lengths.weights) >= 2
    assert float(moments.prompt) == pytest.approx(facts.prompt.mean, rel=1e-3)
    assert float(moments.output) == pytest.approx(facts.output.mean, rel=1e-3)
    assert float(moments.prompt_squared) == pytest.approx(facts.prompt.second_moment, rel=1e-2)
    assert float(moments.output_squared) == pytest.approx(facts.output.second_moment, rel=1e-2)
    assert float(moments.product) == pytest.approx(facts.product_moment, rel=1e-2)


@pytest.mark.parametrize("name", ["azure-code-2023", "azure-conv-2023"])
def test_renewal_arrivals_keep_the_rate_and_the_variability(name):
    known = preset(name)
    assert isinstance(known.arrivals, RenewalArrivals)
    assert sum(known.arrivals.weights) == known.rows - 1
    assert min(known.arrivals.weights) >= 2
    assert known.arrivals.rate == pytest.approx(known.facts.arrival_rate, rel=1e-9)
    assert known.arrivals.gap_scv == pytest.approx(known.facts.gap_scv, rel=2e-2)
    assert "but not its index of dispersion" in known.changes


def test_mooncake_arrives_in_batches_every_three_seconds():
    known = preset("mooncake-conversation")
    assert isinstance(known.arrivals, BatchArrivals)
    assert known.arrivals.batches.rate == Fraction(1, 3)
    assert sum(known.arrivals.size.weights) == 1180
    assert known.arrivals.size.mean == Fraction(12031, 1180)
    size = known.arrivals.size
    assert float(size.second_moment - size.mean**2) == pytest.approx(11.2, abs=0.05)
    assert float(known.arrivals.rate) == pytest.approx(known.facts.arrival_rate, rel=1e-3)


@pytest.mark.parametrize("name", TIMED)
def test_the_workload_has_the_rate_of_the_trace_or_the_one_asked_for(name):
    known = preset(name)
    assert known.workload().arrival_rate == known.arrivals.rate
    scaled = known.workload(arrival_rate=2.5)
    assert float(scaled.arrival_rate) == pytest.approx(2.5, rel=1e-12)
    assert scaled.moments == known.lengths.moments


def test_lengths_without_arrivals_need_a_rate_and_are_poisson():
    known = preset("arxiv-summarization")
    assert known.arrivals is None
    with pytest.raises(InvalidArgument, match="has no arrival times: arrival_rate must be"):
        known.workload()
    assert known.workload(3).arrivals == PoissonArrivals(3)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), "fast"])
@pytest.mark.parametrize("name", ["arxiv-summarization", "azure-conv-2023"])
def test_a_rate_that_is_none_is_refused(name, rate):
    with pytest.raises(InvalidArgument, match="arrival_rate must be a finite number above 0"):
        preset(name).workload(rate)


def test_drawn_requests_have_the_moments_of_the_trace():
    known = preset("azure-conv-2023")
    requests = next(known.workload().chunks(np.random.default_rng(7), 200_000))
    for tokens, facts in (
        (requests.prompt_tokens, known.facts.prompt),
        (requests.output_tokens, known.facts.output),
    ):
        deviation = np.sqrt(facts.second_moment - facts.mean**2)
        # 4.5 standard errors, and what the table is off by.
        tolerance = 4.5 * deviation / np.sqrt(len(tokens)) + 1e-3 * facts.mean
        assert abs(tokens.mean() - facts.mean) < tolerance


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InvalidArgument, match="did you mean 'azure-conv-2023'"):
        preset("azure-conv")
    with pytest.raises(InvalidArgument, match="got name=7"):
        preset(7)


def test_a_preset_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("azure-conv-2023").rows = 1


def test_a_summary_needs_the_name_of_a_source():
    with pytest.raises(InvalidArgument, match="did you mean 'azure-code-2023'"):
        summarise(None, "azure-code")
