"""The randomness of a replication does not depend on how much is drawn at a time."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    BatchArrivals,
    DeterministicArrivals,
    EmpiricalLength,
    Engine,
    GeometricLength,
    IndependentLengths,
    PoissonArrivals,
    ScheduledArrivals,
)
from queueing_llm.model.agents import AgentNetwork, NetworkEngine, Visit
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate.networks._branches import Draws
from queueing_llm.simulate.networks._streams import Streams
from queueing_llm.steptime import AffineStepTime

ENGINE = Engine(step_time=AffineStepTime(base=1, per_token=0), token_budget=8)
LAW = IndependentLengths(GeometricLength(4), GeometricLength(3))
PROCESSES = (
    PoissonArrivals(2),
    PoissonArrivals(30),
    DeterministicArrivals(1),
    ScheduledArrivals([0.0, 0.0, 1.0, 1.0, 1.0, 5.0]),
    BatchArrivals(PoissonArrivals(0.5), EmpiricalLength([1, 7])),
)


def streams(processes, *, start=None, turns=None):
    visits = tuple(
        Visit(f"v{i}", i, "s", (0,), LAW, arrivals, turns=turns)
        for i, arrivals in enumerate(processes)
    )
    network = AgentNetwork.of((NetworkEngine("e", ENGINE),), visits, ())
    clock = Clock.of(ENGINE)
    return Streams(network, np.random.default_rng(8), clock=clock, start=start or {})


def sessions(chunk, processes, *, count=150, start=None):
    arrivals = Draws(streams(processes, start=start), chunk).arrivals()
    return np.array(list(itertools.islice(arrivals, count))).T


@given(
    st.lists(st.sampled_from(PROCESSES), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(10, 60),
)
def test_merged_arrivals_do_not_depend_on_the_chunk(processes, small, large):
    some, others = (sessions(chunk, processes) for chunk in (small, large))
    np.testing.assert_array_equal(some, others)
    assert (np.diff(some[0]) >= 0).all()
    ties = np.diff(some[0]) == 0
    assert (np.diff(some[1])[ties] >= 0).all()


def test_merging_loses_nothing():
    ticks, visits = sessions(4, (PROCESSES[3], PROCESSES[2], PROCESSES[3]), count=30)
    assert (visits != 1).sum() == 12
    np.testing.assert_array_equal(ticks[visits == 1], np.arange(1, 19) * 10**9)


def test_sessions_present_at_the_start_come_first():
    ticks, visits = sessions(4, (PROCESSES[3], PROCESSES[2]), count=9, start={1: 2, 0: 1})
    assert ticks[:5].tolist() == [0] * 5
    assert visits[:5].tolist() == [0, 1, 1, 0, 0]


def test_numbers_do_not_depend_on_how_many_are_drawn():
    turns = GeometricLength(2)
    whole, parts = streams(PROCESSES[:2], turns=turns), streams(PROCESSES[:2], turns=turns)
    for name, arguments in (
        ("uniforms", ()),
        ("delays", ()),
        ("turns", (1,)),
        ("lengths", (0,)),
    ):
        at_once = np.atleast_2d(getattr(whole, name)(*arguments, 12))
        twice = [np.atleast_2d(getattr(parts, name)(*arguments, size)) for size in (5, 7)]
        np.testing.assert_array_equal(at_once, np.concatenate(twice, axis=1))


def test_a_session_takes_at_least_one_turn():
    with pytest.raises(InvalidArgument, match="turns"):
        streams(PROCESSES[:1], turns=EmpiricalLength([0, 2])).turns(0, 50)
