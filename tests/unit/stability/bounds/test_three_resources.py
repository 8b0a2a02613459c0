"""Tokens, requests per batch and KV memory in one bound: closed form, programme, policies."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from proofs.three_resource_bound import REQUESTS, Toy, least_time
from queueing_llm.stability.bounds._planning import resource_prices
from queueing_llm.stability.bounds._three_resources import three_resource_bound

MAIN = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
AFFINE = ql.AffineStepTime(Fraction("0.01128"), Fraction("0.03547") / 128)
SECONDS = st.fractions(Fraction(1, 9), 3, max_denominator=9)
SECONDS_OR_ZERO = st.fractions(0, 3, max_denominator=9)


def requests(prompt, output):
    return ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)


@pytest.mark.parametrize(
    ("prompt", "output", "closed", "planned"),
    [
        # Vector region.three_resource [ms/request], re-derived by hand: 0.2771 (p + d) + 11.28
        # times the larger of (p + d) / 1024 and d / 100.
        (290, 990, 466.372, 467.5),
        (129, 112, 79.416959375, 79.54457149621213),
        (100, 900, 378.629375, 422.3620689655172),
    ],
)
def test_the_closed_form_lies_above_the_programme(prompt, output, closed, planned):
    engine = ql.Engine(step_time=MAIN, token_budget=1024, max_batch_size=100)
    bound = three_resource_bound(engine, requests(prompt, output))
    assert float(1000 / bound.requests_per_second) == pytest.approx(closed, rel=1e-12)
    assert bound.binding_resource == "requests per batch"
    exact = resource_prices(engine, requests(prompt, output)).seconds
    assert float(1000 * exact) == pytest.approx(planned, rel=1e-12)


@pytest.mark.parametrize(
    ("limits", "binding", "batches", "rate"),
    [
        ({}, "tokens", Fraction(500, 512), 6.68581875163228),
        ({"max_batch_size": 100}, "requests per batch", 4, 5.443548387096774),
        # Vector kv.pacing.
        ({"kv_capacity": 20_000}, "KV memory", Fraction(1203, 200), 4.84486998821667),
        (
            {"kv_capacity": 20_000, "max_batch_size": 64},
            "requests per batch",
            Fraction(25, 4),
            None,
        ),
        ({"kv_capacity": 256}, "KV memory", Fraction(120_300, 256), None),
    ],
)
def test_the_resource_that_binds_is_named(limits, binding, batches, rate):
    engine = ql.Engine(step_time=AFFINE, token_budget=512, **limits)
    bound = three_resource_bound(engine, requests(100, 400))
    assert (bound.binding_resource, bound.batches) == (binding, batches)
    assert bound.requests_per_second == 1 / (500 * AFFINE.per_token + AFFINE.base * batches)
    if rate is not None:
        assert float(bound.requests_per_second) == pytest.approx(rate, rel=1e-3)


laws = st.one_of(
    st.builds(ql.StaircaseStepTime, SECONDS_OR_ZERO, SECONDS, st.integers(1, 7)),
    st.builds(ql.HingeStepTime, SECONDS, SECONDS_OR_ZERO, st.integers(0, 9)),
    st.builds(ql.AffineStepTime, SECONDS_OR_ZERO, SECONDS, SECONDS_OR_ZERO),
)
tables = st.lists(SECONDS, min_size=14, max_size=14).map(
    lambda times: ql.TableStepTime.of_tokens(range(1, 15), times)
)
grids = st.lists(SECONDS, min_size=18, max_size=18).map(
    lambda times: ql.TableStepTime.of_batches(
        [0, 3, 14], [0, 2, 14], [0, 5], np.array(times, dtype=object).reshape(3, 3, 2)
    )
)
places = st.none() | st.integers(1, 14)
slots = st.none() | st.integers(9, 60)
lengths = st.tuples(st.integers(1, 9), st.integers(1, 9))


def system(law, *, budget, members, memory, emits):
    return ql.Engine(
        step_time=law,
        token_budget=budget,
        max_batch_size=members,
        kv_capacity=memory,
        first_token_from_prefill=emits,
    )


@given(laws, st.integers(1, 14), places, slots, lengths, st.booleans())
def test_the_closed_form_is_never_tighter(law, budget, members, memory, tokens, emits):
    engine = system(law, budget=budget, members=members, memory=memory, emits=emits)
    closed = three_resource_bound(engine, requests(*tokens))
    planned = resource_prices(engine, requests(*tokens))
    assert 1 / closed.requests_per_second <= planned.seconds
    assert 1 / planned.seconds == ql.capacity(engine, requests(*tokens)).requests_per_second


def every_batch(engine):
    """Yield what every allowed batch uses, reads included, and its time.

    With memory a batch that decodes may hold all of it, and one of prefill alone what it
    prefills; a law of the tokens is said to hold all of it in both cases.
    """
    law, limit = engine.step_time, engine.batch_tokens_limit()
    members, memory = engine.max_batch_size or limit, engine.kv_capacity
    is_grid = len(getattr(law, "axes", ())) == 3
    for decodes in range(min(limit, members) + 1):
        for prefill in range(limit - decodes + 1):
            if (prefill or decodes) and decodes + (prefill > 0) <= members:
                last = min(law.axes[2][-1], memory or law.axes[2][-1]) if is_grid else 0
                held = prefill if is_grid and not decodes else memory
                for kv in range(last + 1 if decodes else 1):
                    yield prefill, decodes, held or 0, kv, law(prefill, decodes, kv)


@given(laws | tables | grids, st.integers(1, 14), places, slots, lengths)
def test_the_prices_are_the_optimum_over_all_batches(law, budget, members, memory, tokens):
    """The primal over every batch, not only over those that shape it, by floating point."""
    from scipy.optimize import linprog

    engine = system(law, budget=budget, members=members, memory=memory, emits=False)
    load = requests(*tokens)
    prices = resource_prices(engine, load)
    batches = list(every_batch(engine))
    is_grid = len(getattr(law, "axes", ())) == 3
    for x, y, held, kv, seconds in batches:
        worth = prices.prefill * x + prices.decode * y + prices.memory * held
        assert worth + prices.kv_read * kv <= seconds
    reads = load.moments.kv_reads(0)
    uses = [*tokens, ql.stability.kv_lifetime(engine, load) if memory else 0]
    counts = np.array([batch[:4] for batch in batches], dtype=float).T
    optimum = linprog(
        [float(seconds) for *_, seconds in batches],
        A_ub=-(counts if is_grid else counts[:3]),
        b_ub=-np.array([*uses, reads] if is_grid else uses, dtype=float),
    )
    beside = 0 if is_grid else float((law.kv_slope or 0) * reads)
    assert float(prices.seconds) == pytest.approx(optimum.fun + beside, rel=1e-9)


@given(laws | tables, st.integers(1, 14), places, slots, lengths)
def test_three_resources_together_bound_at_least_as_tightly_as_apart(
    law, budget, members, memory, tokens
):
    both, *apart = (
        resource_prices(
            system(law, budget=budget, members=k, memory=m, emits=False), requests(*tokens)
        ).seconds
        for k, m in ((members, memory), (members, None), (None, memory), (None, None))
    )
    assert both >= max(apart)


def test_together_can_be_strictly_tighter():
    """Small batches hold memory at little cost, but then others hold too many decodes."""
    law = ql.TableStepTime.of_tokens([1, 2, 3, 4, 5], [3, 6, 7, 8, 9])
    engines = [
        system(law, budget=5, members=k, memory=m, emits=False)
        for k, m in ((3, 6), (3, None), (None, 6), (None, None))
    ]
    seconds = [resource_prices(engine, requests(1, 3)).seconds for engine in engines]
    assert seconds == [9, Fraction(76, 9), Fraction(17, 2), Fraction(36, 5)]
    basis = ql.capacity(engines[0], requests(1, 3)).basis
    assert "no batch of at most 3 requests and 6 KV slots is worth more" in basis


@given(laws, st.integers(1, 14), places, slots, lengths, st.booleans())
def test_floats_and_fractions_agree(law, budget, members, memory, tokens, emits):
    engine = system(law, budget=budget, members=members, memory=memory, emits=emits)
    names = [name for name in type(law).__slots__ if name not in ("block", "knee")]
    rounded = type(law)(
        **{name: float(getattr(law, name)) for name in names},
        **{n: getattr(law, n) for n in type(law).__slots__ if n not in names},
    )
    floating = system(rounded, budget=budget, members=members, memory=memory, emits=emits)
    exact, approximate = (resource_prices(e, requests(*tokens)) for e in (engine, floating))
    assert float(exact.seconds) == pytest.approx(float(approximate.seconds), rel=1e-9)


def toys(times, per_read):
    return st.builds(
        Toy,
        times=times,
        places=st.integers(1, 4),
        slots=st.integers(4, 9),
        per_read=per_read,
        prefill_yields=st.booleans(),
    )


affine_times = st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(2, 4)).map(
    lambda law: tuple(law[0] + law[1] * n for n in range(1, law[2] + 1))
)
any_times = st.lists(st.integers(1, 9), min_size=2, max_size=5).map(tuple)


@given(
    toys(affine_times, st.integers(0, 5)) | toys(any_times, st.just(0)),
    st.sampled_from(REQUESTS),
)
def test_no_policy_at_all_is_faster_than_the_prices_say(toy, tokens):
    """Every legal sequence of batches of a toy, with preemption, tried by Dijkstra's search."""
    if toy.per_read:
        law = ql.AffineStepTime(toy.base, toy.per_token, toy.per_read)
    else:
        law = ql.TableStepTime.of_tokens(range(1, toy.budget + 1), toy.times)
    engine = ql.Engine(
        step_time=law,
        token_budget=toy.budget,
        max_batch_size=toy.places,
        kv_capacity=toy.slots,
        first_token_from_prefill=toy.prefill_yields,
    )
    prompts, decodes = zip(*tokens, strict=True)
    outputs = [steps + toy.prefill_yields for steps in decodes]
    lengths = ql.EmpiricalLengths(prompts, outputs)
    load = ql.Workload.of(ql.PoissonArrivals(1), lengths)
    planned = resource_prices(engine, load).seconds
    assert len(tokens) * planned <= least_time(toy, tokens)


