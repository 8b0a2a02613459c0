"""The region by exact pricing, by a linear programme over all batches, and by brute force."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial import ConvexHull

from queueing_llm.model import Engine, Workload
from queueing_llm.stability import check_prices, stability_region
from queueing_llm.stability.bounds._batches import TimedBatch
from queueing_llm.stability.bounds._frontier import frontier
from queueing_llm.steptime import HingeStepTime, StaircaseStepTime, TableStepTime

SECONDS = st.fractions(Fraction(1, 20), 3, max_denominator=20)
KV_AXIS = (0, 5)
staircases = st.builds(StaircaseStepTime, SECONDS, SECONDS, st.integers(1, 20))
hinges = st.builds(HingeStepTime, SECONDS, SECONDS, st.integers(0, 70))
tables = st.lists(SECONDS, min_size=64, max_size=64).map(
    lambda seconds: TableStepTime.of_tokens(range(1, 65), seconds)
)
grids = st.lists(SECONDS, min_size=24, max_size=24).map(
    lambda seconds: TableStepTime.of_batches(
        [0, 3, 9, 16],
        [0, 2, 16],
        KV_AXIS,
        np.array(seconds, dtype=object).reshape(4, 3, 2).tolist(),
    )
)


@st.composite
def cases(draw, laws, most):
    engine = Engine(
        step_time=draw(laws),
        token_budget=draw(st.integers(1, most)),
        max_batch_size=draw(st.none() | st.integers(1, most)),
        kv_capacity=draw(st.none() | st.integers(1, most)),
    )
    return engine, draw(st.none() | st.integers(1, most))


def allowed_batches(engine, longest_prompt):
    """Return every batch by the definition of the limits, with its least time."""
    tokens = min(engine.token_budget, engine.kv_capacity or engine.token_budget)
    places = tokens if engine.max_batch_size is None else engine.max_batch_size
    chunk = longest_prompt or tokens
    for x, y in itertools.product(range(tokens + 1), repeat=2):
        held = y + -(-x // chunk)
        fits = 1 <= x + y <= tokens and (held <= places or engine.max_batch_size is None)
        if fits:
            read = KV_AXIS if y and len(getattr(engine.step_time, "axes", ())) == 3 else (0,)
            yield x, y, min(engine.step_time(x, y, kv) for kv in read)


def programme(batches, prompt, output):
    """Return the least time that serves one request, by linear programming."""
    x, y, seconds = np.array([[float(v) for v in batch] for batch in batches]).T
    # In the least time of any batch, HiGHS's absolute tolerances do not matter.
    unit = seconds.min()
    found = linprog(seconds / unit, A_ub=-np.stack([x, y]), b_ub=[-prompt, -output])
    assert found.status == 0
    return found.fun * unit


@settings(max_examples=60)
@given(
    case=cases(staircases | hinges | tables, 64) | cases(grids, 16),
    prompt=st.integers(1, 300),
    output=st.integers(1, 300),
)
def test_the_largest_rate_is_that_of_the_linear_programme(case, prompt, output):
    engine, longest = case
    region = stability_region(engine, longest_prompt=longest)
    load = Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    cost = programme(list(allowed_batches(engine, longest)), prompt, output)
    assert float(1 / region.largest_rate(load)) == pytest.approx(cost, rel=1e-9)


def brute_force_facets(batches):
    """Return every price pair that two rates support and that no batch exceeds, exactly."""
    rates = {(Fraction(x) / t, Fraction(y) / t) for x, y, t in batches}
    most = [max(rate[kind] for rate in rates) for kind in (0, 1)]
    rates |= {(most[0], Fraction(0)), (Fraction(0), most[1])}
    found = set()
    for (a, b), (c, d) in itertools.combinations(sorted(rates), 2):
        scale = a * d - b * c
        if scale == 0:
            continue
        prices = ((d - b) / scale, (a - c) / scale)
        if min(prices) >= 0 and all(prices[0] * u + prices[1] * v <= 1 for u, v in rates):
            found.add(prices)
    return found


@settings(max_examples=40)
@given(cases(staircases | hinges | tables | grids, 7))
def test_the_facets_are_those_of_all_pairs(case):
    engine, longest = case
    region = stability_region(engine, longest_prompt=longest)
    prices = [facet.prices for facet in region.facets]
    assert len(set(prices)) == len(prices)
    assert set(prices) == brute_force_facets(list(allowed_batches(engine, longest)))


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 3)).filter(
            lambda batch: batch[0] + batch[1] > 0
        ),
        max_size=12,
    ),
    st.permutations([(1, 0, 3), (0, 1, 3), (4, 4, 9)]),
    st.booleans(),
)
@example([(2, 2, 1), (3, 0, 1), (0, 3, 1), (5, 3, 2), (3, 5, 2)], [(1, 1, 9)], False)
def test_ties_leave_no_corner_within_an_edge(drawn, more, rounded):
    """Small counts make equal rates and collinear ones common."""
    batches = [TimedBatch(*batch) for batch in (*drawn, *more)]
    chain = frontier(
        [b._replace(seconds=float(b.seconds)) for b in batches] if rounded else batches
    )
    rates = [(x / Fraction(t), y / Fraction(t)) for x, y, t in chain]
    prices = []
    for (a, b), (c, d) in itertools.pairwise(rates):
        scale = a * d - b * c
        prices.append(((d - b) / scale, (a - c) / scale))
    brute = {
        p for p in brute_force_facets([(*b[:2], Fraction(b[2])) for b in batches]) if min(p)
    }
    assert len(prices) == len(brute)
    assert set(prices) == brute


@settings(max_examples=40)
@given(cases(staircases | tables, 40))
def test_the_vertices_are_those_of_qhull(case):
    engine, longest = case
    region = stability_region(engine, longest_prompt=longest)
    batches = list(allowed_batches(engine, longest))
    rates = np.array([(float(x / t), float(y / t)) for x, y, t in batches])
    corners = np.concatenate([rates, rates * [1, 0], rates * [0, 1], [[0, 0]]])
    area = ConvexHull(corners, qhull_options="QJ").volume
    polygon = np.array(region.vertices, float)
    x, y = polygon.T
    shoelace = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert shoelace == pytest.approx(area, rel=1e-6)
    for corner in polygon:
        assert np.isclose(corners, corner, rtol=1e-12).all(axis=1).any()


@given(case=cases(grids, 16), factor=st.just(1 + Fraction(1, 10**9)))
@settings(max_examples=20)
def test_a_facet_of_a_grid_is_a_certificate_that_cannot_be_raised(case, factor):
    engine, longest = case
    for facet in stability_region(engine, longest_prompt=longest).facets:
        check_prices(engine, facet.prices, longest_prompt=longest)
        worth = max(
            facet.prices[0] * x + facet.prices[1] * y - t / factor
            for x, y, t in allowed_batches(engine, longest)
        )
        assert worth > 0


@given(cases(staircases | hinges | tables, 64))
def test_floats_agree_with_fractions(case):
    engine, longest = case
    law = engine.step_time
    numbers = {
        name: tuple(map(float, value)) if name == "seconds" else value
        for name, value in (
            (field, getattr(law, field)) for field in type(law).__dataclass_fields__
        )
    }
    floats = {n: float(v) if isinstance(v, Fraction) else v for n, v in numbers.items()}
    rounded = Engine(
        step_time=type(law)(**floats),
        token_budget=engine.token_budget,
        max_batch_size=engine.max_batch_size,
        kv_capacity=engine.kv_capacity,
    )
    near = stability_region(rounded, longest_prompt=longest)
    exact = stability_region(engine, longest_prompt=longest)
    assert near.batches == exact.batches
    for vertex in exact.vertices[1:]:
        assert near.load(*map(float, vertex)) == pytest.approx(1, rel=1e-11)
