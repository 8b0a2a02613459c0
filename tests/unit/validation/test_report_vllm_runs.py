"""Recorded runs: read, replayed, and their state over time."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from paper_repro.validation.serving import Served
from paper_repro.validation.tables import Errors
from paper_repro.validation.vllm_laws import LAYERS, blocks_of, layers_of, step_time_of
from paper_repro.validation.vllm_recorded import measured_status, read_run
from paper_repro.validation.vllm_runs import CACHED, FOLDER, Replayed, compute, states
from paper_repro.validation.vllm_view import request_errors, state_errors
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Status
from queueing_llm.steptime import MeasuredStepTime

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
    assert (blocks_of(recorded), recorded.prefix_caching) == (100, True)
    assert recorded.prompt_of_a_token == round((100 + 400) / 30)
    assert recorded.series["running"].tolist() == [1.0]
    assert measured_status(recorded) is None, "two requests tell nothing"


def rewrite(folder, *, meta=None, rows=None):
    path = folder / "meta.json"
    if meta is not None:
        path.write_text(json.dumps(meta))
    if rows is not None:
        lines = (json.dumps(dict(zip(FIELDS, row, strict=True))) for row in rows)
        (folder / "requests.jsonl").write_text("\n".join(lines))
    return read_run(folder)


def test_requests_without_an_answer_are_counted(folder):
    recorded = rewrite(folder, rows=[*ROWS, ("c", 5, 0, 12.0, None, None, None)])
    assert (len(recorded.requests), recorded.dropped) == (2, 1)
    with pytest.raises(InvalidArgument, match="no request"):
        rewrite(folder, rows=[])


def test_limits_come_from_either_record(folder):
    resolved = {"scheduler_config": LIMITS, "cache_config": {"num_gpu_blocks": 50}}
    recorded = rewrite(folder, meta={"engine_kwargs": {}, "resolved_config": resolved})
    assert (recorded.max_batch_size, recorded.kv_capacity) == (4, 800)
    with pytest.raises(InvalidArgument, match="max_num_batched_tokens"):
        rewrite(folder, meta={"engine_kwargs": {}})


def test_a_run_without_operator_times_is_named(folder, tmp_path):
    root = tmp_path / FOLDER
    root.mkdir()
    (tmp_path / "GPU").rename(root / "GPU")
    results, skipped = compute(tmp_path)
    assert results == ()
    assert skipped == (("GPU, Model", "there is no profile of its GPU and model with TP 1."),)


def test_a_profile_of_another_tp_is_not_taken(folder, tmp_path):
    """Names of folders above the profiles mean nothing."""
    profile = tmp_path / "tp2" / "profile" / "GPU" / "Model"
    profile.mkdir(parents=True)
    (profile / "dense.csv").write_text("layer,tokens,time_us\n")
    limits = LIMITS | {"tensor_parallel_size": 2}
    recorded = rewrite(folder, meta={"engine_kwargs": limits})
    with pytest.raises(InvalidArgument, match="no profile of its GPU and model with TP 2"):
        step_time_of(recorded, tmp_path / "tp2")


def test_layers_come_from_a_config_or_are_known(folder, tmp_path):
    recorded = read_run(folder)
    with pytest.raises(InvalidArgument, match="layers of Model are not known"):
        layers_of(recorded, tmp_path)
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 7}')
    assert layers_of(recorded, tmp_path) == 7


@pytest.mark.parametrize("name", LAYERS)
def test_known_layers_are_those_of_the_packaged_models(name):
    pytest.importorskip("aiconfigurator_core", reason="needs the extra gpu-data")
    assert MeasuredStepTime(name, "h100_sxm").layers == LAYERS[name]


def test_several_engines_are_not_one(folder, tmp_path):
    limits = LIMITS | {"data_parallel_size": 2}
    with pytest.raises(InvalidArgument, match="several engines"):
        step_time_of(rewrite(folder, meta={"engine_kwargs": limits}), tmp_path)


def status(folder, *, gap, wait, answer, count=100):
    """Return the status of evenly spaced requests; each waits as the last one given."""
    rows = []
    for i in range(count):
        begun = i * gap + wait * i / count
        rows.append((str(i), 10, 5, i * gap, begun, begun + 0.1, begun + answer))
    return measured_status(rewrite(folder, rows=rows))


def test_a_run_is_measured_as_it_was(folder):
    assert status(folder, gap=1.0, wait=0.0, answer=9.0) is Status.STABLE
    assert status(folder, gap=1.0, wait=50.0, answer=9.0) is Status.UNSTABLE
    assert status(folder, gap=1.0, wait=0.0, answer=500.0) is None, "nobody has left"
    assert status(folder, gap=0.0, wait=0.0, answer=9.0) is None, "all came at once"


def test_only_requests_that_both_finish_are_compared(folder):
    recorded = rewrite(folder, rows=[*ROWS, ("c", 5, 1, 12.0, 12.5, None, None)])
    other = dataclasses.replace(recorded.served, finish=recorded.served.finish + 0.5)
    replayed = Replayed(recorded, "test", {CACHED: other}, 100, None)
    assert request_errors(replayed, CACHED, "latency").count == 2
    assert request_errors(replayed, CACHED, "tpot").median == pytest.approx(0.375)
    errors = state_errors(replayed, CACHED)
    assert errors["running"] == errors["waiting"] == 0.0
    assert np.isnan(errors["kv_cache_pct"])


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
    results, skipped = compute(DATA, quick=True)
    assert results
    assert not skipped
    for replayed in results:
        measured, predicted = replayed.recorded.served, replayed.predictions[CACHED]
        assert Errors.of(predicted.tpot, measured.tpot).median < 0.05
        assert Errors.of(predicted.latency, measured.latency).median < 0.05
        assert predicted.finish.max() == pytest.approx(measured.finish.max(), rel=0.05)
