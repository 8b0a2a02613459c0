"""KV reads as a priced resource of tables: what no policy exceeds, and what limits it."""

import heapq
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from proofs.three_resource_bound import REQUESTS
from queueing_llm.stability.bounds._capacity import shortest_prompt
from queueing_llm.stability.bounds._planning import resource_prices

SECONDS = st.fractions(Fraction(1, 9), 3, max_denominator=9)
AXES = ([0, 2, 5], [0, 1, 4], [0, 3, 30])


def grid(axes, law):
    """Return the table of a law of three counts, exact if the law is."""
    times = [[[law(x, y, k) for k in axes[2]] for y in axes[1]] for x in axes[0]]
    return ql.TableStepTime.of_batches(*axes, times)


tables = st.lists(SECONDS, min_size=27, max_size=27).map(
    lambda times: ql.TableStepTime.of_batches(
        *AXES, np.array(times, dtype=object).reshape(3, 3, 3)
    )
)
limits = st.fixed_dictionaries(
    {
        "token_budget": st.integers(1, 5),
        "max_batch_size": st.none() | st.integers(1, 4),
        "first_token_from_prefill": st.booleans(),
    }
)
caches = st.sampled_from([(30, 1), (13, 1), (12, 3), (16, 4)])
lengths = st.tuples(st.integers(1, 6), st.integers(1, 5))


def engine_of(law, limits, cache=(None, 1)):
    most = min(limits["token_budget"], 4)
    members = min(limits["max_batch_size"] or most, most)
    return ql.Engine(
        step_time=law,
        **{**limits, "max_batch_size": members},
        kv_capacity=cache[0],
        kv_block_size=cache[1],
    )


def requests(prompt, output, *, rate=1):
    return ql.Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


costs = st.tuples(*[st.fractions(0, 3, max_denominator=7)] * 2, SECONDS)


@given(costs, st.integers(1, 6), lengths, st.booleans())
def test_the_table_of_an_affine_law_has_its_capacity(costs, budget, tokens, emits):
    """1 / (w / r* + gamma G), exactly, where tokens are not cheaper to compute than to read."""
    per_read, per_token, base = costs
    per_read = min(per_read, per_token) if emits else per_read
    affine = ql.AffineStepTime(base, per_token, per_read)
    table = grid(([0, 3, 6], [0, 2, 6], [0, 5, 400]), affine)
    common = {"token_budget": budget, "first_token_from_prefill": emits}
    closed, planned = (
        ql.capacity(ql.Engine(step_time=law, **common), requests(*tokens))
        for law in (affine, table)
    )
    assert closed.requests_per_second == planned.requests_per_second
    assert closed.cost.kv_read_seconds <= planned.cost.seconds
    assert 1 / planned.cost.seconds == planned.requests_per_second


@given(costs, st.integers(1, 6), lengths, caches, st.none() | st.integers(1, 5))
def test_with_limits_it_is_at_least_as_tight(costs, budget, tokens, cache, members):
    """A batch of prefill alone holds the whole cache in the bound for affine laws."""
    per_read, per_token, base = costs
    affine = ql.AffineStepTime(base, per_token, per_read)
    table = grid(([0, 3, 6], [0, 2, 6], [0, 5, 400]), affine)
    common = {"token_budget": budget, "max_batch_size": members, "kv_capacity": cache[0]}
    closed, planned = (
        resource_prices(ql.Engine(step_time=law, **common), requests(*tokens))
        for law in (affine, table)
    )
    assert planned.seconds >= closed.seconds


@given(tables, limits, caches, lengths)
def test_reads_only_add_to_what_a_request_costs(law, limits, cache, tokens):
    """The bound that leaves reads out takes the least time over them."""
    engine = engine_of(law, limits, cache)
    best = ql.best_rate(engine).tokens_per_second
    work = engine.work_tokens(*tokens)
    assert resource_prices(engine, requests(*tokens)).seconds >= work / best


def batches(engine, present):
    """Yield the time of every legal batch and what is present after it."""
    options = [list(grants(engine, *request)) for request in present]
    for chosen in itertools.product(*options):
        x, y, kv = (sum(grant[i] for grant in chosen) for i in range(3))
        members = sum(grant[0] + grant[1] > 0 for grant in chosen)
        held = sum(grant[3][2] for grant in chosen)
        fits = members <= engine.max_batch_size and held <= engine.kv_capacity
        if 1 <= x + y <= engine.token_budget and fits:
            left = (grant[3] for grant in chosen if grant[3][:2] != (0, 0))
            yield engine.step_time(x, y, kv), tuple(sorted(left))


