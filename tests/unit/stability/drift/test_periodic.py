"""The bound for evenly spaced arrivals: against exact runs, and where it must say nothing."""

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability.drift._periodic import periodic_bound

MAIN = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
ENGINE = ql.Engine(step_time=MAIN, token_budget=512)
SECOND = 10**9
ARRIVALS = 60


def small_engine(seconds, *, emits=False):
    """Return an engine with listed times; a table needs two, so the last counts twice."""
    law = ql.TableStepTime.of_tokens(range(1, len(seconds) + 2), (*seconds, seconds[-1]))
    return ql.Engine(step_time=law, token_budget=len(seconds), first_token_from_prefill=emits)


def evenly(gap, prompt=100, output=100, *, first=None):
    lengths = ql.IndependentLengths(
        ql.DeterministicLength(prompt), ql.DeterministicLength(output)
    )
    return ql.Workload.of(ql.DeterministicArrivals.every(gap, first=first), lengths)


def filled(state, order, *, most):
    tokens = np.zeros(len(state.request), dtype=np.int64)
    for i in order:
        room = state.token_budget - int(tokens.sum())
        tokens[i] += min(max(int(state.prompt_left[i]), 1) - int(tokens[i]), room, most)
    return ql.Batch(tokens)


def newest_first(state):
    return filled(state, range(len(state.request))[::-1], most=state.token_budget)


def one_each(state):
    """Give a token to each request, in order, again and again."""
    return filled(state, list(range(len(state.request))) * state.token_budget, most=1)


POLICIES = (ql.SARATHI, ql.ORCA, ql.VLLM_V1, newest_first, one_each)


class Seen(NamedTuple):
    """One batch of a run [s, tokens]: the backlog at its start, just before its end, after."""

    end: int
    tokens: int
    start_backlog: int
    peak_backlog: int
    end_backlog: int


