"""Certificates that are found: exactly checked, watched on fluid paths, and never too good."""

import dataclasses
import itertools
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from queueing_llm import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._climb import certified_pieces, equal_shares
from queueing_llm.networks._lyapunov import stability_pieces
from queueing_llm.networks._pieces import drift_margin
from queueing_llm.networks._programme import proposed_pieces
from queueing_llm.networks._traffic import station_loads

LU_KUMAR = MulticlassNetwork.with_routes(
    ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
)


@st.composite
def networks(draw, most_stations=3, load=None):
    """Draw a network with random routing, loops included, and a load."""
    count = draw(st.integers(1, most_stations))
    extra = draw(st.lists(st.integers(0, count - 1), max_size=6 - count))
    stations = draw(st.permutations([*range(count), *extra]))
    classes = range(len(stations))
    if draw(st.booleans()):
        order = draw(st.permutations(classes))
        routing = [()] * len(stations)
        for k, l in itertools.pairwise(order):
            routing[k] = ((l, F(1)),)
        rates = [int(k == order[0]) for k in classes]
    else:
        share = st.integers(0, 3).map(lambda n: F(n, 4 * len(stations)))
        routing = [[(l, draw(share)) for l in classes] for _ in classes]
        rates = draw(
            st.lists(st.integers(0, 3), min_size=len(stations), max_size=len(stations))
        )
        assume(any(rates))
    means = [F(draw(st.integers(1, 10)), 10) for _ in classes]
    net = MulticlassNetwork(stations, means, rates, routing)
    load = draw(st.integers(6, 23)) * F(1, 20) if load is None else load
    return net.scaled(load / max(station_loads(net)))


def ranks_of(net):
    return st.permutations(range(net.class_count))


@settings(max_examples=60, deadline=None)
@given(net=networks(), data=st.data())
def test_what_is_found_holds_exactly_and_below(net, data):
    priority = data.draw(st.none() | ranks_of(net))
    pieces = stability_pieces(net, priority=priority)
    if max(station_loads(net)) >= 1:
        assert pieces is None
    if pieces is None:
        return
    assert drift_margin(net, pieces) == pieces.margin > 0
    assert pieces.priority is None or pieces.priority == tuple(priority)
    if pieces.priority is None:
        assert drift_margin(net.scaled(F(1, 2)), pieces) >= pieces.margin
    overload = net.scaled(1 / max(station_loads(net)))
    assert drift_margin(overload, pieces) <= 0


@settings(max_examples=40, deadline=None)
@given(net=networks(most_stations=2), data=st.data())
def test_names_do_not_matter(net, data):
    order = data.draw(st.permutations(range(net.class_count)))
    relabelled = MulticlassNetwork(
        stations=[max(net.stations) - net.stations[k] for k in order],
        mean_service=[net.mean_service[k] for k in order],
        arrival_rates=[net.arrival_rates[k] for k in order],
        routing=[[(order.index(l), p) for l, p in net.routing[k]] for k in order],
    )
    assert (stability_pieces(net) is None) == (stability_pieces(relabelled) is None)


@settings(max_examples=30, deadline=None)
@given(net=networks(most_stations=2), factor=st.sampled_from([F(1, 10**6), F(7), F(10**6)]))
def test_the_unit_of_time_does_not_matter(net, factor):
    slower = dataclasses.replace(
        net,
        mean_service=[m * factor for m in net.mean_service],
        arrival_rates=[a / factor for a in net.arrival_rates],
    )
    assert (stability_pieces(net) is None) == (stability_pieces(slower) is None)


@settings(max_examples=30, deadline=None)
@given(networks(most_stations=1, load=F(99, 100)))
def test_one_station_below_its_capacity_is_certified(net):
    assert stability_pieces(net) is not None


def test_lu_kumar_is_certified_up_to_its_virtual_station():
    assert stability_pieces(LU_KUMAR.scaled(F(5, 6) - F(1, 10**5))) is not None
    assert stability_pieces(LU_KUMAR.scaled(F(5, 6))) is None


@pytest.mark.parametrize("stations", range(1, 5))
def test_the_piece_of_remaining_work_has_the_drift_that_it_should(stations):
    """All pieces equal to the work left fall at 1 less the sum of loads; none does worse."""
    route = "ABCD"[:stations] * 2
    net = MulticlassNetwork.with_routes(
        [route], mean_service=[F(1, 20)] * len(route), arrival_rates=[1]
    )
    shares = [F(1, stations)] * stations
    found = proposed_pieces(net, shares)
    work_left = F(len(route), 20)
    assert found.margin >= float((1 - sum(station_loads(net))) / work_left) - 1e-9


