"""A network of single servers written as engines is that network again when it is read."""

from fractions import Fraction as F

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import queueing_llm as ql
from paper_repro.lu_kumar1991 import fig_growth
from paper_repro.lu_kumar1991.as_engines import as_engines
from queueing_llm.networks import growing_cycle, station_loads

ROUTES = st.text("AB", min_size=1, max_size=5)


@st.composite
def networks(draw):
    routes = draw(st.lists(ROUTES, min_size=1, max_size=2))
    hops = sum(map(len, routes))
    tenths = draw(st.lists(st.integers(1, 9), min_size=hops, max_size=hops))
    rates = draw(st.lists(st.integers(1, 3), min_size=len(routes), max_size=len(routes)))
    return ql.MulticlassNetwork.with_routes(
        routes, mean_service=[F(m, 10) for m in tenths], arrival_rates=rates
    )


@given(networks())
@settings(max_examples=40, deadline=None)
def test_loads_are_those_of_the_servers(network):
    read = ql.network_load(as_engines(network, priority=(0,) * network.class_count))
    loads = dict(zip(network.station_names, station_loads(network), strict=True))
    assert {engine.name: engine.load for engine in read.engines} == loads


@pytest.mark.parametrize("rate", [F(17, 20), F(9, 10), F(1)])
def test_the_verdict_is_about_the_same_fluid(rate):
    line, ranks = fig_growth.line(rate), fig_growth.LAST_AND_SECOND
    verdict = ql.check_network(as_engines(line, priority=ranks), find_scalings=False)
    assert verdict.growth_factor == growing_cycle(line, priority=ranks).factor
    assert verdict.growth_factor == fig_growth.factor(rate)


def test_one_server_is_the_queue_of_pollaczek_and_khinchine():
    """Geometric services of mean 6 steps of 1/10 s, Poisson arrivals at load 0.6."""
    queue = ql.MulticlassNetwork.with_routes(["A"], mean_service=[F(6, 10)], arrival_rates=[1])
    run = ql.simulate_network(
        as_engines(queue, priority=(0,)), horizon=200_000, warmup=2000, replications=8, seed=1
    )
    second_moment = (2 - 1 / 6) / (1 / 6) ** 2 / 100
    expected = 0.6 + second_moment / (2 * (1 - 0.6))
    (present,) = run.mean_present
    assert present.standard_error < 0.02
    assert abs(present.value - expected) < 4 * present.standard_error


def test_control_another_priority_does_not_grow():
    first_buffer_first = (0, 0, 1, 1)
    line = fig_growth.line(F(9, 10))
    assert growing_cycle(line, priority=first_buffer_first) is None
