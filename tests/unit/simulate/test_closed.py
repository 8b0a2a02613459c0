"""Simulated closed systems: cases by hand, laws of closed networks, books that balance."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.model import (
    ClosedArrivals,
    EmpiricalLengths,
    GeometricLength,
    UniformLength,
    Workload,
)
from queueing_llm.simulate._outcome import SAMPLE_COLUMNS

NANO = 10**9
EXACT = ql.StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 4)  # whole nanoseconds
GROWING = ql.AffineStepTime(base=0.02, per_token=0.0005)
RULES = list(ql.POLICIES.values())


def ticks(seconds):
    return round(seconds * NANO)


def column(run, name, replication=0):
    return run.outcomes[replication].samples[:, SAMPLE_COLUMNS.index(name)].astype(np.int64)


def seconds_alone(engine, prompt, output, *, rule):
    """How long a request takes with nobody else: chunks of its prompt, then decodes."""
    chunk = engine.token_budget if rule.chunked else prompt
    chunks = [min(chunk, prompt - at) for at in range(0, prompt, chunk)]
    time = engine.step_time
    return sum(time(n) for n in chunks) + engine.decode_steps(output) * time(1)


@given(
    prompt=st.integers(1, 30),
    output=st.integers(1, 12),
    budget=st.integers(1, 12),
    think=st.sampled_from([0, Fraction(1, 10), Fraction(4, 10), 7]),
    emits=st.booleans(),
    transparent=st.booleans(),
)
def test_one_user_is_served_at_once_again_and_again(
    prompt, output, budget, think, emits, transparent
):
    engine = ql.Engine(step_time=EXACT, token_budget=budget, first_token_from_prefill=emits)
    alone = seconds_alone(engine, prompt, output, rule=ql.SARATHI)
    run = ql.simulate(
        engine,
        Workload.closed(1, think_time=think, prompt_tokens=prompt, output_tokens=output),
        policy=ql.SARATHI,
        horizon=float(10 * (think + alone)),
        samples=3,
        keep_requests=True,
        transparent=transparent,
    )
    cycles = [ticks(i * (think + alone)) for i in range(1, 11)]
    log = run.requests()
    assert log.finish[log.finish >= 0].tolist() == cycles
    assert log.arrival[:10].tolist() == [at - ticks(alone) for at in cycles]
    assert run.throughput.value == pytest.approx(float(1 / (think + alone)))


@pytest.mark.parametrize("transparent", [False, True])
def test_two_users_by_hand(transparent):
    """Steps of 0.4 s; a request is 4 prompt tokens, one output token; 4 tokens a step.

    0.0 A4 | 0.4 A1 B3 | 0.8 B1 C3 | 1.2 B1 C1 | 1.6 C1 D3 | 2.0 D1 E3 | ...
    """
    engine = ql.Engine(step_time=EXACT, token_budget=4)
    workload = Workload.closed(2, prompt_tokens=4, output_tokens=1)
    run = ql.simulate(
        engine,
        workload,
        policy=ql.SARATHI,
        horizon=4.1,
        keep_requests=True,
        log_batches=6,
        transparent=transparent,
    )
    log, batches = run.requests(), run.batches()
    finish = [ticks(t) for t in (0.8, 1.6, 2.0, 2.8, 3.2, 4.0)]
    assert log.finish[:6].tolist() == finish
    assert log.arrival.tolist() == [0, 0, *finish]
    assert batches["prefill_tokens"].tolist() == [4, 3, 4, 1, 3, 4]
    assert batches["decode_tokens"].tolist() == [0, 1, 0, 1, 1, 0]


@pytest.mark.parametrize("transparent", [False, True])
def test_who_comes_back_at_the_end_of_a_batch_joins_the_next(transparent):
    """As above with 0.4 s of thinking: users take turns and meet the ends of steps.

    0.4 A4 | 0.8 A1 B3 | 1.2 B1 | 1.6 B1 C3 | 2.0 C1 | 2.4 C1 D3 | ...
    """
    run = ql.simulate(
        ql.Engine(step_time=EXACT, token_budget=4),
        Workload.closed(2, think_time=0.4, prompt_tokens=4, output_tokens=1),
        policy=ql.SARATHI,
        horizon=2.9,
        keep_requests=True,
        log_batches=6,
        transparent=transparent,
    )
    log, batches = run.requests(), run.batches()
    assert log.finish[:3].tolist() == [ticks(t) for t in (1.2, 2.0, 2.8)]
    assert log.arrival.tolist() == [ticks(t) for t in (0.4, 0.4, 1.6, 2.4)]
    assert batches["prefill_tokens"].tolist() == [4, 3, 1, 3, 1, 3]
    assert batches["decode_tokens"].tolist() == [0, 1, 0, 1, 0, 1]


@st.composite
def small_cases(draw, **fixed):
    """A few users who think for a constant time: engine, workload, policy, horizon."""
    rows = draw(st.integers(1, 5))
    sizes = st.lists(st.integers(1, 9), min_size=rows, max_size=rows)
    prompt, output = draw(sizes), draw(sizes)
    largest = max(p + d for p, d in zip(prompt, output, strict=True))
    engine = ql.Engine(
        step_time=EXACT,
        token_budget=draw(st.integers(1, 12)),
        max_batch_size=draw(st.none() | st.integers(1, 5)),
        kv_capacity=draw(st.none() | st.integers(largest, 2 * largest)),
        first_token_from_prefill=draw(st.booleans()),
    )
    arrivals = ClosedArrivals(
        draw(st.integers(1, 8)),
        think_time=fixed.get("think_time", draw(st.sampled_from([0, 0.1, 0.4, 2.3, 50]))),
        ramp=fixed.get("ramp", draw(st.sampled_from([0, 3, 3.3]))),
    )
    workload = Workload.of(arrivals, EmpiricalLengths(prompt, output, in_order=True))
    horizon = draw(st.sampled_from([2.0, 7.0, 60.0]))
    return engine, workload, draw(st.sampled_from(RULES)), horizon


def run_of(case):
    """Simulate a case with every request kept."""
    engine, workload, policy, horizon = case
    return ql.simulate(
        engine, workload, policy=policy, horizon=horizon, samples=20, keep_requests=True
    )


def unexplained(run):
    """Arrivals that are neither first requests nor come a think time after a completion."""
    arrivals, log = run.workload.arrivals, run.requests()
    think = ticks(arrivals.think_time)
    begin = [ticks(i * arrivals.ramp / arrivals.users) for i in range(arrivals.users)]
    due = np.array([*begin, *log.finish[log.finish >= 0]]) + think
    due = np.sort(due[due <= ticks(run.horizon)])
    return len(due) != len(log.arrival) or (abs(due - log.arrival) > 1).any()


@given(small_cases())
def test_every_request_comes_a_think_time_after_a_completion(case):
    assert not unexplained(run_of(case))


def test_open_arrivals_are_not_explained_so():
    """Control: evenly spaced requests do not wait for completions."""
    closed = Workload.closed(3, think_time=0.4, prompt_tokens=4, output_tokens=3)
    times = np.sort(np.r_[[0.4] * 3, np.arange(1, 9) * 0.7])
    opened = Workload.of_requests(times, prompt_tokens=[4] * 11, output_tokens=[3] * 11)
    engine = ql.Engine(step_time=EXACT, token_budget=8)
    run = ql.simulate(engine, opened, policy=ql.SARATHI, horizon=9, keep_requests=True)
    fake = ql.Run(engine, closed, ql.SARATHI, 9.0, 0.0, 1e-9, run.outcomes)
    assert unexplained(fake)


@given(small_cases())
def test_tokens_are_conserved_and_users_never_more_than_themselves(case):
    run = run_of(case)
    log = run.requests()
    work = (log.prompt_tokens + log.decode_steps).astype(np.int64)
    for time, backlog, present, served, recomputed in zip(
        *(
            column(run, name)
            for name in (
                "time",
                "backlog_tokens",
                "requests",
                "served_tokens",
                "recomputed_tokens",
            )
        ),
        strict=True,
    ):
        arrived = log.arrival <= time
        left = arrived & ((log.finish < 0) | (log.finish > time))
        assert work[arrived].sum() + recomputed == served + backlog
        assert present == left.sum() <= run.workload.users


@given(small_cases(think_time=0, ramp=0))
def test_without_thinking_all_users_are_always_there(case):
    run = run_of(case)
    assert (run.requests_in_system == run.workload.users).all()
    assert not run.grows


@given(small_cases())
def test_littles_law_holds_to_the_tick(case):
    """N T = time in the system + time outside, each counted request by request."""
    run = run_of(case)
    log, horizon, users = run.requests(), ticks(run.horizon), run.workload.users
    until = np.where(log.finish < 0, horizon, log.finish)
    inside = int((until - log.arrival).sum())
    assert column(run, "requests_area")[-1] == inside
    # Whoever is outside came out with a completion or at time 0, and goes in with an arrival.
    out = np.r_[[0] * users, log.finish[log.finish >= 0]]
    goes_in = np.r_[log.arrival, [horizon] * (len(out) - len(log.arrival))]
    assert users * horizon == inside + int((goes_in - np.sort(out)).sum())


@given(
    users=st.integers(1, 9),
    think=st.sampled_from([0, Fraction(3, 10), 2, 11]),
    prompt=st.integers(1, 20),
    output=st.integers(1, 8),
    budget=st.integers(1, 12),
    rule=st.sampled_from(RULES),
)
def test_throughput_stays_within_the_asymptotic_bounds(
    users, think, prompt, output, budget, rule
):
    """X <= min(N / (Z + R1), capacity), exactly, as all requests are alike.

    R1 is a lower bound on the response time because splitting this step time's tokens over
    more steps never saves time.
    """
    if not rule.chunked:
        budget = max(budget, prompt)
    engine = ql.Engine(step_time=EXACT, token_budget=budget)
    workload = Workload.closed(
        users, think_time=think, prompt_tokens=prompt, output_tokens=output
    )
    run = ql.simulate(engine, workload, policy=rule, horizon=40, samples=4)
    done = int(column(run, "completed")[-1])
    alone = seconds_alone(engine, prompt, output, rule=rule)
    assert done <= 40 * users / (think + alone)
    assert done <= 40 * ql.capacity(engine, workload).requests_per_second
    assert done >= (40 // (think + alone)) * (users == 1)


def saturated(users, *, policy=ql.SARATHI, engine=None, think=0.0, scv=0.0, seed=1, **options):
    engine = engine or ql.Engine(step_time=GROWING, token_budget=128)
    workload = Workload.closed(
        users,
        think_time=think,
        think_scv=scv,
        prompt_tokens=GeometricLength(40),
        output_tokens=GeometricLength(20),
    )
    return ql.simulate(
        engine, workload, policy=policy, horizon=3000, warmup=500, seed=seed, **options
    )


def test_throughput_grows_with_the_users_up_to_the_critical_rate():
    """The critical rate of an open system is what a closed one of many users serves."""
    rates = [saturated(users, think=4, scv=1).throughput for users in (1, 4, 16, 64, 256, 2000)]
    for fewer, more in itertools.pairwise(rates):
        assert more.value > fewer.value - 4 * (more.standard_error + fewer.standard_error)
    engine = ql.Engine(step_time=GROWING, token_budget=128)
    opened = Workload.poisson(
        1, prompt_tokens=GeometricLength(40), output_tokens=GeometricLength(20)
    )
    critical = ql.critical_rate(engine, opened, policy=ql.SARATHI)
    assert critical.evidence is ql.Evidence.THEOREM
    assert abs(rates[-1].value - critical.value) < 4 * rates[-1].standard_error


def test_interactive_response_time_law():
    """R = N / X - Z, with R measured request by request."""
    run = saturated(60, think=5, scv=1, keep_requests=True, replications=4)
    response, rate = run.latency("end_to_end"), run.throughput
    error = 60 / rate.value**2 * rate.standard_error
    assert abs(60 / rate.value - 5 - response.value) < 4 * (error + response.standard_error)
    assert abs(run.mean_requests.value - rate.value * response.value) < 1


@pytest.mark.parametrize("scv", [0, 0.25, 1, 4])
def test_the_law_of_the_think_time_does_not_matter_to_one_user(scv):
    """Renewal reward: X = 1 / (Z + R1), whatever the variability."""
    run = saturated(1, think=0.7, scv=scv, replications=8, seed=3)
    moments = run.workload.moments
    # A geometric prompt of mean 40 is cut into chunks of at most 128 tokens.
    chunks = 1 / (1 - (1 - 1 / 40) ** 128)
    alone = 0.02 * (chunks + moments.output) + 0.0005 * (moments.prompt + moments.output)
    rate = run.throughput
    assert abs(rate.value - 1 / (0.7 + alone)) < 4 * rate.standard_error


def one_at_a_time(scv, *, output_tokens):
    """Three users of an engine that takes one token a step, so serves one after the other."""
    engine = ql.Engine(step_time=ql.StaircaseStepTime(0.001, 0.001, 1), token_budget=1)
    workload = Workload.closed(
        3, think_time=1.6, think_scv=scv, prompt_tokens=1, output_tokens=output_tokens
    )
    return ql.simulate(
        engine,
        workload,
        policy=ql.SARATHI,
        horizon=8000,
        warmup=100,
        replications=8,
        seed=int(8 * scv),
    ).throughput


def repairman(users, *, think, service):
    """Throughput of one exponential server and users who think, P(busy) / service."""
    weights = np.cumprod([1, *((users - i) * service / think for i in range(users))])
    return (1 - weights[0] / weights.sum()) / service


@pytest.mark.parametrize("scv", [0, 0.25, 1, 4])
def test_the_machine_repairman_whatever_the_law_of_thinking(scv):
    """First come, first served with exponential service: insensitive to the think time.

    Baskett, Chandy, Muntz and Palacios (1975). A geometric output of mean 400 is nearly
    exponential.
    """
    rate = one_at_a_time(scv, output_tokens=GeometricLength(400))
    law = repairman(3, think=1.6, service=401 * 0.002)
    assert abs(rate.value - law) < 4 * rate.standard_error + 0.001 * law


def test_the_machine_repairman_is_told_from_constant_service():
    """Control: with constant service the law of the think time matters."""
    law = repairman(3, think=1.6, service=401 * 0.002)
    even, uneven = (one_at_a_time(scv, output_tokens=400) for scv in (0.25, 4))
    assert abs(even.value - law) > 8 * even.standard_error + 0.001 * law
    assert abs(even.value - uneven.value) > 8 * uneven.standard_error


def test_a_ramp_is_not_taken_for_a_growing_backlog():
    engine = ql.Engine(step_time=GROWING, token_budget=128)
    workload = Workload.closed(900, ramp=100, prompt_tokens=40, output_tokens=20)
    run = ql.simulate(engine, workload, policy=ql.SARATHI, horizon=100)
    assert run.growth.value > 100
    assert not run.grows


def test_latencies_are_answered_although_all_users_come_at_once():
    run = saturated(500, keep_requests=True)
    for kind in ("ttft", "tpot", "end_to_end", "queue_time"):
        assert 0 < run.latency(kind).value <= run.latency(kind, percentile=99).value


@pytest.mark.parametrize("policy", RULES, ids=lambda rule: rule.name)
def test_the_public_drivers_agree(policy):
    engine = ql.Engine(step_time=EXACT, token_budget=12, kv_capacity=60)
    workload = Workload.of(
        ClosedArrivals(7, think_time=1, think_scv=2, ramp=3),
        EmpiricalLengths([9, 3, 12, 5], [4, 7, 2, 9], in_order=True),
    )

    def run(**how):
        return ql.simulate(
            engine, workload, policy=policy, horizon=60, replications=2, seed=5, **how
        )

    fast, slow = run(), run(transparent=True)
    for mine, twin in zip(fast.outcomes, slow.outcomes, strict=True):
        np.testing.assert_array_equal(mine.samples, twin.samples)
    again = run()
    assert np.array_equal(fast.backlog_tokens, again.backlog_tokens)
    assert not np.array_equal(fast.backlog_tokens[0], fast.backlog_tokens[1])


def test_watching_shows_users_come_back():
    engine = ql.Engine(step_time=ql.StaircaseStepTime(1, 1, 4), token_budget=4)
    workload = Workload.closed(2, prompt_tokens=3, output_tokens=1)
    seen = ql.watch(engine, workload, policy=ql.SARATHI, horizon=9)
    assert [step.batch.tokens.tolist() for step in seen] == [
        [3, 1], [1, 2], [1, 3], [1, 3], [1, 3],
    ]  # fmt: skip


def test_a_request_that_never_fits_is_refused():
    engine = ql.Engine(step_time=EXACT, token_budget=8, kv_capacity=10)
    workload = Workload.closed(2, prompt_tokens=9, output_tokens=2)
    for transparent in (False, True):
        with pytest.raises(ql.InvalidArgument, match="more than kv_capacity=10"):
            ql.simulate(engine, workload, policy=ql.SARATHI, horizon=9, transparent=transparent)


def test_ten_thousand_users_come_in_many_chunks():
    """More requests than are loaded at once, users who think for ages among them."""
    engine = ql.Engine(step_time=GROWING, token_budget=4096)
    workload = Workload.closed(
        10_000,
        think_time=100,
        think_scv=4,
        ramp=50,
        prompt_tokens=UniformLength(1, 30),
        output_tokens=UniformLength(1, 10),
    )

    def run(**kept):
        return ql.simulate(
            engine, workload, policy=ql.SARATHI, horizon=3000, warmup=500, **kept
        )

    lean, kept = run(), run(keep_requests=True)
    np.testing.assert_array_equal(lean.outcomes[0].samples, kept.outcomes[0].samples)
    assert lean.arrived > 3 * 65_536
    rate, response = kept.throughput, kept.latency("end_to_end")
    error = rate.standard_error * 110 + rate.value * response.standard_error
    assert abs(rate.value * (100 + response.value) - 10_000) < 4 * error
