"""Closed-loop predictions of measured runs: what can be checked without running them all."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm import steptime
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import MeasuredStepTime

pytest.importorskip("aiconfigurator_core", reason="needs the extra gpu-data")
pl = pytest.importorskip("polars")

from paper_repro.validation import silicon, silicon_view  # noqa: E402
from paper_repro.validation.silicon_baselines import closed_form, mean_step  # noqa: E402
from paper_repro.validation.silicon_engines import (  # noqa: E402
    DEFAULTS,
    INFERENCEMAX,
    benchmark_of,
)
from paper_repro.validation.silicon_host import FITTED, NOTHING, HostCosts  # noqa: E402
from paper_repro.validation.silicon_predict import _mean_wait, predict  # noqa: E402
from paper_repro.validation.silicon_runs import layers_of, measured_runs, package_folder  # noqa: E402

MODEL, SYSTEM = "meta-llama/Llama-3.1-8B-Instruct", "h100_sxm"
CASE: dict[str, Any] = {"backend": "vllm", "prompt_tokens": 256, "output_tokens": 24}


def test_every_run_is_counted_or_has_a_reason() -> None:
    runs = measured_runs()
    reasons = dict(runs["excluded"].value_counts().iter_rows())
    assert runs.height == 1063
    assert reasons == {
        None: 1014,
        "users not recorded": 10,
        "users of several engines": 18,
        "faster than the GPU can be": 21,
    }


def test_the_rate_of_a_run_is_that_of_littles_law() -> None:
    runs = measured_runs()
    answer = runs["ttft"] + (runs["osl"] - 1) * runs["tpot"]
    assert np.allclose(runs["rate"] * answer, runs["users"])
    assert (runs["sessions"] <= runs["users"]).all()


def test_a_run_is_saturated_only_if_more_users_gained_little() -> None:
    runs = measured_runs()
    series = ["model", "system", "backend", "version", "precision", "tp", "isl", "osl"]
    found = 0
    for _, group in runs.group_by(series):
        rows = group.sort("users").select("users", "rate", "peak").rows()
        for before, after in pairwise(rows):
            gained = (after[1] / before[1]) ** 2
            is_last = after[0] == rows[-1][0]
            expected = is_last and after[0] > before[0] and gained < after[0] / before[0]
            found += expected
            assert after[2] == expected or after[0] == before[0]
        assert not rows[0][2]
    assert 100 < found <= runs["peak"].sum()


def test_a_gpu_that_is_not_known_has_a_reason(tmp_path) -> None:  # type: ignore[no-untyped-def]
    sample = pl.read_csv(
        package_folder() / "systems" / "silicon_sample.csv", infer_schema_length=None
    )
    known = sample.filter(
        (pl.col("mode") == "agg")
        & (pl.col("model_path") == "Qwen/Qwen3-32B")
        & (pl.col("id").str.extract(r"_c(\d+)_").cast(pl.Float64) == pl.col("batch_size"))
    )
    few = known.head(2).with_columns(system=pl.lit("mygpu"))
    few.write_csv(tmp_path / "silicon_sample.csv")
    frame = silicon.compute(sample_file=tmp_path / "silicon_sample.csv")
    assert frame["excluded"].str.starts_with("not predicted: system must").all()
    assert "not predicted" in silicon_view.text(frame)
    assert silicon_view.pictures(frame, tmp_path) == ()


def test_the_mean_step_is_wrong_by_as_much_as_was_said() -> None:
    """Median of 14.6 % over the runs of Qwen3-32B with one shape; a subset of them here."""
    runs = measured_runs().filter(
        (pl.col("model") == "Qwen/Qwen3-32B") & (pl.col("backend") == "sglang")
    )
    found = [
        mean_step(
            row["model"],
            row["system"],
            backend=row["backend"],
            tp=row["tp"],
            gemm_precision=row["precision"],
            prompt_tokens=row["isl"],
            output_tokens=row["osl"],
            users=row["users"],
        )
        for row in runs.iter_rows(named=True)
    ]
    error = np.abs(np.asarray(found) / runs["tpot"].to_numpy() - 1)
    assert np.median(error) == pytest.approx(0.118, abs=0.01)


def test_one_user_needs_no_queueing_theory() -> None:
    """Its steps are one prompt and then one decode each, so the law itself says the means."""
    found = predict(MODEL, SYSTEM, **CASE, users=1, costs=NOTHING)
    law = MeasuredStepTime("meta-llama/Llama-3.1-8B", SYSTEM, prompt_tokens=256)
    decodes = [law(0, 1, 256 + k) for k in range(23)]
    assert found.ttft == pytest.approx(law(256, 0, 0), rel=0.02)
    assert found.tpot == pytest.approx(math.fsum(decodes) / 23, rel=0.02)


def test_costs_of_the_host_show_where_they_should() -> None:
    """One user: a step costs what it costs, and only prompts pay for launches."""
    bare = predict(MODEL, SYSTEM, **CASE, users=1, costs=NOTHING)
    costs = HostCosts(1e-3, 0, 0, 2e-3, 1e-3, 0, 0)
    slow = predict(MODEL, SYSTEM, **CASE, users=1, costs=costs)
    layers = layers_of("meta-llama/Meta-Llama-3.1-8B")
    assert slow.tpot - bare.tpot == pytest.approx(3e-3, rel=1e-3)
    assert slow.ttft - bare.ttft == pytest.approx(1e-3 + layers * 1e-3, rel=1e-3)


def test_more_users_wait_longer_and_are_served_faster() -> None:
    few, many = (predict(MODEL, SYSTEM, **CASE, users=users) for users in (2, 32))
    assert few.tpot < many.tpot
    assert few.rate < many.rate < 16 * few.rate


def test_equal_requests_never_forget_how_they_began() -> None:
    """SGLang stops decodes for prompts: who begins together stays together, and waits.

    So the time to first token of such a run says how its clients began. The rate does not.
    """
    case = CASE | {"backend": "sglang", "prompt_tokens": 2048, "output_tokens": 256}
    together, apart = (
        predict(MODEL, SYSTEM, **case, users=24, benchmark=replace(DEFAULTS, spacing=spacing))
        for spacing in (0.0, 0.15)
    )
    assert together.ttft > 2 * apart.ttft
    assert together.tpot < apart.tpot
    assert together.rate == pytest.approx(apart.rate, rel=0.1)


def test_quantised_checkpoints_have_small_caches_on_some_engines() -> None:
    asked = {"gemm_precision": "fp8"}
    assert DEFAULTS.kv_precision("trtllm", "h100_sxm", **asked) == "fp8"
    assert DEFAULTS.kv_precision("trtllm", "h100_sxm", gemm_precision=None) is None
    assert INFERENCEMAX.kv_precision("vllm", "h200_sxm", **asked) == "fp8"
    assert INFERENCEMAX.kv_precision("vllm", "h100_sxm", **asked) is None


def test_a_run_that_memory_limits_is_known() -> None:
    found = predict(
        MODEL, SYSTEM, backend="trtllm", prompt_tokens=8192, output_tokens=8, users=64
    )
    assert found.residents < 64


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'vllm'"):
        predict(MODEL, SYSTEM, backend="vlm", prompt_tokens=9, output_tokens=9, users=1)


@given(st.floats(0, 10))
def test_the_mean_wait_lies_between_half_and_all_of_the_time(rate: float) -> None:
    assert 10 <= _mean_wait(20, rate) <= 20
    assert _mean_wait(0, rate) == 0


def test_the_mean_wait_is_that_of_groups() -> None:
    """Independent route: cut a long row of Poisson arrivals into groups."""
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(1 / 0.15, 40_000))
    waits, opened = [], -math.inf
    for time in times:
        if time > opened + 20:
            opened = time
        waits.append(opened + 20 - time)
    assert np.mean(waits) == pytest.approx(_mean_wait(20, 0.15), rel=0.02)


@pytest.mark.parametrize("backend", ["vllm", "trtllm", "sglang"])
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("quantised", [False, True])
def test_the_constants_are_those_of_the_library(
    backend: str, ahead: bool, quantised: bool
) -> None:
    found = FITTED.of_step(backend, ahead=ahead, quantised=quantised)
    expected = steptime.HostCosts.fitted(backend, schedules_ahead=ahead, quantised=quantised)
    assert found == expected
    nothing = NOTHING.of_step(backend, ahead=ahead, quantised=quantised)
    assert nothing == steptime.HostCosts()


def test_the_published_benchmark_is_known_by_its_shapes() -> None:
    assert benchmark_of(None, prompt_tokens=8192, output_tokens=1024) is INFERENCEMAX
    assert benchmark_of(None, prompt_tokens=512, output_tokens=1024) is DEFAULTS
    assert benchmark_of("0.12.0", prompt_tokens=8192, output_tokens=1024) is DEFAULTS


def test_the_closed_form_is_an_estimate_of_the_same_run() -> None:
    ttft, tpot = closed_form(
        MODEL, SYSTEM, tp=1, gemm_precision=None, kv_precision=None, users=8, **CASE
    )
    found = predict(MODEL, SYSTEM, **CASE, users=8, costs=NOTHING)
    assert tpot == pytest.approx(found.tpot, rel=0.3)
    assert ttft > 0


@pytest.mark.slow
def test_predictions_are_better_than_operators_alone() -> None:
    """Control: the same figures for an estimate that is worse."""
    frame = silicon.compute(sample=40)
    assert frame.height >= 40
    ours, bare = (
        silicon.summary(frame, by=(), estimate=kind).row(0, named=True)
        for kind in ("predicted", "bare")
    )
    assert ours["tpot_median"] < min(0.1, bare["tpot_median"])
    assert ours["runs"] == bare["runs"] == frame["excluded"].is_null().sum()


def test_a_picture_is_drawn(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("matplotlib")
    columns = {
        "backend": ["vllm", "trtllm", "sglang"],
        "excluded": [None, None, None],
        "load": ["below"] * 3,
    }
    figures = ["ttft", "tpot", "predicted_ttft", "predicted_tpot"]
    frame = pl.DataFrame(columns | {name: [0.1, 0.2, 0.3] for name in figures})
    silicon.plot(frame, tmp_path / "silicon.png")
    assert (tmp_path / "silicon.png").stat().st_size > 10_000


def test_the_fitted_constants_are_plausible() -> None:
    """Milliseconds per step, microseconds per decode and per layer: what hosts need."""
    assert 0 < FITTED.trtllm < FITTED.vllm < 5e-3
    assert 0 < FITTED.decode < 50e-6
    assert 0 < FITTED.fused_layer < FITTED.prefill_layer < 1e-3
