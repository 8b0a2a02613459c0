"""Agents as a multiclass network: the same loads, the right classes, and what has none."""

from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.networks._expand import FluidClasses, Unmodelled, multiclass
from queueing_llm.networks._load import network_load
from queueing_llm.networks._traffic import station_loads, visit_rates
from queueing_llm.networks._two_stations import two_station_threshold
from tests.reference.traffic import random_network

UNIT = ql.Engine(ql.AffineStepTime(1, 0), token_budget=768)
TWO = [NetworkEngine("one", UNIT), NetworkEngine("two", UNIT)]


def fixed(prompt, output):
    return ql.IndependentLengths(ql.DeterministicLength(prompt), ql.DeterministicLength(output))


def visit(name, engine=0, **changes):
    fields = {"lengths": fixed(64, 32), "arrivals": None} | changes
    engines = engine if isinstance(engine, tuple) else (engine,)
    return Visit(name, name, "session", engines, **fields)


def agent_pair(rate, **policy):
    """Section 5.4 of arXiv:2504.07347v3: each engine serves first what leaves after it."""
    poisson = {
        size: ql.IndependentLengths(ql.PoissonLength(size), ql.PoissonLength(32))
        for size in (32, 512)
    }
    arrive = {"arrivals": ql.PoissonArrivals(rate)}
    visits = [
        visit("A short", 0, lengths=poisson[32], priority=1, **arrive),
        visit("A long", 1, lengths=poisson[512], priority=0),
        visit("B short", 1, lengths=poisson[32], priority=1, **arrive),
        visit("B long", 0, lengths=poisson[512], priority=0),
    ]
    engines = [NetworkEngine(name, UNIT, **policy) for name in ("left", "right")]
    return AgentNetwork.of(engines, visits, [Move(0, 1), Move(2, 3)])


def test_the_published_pair_of_agents():
    rate = F(9, 10) * F(768, 608)
    found = multiclass(agent_pair(rate))
    assert found.network.mean_service == (F(1, 12), F(17, 24), F(1, 12), F(17, 24))
    assert found.network.stations == (0, 1, 1, 0)
    assert found.network.station_names == ("left", "right")
    assert found.network.routes() == ((0, 1), (2, 3))
    assert found.priority == (1, 0, 1, 0)
    assert (found.is_exact, found.has_joins, found.averages) == (True, False, ())
    assert station_loads(found.network) == (F(9, 10), F(9, 10))


def test_phases_in_any_order_lower_the_threshold_of_the_pair():
    """Rates 12/17 = .70588 for whole requests, 24/35 = .68571 for phases of their own."""
    whole = two_station_threshold(multiclass(agent_pair(1)).network)
    split = multiclass(agent_pair(1), split_phases=True)
    assert split.network.mean_service[:4] == (F(1, 24), F(1, 24), F(2, 3), F(1, 24))
    assert [kind.phase for kind in split.kinds[:2]] == ["prefill", "decode"]
    assert split.priority is None
    phases = two_station_threshold(split.network)
    assert whole.low == whole.high == F(12, 17)
    assert phases.low == phases.high == F(24, 35)


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
@settings(max_examples=25)
def test_turn_by_turn_loads_are_those_of_the_moments(seed, split, choose):
    """Two ways to the same numbers: classes laid out, and E[N], E[N^2] of each visit."""
    network = random_network(
        np.random.default_rng(seed), depth=2, kv=F(1, 1000), choice_of_engines=choose
    )
    found = multiclass(network, split_phases=split, most_classes=4000)
    loads = dict(zip(found.network.station_names, station_loads(found.network), strict=True))
    expected = network_load(network)
    assert all(loads.get(engine.name, 0) == engine.load for engine in expected.engines)
    assert found.has_joins == any(kind.join for kind in network.visits)


@given(st.fractions(F(11, 10), 5, max_denominator=10))
def test_a_geometric_number_of_turns_is_a_class_that_comes_back(mean):
    arrivals = ql.PoissonArrivals(1)
    turns = AgentNetwork.of(
        TWO[:1], [visit("agent", turns=ql.GeometricLength(mean), arrivals=arrivals)]
    )
    retry = AgentNetwork.of(
        TWO[:1], [visit("agent", arrivals=arrivals)], [Move(0, 0, 1 - 1 / mean)]
    )
    assert multiclass(turns).network == multiclass(retry).network
    assert network_load(turns).engines == network_load(retry).engines


def test_turns_go_on_with_the_chance_that_is_left():
    law = ql.EmpiricalLength([1, 2, 4], weights=[1, 2, 3])
    agent = visit("agent", turns=law, turn_carries_context=True, arrivals=ql.PoissonArrivals(6))
    found = multiclass(AgentNetwork.of(TWO[:1], [agent]))
    assert visit_rates(found.network) == (6, 5, 3, 3)
    assert [row[0][1] for row in found.network.routing[:3]] == [F(5, 6), F(3, 5), 1]
    assert found.network.routing[3] == ()
    # 96 tokens more to prefill at each turn.
    assert found.network.mean_service == tuple(F(96 * n, 768) for n in (1, 2, 3, 4))
    assert found.network.class_names[2] == "agent, turn 3"
    assert [kind.turn for kind in found.kinds] == [1, 2, 3, 4]


