"""Means, latencies and their confidence, from a run."""

import numpy as np
import pytest

import queueing_llm as ql

STEP = ql.StaircaseStepTime(0, 1, 4)


def run_of(arrivals, prompts, outputs, *, horizon=40.0, **choices):
    engine = ql.Engine(step_time=STEP, token_budget=4)
    load = ql.Workload.of_requests(arrivals, prompt_tokens=prompts, output_tokens=outputs)
    return ql.simulate(
        engine, load, policy=ql.SARATHI, horizon=horizon, keep_requests=True, **choices
    )


@pytest.fixture(scope="module")
def by_hand():
    """A at 0 (3 + 2 tokens), B at 0 (2 + 1), C at 10 (4 + 0); a batch takes a second.

    Batches: AAAB, ABx (a decode, a chunk), AB, then CCCC alone. B starts with A.
    """
    return run_of([0, 0, 10], [3, 2, 4], [2, 1, 0], samples=40)


def test_latencies_by_hand(by_hand):
    assert by_hand.latencies("queue_time").tolist() == [0, 0, 0]
    assert by_hand.latencies("end_to_end").tolist() == [3, 3, 1]
    # C has no output token, and only A has two.
    assert by_hand.latencies("ttft").tolist() == [2, 3]
    assert by_hand.latencies("tpot").tolist() == [1]


def test_totals_and_means_by_hand(by_hand):
    assert (by_hand.steps, by_hand.arrived, by_hand.preemptions) == (4, 3, 0)
    assert by_hand.mean_requests.value == pytest.approx((3 + 3 + 1) / 40)
    assert by_hand.mean_backlog_tokens.value == pytest.approx((8 + 4 + 2 + 4) / 40)
    assert by_hand.utilisation.value == pytest.approx(4 / 40)
    assert by_hand.throughput.value == pytest.approx(3 / 40)
    assert by_hand.token_throughput.value == pytest.approx(12 / 40)
    assert by_hand.growth.value == 0


def test_paths_start_empty_or_with_what_arrives_at_time_zero(by_hand):
    assert by_hand.times == pytest.approx(np.arange(41))
    assert by_hand.backlog_tokens[0, :5].tolist() == [8, 4, 2, 0, 0]
    assert by_hand.requests_in_system[0, :5].tolist() == [2, 2, 2, 0, 0]


def test_batches_are_logged_in_ticks_and_tokens():
    run = run_of([0, 0], [3, 2], [2, 1], log_batches=2)
    assert {name: column.tolist() for name, column in run.batches().items()} == {
        "start": [0, 10**9],
        "end": [10**9, 2 * 10**9],
        "prefill_tokens": [4, 1],
        "decode_tokens": [0, 1],
        "kv_tokens": [0, 3],
        "preempted": [0, 0],
    }


def test_the_warm_up_is_left_out():
    run = run_of([0, 0, 10], [3, 2, 4], [2, 1, 0], samples=40, warmup=5.0)
    assert run.latencies("end_to_end").tolist() == [1]
    assert run.throughput.value == pytest.approx(1 / 35)


@pytest.mark.parametrize("samples", [7, 33, 40, 200])
def test_a_mean_does_not_depend_on_how_often_the_run_was_sampled(samples):
    """Regression: stretches of unequal length counted alike."""
    run = run_of([0, 0, 10], [3, 2, 4], [2, 1, 0], samples=samples)
    assert run.mean_requests.value == pytest.approx(7 / 40)
    assert run.throughput.value == pytest.approx(3 / 40)


def test_a_percentile_is_that_of_all_requests_of_a_single_run():
    """Regression: the mean of the percentiles of 20 stretches is not it."""
    run = poisson_run(8, horizon=40.0)
    ttft = run.latencies("ttft")
    assert run.latency("ttft", percentile=99).value == pytest.approx(np.percentile(ttft, 99))
    assert run.latency("ttft").value == pytest.approx(ttft.mean())


def poisson_run(rate, **choices):
    engine = ql.Engine(step_time=ql.StaircaseStepTime(0.01128, 0.03547, 128), token_budget=512)
    load = ql.Workload.poisson(rate, prompt_tokens=129, output_tokens=112)
    settled = {"horizon": 300.0, "keep_requests": True, "seed": 2, **choices}
    return ql.simulate(engine, load, policy=ql.SARATHI, **settled)


def test_a_growing_backlog_has_no_steady_state_to_report():
    run = poisson_run(16)
    with pytest.raises(ql.InvalidArgument, match=r"backlog grows by .* pass transient=True"):
        run.latency("ttft")
    assert run.latency("ttft", transient=True).value > 1


@pytest.mark.parametrize("replications", [1, 6])
def test_a_stable_run_reports_with_confidence(replications):
    run = poisson_run(8, replications=replications)
    mean = run.latency("end_to_end")
    assert mean.observations == (6 if replications == 6 else 20)
    assert mean.method == ("replications" if replications == 6 else "batch means")
    assert 0 < mean.standard_error < mean.value
    quartiles = [run.latency("end_to_end", percentile=p).value for p in (25, 50, 75)]
    assert quartiles == sorted(quartiles)
    assert run.latency("ttft").value < mean.value


def test_means_of_replications_are_means_of_their_latencies():
    run = poisson_run(8, replications=3)
    means = [run.latencies("tpot", i).mean() for i in range(3)]
    assert run.latency("tpot").value == pytest.approx(np.mean(means))
    assert run.latency("tpot").standard_error == pytest.approx(np.std(means, ddof=1) / 3**0.5)


def test_what_was_not_kept_cannot_be_asked_for():
    run = poisson_run(8, keep_requests=False)
    with pytest.raises(ql.InvalidArgument, match="keep_requests=True"):
        run.latencies("ttft")
    with pytest.raises(ql.InvalidArgument, match="did you mean 'ttft'"):
        run.latencies("tttf")
    assert len(run.batches()["start"]) == 0
