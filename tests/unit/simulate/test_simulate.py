"""The simulator keeps its books, repeats itself, and refuses what it cannot run."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies import READINGS
from queueing_llm.simulate import _drive
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import SAMPLE_COLUMNS
from queueing_llm.simulate._simulate import outcome_of
from tests.reference.fluid_server import least_backlog

NANO = 10**9
EXACT = ql.StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 4)  # whole nanoseconds
A100 = ql.StaircaseStepTime(0.01128, 0.03547, 128)
RULES = [ql.policy_named(name) for name in ql.POLICIES] + [
    ql.policy_named(f"{name}:{reading}") for name in ql.POLICIES for reading in READINGS
]


@st.composite
def small_runs(draw):
    """A run of a few requests with every request kept."""
    count = draw(st.integers(1, 12))
    sizes = st.lists(st.integers(1, 9), min_size=count, max_size=count)
    gaps = st.lists(st.sampled_from([0.0, 0.4, 0.5, 1.7]), min_size=count, max_size=count)
    prompt, output = draw(sizes), draw(sizes)
    largest = max(p + d for p, d in zip(prompt, output, strict=True))
    engine = ql.Engine(
        step_time=EXACT,
        token_budget=draw(st.integers(1, 12)),
        max_batch_size=draw(st.none() | st.integers(1, 5)),
        kv_capacity=draw(st.none() | st.integers(largest, 2 * largest)),
        first_token_from_prefill=draw(st.booleans()),
    )
    workload = ql.Workload.of_requests(
        np.cumsum(draw(gaps)), prompt_tokens=prompt, output_tokens=output
    )
    horizon = draw(st.sampled_from([2.0, 7.0, 150.0]))
    rule = draw(st.sampled_from(RULES))
    return ql.simulate(
        engine, workload, policy=rule, horizon=horizon, samples=20, keep_requests=True
    )


def column(run, name, replication=0):
    return run.outcomes[replication].samples[:, SAMPLE_COLUMNS.index(name)].astype(np.int64)


@given(small_runs())
def test_no_policy_serves_faster_than_the_best_rate(run):
    """Theorem 2(a) of arXiv:2504.07347v3 on every path: S(T) <= r* T."""
    best = ql.best_rate(run.engine).tokens_per_second
    for time, served in zip(column(run, "time"), column(run, "served_tokens"), strict=True):
        assert int(served) <= best * Fraction(int(time), NANO)


@given(small_runs())
def test_no_policy_holds_less_than_a_fluid_server_of_the_best_rate(run):
    """Vector thm2.pathwise_lower_bound, exactly."""
    best = ql.best_rate(run.engine).tokens_per_second / NANO
    log = run.requests()
    work = (log.prompt_tokens + log.decode_steps).tolist()
    arrivals = list(zip(log.arrival.tolist(), work, strict=True))
    for time, backlog in zip(column(run, "time"), column(run, "backlog_tokens"), strict=True):
        assert int(backlog) >= least_backlog(arrivals, best, int(time))


def test_the_fluid_server_by_hand():
    assert least_backlog([(0, 5), (2, 4)], Fraction(1), 2) == 7
    assert least_backlog([(0, 5), (9, 4)], Fraction(1), 9) == 4
    assert least_backlog([(1, 5)], Fraction(1), 0) == 0


def test_one_lost_token_would_be_seen():
    """Control: full batches at the best rate attain the bound at the end of each."""
    load = ql.Workload.of_requests([0], prompt_tokens=[12], output_tokens=[0])
    system = ql.Engine(step_time=EXACT, token_budget=4)
    run = ql.simulate(system, load, policy=ql.SARATHI, horizon=1.2, samples=3)
    best = ql.best_rate(system).tokens_per_second / NANO
    least = [least_backlog([(0, 12)], best, int(t)) for t in column(run, "time")]
    assert column(run, "backlog_tokens").tolist() == least == [12, 8, 4, 0]


@given(small_runs())
def test_tokens_are_conserved_at_every_sample(run):
    """Arrived + recomputed = served + remaining."""
    log = run.requests()
    work = log.prompt_tokens + log.decode_steps
    for i, time in enumerate(column(run, "time")):
        arrived = int(work[log.arrival <= time].sum())
        remaining, served = column(run, "backlog_tokens")[i], column(run, "served_tokens")[i]
        assert arrived + column(run, "recomputed_tokens")[i] == served + remaining


@given(small_runs())
def test_the_area_under_the_population_is_the_time_spent_by_requests(run):
    """Little's law on a path, to the nanosecond."""
    log, end = run.requests(), round(run.horizon * NANO)
    left = np.where(log.finish >= 0, log.finish, end)
    assert column(run, "requests_area")[-1] == (left - log.arrival).sum()
    assert column(run, "requests")[-1] == (log.finish < 0).sum()
    assert column(run, "completed")[-1] == (log.finish >= 0).sum()