def batches(engine, times, shapes, policy):
    """Return every batch of an exact run of listed requests."""
    prompts, outputs = zip(*shapes, strict=True)
    load = ql.Workload.of_requests(times, prompt_tokens=prompts, output_tokens=outputs)
    arriving = Counter()
    for time, shape in zip(times, shapes, strict=True):
        arriving[round(time * SECOND)] += engine.work_tokens(*shape)
    found = []
    for step in ql.watch(engine, load, policy=policy, horizon=times[-1] + 1):
        held = int(step.state.prompt_left.sum() + step.state.decode_left.sum())
        peak = held + sum(w for at, w in arriving.items() if step.start < at < step.end)
        tokens = int(step.batch.tokens.sum())
        left = peak + arriving[step.end] - tokens
        found.append(Seen(step.end // SECOND, tokens, held, peak, left))
    return found


@st.composite
def systems(draw, most_spare=2):
    """Draw times, a request and a gap of load exactly 1 or, with spare seconds, less."""
    budget = draw(st.integers(1, 5))
    full = budget * draw(st.integers(1, 3))
    seconds = [
        *draw(st.lists(st.integers(1, 9), min_size=budget - 1, max_size=budget - 1)),
        full,
    ]
    emits = draw(st.booleans())
    prompt, output = draw(st.integers(1, 6)), draw(st.integers(int(emits), 6))
    engine = small_engine(seconds, emits=emits)
    gap = engine.work_tokens(prompt, output) * full // budget
    return engine, (prompt, output), gap + draw(st.integers(0, most_spare))


@given(systems(), st.sampled_from(POLICIES), st.sampled_from([0, 0.25, 7]))
def test_no_work_conserving_run_exceeds_the_bound(system, policy, first):
    engine, shape, gap = system
    found = periodic_bound(
        engine, evenly(gap, *shape, first=Fraction(first)), policy=ql.SARATHI
    )
    times = [first + i * gap for i in range(ARRIVALS)]
    run = batches(engine, times, [shape] * ARRIVALS, policy)
    assert max(seen.end_backlog for seen in run) <= found.batch_end_tokens
    assert max(seen.peak_backlog for seen in run) <= found.any_time_tokens


@given(systems(), st.data())
def test_requests_that_differ_count_as_the_longest(system, data):
    engine, longest, gap = system
    shorter = st.tuples(*(st.integers(1, max(1, tokens)) for tokens in longest))
    others = data.draw(st.lists(shorter, min_size=ARRIVALS // 2, max_size=ARRIVALS // 2))
    shapes = [shape for other in others for shape in (longest, other)]
    prompts, outputs = zip(*shapes, strict=True)
    mixed = ql.Workload.of(
        ql.DeterministicArrivals.every(gap),
        ql.EmpiricalLengths(prompts, outputs, in_order=True),
    )
    found = periodic_bound(engine, mixed, policy=ql.SARATHI)
    equal = periodic_bound(engine, evenly(gap, *longest), policy=ql.SARATHI)
    if found is None:
        longest_work = engine.work_tokens(0, mixed.longest_request)
        assert longest_work > engine.work_tokens(*longest)
        return
    assert found.batch_end_tokens >= equal.batch_end_tokens
    run = batches(engine, [gap * (1 + i) for i in range(ARRIVALS)], shapes, ql.ORCA)
    assert max(seen.end_backlog for seen in run) <= found.batch_end_tokens
    assert max(seen.peak_backlog for seen in run) <= found.any_time_tokens


@given(systems(), st.sampled_from(POLICIES), st.integers(1, 40), st.sampled_from([0.25, 1]))
def test_a_burst_is_gone_by_the_time_that_is_stated(system, policy, burst, first):
    """Every path, from any backlog: all batches are full until the backlog is small."""
    engine, shape, gap = system
    found = periodic_bound(engine, evenly(gap, *shape), policy=ql.SARATHI)
    times = [0] * burst + [first + gap * i for i in range(ARRIVALS)]
    run = batches(engine, times, [shape] * len(times), policy)
    assert run[0].start_backlog == burst * found.work_tokens
    for seen in run:
        full = seen.tokens == engine.token_budget
        assert full or seen.start_backlog <= found.exceptional_tokens
    back = found.return_seconds(burst * found.work_tokens)
    if back and back <= run[-1].end:
        assert any(s.end <= back and s.end_backlog <= found.exceptional_tokens for s in run)


@pytest.mark.parametrize(
    ("seconds", "shape", "gap", "policy"),
    [([13, 13], (1, 0), 7, ql.ORCA), ([8, 5], (2, 1), 8, ql.SARATHI)],
)
def test_both_bounds_are_attained(seconds, shape, gap, policy):
    engine = small_engine(seconds)
    found = periodic_bound(engine, evenly(gap, *shape), policy=policy)
    run = batches(engine, [gap * i for i in range(ARRIVALS)], [shape] * ARRIVALS, policy)
    assert max(seen.end_backlog for seen in run) == found.batch_end_tokens
    assert max(seen.peak_backlog for seen in run) == found.any_time_tokens


def test_at_serving_scale_it_holds_at_load_one_within_a_factor_of_four():
    """The gap of 59.828125 ms is a whole number of ticks, so the run is exact."""
    load = evenly(200 * MAIN(512) / 512)
    for rule, share in ((ql.SARATHI, 0.27), (ql.ORCA, 0.37)):
        found = periodic_bound(ENGINE, load, policy=rule)
        assert found.drift == 0
        assert found.batch_end_tokens == 512 * 101 + 100 - 1
        run = ql.simulate(ENGINE, load, policy=rule, horizon=3_000, samples=60_001)
        largest = run.backlog_tokens.max()
        assert largest <= found.any_time_tokens
        assert largest == pytest.approx(share * found.batch_end_tokens, rel=0.03)


@given(systems())
def test_with_times_that_never_fall_it_is_below_the_published_bound(system):
    """(b + 1)(p + d), in a public formalisation of arXiv:2504.07347; b (p + d) holds, too."""
    engine, shape, gap = system
    law, budget = engine.step_time, engine.token_budget
    seconds = [law(n) for n in range(1, budget + 1)]
    found = periodic_bound(engine, evenly(gap, *shape), policy=ql.SARATHI)
    if seconds == sorted(seconds):
        assert found.batch_end_tokens <= budget * found.work_tokens


def test_the_published_bound_fails_where_a_small_batch_is_slow():
    engine = small_engine([6, 1])
    found = periodic_bound(engine, evenly(1, 1, 1), policy=ql.ORCA)
    times = list(range(1, ARRIVALS))
    run = batches(engine, times, [(1, 1)] * len(times), ql.ORCA)
    largest = max(seen.end_backlog for seen in run)
    assert (2 + 1) * (1 + 1) < largest <= found.batch_end_tokens


def test_overload_by_a_hair_has_no_bound_and_load_one_no_return():
    gap = 200 * MAIN(512) / 512
    at_one = periodic_bound(ENGINE, evenly(gap), policy=ql.SARATHI)
    assert at_one.return_seconds(at_one.exceptional_tokens) == 0
    assert at_one.return_seconds(at_one.exceptional_tokens + 1) is None
    assert (
        periodic_bound(ENGINE, evenly(gap * (1 - Fraction(1, 10**12))), policy=ql.SARATHI)
        is None
    )


def test_floats_count_at_their_exact_values():
    law = ql.StaircaseStepTime(0.01128, 0.03547, 128)
    engine = ql.Engine(step_time=law, token_budget=512)
    found = periodic_bound(engine, evenly(0.06), policy=ql.SARATHI)
    assert found.batch_seconds == Fraction(law(512))
    assert found.batch_end_tokens == 51_811 - 1


def test_full_batches_need_not_be_the_best():
    """Theorem 2(b) is silent at this budget, but full batches keep up with the requests."""
    engine = ql.Engine(step_time=MAIN, token_budget=130)
    load = evenly(200 * MAIN(130) / 130)
    assert ql.best_rate(engine).batch_tokens == 128
    assert periodic_bound(engine, load, policy=ql.SARATHI).drift == 0


@pytest.mark.parametrize(
    ("engine", "workload", "policy"),
    [
        (ENGINE, ql.Workload.poisson(1, prompt_tokens=9, output_tokens=9), ql.SARATHI),
        (ENGINE, evenly(1), ql.VANILLA_VLLM),
        (ENGINE, evenly(1), ql.ORCA.variant(chunked=False)),
        (ENGINE, evenly(1), newest_first),
        (ql.Engine(step_time=MAIN, token_budget=512, max_batch_size=9), evenly(1), ql.ORCA),
        (ql.Engine(step_time=MAIN, token_budget=512, kv_capacity=999), evenly(1), ql.ORCA),
        (
            ql.Engine(step_time=ql.AffineStepTime(1, 1, 1), token_budget=4),
            evenly(999, 1, 1),
            ql.ORCA,
        ),
        (
            ENGINE,
            ql.Workload.of(
                ql.DeterministicArrivals(1),
                ql.IndependentLengths(ql.DeterministicLength(9), ql.GeometricLength(9)),
            ),
            ql.ORCA,
        ),
        (small_engine([1, 1], emits=True), evenly(999, 1, 0), ql.ORCA),
    ],
    ids=[
        "arrivals",
        "exclusive",
        "whole prompts",
        "unknown policy",
        "batch size",
        "memory",
        "KV reads",
        "unbounded",
        "no output",
    ],
)
def test_nothing_is_claimed_where_a_hypothesis_fails(engine, workload, policy):
    assert periodic_bound(engine, workload, policy=policy) is None


def test_a_negative_backlog_is_refused():
    found = periodic_bound(ENGINE, evenly(1), policy=ql.SARATHI)
    with pytest.raises(ql.InvalidArgument, match="backlog_tokens must be"):
        found.return_seconds(-1)


def test_a_symbol_is_refused():
    with pytest.raises(ql.InvalidArgument, match="arrival_rate must be a number"):
        periodic_bound(
            ENGINE, evenly(1 / sympy.Symbol("rate", positive=True)), policy=ql.SARATHI
        )


def test_numbers_of_sympy_are_numbers():
    for rate in (sympy.Rational(1, 2), sympy.Float(0.5)):
        load = evenly(1).scale_to(rate)
        assert periodic_bound(ENGINE, load, policy=ql.SARATHI) == periodic_bound(
            ENGINE, evenly(2), policy=ql.SARATHI
        )