def test_delays_vanish_and_what_enters_at_them_enters_behind_them():
    tools = [
        Visit("think", 1, "session", delay=2, arrivals=ql.PoissonArrivals(3)),
        Visit("wait", 2, "session", delay=1),
    ]
    visits = [tools[0], visit("code"), tools[1], visit("done", 1)]
    moves = [
        Move(0, 1, F(2, 3)),
        Move(0, 0, F(1, 3)),
        Move(1, 2),
        Move(2, 2, F(1, 2)),
        Move(2, 0, F(1, 4)),
        Move(2, 3, F(1, 8)),
    ]
    found = multiclass(AgentNetwork.of(TWO, visits, moves)).network
    assert found.class_names == ("code", "done")
    assert found.arrival_rates == (3, 0)
    assert found.routing == (((0, F(1, 2)), (1, F(1, 4))), ())


def test_a_join_lets_one_through_for_all_branches():
    visits = [
        visit("plan", forks=True, arrivals=ql.PoissonArrivals(2)),
        visit("left", 1),
        visit("right", 1),
        visit("merge", join="all"),
    ]
    moves = [Move(0, 1), Move(0, 2), Move(1, 3), Move(2, 3)]
    found = multiclass(AgentNetwork.of(TWO, visits, moves))
    assert found.has_joins
    assert found.network.routing[1] == ((3, F(1, 2)),)
    assert visit_rates(found.network) == (2, 2, 2, 2)


def test_several_engines_share_by_the_plan():
    fast = NetworkEngine("fast", replace(UNIT, token_budget=1536))
    agent = visit("agent", (0, 1), arrivals=ql.PoissonArrivals(3))
    found = multiclass(AgentNetwork.of([TWO[0], fast], [agent]))
    assert found.network.arrival_rates == (1, 2)
    assert found.network.class_names == ("agent, at one", "agent, at fast")
    assert station_loads(found.network) == (F(1, 8), F(1, 8))


@pytest.mark.parametrize(
    ("ranks", "policy", "expected"),
    [
        ((0, 1), ql.SARATHI, (0, 1)),
        ((7, -2), ql.VLLM_V1, (7, -2)),
        ((3, 3), ql.SARATHI, None),
        ((0, 1), ql.ORCA, None),
        ((0, 1), ql.VANILLA_VLLM, None),
        ((0, 1), lambda state: ql.SARATHI(state), None),
    ],
)
def test_ranks_are_given_only_where_they_alone_decide(ranks, policy, expected):
    arrive = {"arrivals": ql.PoissonArrivals(1)}
    visits = [
        visit(name, priority=rank, **arrive) for name, rank in zip("ab", ranks, strict=True)
    ]
    engine = NetworkEngine("one", UNIT, policy)
    assert multiclass(AgentNetwork.of([engine], visits)).priority == expected


def test_turns_of_one_visit_wait_in_order_of_arrival():
    agent = visit("agent", turns=ql.DeterministicLength(2), arrivals=ql.PoissonArrivals(1))
    assert multiclass(AgentNetwork.of(TWO[:1], [agent])).priority is None


def test_visits_with_different_contexts_are_told():
    start = visit("start", arrivals=ql.PoissonArrivals(1))
    visits = [start, visit("long"), visit("end", 1)]
    both = [Move(0, 1, F(1, 2)), Move(0, 2, F(1, 2), True), Move(1, 2, 1, True)]
    found = multiclass(AgentNetwork.of(TWO, visits, both))
    # 96 tokens either way: what differs is where they come from.
    assert found.averages == ()
    carrying = [replace(both[0], carries_context=True), *both[1:]]
    assert multiclass(AgentNetwork.of(TWO, visits, carrying)).averages == ("end",)
    growing = visit(
        "grow",
        turns=ql.GeometricLength(2),
        turn_carries_context=True,
        arrivals=ql.PoissonArrivals(1),
    )
    assert multiclass(AgentNetwork.of(TWO[:1], [growing])).averages == ("grow",)


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (visit("agent", turns=ql.PoissonLength(4)), "'agent' have no bound"),
        (visit("agent", turns=ql.UniformLength(1, 5000)), "'agent' have no bound"),
        (visit("agent", turns=ql.UniformLength(1, 200)), "200 classes"),
        (visit("agent", (0, 1), dispatch="shortest"), "'agent' goes to whichever engine"),
    ],
)
def test_what_has_no_classes_says_why(agent, reason):
    agent = replace(agent, arrivals=ql.PoissonArrivals(1))
    engines = TWO[: len(agent.engines)]
    found = multiclass(AgentNetwork.of(engines, [agent]), most_classes=128)
    assert isinstance(found, Unmodelled)
    assert reason in found.reason


def test_hidden_reads_have_no_time_at_full_batches():
    law = ql.RooflineStepTime(
        overhead=0, memory_seconds=1, per_token=F(1, 100), per_kv_token=F(1, 1000)
    )
    engine = NetworkEngine("gpu", ql.Engine(law, token_budget=64))
    agent = visit("agent", arrivals=ql.PoissonArrivals(1))
    found = multiclass(AgentNetwork.of([engine], [agent]))
    assert isinstance(found, Unmodelled)
    assert "KV tokens read" in found.reason


def test_phases_without_work_are_no_classes():
    agent = visit("agent", lengths=fixed(64, 0), arrivals=ql.PoissonArrivals(1))
    found = multiclass(AgentNetwork.of(TWO[:1], [agent]), split_phases=True)
    assert isinstance(found, FluidClasses)
    assert found.network.class_names == ("agent, prefill",)


def test_the_network_is_left_as_it_was():
    network = agent_pair(1)
    parts = (network.engines, network.visits, network.moves)
    multiclass(network)
    network_load(network)
    assert (network.engines, network.visits, network.moves) == parts