@given(small_runs())
def test_what_happens_to_a_request_happens_in_order(run):
    log = run.requests()
    done = log.finish >= 0
    assert np.all(log.start[log.start >= 0] >= log.arrival[log.start >= 0])
    assert np.all(log.first[done & (log.first >= 0)] > log.start[done & (log.first >= 0)])
    for kind in ("queue_time", "ttft", "end_to_end"):
        assert np.all(run.latencies(kind) >= 0)
    emitted = done & (log.decode_steps + run.engine.first_token_from_prefill > 0)
    assert np.all(log.first[emitted] <= log.finish[emitted])


@given(small_runs())
def test_busy_time_is_the_time_of_the_batches(run):
    busy, steps = column(run, "busy"), column(run, "steps")
    assert np.all(np.diff(busy) <= np.diff(column(run, "time")))
    assert np.all(steps * 4 * 10**8 <= busy)  # the shortest batch takes 0.4 s


def poisson(rate=10.4, prompt=129, output=112):
    return ql.Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


def engine(budget=512, **limits):
    return ql.Engine(step_time=A100, token_budget=budget, **limits)


def test_littles_law_in_the_long_run():
    """Mean population = throughput x mean time in system, within 4 standard errors."""
    run = ql.simulate(
        engine(), poisson(), policy=ql.SARATHI, horizon=4000, warmup=400, replications=8,
        seed=5, keep_requests=True,
    )  # fmt: skip
    sojourns = [run.latencies("end_to_end", i).mean() for i in range(8)]
    gaps = [
        area - rate * sojourn
        for area, rate, sojourn in zip(
            np.diff(run._column("requests_area")[:, [20, -1]], axis=1)[:, 0] * run.tick / 3600,
            np.diff(run._column("completed")[:, [20, -1]], axis=1)[:, 0] / 3600,
            sojourns,
            strict=True,
        )
    ]
    gap = ql.Estimate.of(np.array(gaps), "replications")
    assert abs(gap.value) < 4 * gap.standard_error
    assert run.mean_requests.value > 50


def test_one_token_at_a_time_is_the_queue_m_d_1():
    """Vector reduce.md1: 1.51667 requests on average, within 4 standard errors."""
    single = ql.Engine(step_time=ql.StaircaseStepTime(0, 1, 1), token_budget=1)
    run = ql.simulate(
        single, poisson(0.7, 1, 0), policy=ql.SARATHI, horizon=4e5, warmup=1e3, replications=8,
        seed=1,
    )  # fmt: skip
    found = run.mean_requests
    assert found.standard_error < 0.01
    assert abs(found.value - 1.516667) < 4 * found.standard_error
    assert abs(run.utilisation.value - 0.7) < 4 * run.utilisation.standard_error


def samples_of(**choices):
    settled = {"policy": ql.ORCA, "horizon": 60.0, "seed": 3, **choices}
    run = ql.simulate(engine(), poisson(), **settled)
    return [outcome.samples for outcome in run.outcomes]


def test_the_same_seed_gives_the_same_run_bit_by_bit():
    first, again = samples_of(replications=3), samples_of(replications=3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, samples_of(replications=3, seed=4))


def test_a_generator_is_consumed_and_equals_its_seed():
    source = np.random.default_rng(3)
    np.testing.assert_array_equal(samples_of(seed=source), samples_of(seed=3))
    assert not np.array_equal(samples_of(seed=source), samples_of(seed=3))


def test_replications_are_different_and_do_not_disturb_one_another():
    one, three = samples_of(replications=1), samples_of(replications=3)
    np.testing.assert_array_equal(three[0], one[0])
    assert not np.array_equal(three[1], three[0])
    assert not np.array_equal(three[1], three[2])


@pytest.mark.parametrize("policy", ["sarathi", "orca", "vanilla_vllm", "faster_transformer"])
def test_looking_more_often_changes_nothing(policy):
    rule = ql.policy_named(policy)
    often = samples_of(policy=rule, samples=600)[0]
    seldom = samples_of(policy=rule, samples=6)[0]
    np.testing.assert_allclose(often[::100], seldom, rtol=1e-12)