def test_unequal_shares_certify_what_equal_ones_do_not():
    net = MulticlassNetwork.with_routes(
        ["BCBB", "AACA"],
        mean_service=[F(n, 10) for n in (6, 9, 8, 10, 2, 6, 9, 10)],
        arrival_rates=[F(5, 12), F(5, 12)],
    )
    below = net.scaled(F(49, 50) / max(station_loads(net)))
    assert certified_pieces(below, equal_shares(below), priority=None) is None
    pieces = stability_pieces(below)
    assert drift_margin(below, pieces) == pieces.margin > 0
    assert len(set(pieces.mixture[0])) == 3


def test_what_never_leaves_is_refused():
    net = MulticlassNetwork([0], [F(1, 2)], [1], [[(0, F(1))]])
    with pytest.raises(InvalidArgument, match="routing"):
        stability_pieces(net)


def test_a_wrong_priority_is_refused():
    with pytest.raises(InvalidArgument, match="priority must be 4 integers"):
        stability_pieces(LU_KUMAR.scaled(F(1, 2)), priority=[0, 0, 0, 1])


STEP_EFFECT = 0.01
"""Most by which one step of time changes Phi, as a share of its start."""


def fluid_falls(net, pieces, *, start, seed):
    """Run fluid and return by which share of its start Phi exceeds what the pieces promise.

    In each step a station serves its classes in some order until its time or its fluid is
    used up. Without a priority the order changes at random, or is the one that lets the
    largest piece fall the least.
    """
    rng = np.random.default_rng(seed)
    weights = np.array([[float(w) for w in h] for h in pieces.weights])
    alpha = np.array([float(a) for a in net.arrival_rates])
    mean = np.array([float(m) for m in net.mean_service])
    turned = np.eye(net.class_count)
    for k, row in enumerate(net.routing):
        for l, share in row:
            turned[k, l] -= float(share)
    falls = (weights @ turned.T) / mean
    margin = float(pieces.margin)
    fluid = np.array(start, dtype=float)
    first = (weights @ fluid).max()
    step = first * STEP_EFFECT / (abs(falls).max(axis=0).sum() + (weights @ alpha).max())
    worst, order = -np.inf, None
    for n in range(int(1.2 * first / margin / step)):
        phi = weights @ fluid
        worst = max(worst, phi.max() / first - max(1 - margin * n * step / first, 0.0))
        if pieces.priority is not None:
            order = np.argsort(pieces.priority)
        elif seed % 2:
            order = np.argsort(falls[int(phi.argmax())])
        elif n % 50 == 0:
            order = rng.permutation(net.class_count)
        left = np.full(net.station_count, step)
        served = np.zeros(net.class_count)
        for k in order:
            j = net.stations[k]
            served[k] = min(left[j], fluid[k] * mean[k])
            left[j] -= served[k]
        fluid = np.maximum(fluid + alpha * step - (served / mean) @ turned, 0.0)
    return worst


def worst_excess(net, priority, seed):
    """Return how far Phi was above what its pieces promise; reject the case without pieces."""
    pieces = stability_pieces(net, priority=priority)
    assume(pieces is not None and pieces.margin >= F(1, 20))
    rng = np.random.default_rng(seed)
    start = rng.random(net.class_count) * (rng.random(net.class_count) < 0.6)
    start[rng.integers(net.class_count)] += 0.5
    orders = (seed, seed + 1)
    return max(fluid_falls(net, pieces, start=start, seed=order) for order in orders)


@settings(max_examples=25, deadline=None)
@given(net=networks(load=F(4, 5)), seed=st.integers(0, 10**6), data=st.data())
def test_fluid_falls_as_promised(net, seed, data):
    priority = data.draw(st.none() | ranks_of(net))
    assert worst_excess(net, priority, seed) <= 2 * STEP_EFFECT


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(net=networks(load=F(9, 10)), seed=st.integers(0, 10**6), data=st.data())
def test_fluid_falls_as_promised_in_many_networks(net, seed, data):
    priority = data.draw(st.none() | ranks_of(net))
    assert worst_excess(net, priority, seed) <= 2 * STEP_EFFECT


def test_the_watch_catches_a_false_promise():
    """Control: a growing discipline, and pieces that do not speak of it."""
    below = LU_KUMAR.scaled(F(4, 5))
    pieces = dataclasses.replace(stability_pieces(below), priority=(1, 0, 1, 0))
    above = LU_KUMAR.scaled(F(17, 20))
    assert fluid_falls(above, pieces, start=[1, 0, 0, 0], seed=0) > 20 * STEP_EFFECT
