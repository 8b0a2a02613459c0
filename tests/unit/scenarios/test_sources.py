"""Trace files and presets behind one name."""

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.scenarios import read_recording

ROWS = """arrived_at,num_prefill_tokens,num_decode_tokens
0,10,2
1,20,zero
4,30,4
"""


def test_a_name_that_is_neither_file_nor_preset_suggests_a_preset():
    with pytest.raises(InvalidArgument, match="did you mean 'azure-conv-2023'"):
        read_recording("azure-cnv-2023")


def test_a_preset_without_arrival_times_needs_a_rate():
    with pytest.raises(InvalidArgument, match="arrival_rate must be"):
        read_recording("arxiv-summarization")
    assert read_recording("arxiv-summarization", arrival_rate=2).workload.arrival_rate == 2


def test_what_was_left_out_is_said(tmp_path):
    file = tmp_path / "three.csv"
    file.write_text(ROWS)
    recording = read_recording("three.csv", folder=tmp_path, skip_bad_rows=True)
    assert recording.description == "three.csv, 2 requests; left out: 1 (not a number)"
    assert recording.workload.arrival_rate == 0.25
    assert recording.workload.mean_prompt_tokens == 20
    with pytest.raises(InvalidArgument, match=r"line 3.*'zero'"):
        read_recording(str(file))


def test_a_recording_can_be_stretched_and_scaled(tmp_path):
    file = tmp_path / "three.csv"
    file.write_text(ROWS.replace("zero", "3"))
    recording = read_recording(str(file), arrival_rate=2, scale=3, trace_format="vidur")
    assert recording.workload.arrival_rate == pytest.approx(6, rel=1e-12)
    assert recording.description == "three.csv, 3 requests"
