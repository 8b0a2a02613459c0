"""Closed workloads as data: users, think times, and what they refuse."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    AbstractArrivals,
    BatchArrivals,
    ClosedArrivals,
    EmpiricalLengths,
    GeometricLength,
    RequestClass,
    Workload,
)

ENGINE = ql.Engine(step_time=ql.StaircaseStepTime(0.01128, 0.03547, 128), token_budget=512)
LIMITED = ql.Engine(
    step_time=ql.StaircaseStepTime(0.01128, 0.03547, 128), token_budget=512, kv_capacity=4096
)
CLOSED = Workload.closed(64, prompt_tokens=129, output_tokens=112)


def rng(seed=1):
    return np.random.default_rng(seed)


def thinks(arrivals, count, *, size, seed=1):
    chunks = arrivals.think_times(rng(seed), size)
    return np.concatenate(list(itertools.islice(chunks, -(-count // size))))[:count]


def test_a_closed_workload_says_how_many_users_it_has():
    assert CLOSED.users == 64
    assert CLOSED.is_endless
    assert Workload.poisson(1, prompt_tokens=1, output_tokens=1).users is None
    assert CLOSED.moments.product == 129 * 112
    assert isinstance(CLOSED.arrivals, AbstractArrivals)


def test_the_constructor_is_that_of_the_parts():
    law = GeometricLength(7)
    workload = Workload.closed(
        3, think_time=2, think_scv=1, ramp=5, prompt_tokens=4, output_tokens=law
    )
    assert workload.arrivals == ClosedArrivals(3, think_time=2, think_scv=1, ramp=5)
    assert workload.classes[0].lengths.output == law


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"users": 0}, "users must be an integer at least 1"),
        ({"users": 2.5}, "users must be an integer"),
        ({"users": 2, "think_time": -1}, "think_time must be a finite number at least 0"),
        ({"users": 2, "think_time": np.inf}, "think_time must be a finite number"),
        ({"users": 2, "think_scv": -0.5}, "think_scv must be a finite number at least 0"),
        ({"users": 2, "ramp": -3}, "ramp must be a finite number at least 0"),
    ],
)
def test_parameters_out_of_range_are_refused(wrong, says):
    with pytest.raises(InvalidArgument, match=says):
        ClosedArrivals(**wrong)


@given(
    size=st.integers(1, 90),
    scv=st.sampled_from([0, Fraction(1, 7), 1, 4]),
    seed=st.integers(0, 2**32),
)
def test_think_times_do_not_depend_on_the_chunk_size(size, scv, seed):
    arrivals = ClosedArrivals(3, think_time=2, think_scv=scv)
    parts = thinks(arrivals, 100, size=size, seed=seed)
    assert np.array_equal(parts, thinks(arrivals, 100, size=100, seed=seed))
    assert (parts >= 0).all()


@pytest.mark.parametrize("scv", [0, Fraction(1, 4), 1, 4])
def test_think_times_have_the_mean_and_variability_asked_for(scv):
    drawn = thinks(ClosedArrivals(1, think_time=3, think_scv=scv), 200_000, size=50_000)
    assert drawn.mean() == pytest.approx(3, abs=4 * 3 * float(scv) ** 0.5 / 200_000**0.5)
    assert drawn.var() / 9 == pytest.approx(float(scv), rel=0.05)


def test_users_begin_one_after_the_other_over_the_ramp():
    arrivals = ClosedArrivals(5, think_time=1, ramp=10)
    assert arrivals.starts(rng()).tolist() == [1, 3, 5, 7, 9]
    assert ClosedArrivals(3).starts(rng()).tolist() == [0, 0, 0]


@given(st.integers(1, 50), st.sampled_from([0, 1, 9]), st.sampled_from([0, 3.5]))
def test_starts_are_sorted_and_as_many_as_users(users, scv, ramp):
    starts = ClosedArrivals(users, think_time=2, think_scv=scv, ramp=ramp).starts(rng())
    assert len(starts) == users
    assert (np.diff(starts) >= 0).all()


def test_arrival_times_are_not_known_in_advance():
    chunk = next(
        Workload.closed(2, think_time=3, prompt_tokens=4, output_tokens=1).chunks(rng(), 5)
    )
    assert np.isnan(chunk.arrival_times).all()
    assert chunk.think_times.tolist() == [3.0] * 5
    opened = Workload.poisson(1, prompt_tokens=4, output_tokens=1)
    assert next(opened.chunks(rng(), 5)).think_times is None


@given(st.integers(1, 40), st.integers(0, 2**20))
def test_requests_do_not_depend_on_the_chunk_size(size, seed):
    workload = Workload(
        ClosedArrivals(4, think_time=1, think_scv=1),
        [
            RequestClass("short", EmpiricalLengths([3, 4], [1, 2])),
            RequestClass("long", EmpiricalLengths([9, 8, 7], [6, 5, 4], in_order=True)),
        ],
    )

    def drawn(size):
        chunks = list(itertools.islice(workload.chunks(rng(seed), size), -(-40 // size)))
        names = ("prompt_tokens", "output_tokens", "class_index", "think_times")
        return [np.concatenate([getattr(c, name) for c in chunks])[:40] for name in names]

    for part, whole in zip(drawn(size), drawn(40), strict=True):
        assert np.array_equal(part, whole)


REFUSED = {
    "arrival_rate": lambda: CLOSED.arrival_rate,
    "scale_to": lambda: CLOSED.scale_to(3),
    "rate": lambda: CLOSED.arrivals.rate,
    "scaled_to": lambda: CLOSED.arrivals.scaled_to(3),
    "chunks": lambda: next(CLOSED.arrivals.chunks(rng(), 3)),
    "check_stability": lambda: ql.check_stability(ENGINE, CLOSED, policy=ql.SARATHI),
    "check_stability, simulated": lambda: ql.check_stability(
        LIMITED, CLOSED, policy=ql.VLLM_V1
    ),
    "critical_rate": lambda: ql.critical_rate(ENGINE, CLOSED, policy=ql.SARATHI),
    "critical_rate, simulated": lambda: ql.critical_rate(LIMITED, CLOSED, policy=ql.VLLM_V1),
    "bracket": lambda: ql.bracket_critical_rate(ENGINE, CLOSED, policy=ql.SARATHI, at_most=20),
    "fluid_path": lambda: ql.fluid_path(ENGINE, CLOSED, policy=ql.SARATHI),
    "certify_overload": lambda: ql.certify_overload(ENGINE, CLOSED),
    "certify_stability": lambda: ql.certify_stability(ENGINE, CLOSED, policy=ql.SARATHI),
}


@pytest.mark.parametrize("ask", REFUSED.values(), ids=REFUSED.keys())
def test_what_needs_an_arrival_rate_says_that_there_is_none(ask):
    with pytest.raises(InvalidArgument, match="closed workload of 64 users has no arrival"):
        ask()


def test_what_needs_lengths_alone_answers():
    opened = Workload.poisson(1, prompt_tokens=129, output_tokens=112)
    for engine in (ENGINE, LIMITED):
        assert ql.capacity(engine, CLOSED) == ql.capacity(engine, opened)


@pytest.mark.parametrize("certificate", [ql.foster_drift, ql.periodic_bound])
def test_bounds_for_open_arrivals_do_not_apply(certificate):
    assert certificate(ENGINE, CLOSED, policy=ql.SARATHI) is None


def test_users_cannot_send_batches_or_sessions():
    with pytest.raises(InvalidArgument, match="batches must be open arrivals"):
        BatchArrivals(ClosedArrivals(3), GeometricLength(2))
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_node(
        "writer", engine="gpu", prompt_tokens=4, output_tokens=1, arrivals=ClosedArrivals(3)
    )
    with pytest.raises(InvalidArgument, match="arrivals must be open arrivals"):
        ql.AgentNetwork(graph, engines={"gpu": ENGINE})
