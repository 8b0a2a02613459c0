"""Loads of engines: published rates, single engines, and what no policy can beat."""

from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.networks._load import network_load
from queueing_llm.simulate.networks import simulate_network
from queueing_llm.stability import resource_prices, seconds_at_full_batches
from tests.reference.traffic import random_network

FIT = ql.StaircaseStepTime(F("0.01128"), F("0.03547"), 128)
MAIN = ql.Engine(FIT, token_budget=512)


def fixed(prompt, output):
    return ql.IndependentLengths(ql.DeterministicLength(prompt), ql.DeterministicLength(output))


def alone(engine, lengths, *, rate=1, **changes):
    visit = Visit(
        "agent", "agent", "session", (0,), lengths, arrivals=ql.PoissonArrivals(rate), **changes
    )
    return AgentNetwork.of([NetworkEngine("gpu", engine)], [visit])


def fork_join(rate):
    names = ("planner", "worker_1", "worker_2", "aggregator")
    tokens = ((400, 100), (800, 200), (600, 300), (600, 150))
    visits = [
        Visit(name, name, "session", (j,), fixed(*sizes))
        for j, (name, sizes) in enumerate(zip(names, tokens, strict=True))
    ]
    visits[0] = replace(visits[0], arrivals=ql.PoissonArrivals(rate), forks=True)
    visits[3] = replace(visits[3], join="all")
    moves = [Move(0, 1), Move(0, 2), Move(1, 3), Move(2, 3)]
    return AgentNetwork.of([NetworkEngine(name, MAIN) for name in names], visits, moves)


def test_the_published_fit_under_a_fork_and_a_join():
    """CodeLlama-34B fit of arXiv:2504.07347v3; four agents on engines of their own."""
    load = network_load(fork_join(3))
    rates = [float(3 / engine.load) for engine in load.engines]
    published = [6.68581875163228, 3.34290937581614, 3.7143437509068225, 4.457212501088187]
    assert rates == pytest.approx(published, rel=1e-12)
    assert float(load.capacity) == pytest.approx(3.34290937581614, rel=1e-12)
    assert load.bottleneck == "worker_1"
    assert load.plan.prices == (0, 1, 0, 0)
    assert load.scaling == load.largest_scaling == load.capacity / 3
    assert load.is_exact
    floats = network_load(fork_join(3.0))
    assert not floats.is_exact
    assert floats.engines == load.engines


def test_a_retry_on_one_engine():
    network = alone(MAIN, fixed(129, 112), rate=3)
    again = AgentNetwork.of(network.engines, network.visits, [Move(0, 0, F(1, 4))])
    load = network_load(again)
    assert load.engines[0].visit_rate == 4
    assert load.engines[0].prefill_rate == 4 * 129
    assert load.engines[0].decode_rate == 4 * 112
    assert load.engines[0].load == F(4, 3) * network_load(network).engines[0].load


@pytest.mark.parametrize(
    "engine",
    [
        MAIN,
        replace(MAIN, token_budget=130),
        replace(MAIN, first_token_from_prefill=True),
        replace(MAIN, max_batch_size=20),
        replace(MAIN, kv_capacity=3000),
        replace(MAIN, kv_capacity=400),
        ql.Engine(ql.AffineStepTime(F(1, 100), F(1, 20000), F(1, 10**7)), token_budget=512),
    ],
)
def test_one_visit_is_one_engine(engine):
    """Both loads of a network of one visit are what a single engine and its workload have."""
    lengths = ql.IndependentLengths(ql.UniformLength(1, 200), ql.UniformLength(50, 150))
    workload = ql.Workload.of(ql.PoissonArrivals(1), lengths)
    load = network_load(alone(engine, lengths))
    assert load.largest_scaling == ql.capacity(engine, workload).requests_per_second
    if engine.kv_capacity is None or engine.kv_capacity >= engine.token_budget:
        assert load.engines[0].load == seconds_at_full_batches(engine, workload)


def test_full_batches_that_are_not_the_best_ones_are_told_apart():
    """A budget of 130 pays for a second block of 128 that it hardly uses."""
    load = network_load(alone(replace(MAIN, token_budget=130), fixed(100, 100)))
    assert load.scaling == 130 / (F("0.08222") * 200)
    assert load.largest_scaling == 128 / (F("0.04675") * 200)


def test_cached_context_is_read_but_not_prefilled():
    engine = ql.Engine(ql.AffineStepTime(F(1, 100), F(1, 20000), F(1, 10**6)), token_budget=512)

    def load(hit):
        changes = {"turns": ql.DeterministicLength(3), "turn_carries_context": True}
        return network_load(
            alone(engine, fixed(50, 10), turn_prefix_cache_hit=hit, **changes)
        ).engines[0]

    # Contexts 0, 60, 120 in the three turns; each of 10 decode steps reads the context.
    assert load(1).prefill_rate == 150
    assert load(0).prefill_rate == 150 + 180
    full = engine.step_time(512) / 512
    assert load(0).load - load(1).load == 180 * full
    reads = 3 * (10 * 50 + 45) + 10 * 180
    assert load(1).load == 180 * full + F(reads, 10**6)
    # The bound for every policy counts no cached token at all.
    assert load(1).least_load == load(1).load - F(1800, 10**6)
    assert load(0).least_load == load(0).load


