"""The KV-memory threshold: published figures, its hypotheses, and simulation on both sides."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability import resource_prices
from queueing_llm.stability.memory._chunked_lifetime import (
    full_chunk_lifetime,
    least_lifetime,
    lifetime_demand,
)
from queueing_llm.stability.memory._memory_threshold import (
    memory_threshold,
    mixture_rate,
    threshold_rate,
)

STEADY = ql.AffineStepTime(1, 0)

# arXiv:2605.04595, table of thresholds: largest prompt and output, seconds of a batch, then
# lifetime demand, predicted and guaranteed rate, measured rate, gap in per cent.
PUBLISHED = [
    (1600, 1600, "0.0372", 1_079_151.333, 3.263, 3.184, 3.387, 3.66),
    (2133, 1066, "0.0430", 770_034.090, 3.956, 3.860, 3.650, 8.38),
    (1066, 2133, "0.0337", 1_339_675.415, 2.902, 2.831, 2.969, 2.26),
]


def memory_engine(slots, **limits):
    return ql.Engine(
        step_time=STEADY, **{"token_budget": slots, "kv_capacity": slots, **limits}
    )


def published(row):
    prompt, output, seconds = row[:3]
    load = ql.Workload.poisson(
        1,
        prompt_tokens=ql.UniformLength(10, prompt),
        output_tokens=ql.UniformLength(10, output),
    )
    return memory_threshold(
        memory_engine(131_000), load, batch_seconds=Fraction(seconds), chunk_tokens=512
    )


@pytest.mark.parametrize("row", PUBLISHED, ids=["1:1", "2:1", "1:2"])
def test_the_published_thresholds(row):
    lifetime, unstable, stable, measured, gap = row[3:]
    found = published(row)
    assert isinstance(found.unstable_above, Fraction)
    assert float(found.lifetime) == pytest.approx(lifetime, abs=1e-3)
    assert float(found.unstable_above) == pytest.approx(unstable, abs=5e-4)
    assert float(found.published_stable_below) == pytest.approx(stable, abs=5e-4)
    error = abs(found.unstable_above - measured) / measured
    assert 100 * float(error) == pytest.approx(gap, abs=0.02)


def test_the_reference_digits():
    found = published(PUBLISHED[0])
    assert float(found.lifetime) == pytest.approx(1_079_151.3330078125, rel=1e-14)
    assert float(found.unstable_above) == pytest.approx(3.263217371495933, rel=1e-14)
    assert float(found.published_stable_below) == pytest.approx(3.183505191428857, rel=1e-14)


@pytest.mark.parametrize("row", PUBLISHED, ids=["1:1", "2:1", "1:2"])
def test_unequal_chunks_cost_less_than_a_tenth_of_a_per_cent_there(row):
    """Between the guarantee and what is printed lies what the short chunks hold."""
    found = published(row)
    prompts = np.arange(10, row[0] + 1)
    outputs = ql.UniformLength(10, row[1])
    decode = float(prompts.mean() * outputs.mean + (outputs.second_moment + outputs.mean) / 2)
    exact = full_chunk_lifetime(prompts, 0, chunk=512).mean() + decode
    guaranteed = 131_000 / (float(row[2]) * exact) * float(1 - found.slack)
    assert float(found.stable_below) < guaranteed < float(found.published_stable_below)
    assert found.stable_below > Fraction("0.998") * found.published_stable_below


def test_the_mixture_is_the_harmonic_mean_and_not_the_printed_one():
    """The printed 3.385 needs batches of 0.0364 s; the components take 0.0380 s on average."""
    rates = [published(row).unstable_above for row in PUBLISHED]
    mixed = mixture_rate(rates, shares=[1, 1, 1])
    assert float(mixed) == pytest.approx(3.3191738627455587, rel=1e-12)
    assert abs(mixed - Fraction("3.385")) > Fraction("0.06")
    lifetime = sum(published(row).lifetime for row in PUBLISHED) / 3
    assert float(131_000 / (Fraction("3.385") * lifetime)) == pytest.approx(0.0364, abs=5e-5)


def test_whole_chunks_need_no_correction():
    load = ql.Workload.poisson(1, prompt_tokens=1024, output_tokens=256)
    found = memory_threshold(memory_engine(12_800), load, batch_seconds=1, chunk_tokens=512)
    assert found.lifetime == found.most_lifetime == 296_576
    assert found.slack == Fraction(1, 10)
    assert found.stable_below == found.published_stable_below == Fraction(11_520, 296_576)
    assert found.gap == (Fraction(11_520, 296_576), Fraction(12_800, 296_576))


def test_prompts_far_below_the_chunk_are_not_counted_at_half():
    """The formula would call rates stable at which every policy is overloaded."""
    load = ql.Workload.poisson(1, prompt_tokens=8, output_tokens=1)
    found = memory_threshold(memory_engine(1000), load, batch_seconds=1, chunk_tokens=512)
    assert found.unstable_above == Fraction(1000, 17)
    formula = threshold_rate(1000, 1, lifetime_demand(8, 1, chunk=512))
    assert formula * (1 - found.slack) > found.unstable_above


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=6),
    st.integers(1, 50),
)
def test_the_lifetimes_enclose_every_order_of_the_chunks(requests, chunk):
    prompts, outputs = map(list, zip(*requests, strict=True))
    load = ql.Workload.of(ql.PoissonArrivals(1), ql.EmpiricalLengths(prompts, outputs))
    found = memory_threshold(memory_engine(60), load, batch_seconds=1, chunk_tokens=chunk)
    means = [
        sum(formula(s, o, chunk=chunk) for s, o in requests) / len(requests)
        for formula in (lifetime_demand, least_lifetime, full_chunk_lifetime)
    ]
    assert means[0] <= found.lifetime <= means[1] <= means[2] <= found.most_lifetime
    if len(set(prompts)) == 1:
        assert (found.lifetime, found.most_lifetime) == tuple(means[1:])


@given(st.integers(1, 30), st.integers(1, 30), st.booleans())
def test_whole_prompts_give_the_memory_bound_of_a_constant_step_time(prompt, output, emits):
    engine = memory_engine(70, first_token_from_prefill=emits)
    load = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    found = memory_threshold(engine, load, batch_seconds=1)
    assert 1 / found.unstable_above == resource_prices(engine, load).seconds
    assert found.slack == Fraction(prompt + output - emits, 70)


def test_classes_and_servers():
    classes = [
        ql.RequestClass("short", ql.EmpiricalLengths([4], [2]), 3),
        ql.RequestClass("long", ql.EmpiricalLengths([10], [5]), 1),
    ]
    load = ql.Workload(ql.PoissonArrivals(1), classes)
    one, three = (
        memory_threshold(memory_engine(60), load, batch_seconds=2, chunk_tokens=4, servers=n)
        for n in (1, 3)
    )
    assert one.lifetime == Fraction(3 * 15 + (2 + 6 + 10 + 65), 4)
    assert one.most_lifetime == Fraction(3 * 15 + (4 + 8 + 10 + 65), 4)
    assert three.unstable_above == 3 * one.unstable_above
    assert three.stable_below == 3 * one.stable_below


@pytest.mark.parametrize(
    ("engine", "load"),
    [
        (memory_engine(60, token_budget=59), {}),
        (memory_engine(60, max_batch_size=59), {}),
        (memory_engine(60), {"output_tokens": ql.GeometricLength(5)}),
        (memory_engine(60), {"arrivals": ql.DeterministicArrivals(1)}),
    ],
    ids=["budget", "batch size", "unbounded", "arrivals"],
)
def test_nothing_is_called_stable_where_a_hypothesis_fails(engine, load):
    lengths = {"prompt_tokens": 5, "output_tokens": 5, **load}
    arrivals = lengths.pop("arrivals", ql.PoissonArrivals(1))
    shape = ql.Workload.poisson(1, **lengths)
    workload = ql.Workload(arrivals, shape.classes)
    found = memory_threshold(engine, workload, batch_seconds=1)
    assert (found.stable_below, found.gap) == (None, None)
    assert [h.holds for h in found.hypotheses].count(False) == 1
    assert found.unstable_above > 0


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        (ql.Engine(step_time=STEADY, token_budget=9), {}, "kv_capacity must be a number"),
        (memory_engine(9), {}, "kv_capacity must hold the largest request, of 10 tokens"),
        (memory_engine(60), {"batch_seconds": 0}, "batch_seconds must be"),
        (memory_engine(60), {"chunk_tokens": 0}, "chunk_tokens must be"),
        (memory_engine(60), {"servers": 0}, "servers must be"),
    ],
)
def test_bad_input_is_named(engine, options, message):
    load = ql.Workload.poisson(1, prompt_tokens=5, output_tokens=5)
    with pytest.raises(ql.InvalidArgument, match=message):
        memory_threshold(engine, load, **{"batch_seconds": 1, **options})


def test_bad_mixtures_are_named():
    with pytest.raises(ql.InvalidArgument, match="one entry for each of the rates"):
        mixture_rate([1, 2], shares=[1])
    with pytest.raises(ql.InvalidArgument, match=r"rates\[1\] must be"):
        mixture_rate([1, 0], shares=[1, 1])


def test_the_threshold_is_a_formula():
    slots, seconds, lifetime = sympy.symbols("M b g", positive=True)
    assert threshold_rate(slots, seconds, lifetime) == slots / (seconds * lifetime)
    assert threshold_rate(np.array([12, 24]), 1, 3).tolist() == [4, 8]


# A toy engine: 60 slots, prompts of 1 to 6 tokens in chunks of 4, 1 to 6 decode steps.
SLOTS, CHUNK, LARGEST = 60, 4, 12
TOY = ql.Workload.poisson(
    1, prompt_tokens=ql.UniformLength(1, 6), output_tokens=ql.UniformLength(1, 6)
)


def pausing(slots, chunk):
    """Return the policy that adds, oldest first, every request that still fits.

    Only members of the batch count: a request left out keeps its cache elsewhere.
    """

    def policy(state):
        tokens, room = np.zeros(len(state.request), dtype=np.int64), slots
        for i, left in enumerate(state.prompt_left):
            take = min(int(left), chunk) or 1
            if state.stored[i] + take <= room:
                tokens[i] = take
                room -= int(state.stored[i]) + take
        return ql.Batch(tokens)

    return policy


def toy(scale):
    """Return the threshold of the toy engine, an engine without memory limit, and a load."""
    found = memory_threshold(memory_engine(SLOTS), TOY, batch_seconds=1, chunk_tokens=CHUNK)
    free = ql.Engine(step_time=STEADY, token_budget=SLOTS)
    return found, free, TOY.scale_to(scale(found))


def test_a_request_left_out_means_a_full_batch_and_lifetimes_fall_by_what_is_held():
    _, engine, load = toy(lambda found: 2 * found.unstable_above)
    before, held_before, full = {}, 0, 0
    for step in ql.watch(engine, load, policy=pausing(SLOTS, CHUNK), horizon=200, seed=1):
        state, tokens = step.state, step.batch.tokens
        held = int((state.stored + tokens)[tokens > 0].sum())
        assert held <= SLOTS
        if (tokens == 0).any():
            assert held > SLOTS - LARGEST
            full += 1
        left = {
            int(number): remaining(int(p), int(d), int(s))
            for number, p, d, s in zip(
                state.request, state.prompt_left, state.decode_left, state.stored, strict=True
            )
        }
        if before:
            fallen = sum(value - left.get(number, 0) for number, value in before.items())
            assert fallen == held_before
        before, held_before = left, held
    assert full > 150


def remaining(prompt, output, stored):
    """Return the slots that a request still holds over its batches."""
    total = 0
    while prompt or output:
        step = min(prompt, CHUNK) or 1
        prompt, output = (prompt - step, output) if prompt else (prompt, output - 1)
        stored += step
        total += stored
    return total


@pytest.mark.parametrize("seed", [1, 2])
def test_the_two_sides_by_simulation(seed):
    policy = pausing(SLOTS, CHUNK)
    found, engine, below = toy(lambda found: Fraction(9, 10) * found.stable_below)
    calm = ql.simulate(engine, below, policy=policy, horizon=1500, seed=seed)
    assert not calm.grows
    assert calm.requests_in_system[0].max() < 100
    above = below.scale_to(Fraction(11, 10) * found.unstable_above)
    busy = ql.simulate(engine, above, policy=policy, horizon=1500, seed=seed)
    assert busy.grows
    assert busy.throughput.value < found.unstable_above


@pytest.mark.parametrize("rule", [ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM, ql.FASTER_TRANSFORMER])
def test_every_rule_is_overloaded_above(rule):
    found, _, load = toy(lambda found: Fraction(11, 10) * found.unstable_above)
    run = ql.simulate(memory_engine(SLOTS), load, policy=rule, horizon=5000, seed=3)
    assert run.grows
    assert run.throughput.value < found.unstable_above


def test_residents_that_keep_their_cache_are_not_covered_by_the_stable_side():
    """12 slots, 1 + 1 tokens: stable below 10/3 if pausing is free, while eviction serves 3."""
    load = ql.Workload.poisson(Fraction(16, 5), prompt_tokens=1, output_tokens=1)
    found = memory_threshold(memory_engine(12), load, batch_seconds=1)
    assert (found.stable_below, found.unstable_above) == (Fraction(10, 3), 4)
    assert load.arrival_rate < found.stable_below
    evicting = ql.simulate(memory_engine(12), load, policy=ql.SARATHI, horizon=20_000, seed=1)
    assert evicting.grows
    assert evicting.throughput.value == pytest.approx(3, rel=0.005)
    free = ql.Engine(step_time=STEADY, token_budget=12)
    paused = ql.simulate(free, load, policy=pausing(12, 1), horizon=1500, seed=1)
    assert not paused.grows
    assert paused.requests_in_system[0].max() < 100
