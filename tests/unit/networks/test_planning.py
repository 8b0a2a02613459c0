"""Static planning: a published optimum, its proof, and another solver."""

from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

import queueing_llm as ql
from queueing_llm.networks._planning import plan_static

PAIR = [[(0, F(1, 2)), (1, 1)], [(0, F(6, 5)), (1, F(2, 5))]]


def proves(plan, arrivals, routing, servers):
    """Whether the plan is feasible, and its prices prove that none is better."""
    worth, prices = plan.worth, plan.prices
    loads = dict.fromkeys(range(len(prices)), F(0))
    for rate, row, shares in zip(_rates(arrivals, routing), servers, plan.shares, strict=True):
        if (sum(share for _, share in shares) != 1 or min(shares)[1] < 0) and row:
            return False
        for j, share in shares:
            loads[j] += rate * share * dict(row)[j]
    left = [
        v - sum(p * worth[l] for l, p in row) for v, row in zip(worth, routing, strict=True)
    ]
    return (
        tuple(loads.values()) == plan.loads
        and max(plan.loads) == plan.load
        and min(prices) >= 0
        and sum(prices) == 1
        and all(
            v <= prices[j] * m for v, row in zip(left, servers, strict=True) for j, m in row
        )
        and sum(a * v for a, v in zip(arrivals, worth, strict=True)) == plan.load
    )


def _rates(arrivals, routing):
    """Visit rates of work that only goes on to later classes."""
    rates = list(map(F, arrivals))
    for k, row in enumerate(routing):
        for l, share in row:
            rates[l] += rates[k] * share
    return rates


@st.composite
def demands(draw):
    classes, stations = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rates = st.integers(0, 4)
    arrivals = [1 + draw(rates)] + [draw(rates) for _ in range(classes - 1)]
    routing = [
        [
            (l, F(draw(st.integers(1, 6)), 4))
            for l in range(k + 1, classes)
            if draw(st.booleans())
        ]
        for k in range(classes)
    ]
    servers = []
    for _ in range(classes):
        able = draw(st.sets(st.integers(0, stations - 1), min_size=1))
        servers.append([(j, F(draw(st.integers(1, 9)), 10)) for j in able])
    return arrivals, routing, servers


def test_the_classic_pair():
    # Rates (1, 1), mean services (0.5, 1) and (1.2, 0.4): optimum 7/15 (Dai and Lin 2005 form).
    plan = plan_static([1, 1], [(), ()], servers=PAIR)
    assert plan.load == F(7, 15)
    assert plan.shares == (((0, F(14, 15)), (1, F(1, 15))), ((1, F(1)),))
    assert proves(plan, [1, 1], [(), ()], PAIR)


@given(demands())
def test_every_plan_proves_itself_and_agrees_with_another_solver(demand):
    arrivals, routing, servers = demand
    plan = plan_static(arrivals, routing, servers=servers)
    assert proves(plan, arrivals, routing, servers)
    columns = [(k, j) for k, row in enumerate(servers) for j, _ in row]
    rates = _rates(arrivals, routing)
    found = linprog(
        [0.0] * len(columns) + [1.0],
        A_ub=[
            [float(rates[k] * dict(servers[k])[j]) * (j == s) for k, j in columns] + [-1.0]
            for s in range(len(plan.prices))
        ],
        b_ub=[0.0] * len(plan.prices),
        A_eq=[[float(c == k) for c, _ in columns] + [0.0] for k in range(len(servers))],
        b_eq=[1.0] * len(servers),
    )
    assert found.fun == pytest.approx(float(plan.load), rel=1e-9)


def test_the_proof_rejects_changed_plans():
    plan = plan_static([1, 1], [(), ()], servers=PAIR)
    for other in (
        replace(plan, prices=(F(1, 2), F(1, 2))),
        replace(plan, load=F(6, 15)),
        replace(plan, worth=(F(2, 5), F(2, 15))),
        replace(plan, shares=(((0, F(1)),), ((1, F(1)),))),
    ):
        assert not proves(other, [1, 1], [(), ()], PAIR)
    assert not proves(plan, [1, 1], [(), ()], [[(0, F(1, 3)), (1, 1)], PAIR[1]])


def test_engines_beside_the_bottleneck_share_evenly():
    """Station 3 alone decides the optimum; the three others still get a third each."""
    servers = [[(0, 1), (1, 1), (2, 1)], [(3, 9)]]
    plan = plan_static([1, 1], [(), ()], servers=servers)
    assert plan.loads == (F(1, 3), F(1, 3), F(1, 3), 9)
    assert plan.prices == (0, 0, 0, 1)


@given(demands())
def test_next_busiest_stations_are_as_idle_as_they_can_be(demand):
    """Moving a little of any class from a busier to a less busy station never helps."""
    arrivals, routing, servers = demand
    plan = plan_static(arrivals, routing, servers=servers)
    rates = _rates(arrivals, routing)
    for k, shares in enumerate(plan.shares):
        for j, _ in shares if rates[k] else ():
            assert all(plan.loads[j] <= plan.loads[i] for i, _ in servers[k])


def test_a_class_without_a_server_costs_nothing():
    plan = plan_static([2, 0], [[(1, F(1, 2))], []], servers=[[], [(0, 3)]])
    assert plan.load == 3
    assert plan.shares[0] == ()
    assert plan.worth == (F(3, 2), 3)


@pytest.mark.parametrize(
    ("arrivals", "servers", "message"),
    [
        ([1, 1], [[(0, 1)]], "one entry for each of 2 classes, got 1"),
        ([1], [[(0, 1), (0, 2)]], "different stations"),
        ([1], [[(0, 0)]], "above 0"),
        ([1], [[(-1, 1)]], "from 0"),
        ([1], [[(0, 0.5)]], "integer or a Fraction"),
        ([0], [[(0, 1)]], "must let some class with a server arrive"),
        ([1], [[]], "must let some class with a server arrive"),
        ([0.5], [[(0, 1)]], "arrival_rates"),
    ],
)
def test_bad_demands_are_refused(arrivals, servers, message):
    with pytest.raises(ql.InvalidArgument, match=message):
        plan_static(arrivals, [()] * len(arrivals), servers=servers)


def test_numpy_integers_are_read():
    plan = plan_static(list(np.array([1, 1])), [(), ()], servers=[[(0, np.int64(2))], [(1, 1)]])
    assert plan.load == 2
