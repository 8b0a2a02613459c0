"""Sweeps: what is drawn, what may be fitted to, what the fit finds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.validation.guidellm import (
    FEW_SEQUENCES,
    FILE,
    ONE_LAW,
    Prediction,
    Swept,
    is_below_saturation,
    reported,
)
from paper_repro.validation.guidellm_view import reasons
from paper_repro.validation.serving import Served
from paper_repro.validation.sweeps import (
    FittedServer,
    SweepRun,
    by_workload,
    drawn_requests,
    fitted_server,
    low_rate_runs,
    read_sweeps,
)
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import AffineStepTime

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / FILE
LAW = AffineStepTime(base=0.0067, per_token=2.2e-5, per_kv_token=5e-8)
OUTSIDE = 0.005
WORKLOADS = ((64, 64), (256, 256), (1024, 64), (4096, 256), (256, 1024))


def run(prompt, output, *, kind="constant", target=float("nan")):
    """Return a run whose mean step is that of the law, by solving for it."""
    context, rate = prompt + output / 2, target
    if kind == "synchronous":
        tpot = float(LAW(0, 1, context))
        ttft = OUTSIDE + float(LAW(prompt))
        rate = 1 / (ttft + tpot * (output - 1))
    else:
        per_second = (
            rate * (prompt + output - 1) * 2.2e-5 + rate * (output - 1) * context * 5e-8
        )
        tpot, ttft = 0.0067 / (1 - per_second), 0.05
    return SweepRun(
        prompt_tokens=prompt,
        output_tokens=output,
        kind=kind,
        target=target,
        duration=360.0,
        completed=100,
        incomplete=0,
        errored=0,
        rate=rate,
        latency=ttft + tpot * (output - 1),
        ttft=ttft,
        tpot=tpot,
        mean_prompt=float(prompt),
        mean_output=float(output),
    )


def sweep():
    runs = [run(p, d, kind="synchronous") for p, d in WORKLOADS]
    for p, d in WORKLOADS:
        most = 0.8 / ((p + d) * 2.2e-5 + d * (p + d / 2) * 5e-8)
        runs += [run(p, d, target=most * k / 8) for k in range(1, 9)]
    return runs


def test_the_fit_finds_the_law():
    server = fitted_server(low_rate_runs(sweep()))
    assert server.step_time.base == pytest.approx(0.0067, rel=1e-6)
    assert server.step_time.per_token == pytest.approx(2.2e-5, rel=1e-6)
    assert server.step_time.per_kv_token == pytest.approx(5e-8, rel=1e-6)
    assert server.request_time == pytest.approx(OUTSIDE, rel=1e-6)
    assert server.worst_error < 1e-9


def test_a_law_of_another_form_shows_in_the_errors():
    runs = [dataclasses.replace(r, tpot=r.tpot**2 / 0.007) for r in sweep()]
    assert fitted_server(low_rate_runs(runs)).worst_error > 0.05


@given(st.randoms(use_true_random=False))
def test_low_rates_are_chosen_by_what_was_asked_for(rng):
    """Whatever was measured, the upper half of the rates and saturation are not looked at."""
    runs = [*sweep(), dataclasses.replace(run(64, 64, target=1.0), kind="throughput")]
    changed = [
        dataclasses.replace(r, rate=rng.uniform(0.01, 1), tpot=rng.uniform(0.01, 1))
        for r in runs
    ]
    rng.shuffle(changed)
    asked, again = (
        [(r.workload, r.kind, str(r.target)) for r in low_rate_runs(group)]
        for group in (runs, changed)
    )
    assert asked == again
    for group in by_workload(runs).values():
        rates = sorted(r.target for r in group if r.kind == "constant")
        chosen = [r for r in low_rate_runs(group) if r.kind == "constant"]
        assert [r.target for r in chosen] == rates[:4]
    assert all(r.kind != "throughput" for r in low_rate_runs(runs))


def test_the_lower_half_is_half_of_however_many():
    few = [r for r in sweep() if r.kind == "synchronous" or r.target < 0.9]
    for group in by_workload(few).values():
        rates = [r.target for r in group if r.kind == "constant"]
        chosen = [r.target for r in low_rate_runs(group) if r.kind == "constant"]
        assert chosen == rates[: len(rates) // 2]


def test_one_prompt_length_does_not_tell_what_is_outside():
    runs = [r for r in sweep() if r.prompt_tokens == 256]
    assert fitted_server(low_rate_runs(runs)).request_time == 0


def test_a_sweep_without_a_column_is_refused(tmp_path):
    path = tmp_path / "sweeps.csv"
    path.write_text("i,o,name\n64,64,synchronous\n")
    with pytest.raises(InvalidArgument, match="it lacks dur, errored"):
        read_sweeps(path)


def test_a_run_that_finished_nothing_is_dirty(tmp_path):
    names = "i,o,name,target,dur,n,incomplete,errored,rps,lat_s,ttft_ms,itl_ms,pin,pout"
    path = tmp_path / "sweeps.csv"
    path.write_text(
        f"{names}\n64,64,constant,constant@2,9,0,18,0,,,,,,\n1,1,poisson,,,,,,,,,,,\n"
    )
    (found,) = read_sweeps(path)
    assert found.is_dirty
    assert not found.has_sound_rate


def test_rates_below_saturation_are_below_what_was_measured():
    run_at = {rate: run(64, 64, target=rate) for rate in (1.0, 1.9, 2.0)}
    most = dataclasses.replace(run(64, 64, target=1.0), kind="throughput", rate=2.0)
    found = [rate for rate, each in run_at.items() if is_below_saturation(each, [most])]
    assert found == [1.0]
    kept_up = dataclasses.replace(run_at[2.0], completed=718, incomplete=2)
    assert is_below_saturation(kept_up, [])
    assert not is_below_saturation(dataclasses.replace(kept_up, completed=350), [])


@given(st.integers(1, 9))
def test_drawn_lengths_are_never_zero(mean):
    requests = drawn_requests(mean, 1, count=50)
    assert min(requests.prompt_tokens.min(), requests.output_tokens.min()) >= 1


def saturated(rates, streamed):
    """Return sweeps with these ratios of predicted to measured saturation."""
    nan = float("nan")
    pairs = []
    for place, (ratio, tokens) in enumerate(zip(rates, streamed, strict=True)):
        rate = tokens / 64
        measured = dataclasses.replace(
            run(64 + place, 64, target=1.0), kind="throughput", rate=rate, ttft=0.1, latency=2.0
        )
        pairs.append((measured, {ONE_LAW: Prediction(9, ratio * rate, 2.0, 0.05, 0.03, 0)}))
    few = tuple(Prediction(9, 1.0, 2.0, 1.0, 0.03, 0) for _ in pairs)
    server = FittedServer(LAW, 0.0, 1, nan, nan)
    return Swept(server, tuple(pairs), (), {FEW_SEQUENCES: few}, (0, 0))


def test_a_reason_is_given_only_where_the_measurements_show_it():
    assert "saturate at" in reasons(saturated([1.2, 1.2, 1.0], [1000, 1100, 400]))
    assert reasons(saturated([1.2, 0.9, 1.0], [1000, 1100, 400])) == ""
    assert reasons(saturated([1.2, 1.2, 1.0], [1000, 1900, 400])) == ""
    assert reasons(saturated([1.2, 1.2], [1000, 1100])) == ""
    assert reasons(saturated([1.0], [1000])) == ""
    assert reasons(saturated([], [])) == ""


def test_drawn_lengths_stay_within_half_and_three_halves():
    requests = drawn_requests(64, 1024, count=5000, rate=10.0)
    assert (requests.prompt_tokens.min(), requests.prompt_tokens.max()) == (32, 96)
    assert requests.output_tokens.min() >= 512
    assert requests.output_tokens.max() <= 1536
    assert abs(requests.output_tokens.mean() - 1024) < 4 * 296 / np.sqrt(5000)
    assert requests.arrival_times[-1] == pytest.approx(499.9)


def test_only_finished_requests_are_reported():
    nan = float("nan")
    served = Served(
        arrival=np.array([0.0, 1.0, 2.0]),
        start=np.array([0.0, 1.0, 2.0]),
        first=np.array([0.5, 2.0, 3.0]),
        finish=np.array([2.5, 4.0, nan]),
        output_tokens=np.array([5, 11, 400]),
        preemptions=0,
        steps=np.empty((0, 4)),
    )
    found = reported(served, request_time=0.1)
    assert (found.completed, found.rate) == (2, 0.5)
    assert found.latency == pytest.approx(0.1 + (2.5 + 3.0) / 2)
    assert found.ttft == pytest.approx(0.1 + (0.5 + 1.0) / 2)
    assert found.tpot == pytest.approx(4.0 / 14)
    assert found.concurrency == pytest.approx(found.rate * found.latency)


needs_data = pytest.mark.skipif(not DATA.is_file(), reason=f"{FILE} is not at hand")


@needs_data
def test_the_benchmark_drew_these_lengths():
    """The mean output of each synchronous run, to the last digit; prompts to one token."""
    runs = [r for r in read_sweeps(DATA) if r.kind == "synchronous"]
    for measured in runs:
        drawn = drawn_requests(
            measured.prompt_tokens, measured.output_tokens, count=measured.completed
        )
        assert drawn.output_tokens.mean() == pytest.approx(measured.mean_output, rel=1e-12)
        assert abs(drawn.prompt_tokens.mean() - measured.mean_prompt) < 1
    assert len(runs) == 8


@needs_data
def test_one_law_fits_the_low_rates():
    server = fitted_server(low_rate_runs(read_sweeps(DATA)))
    assert server.samples == 46
    assert server.mean_error < 0.03
    assert 0.0065 < server.step_time.base < 0.007