@pytest.mark.parametrize("emits", [False, True])
@pytest.mark.parametrize("policy", [ql.SARATHI, ql.VANILLA_VLLM], ids=lambda p: p.name)
def test_no_rule_serves_more(policy, emits):
    engine = system(MAIN, budget=512, members=48, memory=20_000, emits=emits)
    load = requests(100, 400)
    ceiling = float(ql.capacity(engine, load).requests_per_second)
    run = ql.simulate(engine, load.scale_to(3 * ceiling), policy=policy, horizon=1500)
    assert 0 < run.throughput.value <= ceiling


def recompute_instead_of_reading(state):
    """Preempt every decode at once: where a prefill yields a token, none is ever read."""
    tokens = np.zeros_like(state.request)
    done = (state.prompt_left == 0) & (state.stored > 0)
    room = state.token_budget
    for i in state.prefilling:
        tokens[i] = min(int(state.prompt_left[i]), room)
        room -= int(tokens[i])
    return ql.Batch(tokens, preempted=done)


def test_recomputing_beats_reading_where_a_kv_token_takes_longer_than_a_token():
    """Regression: the naive 1 / (w / r* + gamma G) is exceeded threefold by this policy."""
    law = ql.AffineStepTime(Fraction(1, 100), Fraction(1, 1000), Fraction(1))
    engine = ql.Engine(step_time=law, token_budget=64, first_token_from_prefill=True)
    load = requests(4, 5)
    token = law(64) / 64
    naive = 1 / (8 * token + load.moments.kv_reads(-1))
    run = ql.simulate(
        engine, load.scale_to(3 * naive), policy=recompute_instead_of_reading, horizon=2_000
    )
    assert run.throughput.value > 2.5 * naive
    found = ql.capacity(engine, load)
    assert found.requests_per_second == 1 / (8 * token + token * load.moments.kv_reads(-1))
    assert not found.is_attained
    assert "KV reads" in found.basis
    reading = ql.Engine(step_time=law, token_budget=64)
    attained = ql.capacity(reading, load)
    assert attained.is_attained
    assert attained.requests_per_second == 1 / (9 * token + load.moments.kv_reads(0))


def test_nothing_is_said_of_laws_of_another_form():
    roofline = ql.RooflineStepTime(overhead=1, memory_seconds=1, per_token=1)
    engine = ql.Engine(step_time=roofline, token_budget=8)
    assert three_resource_bound(engine, requests(3, 3)) is None


def test_a_hinge_below_the_line_through_its_knee():
    law = ql.HingeStepTime(floor=2, per_token=3, knee=4)
    bound = three_resource_bound(ql.Engine(step_time=law, token_budget=6), requests(3, 5))
    assert bound.requests_per_second == 1 / (8 * Fraction(2, 4))
    assert all(law(n) >= Fraction(2, 4) * n for n in range(1, 7))


def test_symbols_are_refused():
    import sympy

    law = ql.StaircaseStepTime(sympy.Symbol("c", positive=True), 1, 4)
    engine = ql.Engine(step_time=law, token_budget=8, max_batch_size=2)
    with pytest.raises(ql.InvalidArgument, match="step_time must have numbers"):
        resource_prices(engine, requests(3, 3))
