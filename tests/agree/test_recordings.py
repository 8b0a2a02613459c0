"""Recordings of real schedulers are repeated by their models step for step.

They were made of the code of vLLM 0.33.0, 0.32.0, 0.11.2 and 0.6.3 and of SGLang 0.5.6. So
every step can be compared here without installing any of them: tokens, preemptions,
completions, both lists in order, what the prefix cache found, free blocks. The workloads are
random ones that tell one-line changes of the models apart where they can; the test of these
changes has the function that records them anew.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from queueing_llm.verify.adapters._fuzz import difference_of, fuzz
from queueing_llm.verify.adapters._fuzz_workload import MOST_STEPS, played_by_model
from queueing_llm.verify.adapters._record_file import read_recording

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
RECORDED = {
    "sglang-0.5.6": (60, 5_632, 21, 0),
    "vllm-0.11.2": (60, 2_552, 183, 67),
    "vllm-0.32.0": (60, 2_344, 151, 90),
    "vllm-0.33.0": (60, 2_514, 135, 74),
    "vllm-0.6.3": (60, 3_445, 316, 0),
}
"""Workloads, steps, preemptions, and admissions that found tokens in a prefix cache."""


def recording(name):
    return read_recording(RECORDINGS / f"{name}.json")


def test_every_system_is_recorded():
    assert [path.stem for path in sorted(RECORDINGS.glob("*.json"))] == list(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_every_step_is_repeated(name):
    recorded = recording(name)
    steps = dict(recorded.runs)
    report = fuzz(played_by_model, steps.__getitem__, steps, most_differences=0)
    assert recorded.system == name.replace("-", "==")
    assert report.differing == 0, str(report)
    counts = (report.workloads, report.steps, report.preemptions, report.hits)
    assert counts == RECORDED[name]


@pytest.mark.parametrize("name", RECORDED)
def test_one_changed_token_is_noticed(name):
    """Control: in the first step that serves somebody, in every run."""
    for workload, steps in recording(name).runs:
        played = played_by_model(workload)
        number = next(n for n, step in enumerate(steps) if step["tokens"])
        request, tokens = next(iter(steps[number]["tokens"].items()))
        changed = {**steps[number], "tokens": {**steps[number]["tokens"], request: tokens + 1}}
        forged = [*steps[:number], changed, *steps[number + 1 :]]
        assert difference_of(workload, played, forged).step == number


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_that_is_cut_short_is_noticed(name):
    """Control: the last step is missing."""
    for workload, steps in recording(name).runs[:5]:
        assert len(steps) < MOST_STEPS
        assert difference_of(workload, played_by_model(workload), steps[:-1]) is not None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vllm-0.33.0", {"version": "0.32.0"}),
        ("vllm-0.33.0", {"with_defects": False}),
        ("vllm-0.11.2", {"with_defects": False}),
        ("sglang-0.5.6", {"with_defects": False}),
        ("vllm-0.6.3", {"watermark": 0}),
    ],
)
def test_a_changed_rule_is_noticed(name, change):
    """Control: a neighbour of the model does not repeat all of it."""

    def play(workload):
        return played_by_model(replace(workload, config=replace(workload.config, **change)))

    steps = {
        workload: taken
        for workload, taken in recording(name).runs
        # The neighbour refuses settings that it does not know.
        if change.get("version") is None or workload.config.prefill_schedule_interval == 1
    }
    assert fuzz(play, steps.__getitem__, steps, most_differences=0).differing > 0