def grants(engine, prompt, decode, held):
    """Yield the tokens that a request can be given, what they read, and what it becomes."""
    for tokens in range(min(prompt, engine.token_budget) + 1):
        yield tokens, 0, 0, (prompt - tokens, decode, held + tokens)
    if prompt == 0:
        yield 0, 1, held, (0, decode - 1, held + 1)
    if held:
        spared = int(prompt == 0 and engine.first_token_from_prefill)
        yield 0, 0, 0, (prompt + held + spared, decode - spared, 0)


def least_time(engine, requests):
    """Return the least time in which any policy finishes the requests (Dijkstra)."""
    start = tuple(sorted((p, d, 0) for p, d in requests))
    ahead, known = [(0, start)], {start: 0}
    while True:
        time, present = heapq.heappop(ahead)
        if not present:
            return time
        for seconds, following in batches(engine, present):
            if time + seconds < known.get(following, time + seconds + 1):
                known[following] = time + seconds
                heapq.heappush(ahead, (time + seconds, following))


small = st.tuples(
    st.lists(st.integers(1, 9), min_size=27, max_size=27),
    st.integers(2, 3),
    st.integers(1, 3),
    st.integers(4, 9),
    st.booleans(),
)


@settings(max_examples=40)
@given(small, st.sampled_from(REQUESTS))
def test_no_policy_at_all_is_faster_than_the_prices_say(toy, tokens):
    """Every legal sequence of batches of a small system, preemption and recomputation too."""
    times, budget, members, slots, emits = toy
    law = ql.TableStepTime.of_batches(
        [0, 1, 3], [0, 1, 3], [0, 2, 9], np.array(times).reshape(3, 3, 3)
    )
    engine = ql.Engine(
        step_time=law,
        token_budget=budget,
        max_batch_size=members,
        kv_capacity=slots,
        first_token_from_prefill=emits,
    )
    prompts, decodes = zip(*tokens, strict=True)
    outputs = [steps + emits for steps in decodes]
    load = ql.Workload.of(ql.PoissonArrivals(1), ql.EmpiricalLengths(prompts, outputs))
    shortest = shortest_prompt(load)
    assert shortest == min(prompts)
    planned = resource_prices(engine, load, shortest_prompt=shortest).seconds
    assert len(tokens) * planned <= least_time(engine, tokens)


@pytest.mark.parametrize("law", [lambda x, y, k: 1 + 9 * k, lambda x, y, k: 1 + 50 * y])
def test_a_bound_that_forbids_recomputation_would_be_wrong(law):
    """Control: the same check refuses prices that take every read or decode to be done."""
    limits = {"token_budget": 3, "max_batch_size": 3, "kv_capacity": 9}
    table = grid(([0, 1, 3], [0, 1, 3], [0, 2, 9]), law)
    engine = ql.Engine(step_time=table, **limits, first_token_from_prefill=True)
    decoding = ql.Engine(step_time=table, **limits)
    least = least_time(engine, ((1, 3), (1, 3)))
    assert 2 * resource_prices(engine, requests(1, 4)).seconds <= least
    assert 2 * resource_prices(decoding, requests(1, 3)).seconds > least


def recompute_instead_of_reading(state):
    """Preempt every decode at once: where a prefill yields a token, none is ever read."""
    tokens = np.zeros_like(state.request)
    done = (state.prompt_left == 0) & (state.stored > 0)
    room = state.token_budget
    for i in state.prefilling:
        tokens[i] = min(int(state.prompt_left[i]), room)
        room -= int(tokens[i])
    return ql.Batch(tokens, preempted=done)