@settings(max_examples=10)
@given(
    size=st.integers(1, 200), rule=st.sampled_from(RULES), capacity=st.sampled_from([None, 900])
)
def test_results_do_not_depend_on_how_arrivals_are_cut(size, rule, capacity):
    limited = engine(64, kv_capacity=capacity)
    load = poisson(3, ql.UniformLength(1, 60), ql.UniformLength(1, 80))
    clock = Clock.of(limited)

    def samples(chunk):
        chunks = load.chunks(np.random.default_rng(7), chunk)
        marks = clock.ticks(np.linspace(0, 40, 9))
        return outcome_of(limited, rule, chunks=chunks, clock=clock, sample_at=marks).samples

    np.testing.assert_array_equal(samples(size), samples(4096))


def test_both_drivers_give_the_same_run():
    load = poisson(20, ql.UniformLength(1, 60), ql.UniformLength(1, 80))
    slow, fast = (
        ql.simulate(
            engine(64, kv_capacity=900), load, policy=ql.SARATHI, horizon=15, replications=2,
            seed=2, log_batches=5000, keep_requests=True, transparent=transparent,
        )
        for transparent in (True, False)
    )  # fmt: skip
    assert slow.preemptions > 0
    for one, other in zip(slow.outcomes, fast.outcomes, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.log, other.log)
        np.testing.assert_array_equal(one.requests.finish, other.requests.finish)


@pytest.mark.parametrize(
    ("policy", "limits"),
    [("sarathi", {}), ("orca", {}), ("sarathi", {"kv_capacity": 60_000})],
)
def test_memory_stays_flat_while_a_stable_engine_runs(monkeypatch, policy, limits):
    """More than 300,000 requests pass; the buffer never holds more than a few chunks."""
    buffers = []

    class Spied(_drive.Loaded):
        def take(self, chunk, state, clock):
            super().take(chunk, state, clock)
            buffers.append(len(self.arrays["arrival"]))

    monkeypatch.setattr(_drive, "Loaded", Spied)
    clock = Clock.of(engine())
    outcome = outcome_of(
        engine(**limits),
        ql.policy_named(policy),
        chunks=poisson().chunks(np.random.default_rng(1), 2048),
        clock=clock,
        sample_at=clock.ticks(np.array([0.0, 30_000.0])),
        expected_requests=0,
    )
    assert outcome.samples[-1, SAMPLE_COLUMNS.index("arrived")] > 300_000
    assert len(buffers) > 140
    assert max(buffers) <= 5 * 2048


def test_kept_requests_need_memory_as_they_come():
    """Control of the check above: with outputs everything is kept."""
    run = ql.simulate(
        engine(), poisson(), policy=ql.SARATHI, horizon=300, keep_requests=True, seed=1
    )
    assert len(run.requests().arrival) == run.arrived > 2900


def test_the_first_token_comes_with_the_end_of_the_prompt():
    """A prompt of 6 in chunks of 4 takes two batches of a second; two decodes follow."""
    step = ql.StaircaseStepTime(0, 1, 4)
    load = ql.Workload.of_requests([0], prompt_tokens=[6], output_tokens=[3])
    for from_prefill, ttft, end in ((True, 2, 4), (False, 3, 5)):
        real = ql.Engine(step_time=step, token_budget=4, first_token_from_prefill=from_prefill)
        run = ql.simulate(real, load, policy=ql.SARATHI, horizon=9, keep_requests=True)
        assert run.latencies("ttft").tolist() == [ttft]
        assert run.latencies("end_to_end").tolist() == [end]
        assert run.latencies("tpot").tolist() == [1.0]


