"""Recordings come back as they were written, and hold what is rare."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.verify.adapters._fuzz_random import DRAWN, random_workloads
from queueing_llm.verify.adapters._fuzz_workload import FAILED, played_by_model
from queueing_llm.verify.adapters._record import LONGEST_RUN, recorded
from queueing_llm.verify.adapters._record_file import (
    changes,
    read_recording,
    restored,
    write_recording,
)


def recording_of(system, *, number=40, **options):
    drawn = random_workloads(system, number=number, seed=0)
    return recorded(system, played_by_model, drawn, python="3.11.7", **options)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "free": st.integers(0, 2),
                "tokens": st.dictionaries(st.sampled_from("ab"), st.just(1)),
            }
        )
    )
)
def test_changes_tell_every_step(steps):
    assert list(restored(json.loads(json.dumps(list(changes(steps)))))) == steps


def test_steps_that_do_not_differ_are_counted():
    step = {"tokens": {"a": 1}, "free": 3}
    assert list(changes([step] * 5)) == [step, 4]


def test_a_failure_keeps_what_was_shown_before():
    step = {"tokens": {"a": 1}, "failed": False}
    assert list(restored(changes([step, FAILED]))) == [step, {**step, "failed": True}]


@pytest.mark.parametrize("system", DRAWN)
def test_a_recording_comes_back(system, tmp_path):
    recording, path = recording_of(system), tmp_path / "recording.json"
    write_recording(recording, path)
    found = read_recording(path)
    assert (found.system, found.python) == (system, "3.11.7")
    assert [workload for workload, _ in found.runs] == [it for it, _ in recording.runs]
    # What only a model shows is recorded, too, if it is a model that is recorded.
    assert [list(steps) for _, steps in found.runs] == [list(it) for _, it in recording.runs]


def test_a_file_depends_on_nothing_but_the_system(tmp_path):
    for name in ("one", "other"):
        write_recording(recording_of("vllm==0.6.3", number=5), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_another_schema_is_refused(tmp_path):
    path = tmp_path / "recording.json"
    path.write_text('{"schema": 2}')
    with pytest.raises(InvalidArgument, match=r"recording.json must be 1, got 2"):
        read_recording(path)


def test_runs_are_short_and_no_more_than_asked_for():
    recording = recording_of("vllm==0.33.0", most_runs=9)
    assert len(recording.runs) == 9
    assert max(len(steps) for _, steps in recording.runs) <= LONGEST_RUN


def test_what_tells_a_rival_apart_is_recorded():
    """One of the workloads that would be left out is the only one that a rival fails at."""
    options = {"number": 80, "most_runs": 40}
    plain = {workload for workload, _ in recording_of("vllm==0.33.0", **options).runs}
    drawn = random_workloads("vllm==0.33.0", number=80, seed=0)
    left_out = [
        it for it in drawn if it not in plain and len(played_by_model(it)) < LONGEST_RUN
    ]

    def rival(workload):
        return () if workload == left_out[-1] else played_by_model(workload)

    telling = recording_of("vllm==0.33.0", rivals=[rival], **options)
    assert left_out[-1] in {workload for workload, _ in telling.runs}
