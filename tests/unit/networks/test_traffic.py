"""Traffic equations: against other ways to solve them, and what has no solution."""

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._traffic import solve_flow, station_loads, visit_rates
from tests.reference.traffic import dense, solved_rates, summed_rates

TENTHS = st.integers(0, 3).map(lambda n: F(n, 10))


@st.composite
def networks(draw, most=6):
    """Networks whose jobs leave with at least a tenth; some classes of work fork."""
    count = draw(st.integers(1, most))
    routing = []
    for k in range(count):
        row = draw(st.lists(TENTHS, min_size=count, max_size=count))
        if sum(row) > F(9, 10):
            # Forks: work that only ever goes on to later classes cannot multiply for ever.
            row = [5 * p if l > k else F(0) for l, p in enumerate(row)]
        routing.append(list(enumerate(row)))
    stations = [k % draw(st.integers(1, 3)) for k in range(count)]
    numbers = {s: n for n, s in enumerate(dict.fromkeys(stations))}
    return MulticlassNetwork(
        stations=[numbers[s] for s in stations],
        mean_service=draw(st.lists(st.integers(1, 9), min_size=count, max_size=count)),
        arrival_rates=draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)),
        routing=routing,
    )


def test_a_retry_multiplies_visits():
    # Classic: rate 3/s, retried with probability 1/4.
    retry = MulticlassNetwork([0], [F(1, 10)], [3], [[(0, F(1, 4))]])
    assert visit_rates(retry) == (4,)
    assert station_loads(retry) == (F(2, 5),)


def _solvable(network):
    return max(abs(np.linalg.eigvals(dense(network)))) < 0.97


@given(networks())
def test_rates_solve_the_equations_as_other_ways_do(network):
    if not _solvable(network):
        return
    rates = visit_rates(network)
    for k, rate in enumerate(rates):
        came = sum(
            r * dict(row).get(k, 0) for r, row in zip(rates, network.routing, strict=True)
        )
        assert rate == network.arrival_rates[k] + came
    assert np.array(rates, float) == pytest.approx(solved_rates(network), rel=1e-9, abs=1e-12)
    assert np.array(rates, float) == pytest.approx(summed_rates(network, 2000), rel=1e-9)


@given(networks(), st.fractions(F(1, 9), 9))
def test_loads_scale_with_arrivals(network, factor):
    if _solvable(network):
        loads = station_loads(network)
        assert station_loads(network.scaled(factor)) == tuple(factor * load for load in loads)


@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 5), TENTHS)
def test_merging_two_equal_classes_keeps_the_loads(seconds, one, other, retry):
    apart = MulticlassNetwork(
        [0, 0, 1],
        [seconds, seconds, 2],
        [one, other, 1],
        [[(2, F(1))], [(2, F(1))], [(0, retry), (1, retry)]],
    )
    merged = MulticlassNetwork(
        [0, 1], [seconds, 2], [one + other, 1], [[(1, F(1))], [(0, 2 * retry)]]
    )
    assert station_loads(apart) == station_loads(merged)


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=3, max_size=3),
    st.integers(2, 9),
)
def test_a_solution_is_found_exactly_where_the_spectral_radius_is_below_1(matrix, divisor):
    rows = [[(l, F(a, divisor)) for l, a in enumerate(row) if a] for row in matrix]
    radius = max(abs(np.linalg.eigvals(np.array(matrix) / divisor)))
    if abs(radius - 1) < 1e-9:
        return
    if radius > 1:
        with pytest.raises(ql.InvalidArgument, match="come back for ever"):
            solve_flow([1, 1, 1], rows, names="abc")
    else:
        assert min(solve_flow([1, 1, 1], rows, names="abc")) >= 1


def test_a_radius_of_exactly_1_is_told_from_just_below():
    tiny = F(1, 10**30)
    assert solve_flow([1], [[(0, 1 - tiny)]], names=["a"]) == (10**30,)
    with pytest.raises(ql.InvalidArgument, match="'a'"):
        solve_flow([1], [[(0, F(1))]], names=["a"])


def test_the_classes_that_jobs_never_leave_are_named():
    names = ("plan", "code", "test", "done")
    loop = MulticlassNetwork(
        [0, 0, 0, 0],
        [1, 1, 1, 1],
        [1, 0, 0, 0],
        [[(1, F(1))], [(2, F(1))], [(1, F(1, 2)), (3, F(1, 2))], []],
        class_names=names,
    )
    assert visit_rates(loop) == (1, 2, 2, 1)
    forking = MulticlassNetwork(
        loop.stations,
        loop.mean_service,
        loop.arrival_rates,
        [*loop.routing[:2], [(1, F(1)), (3, F(1))], []],
        class_names=names,
    )
    with pytest.raises(ql.InvalidArgument, match=r"for ever to 'code', 'test'\."):
        visit_rates(forking)


def test_two_hundred_classes_in_a_cyclic_network_are_solved_exactly():
    rng = np.random.default_rng(5)
    routing = []
    for _ in range(200):
        weights = rng.integers(1, 100, 3)
        total = int(weights.sum()) + int(rng.integers(1, 60))
        targets = map(int, rng.choice(200, 3, replace=False))
        routing.append([(l, F(int(w), total)) for l, w in zip(targets, weights, strict=True)])
    network = MulticlassNetwork(
        [k % 30 for k in range(200)], [F(1, 50)] * 200, [F(1, 7)] * 200, routing
    )
    rates = visit_rates(network)
    inflow = list(network.arrival_rates)
    for rate, row in zip(rates, network.routing, strict=True):
        for l, share in row:
            inflow[l] += rate * share
    assert tuple(inflow) == rates
