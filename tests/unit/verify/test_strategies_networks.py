"""Networks that are drawn: they are valid, shrink to little, and obey the laws of flow."""

from fractions import Fraction

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from queueing_llm.decide import check_network
from queueing_llm.evidence import Status
from queueing_llm.networks import feed_forward, network_load, station_loads, visit_rates
from queueing_llm.verify.strategies import agent_networks, multiclass_networks

SMALLEST = settings(database=None, derandomize=True, deadline=None, max_examples=60)
factors = st.fractions(min_value="1/10", max_value=10, max_denominator=20)


@given(network=multiclass_networks())
def test_what_comes_from_outside_leaves(network):
    rates = visit_rates(network)
    for l in range(network.class_count):
        inflow = sum(rates[k] * dict(network.routing[k]).get(l, 0) for k in range(len(rates)))
        assert rates[l] == network.arrival_rates[l] + inflow
    leaving = sum(
        rate * (1 - sum(share for _, share in row))
        for rate, row in zip(rates, network.routing, strict=True)
    )
    assert leaving == sum(network.arrival_rates) > 0


@given(network=multiclass_networks(), factor=factors)
def test_loads_scale_with_the_arrivals(network, factor):
    scaled = station_loads(network.scaled(factor))
    assert scaled == tuple(factor * load for load in station_loads(network))


@given(network=multiclass_networks(feed_forward=True))
def test_jobs_of_feed_forward_networks_never_turn_back(network):
    for k, row in enumerate(network.routing):
        assert all(network.stations[l] >= network.stations[k] for l, _ in row)
    assert feed_forward(network).hypotheses[1].holds


@given(network=agent_networks(), factor=factors)
def test_loads_of_agents_scale_with_the_sessions(network, factor):
    before, after = (network_load(n) for n in (network, network.scaled(factor)))
    assert after.session_rate == factor * before.session_rate
    for one, other in zip(before.engines, after.engines, strict=True):
        assert other.load == factor * one.load
        assert other.visit_rate == factor * one.visit_rate
    assert before.bottleneck == after.bottleneck


@given(network=agent_networks())
def test_sessions_leave_as_often_as_they_come(network):
    load = network_load(network)
    rates = visit_rates(load.traffic)
    leaving = sum(rate * network.exit_probability(at) for at, rate in enumerate(rates))
    assert leaving == load.session_rate
    assert sum(engine.visit_rate for engine in load.engines) == sum(rates)


@given(network=agent_networks(feed_forward=True), share=st.fractions("1/4", "3/2"))
@settings(max_examples=25)
def test_feed_forward_networks_are_stable_exactly_below_load_one(network, share):
    loaded = network.scaled(share * network_load(network).scaling)
    status = check_network(loaded, find_scalings=False).status
    if share < 1:
        assert status is Status.STABLE
    elif share > 1:
        assert status is Status.UNSTABLE
    else:
        assert status is Status.UNDECIDED


@given(network=agent_networks())
@settings(max_examples=15)
def test_no_network_is_called_stable_above_load_one(network):
    loaded = network.scaled(Fraction(21, 20) * network_load(network).scaling)
    assert check_network(loaded, find_scalings=False).status is not Status.STABLE


def test_little_is_left_of_a_network():
    network = find(agent_networks(), lambda n: n.arrival_rate > 0.1, settings=SMALLEST)
    assert (len(network.engines), len(network.visits), network.moves) == (1, 1, ())
    classes = find(multiclass_networks(), lambda n: n.class_count > 2, settings=SMALLEST)
    assert (classes.station_count, classes.routing) == (1, ((), (), ()))


@pytest.mark.parametrize(
    "drawn", [agent_networks(), multiclass_networks()], ids=["agents", "jobs"]
)
def test_ways_back_are_drawn_too(drawn):
    def turns_back(network):
        if hasattr(network, "moves"):
            return any(move.target <= move.source for move in network.moves)
        return any(l <= k for k, row in enumerate(network.routing) for l, _ in row)

    assert turns_back(find(drawn, turns_back, settings=SMALLEST))