@pytest.mark.parametrize("transparent", [False, True])
def test_preemptions_are_counted_and_their_work_is_done_again(transparent):
    """Two requests of 2 + 4 tokens in 8 slots: after two decodes each, the newer one goes."""
    step = ql.StaircaseStepTime(0, 1, 8)
    small = ql.Engine(step_time=step, token_budget=8, kv_capacity=8)
    load = ql.Workload.of_requests([0, 0], prompt_tokens=[2, 2], output_tokens=[4, 4])
    run = ql.simulate(
        small, load, policy=ql.SARATHI, horizon=20, log_batches=9, transparent=transparent
    )
    batches = run.batches()
    assert run.preemptions == 1
    assert column(run, "recomputed_tokens")[-1] == 4
    assert batches["preempted"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert batches["prefill_tokens"].tolist() == [4, 0, 0, 0, 0, 4, 0, 0]
    assert batches["decode_tokens"].tolist() == [0, 2, 2, 1, 1, 0, 1, 1]


def oldest_only(state):
    """A policy as a user writes it: the oldest request has the engine for itself."""
    tokens = np.zeros(len(state.request), dtype=np.int64)
    tokens[0] = min(max(state.prompt_left[0], 1), state.token_budget)
    return ql.Batch(tokens)


def test_a_policy_written_in_python_runs():
    load = ql.Workload.of_requests([0, 0], prompt_tokens=[5, 3], output_tokens=[2, 1])
    small = ql.Engine(step_time=ql.StaircaseStepTime(0, 1, 4), token_budget=4)
    run = ql.simulate(small, load, policy=oldest_only, horizon=20, keep_requests=True)
    assert run.latencies("end_to_end").tolist() == [4, 6]
    assert run.steps == 6


@pytest.mark.parametrize("field", ["request", "prompt_left", "decode_left", "stored"])
def test_a_policy_cannot_change_what_it_sees(field):
    """Regression: a policy could raise what it had left, and be served more than that."""

    def vandal(state):
        getattr(state, field)[:] = 99
        return oldest_only(state)

    with pytest.raises(ValueError, match="read-only"):
        ql.simulate(engine(8), poisson(2, 9, 9), policy=vandal, horizon=20, seed=1)


def test_an_illegal_policy_is_stopped():
    def greedy(state):
        return ql.Batch(state.prompt_left + 1)

    with pytest.raises(ql.InvalidArgument, match=r"illegal batch: .* for request 0"):
        ql.simulate(engine(), poisson(), policy=greedy, horizon=20)


def test_a_policy_that_does_nothing_leaves_everything_waiting():
    def idle(state):
        return ql.Batch(np.zeros(len(state.request), dtype=np.int64))

    run = ql.simulate(engine(), poisson(2, 9, 9), policy=idle, horizon=20, seed=1)
    assert run.steps == 0
    assert run.backlog_tokens[0, -1] == 18 * run.arrived > 0
    assert run.utilisation.value == 0


both_drivers = pytest.mark.parametrize("transparent", [False, True])


@both_drivers
def test_a_request_that_can_never_fit_is_refused(transparent):
    small = engine(64, kv_capacity=20)
    load = ql.Workload.of_requests([0, 1], prompt_tokens=[5, 15], output_tokens=[1, 6])
    with pytest.raises(ql.InvalidArgument, match="request 1 has 15 prompt and 6 output tokens"):
        ql.simulate(small, load, policy=ql.SARATHI, horizon=20, transparent=transparent)


@both_drivers
def test_a_request_without_output_has_no_first_token(transparent):
    real = engine(64, first_token_from_prefill=True)
    load = ql.Workload.of_requests([0, 1], prompt_tokens=[5, 15], output_tokens=[1, 0])
    with pytest.raises(ql.InvalidArgument, match="output_tokens must be at least 1"):
        ql.simulate(real, load, policy=ql.SARATHI, horizon=20, transparent=transparent)


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ({"horizon": 0}, "horizon must be"),
        ({"tick": 0}, "tick must be"),
        ({"tick": float("nan")}, "tick must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": "a"}, "seed must be"),
        ({"warmup": -1}, "warmup must be"),
        ({"warmup": 20.0}, "warmup must be shorter than horizon=20"),
        ({"replications": 0}, "replications must be"),
        ({"samples": 0}, "samples must be"),
        ({"log_batches": -1}, "log_batches must be"),
        ({"tick": 1e-3}, "tick must be at most"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(choice, complaint):
    with pytest.raises(ql.InvalidArgument, match=complaint):
        ql.simulate(engine(), poisson(), **{"policy": ql.SARATHI, "horizon": 20, **choice})


def test_an_engine_outside_its_table_stops():
    table = ql.TableStepTime.of_batches([0, 4], [0, 4], [0, 9], np.ones((2, 2, 2)))
    load = ql.Workload.of_requests([0], prompt_tokens=[4], output_tokens=[9])
    small = ql.Engine(step_time=table, token_budget=4)
    with pytest.raises(ql.InvalidArgument, match="kv_tokens"):
        ql.simulate(small, load, policy=ql.SARATHI, horizon=99)