@settings(max_examples=40)
@given(
    tables,
    limits,
    caches,
    lengths,
    st.sampled_from(
        [ql.VLLM_V1, ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM, recompute_instead_of_reading]
    ),
)
def test_no_policy_completes_more_than_its_capacity(law, limits, cache, tokens, policy):
    """From empty, with equal requests: what is completed has cost its price, on every path."""
    engine = engine_of(law, limits, cache)
    size = engine.kv_block_size
    if -(-sum(tokens) // size) * size > cache[0]:
        return
    if policy is recompute_instead_of_reading:
        engine = ql.Engine(step_time=law, token_budget=4, first_token_from_prefill=True)
    ceiling = ql.capacity(engine, requests(*tokens)).requests_per_second
    load = requests(*tokens, rate=3 * ceiling)
    run = ql.simulate(engine, load, policy=policy, horizon=100 / float(ceiling))
    # One request may end within the rounding of the clock.
    assert run.throughput.value * run.horizon <= float(ceiling) * run.horizon + 1


H100_LIKE = ([0, 128, 512, 2048, 8192], [0, 1, 64, 256, 1024], [0, 2**14, 2**17, 2**19])


def steps_like_a_gpu(x, y, kv):
    """Weights to load or tokens to compute, whichever takes longer, and the cache to read."""
    return max(5.5e-3, 2e-5 * (x + y)) + 2e-3 + 4e-8 * kv


@pytest.mark.parametrize(
    ("tokens", "limited", "also", "word"),
    [
        ((2000, 20), {}, (), "tokens"),
        ((10, 400), {"max_batch_size": 8}, ("requests",), "requests"),
        ((1000, 1000), {"kv_capacity": 20_000}, ("kv_memory", "kv_reads"), "kv"),
        ((30_000, 2000), {"kv_capacity": 2**19}, ("kv_reads",), "kv"),
    ],
)
def test_what_limits_is_named(tokens, limited, also, word):
    law = grid(H100_LIKE, steps_like_a_gpu)
    engine = ql.Engine(
        step_time=law,
        **{"token_budget": 8192, "max_batch_size": 1024} | limited,
        first_token_from_prefill=True,
    )
    found = ql.capacity(engine, requests(*tokens))
    assert found.cost.limited_by == word
    assert all(found.cost.shares[name] > 0.05 for name in also)
    assert sum(found.cost.shares.values()) == pytest.approx(1)
    assert 1 / found.cost.seconds == pytest.approx(found.requests_per_second, rel=1e-9)


@pytest.mark.parametrize("slots", [20_000, 100_000])
def test_more_memory_helps_only_where_memory_has_a_price(slots):
    """The price of memory is the marginal value of a slot, by a second computation."""
    law = grid(H100_LIKE, steps_like_a_gpu)

    def seconds(cache):
        engine = ql.Engine(
            step_time=law, token_budget=8192, max_batch_size=1024, kv_capacity=cache
        )
        return resource_prices(engine, requests(1000, 1000))

    here, beyond = seconds(slots), seconds(slots + 16)
    lifetime = 1000 + 1_000_000 + 1000 * 1001 / 2
    saved = here.seconds - beyond.seconds
    assert saved == pytest.approx(here.memory * lifetime * 16 / slots, rel=0.01)


def test_the_place_price_is_what_another_place_would_save():
    law = grid(H100_LIKE, steps_like_a_gpu)

    def prices(places):
        engine = ql.Engine(step_time=law, token_budget=8192, max_batch_size=places)
        return resource_prices(engine, requests(10, 400))

    here, beyond = prices(64), prices(65)
    saved = here.seconds - beyond.seconds
    assert saved == pytest.approx(here.place * 400 / 65, rel=0.02)


def test_a_table_that_ends_early_says_so():
    law = grid(([0, 4], [0, 4], [0, 9]), lambda x, y, k: 1 + x + y + k)
    found = ql.capacity(ql.Engine(step_time=law, token_budget=4), requests(3, 3))
    assert "9 KV tokens read, where the table ends" in found.basis
    assert not found.is_attained


def test_a_table_without_reads_has_no_price_for_them():
    law = ql.TableStepTime.of_batches(
        [0, 4], [0, 4], None, np.array([[[1], [2]], [[3], [4]]], dtype=object)
    )
    for cache in (None, 12):
        engine = ql.Engine(step_time=law, token_budget=4, kv_capacity=cache)
        assert resource_prices(engine, requests(3, 3)).kv_read == 0


@given(tables, limits, caches, lengths)
def test_floats_and_fractions_agree(law, limits, cache, tokens):
    rounded = ql.TableStepTime(law.axes, tuple(map(float, law.seconds)))
    exact, floating = (
        resource_prices(engine_of(step, limits, cache), requests(*tokens)).seconds
        for step in (law, rounded)
    )
    assert isinstance(exact, Fraction)
    assert isinstance(floating, float)
    assert floating == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("shortest", [0, 1.5, True])
def test_the_shortest_prompt_is_a_positive_integer(shortest):
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    with pytest.raises(ql.InvalidArgument, match="shortest_prompt"):
        resource_prices(engine, requests(3, 3), shortest_prompt=shortest)


def test_the_shortest_prompt_is_1_where_a_law_hides_it():
    assert shortest_prompt(requests(7, 3)) == 7
    assert shortest_prompt(ql.preset("azure-conv-2023").workload(1)) >= 1


def test_a_measured_law_is_judged_as_its_table():
    pytest.importorskip("aiconfigurator_core", reason="needs the extra gpu-data")
    law = ql.MeasuredStepTime("meta-llama/Llama-3.1-8B", "h100_sxm")
    limits = {"token_budget": 1024, "max_batch_size": 128, "kv_capacity": 100_000}
    load = ql.Workload.poisson(1, prompt_tokens=1000, output_tokens=200)
    measured = ql.Engine(step_time=law, first_token_from_prefill=True, **limits)
    table = law.table(1024, most_decode_tokens=128, kv_capacity=100_000)
    tabled = ql.Engine(step_time=table, first_token_from_prefill=True, **limits)
    assert ql.capacity(measured, load) == ql.capacity(tabled, load)
    assert ql.capacity(measured, load).cost.kv_read_seconds > 0
    assert ql.stability_region(measured).vertices == ql.stability_region(tabled).vertices
