"""Limit cycles: exact cases worked by hand, laws, and what must not be called a cycle."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability.cycles._limit_cycle import limit_cycle

A100 = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
LENGTHS = ql.IndependentLengths(ql.DeterministicLength(290), ql.DeterministicLength(990))
VERTEX_C = ql.Workload.of(ql.DeterministicArrivals.every(Fraction("0.4675")), LENGTHS)
RULES = [
    *("sarathi", "vllm_v1", "orca", "orca:residents", "vanilla_vllm"),
    *("vanilla_vllm:chunked,residents", "faster_transformer", "faster_transformer:chunked"),
]


def engine_with(budget, **options):
    return ql.Engine(A100, budget, **{"max_batch_size": 100, **options})


def shapes(found):
    return {(s.prefill_tokens, s.decode_tokens): s.batches for s in found.shapes}


@pytest.mark.parametrize("start", ["burst", "empty"])
def test_sarathi_128_locks_on_29_prefill_and_99_decode_tokens(start):
    """Section 6.2 of arXiv:2504.07347v3."""
    found = limit_cycle(engine_with(128), VERTEX_C, policy=ql.SARATHI, start=start)
    assert shapes(found) == {(29, 99): 10}
    assert found.seconds == Fraction("0.4675")
    assert found.completed == found.prefilled == 1
    assert (found.batches, found.mean_batch) == (10, 128)
    assert found.growth == (None if start == "burst" else 0)
    assert found.rate == ql.capacity(engine_with(128), VERTEX_C).requests_per_second


def in_groups(members, budget):
    """Return shapes and length of the cycle in which groups of so many requests decode in step.

    Of 100 places, as many groups as there can be hold ``members`` each and one group the rest.
    When a group finishes, one batch prefills its replacement beside the others; all other
    batches decode 100. A request lives for the batch of its prompt and 990 decodes.
    """
    sizes = [members] * (100 // members) + [100 % members] * (100 % members > 0)
    batches = [(290 * size, 100 - size) for size in sizes]
    assert all(x + y <= budget for x, y in batches)
    batches += [(0, 100)] * (991 - len(batches))
    counted = {kind: batches.count(kind) for kind in set(batches)}
    return counted, sum(A100(*batch) for batch in batches)


@pytest.mark.parametrize(
    ("start", "budget", "members", "rate"),
    [
        # Of 1.83/s, 3 requests decode in step; of 1.76/s, every request is alone.
        ("burst", 1024, 3, 1.8305),
        ("empty", 1024, 1, 1.7553),
        ("burst", 512, 1, 1.7553),
        ("empty", 512, 1, 1.7553),
    ],
)
def test_sarathi_with_a_larger_budget_decodes_in_groups(start, budget, members, rate):
    found = limit_cycle(engine_with(budget), VERTEX_C, policy=ql.SARATHI, start=start)
    expected, seconds = in_groups(members, budget)
    assert shapes(found) == expected
    assert found.seconds == seconds
    assert found.completed == found.prefilled == 100
    assert float(found.rate) == pytest.approx(rate, abs=5e-5)
    decode_only = found.shapes[0]
    assert decode_only[:2] == (0, 100)
    assert decode_only.time_share == decode_only.batches * A100(0, 100) / seconds
    assert sum(shape.time_share for shape in found.shapes) == 1


def test_what_is_grown_exceeds_what_is_carried():
    """275 requests are left at 500 s (vertexC.sarathi.b1024): the cycle says how they grew."""
    found = limit_cycle(engine_with(1024), VERTEX_C, policy=ql.SARATHI, start="empty")
    assert found.growth == 1 / Fraction("0.4675") - 100 / Fraction("56.97025")
    run = ql.simulate(engine_with(1024), VERTEX_C, policy=ql.SARATHI, horizon=500)
    assert run.requests_in_system[0, -1] == 275
    at_begin = run.requests_in_system[0][run.times >= float(found.since)]
    grown = 275 - at_begin[0]
    simulated_seconds = 500 - run.times[run.times >= float(found.since)][0]
    assert abs(grown - float(found.growth) * simulated_seconds) <= found.completed + 1


def test_the_same_load_is_carried_or_not_according_to_history():
    """From empty at one request per 0.56 s; and at the same rate after a time at vertex C."""
    load = VERTEX_C.scale_to(1 / Fraction("0.56"))
    calm = limit_cycle(engine_with(1024), load, policy=ql.SARATHI, start="empty")
    grown = limit_cycle(engine_with(1024), VERTEX_C, policy=ql.SARATHI, start="empty")
    assert calm.growth == 0
    assert calm.rate > grown.rate, "the engine carries more than it would if it were saturated"
    faster, slower = Fraction("0.4675"), Fraction("0.56")
    times = [i * faster for i in range(1, 301)]
    times += [times[-1] + i * slower for i in range(1, 30_001)]
    count = len(times)
    surge = ql.Workload.of_requests(
        [float(t) for t in times], prompt_tokens=[290] * count, output_tokens=[990] * count
    )
    horizon = float(times[-1])
    quiet, run = (
        ql.simulate(engine_with(1024), w, policy=ql.SARATHI, horizon=horizon, samples=2)
        for w in (load, surge)
    )
    assert quiet.requests_in_system[0, -1] < 100
    left = run.requests_in_system[0]
    growth = (1 / slower - grown.rate) * Fraction(horizon) / 2
    assert abs(left[2] - left[1] - float(growth)) <= grown.completed + 1


@pytest.mark.parametrize("start", ["burst", "empty"])
def test_prefill_first_without_a_limit_on_residents_takes_in_more_than_it_finishes(start):
    rule = ql.policy_named("vanilla_vllm:chunked")
    found = limit_cycle(engine_with(128), VERTEX_C, policy=rule, start=start)
    assert found.decode_growth > 0
    assert found.prefilled > found.completed
    if start == "burst":
        assert found.rate == 0
        assert shapes(found) == {(128, 0): 145}
    else:
        # Of 10 batches per arrival 3 prefill it, and 7 decode 100 of the 990 steps.
        assert found.rate == Fraction(70, 99) / Fraction("0.4675")
        assert found.growth == found.decode_growth == VERTEX_C.arrival_rate - found.rate


def test_a_limit_on_residents_keeps_them():
    rule = ql.policy_named("vanilla_vllm:chunked,residents")
    found = limit_cycle(engine_with(128), VERTEX_C, policy=rule)
    assert found.decode_growth == 0
    assert shapes(found) == {(0, 100): 990, (128, 0): 226, (72, 0): 1}


def test_an_engine_that_idles_repeats_the_interval_between_arrivals():
    load = VERTEX_C.scale_to(Fraction(1, 100))
    found = limit_cycle(engine_with(1024), load, policy=ql.ORCA, start="empty")
    assert found.seconds == 100
    assert (found.completed, found.growth) == (1, 0)
    assert shapes(found) == {(290, 0): 1, (0, 1): 990}
    busy = A100(290) + 990 * A100(0, 1)
    assert sum(shape.time_share for shape in found.shapes) == busy / 100


def test_the_first_arrival_may_come_at_once():
    arrivals = ql.DeterministicArrivals.every(Fraction("0.4675"), first=0)
    load = ql.Workload.of(arrivals, LENGTHS)
    found = limit_cycle(engine_with(1024), load, policy=ql.SARATHI, start="empty")
    later = limit_cycle(engine_with(1024), VERTEX_C, policy=ql.SARATHI, start="empty")
    assert (found.seconds, found.rate) == (later.seconds, later.rate)
    assert shapes(found) == shapes(later)


def test_floats_stand_for_their_binary_values():
    step = ql.StaircaseStepTime(0.01128, 0.03547, 128)
    engine = ql.Engine(step, 1024, max_batch_size=100)
    load = ql.Workload.of(ql.DeterministicArrivals.every(0.4675), LENGTHS)
    found = limit_cycle(engine, load, policy=ql.SARATHI, start="empty")
    exact = limit_cycle(engine_with(1024), VERTEX_C, policy=ql.SARATHI, start="empty")
    assert found.rate != exact.rate
    assert float(found.growth) == pytest.approx(float(exact.growth), rel=1e-12)


@given(
    budget=st.integers(1, 12),
    limit=st.none() | st.integers(1, 5),
    prompt=st.integers(1, 9),
    output=st.integers(1, 9),
    emits=st.booleans(),
    policy=st.sampled_from(RULES),
)
def test_no_cycle_beats_the_capacity(budget, limit, prompt, output, emits, policy):
    engine = ql.Engine(
        ql.StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 4),
        budget,
        max_batch_size=limit,
        first_token_from_prefill=emits,
    )
    load = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    rule = ql.policy_named(policy)
    found = limit_cycle(engine, load, policy=rule)
    if found is None:
        assert not rule.chunked
        assert prompt > budget
        return
    assert found.rate <= ql.capacity(engine, load).requests_per_second
    assert sum(shape.time_share for shape in found.shapes) == 1
    tokens = found.mean_batch * found.batches
    if found.decode_growth == 0:
        assert tokens == found.completed * engine.work_tokens(prompt, output)
    else:
        assert rule.first == "prefill"
        assert rule.limit_counts == "members" or limit is None


@pytest.mark.parametrize(
    ("engine", "workload", "policy", "start"),
    [
        (engine_with(128), VERTEX_C, ql.VANILLA_VLLM, "burst"),
        (engine_with(128), VERTEX_C, ql.VANILLA_VLLM, "empty"),
        (engine_with(128, kv_capacity=10**6), VERTEX_C, ql.SARATHI, "burst"),
        (engine_with(128), VERTEX_C, lambda state: ql.SARATHI(state), "burst"),
        (
            engine_with(128),
            ql.Workload.poisson(1, prompt_tokens=290, output_tokens=ql.GeometricLength(990)),
            ql.SARATHI,
            "burst",
        ),
        (
            engine_with(128),
            ql.Workload.poisson(1, prompt_tokens=ql.UniformLength(1, 9), output_tokens=9),
            ql.SARATHI,
            "burst",
        ),
        (
            engine_with(128, first_token_from_prefill=True),
            ql.Workload.poisson(1, prompt_tokens=9, output_tokens=0),
            ql.SARATHI,
            "burst",
        ),
        (
            engine_with(128),
            ql.Workload.poisson(1, prompt_tokens=290, output_tokens=990),
            ql.SARATHI,
            "empty",
        ),
        (
            engine_with(128),
            ql.Workload.of_requests([0.0], prompt_tokens=[290], output_tokens=[990]),
            ql.SARATHI,
            "burst",
        ),
    ],
    ids=[
        "blocked",
        "blocked-from-empty",
        "memory",
        "function",
        "outputs",
        "prompts",
        "no-token",
        "poisson",
        "ends",
    ],
)
def test_nothing_is_claimed_outside_the_domain(engine, workload, policy, start):
    assert limit_cycle(engine, workload, policy=policy, start=start) is None


def test_a_long_search_ends_without_a_claim():
    """The transient of this burst is longer than 500,000 batches."""
    rule = ql.policy_named("orca:residents")
    found = limit_cycle(engine_with(128), VERTEX_C, policy=rule, most_batches=100_000)
    assert found is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "full"}, "start must be one of two words, got start='full': accepted"),
        ({"start": "brust"}, "did you mean 'burst'"),
        ({"most_batches": 0}, "most_batches must be an integer at least 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ql.InvalidArgument, match=message):
        limit_cycle(engine_with(128), VERTEX_C, policy=ql.SARATHI, **options)


def test_symbols_are_refused():
    sympy = pytest.importorskip("sympy")
    symbol = sympy.Symbol("c", positive=True)
    engine = ql.Engine(ql.AffineStepTime(symbol, 1), 8)
    load = ql.Workload.poisson(1, prompt_tokens=3, output_tokens=2)
    with pytest.raises(ql.InvalidArgument, match="step_time must give numbers"):
        limit_cycle(engine, load, policy=ql.SARATHI)
    rate = replace(VERTEX_C, arrivals=ql.DeterministicArrivals(symbol))
    with pytest.raises(ql.InvalidArgument, match="arrivals must have numbers"):
        limit_cycle(engine_with(8), rate, policy=ql.SARATHI, start="empty")