@given(st.integers(0, 10**6), st.sampled_from([F(1, 3), F(2), F(5, 2)]))
@settings(max_examples=10)
def test_loads_scale_with_the_arrivals(seed, factor):
    network = random_network(np.random.default_rng(seed), depth=2, kv=F(1, 1000))
    one, other = network_load(network), network_load(network.scaled(factor))
    assert [e.load * factor for e in one.engines] == [e.load for e in other.engines]
    assert one.scaling == factor * other.scaling
    assert one.capacity == other.capacity
    assert all(engine.least_load <= engine.load for engine in one.engines)


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_the_plan_of_visits_proves_the_load(seed):
    network = random_network(np.random.default_rng(seed), depth=2, choice_of_engines=True)
    load = network_load(network)
    plan = load.plan
    entering = [
        (v.arrivals, worth) for v, worth in zip(network.visits, plan.worth, strict=True)
    ]
    came = sum(arrivals.rate * worth for arrivals, worth in entering if arrivals)
    assert came == plan.load == max(engine.load for engine in load.engines)
    assert sum(plan.prices) == 1


def test_a_second_engine_halves_the_load():
    one = alone(MAIN, fixed(100, 100), rate=4)
    two = AgentNetwork.of(
        [NetworkEngine("a", MAIN), NetworkEngine("b", MAIN)],
        [replace(one.visits[0], engines=(0, 1))],
    )
    half = network_load(one).engines[0].load / 2
    assert [engine.load for engine in network_load(two).engines] == [half, half]


def test_limits_make_the_bound_for_every_policy_larger_than_the_load_at_full_batches():
    load = network_load(alone(replace(MAIN, max_batch_size=10), fixed(50, 500)))
    assert load.engines[0].least_load > load.engines[0].load
    assert load.largest_scaling < load.scaling


def test_the_bound_with_context_is_that_of_its_own_prices():
    """Any feasible prices bound; the ones for nearly equal requests are nearly the best."""
    engine = replace(MAIN, max_batch_size=24, kv_capacity=9000)
    turns = {"turns": ql.DeterministicLength(4), "turn_carries_context": True}
    load = network_load(alone(engine, fixed(60, 90), **turns))
    # Turns prefill 60, 210, 360, 510 tokens: the same as these classes of whole requests.
    classes = [ql.RequestClass(f"{n}", fixed(n, 90)) for n in (60, 210, 360, 510)]
    best = 4 * resource_prices(engine, ql.Workload(ql.PoissonArrivals(1), classes)).seconds
    assert float(load.engines[0].least_load) == pytest.approx(float(best), rel=1e-3)
    assert load.engines[0].least_load <= best


def test_step_times_that_hide_reads_have_only_the_bound():
    roofline = ql.RooflineStepTime(
        overhead=F(1, 100),
        memory_seconds=F(1, 50),
        per_token=F(1, 10000),
        per_kv_token=F(1, 10**6),
    )
    load = network_load(alone(ql.Engine(roofline, token_budget=512), fixed(100, 100)))
    assert load.plan is None
    assert load.scaling is None
    assert load.capacity is None
    assert load.engines[0].load is None
    assert load.engines[0].least_load > 0
    assert load.bottleneck == "gpu"


def test_two_hundred_agents_with_forks_and_joins():
    visits, moves, end = [], [], None
    for block in range(40):
        begin = len(visits)
        for k in range(5):
            arrivals = ql.PoissonArrivals(F(1, 4)) if begin == k == 0 else None
            visits.append(
                Visit(
                    f"agent {begin + k}",
                    begin + k,
                    "session",
                    ((begin + k) % 30,),
                    fixed(100 + block, 50),
                    arrivals=arrivals,
                    forks=k == 0,
                    join="all" if k == 4 else None,
                )
            )
        moves += [Move(begin, begin + k) for k in (1, 2, 3)]
        moves += [Move(begin + k, begin + 4) for k in (1, 2, 3)]
        moves += [] if end is None else [Move(end, begin)]
        end = begin + 4
    network = AgentNetwork.of(
        [NetworkEngine(f"gpu{j}", MAIN) for j in range(30)], visits, moves
    )
    load = network_load(network)
    assert sum(engine.visit_rate for engine in load.engines) == 200 * F(1, 4)
    assert sum(engine.prefill_rate for engine in load.engines) == F(5, 4) * sum(range(100, 140))
    assert load.scaling == 1 / max(engine.load for engine in load.engines)


@pytest.mark.parametrize("seed", [0, 4, 6])
def test_simulated_engines_are_busy_for_their_load(seed):
    """A step time without overhead makes the load the same whatever the batches are."""
    network = random_network(np.random.default_rng(seed), depth=2)
    engine = ql.Engine(ql.AffineStepTime(0, F(1, 1000), F(1, 20000)), token_budget=32)
    network = network.with_engines({e.name: engine for e in network.engines})
    network = network.scaled(F(7, 10) * network_load(network).scaling)
    load = network_load(network)
    horizon = float(12_000 / load.session_rate)
    run = simulate_network(
        network, horizon=horizon, warmup=horizon / 20, replications=10, seed=seed
    )
    for expected, busy in zip(load.engines, run.utilisation, strict=True):
        assert abs(busy.value - float(expected.load)) < 4.5 * busy.standard_error
