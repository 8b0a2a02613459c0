"""What the figures about networks of arXiv:2504.07347v3 compute beside the library."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from paper_repro.dai2025 import fig_agent_pair, fig_fork_join, fig_jsq
from paper_repro.dai2025 import fig_net_half_cycle as half_cycle
from paper_repro.dai2025 import fig_net_shapes as shapes
from paper_repro.dai2025 import fig_net_unequal_engines as unequal
from queueing_llm.scenarios import load_network, load_scenario

FORK_JOIN = ql.network_load(load_network("fork-join").network)
FULL = 512 / 0.15316
"""Tokens per second of full batches."""


@settings(max_examples=40, deadline=None)
@given(st.fractions("1/5", "99/100", max_denominator=500))
def test_the_fluid_path_has_the_factor_of_the_formula(load):
    assert half_cycle.path_factor(load) == half_cycle.fluid_factor(load)


def test_the_factor_is_one_at_the_threshold():
    assert half_cycle.fluid_factor(Fraction(19, 34)) == 1
    assert half_cycle.fluid_factor(Fraction(9, 10)) == Fraction(153, 37)


@given(st.floats(0.1, 10))
def test_a_fork_join_grows_by_what_comes_to_its_engines_and_is_not_served(rate):
    planner, first, second, aggregator = fig_fork_join.fluid_growth(rate, FORK_JOIN)
    planned = min(rate, FULL / 500)
    joined = min(planned, FULL / 1000)
    assert planner == pytest.approx(max(0, rate * 500 - FULL), abs=1e-6)
    assert first == pytest.approx(max(0, planned * 1000 - FULL), abs=1e-6)
    assert second == pytest.approx(max(0, planned * 900 - FULL), abs=1e-6)
    assert aggregator == pytest.approx(max(0, joined * 750 - FULL), abs=1e-6) == 0


def test_growth_by_engine_adds_up_to_that_of_the_network():
    network = load_network("fork-join").network.scaled(Fraction(4, 3))
    run = ql.simulate_network(
        network, horizon=400, warmup=100, replications=4, samples=2000, seed=8
    )
    by_engine = sum(growth.value for growth in fig_fork_join.engine_growth(run))
    assert by_engine == pytest.approx(run.growth.value, rel=0.01)


@given(st.floats(0.01, 2))
def test_no_router_beats_the_sum_of_the_rates(load):
    even = unequal.fluid_growth(load, 60, router="planned")
    shortest = unequal.fluid_growth(load, 60, router="shortest")
    assert even >= shortest - 1e-9
    assert (even > 1e-9) == (load > 0.75 + 1e-12)


def test_twice_as_fast_is_twice_the_capacity():
    scenario = load_scenario("theorem-2")
    one = ql.capacity(scenario.engine, scenario.workload).requests_per_second
    fast = unequal.faster(scenario.engine, 2)
    assert ql.capacity(fast, scenario.workload).requests_per_second == 2 * one
    farm = fig_jsq.farm([scenario.engine, fast], Fraction(1, 2))
    assert farm.arrival_rate == Fraction(3, 2) * one


def test_a_load_is_that_of_the_busiest_engine():
    for network in (shapes.branching(), shapes.chain("engine 1"), shapes.fork_join_and_back()):
        loads = [engine.load for engine in ql.network_load(shapes.at_load(network)).engines]
        assert max(loads) == Fraction(9, 10)


def test_a_peak_far_out_is_not_usual():
    found = np.arange(1000.0)
    assert fig_agent_pair.is_usual(500, found)
    assert not fig_agent_pair.is_usual(10, found)
    assert not fig_agent_pair.is_usual(990, found)


def test_the_wrong_priority_has_no_half_cycle():
    """Control: short hops first never let one type's hops pile up behind the other's."""
    stable = load_network("rybko-stolyar-stable").network
    run = ql.simulate_network(
        stable, horizon=20_000, seed=1, start={stable.visits[0].name: 1000}
    )
    assert run.present[0][:, 2].max() < 200
