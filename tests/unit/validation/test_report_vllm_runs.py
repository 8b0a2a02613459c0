"""Recorded runs: read, replayed, and their state over time."""

import json
from pathlib import Path

import numpy as np
import pytest

from paper_repro.validation.serving import Served
from paper_repro.validation.tables import Errors
from paper_repro.validation.vllm_runs import (
    CACHED,
    FOLDER,
    compute,
    is_growing,
    read_run,
    states,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
LIMITS = {"max_num_batched_tokens": 2048, "max_num_seqs": 4}
ROWS = (
    ("b", 20, 3, 11.0, 11.5, 12.0, 13.0),
    ("a", 10, 5, 10.0, 10.0, 10.5, 12.5),
)
FIELDS = (
    "request_id",
    "input_toks",
    "output_toks",
    "queued_ts",
    "scheduled_ts",
    "first_token_ts",
    "last_token_ts",
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "GPU" / "Model"
    path.mkdir(parents=True)
    meta = {"engine_kwargs": LIMITS, "kv_cache": {"num_kv_tokens": 1600}}
    (path / "meta.json").write_text(json.dumps(meta))
    lines = [json.dumps(dict(zip(FIELDS, row, strict=True))) for row in ROWS]
    (path / "requests.jsonl").write_text("\n".join(lines))
    (path / "timeseries.csv").write_text("t,running,waiting,kv_cache_pct\n1.0,1,1,5.0\n")
    return path


def test_times_are_counted_from_the_first_request(folder):
    recorded = read_run(folder)
    assert recorded.title == "GPU, Model"
    assert recorded.requests.arrival_times.tolist() == [0.0, 1.0]
    assert recorded.requests.prompt_tokens.tolist() == [10, 20]
    assert recorded.served.ttft.tolist() == [0.5, 1.0]
    assert recorded.served.tpot.tolist() == [0.5, 0.5]
    assert (recorded.kv_capacity, recorded.token_budget) == (1600, 2048)
    assert (recorded.blocks, recorded.prefix_caching) == (100, True)
    assert recorded.prompt_of_a_token == round((100 + 400) / 30)
    assert recorded.series["running"].tolist() == [1.0]
    assert is_growing(recorded)


def test_states_come_from_steps_or_from_requests():
    times = {
        "arrival": np.array([0.0, 1.0]),
        "start": np.array([0.0, 2.0]),
        "first": np.array([0.5, 2.5]),
        "finish": np.array([2.0, 3.0]),
    }
    at = np.array([0.5, 1.5, 2.5, 9.0])
    plain = Served(
        **times, output_tokens=np.array([2, 2]), preemptions=0, steps=np.empty((0, 4))
    )
    running, waiting, blocks = states(plain, at, blocks=10)
    assert running.tolist() == [1, 1, 1, 0]
    assert waiting.tolist() == [0, 1, 0, 0]
    assert np.isnan(blocks).all()
    steps = np.array([[1.0, 1, 1, 5], [3.0, 0, 0, 0]])
    full = Served(**times, output_tokens=np.array([2, 2]), preemptions=0, steps=steps)
    running, waiting, blocks = states(full, at, blocks=10)
    assert running.tolist() == [0, 1, 1, 0]
    assert blocks.tolist() == [0, 50, 50, 0]


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / FOLDER).is_dir(), reason=f"{FOLDER} is not at hand")
def test_the_scheduler_follows_the_recorded_runs():
    for replayed in compute(DATA, quick=True):
        measured, predicted = replayed.recorded.served, replayed.predictions[CACHED]
        assert Errors.of(predicted.tpot, measured.tpot).median < 0.05
        assert Errors.of(predicted.latency, measured.latency).median < 0.05
        assert predicted.finish.max() == pytest.approx(measured.finish.max(), rel=0.05)
