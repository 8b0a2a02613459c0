"""Exact fluid paths under buffer priorities: known paths, a slow twin, and laws."""

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._priority_fluid import priority_fluid
from tests.reference.priority_fluid import small_steps
from tests.reference.priority_networks import (
    exponential_jobs,
    lu_kumar,
    networks_with_priority,
    rybko_stolyar,
)

STARTS = st.lists(st.integers(0, 2), min_size=5, max_size=5)


def test_the_round_of_lu_kumar():
    """The virtual station of classes 2 and 4: q' = q alpha m4 / (1 - alpha m2)."""
    network, priority = lu_kumar(F(9, 10))
    run = priority_fluid(network, priority=priority, start=[1, 0, 0, 0], max_phases=4)
    assert run.times == (F(10, 91), F(30, 23), F(35, 23), F(60, 23))
    assert run.states == (
        (0, F(250, 273), F(50, 273), 0),
        (0, 0, F(50, 23), 0),
        (F(9, 46), 0, 0, F(125, 69)),
        (F(27, 23), 0, 0, 0),
    )
    assert run.ending == "phases"


@pytest.mark.parametrize(
    ("rate", "short", "long", "factor"),
    [
        (F(4, 5), F(1, 10), F(3, 5), F(12, 13)),
        (F(1), F(1, 100), F(2, 3), F(2)),
        (F(3, 4), F(1, 100), F(2, 3), F(1)),
    ],
)
def test_lu_kumar_grows_by_the_formula(rate, short, long, factor):
    network, priority = lu_kumar(rate, short=short, long=long)
    run = priority_fluid(network, priority=priority, start=[1, 0, 0, 0], max_phases=4)
    assert run.states[-1] == (factor, 0, 0, 0)
    assert factor == rate * long / (1 - rate * long)


@pytest.mark.parametrize(
    ("rate", "short", "long", "half"),
    [
        (F(9, 10), F(1, 10), F(3, 5), F(27, 23)),
        # The agent pair of arXiv:2504.07347, section 5.4, at load 0.9: 153/37 a half cycle.
        (F(108, 95), F(1, 12), F(17, 24), F(153, 37)),
    ],
)
def test_the_halves_of_rybko_stolyar(rate, short, long, half):
    network, priority = rybko_stolyar(rate, short=short, long=long)
    run = priority_fluid(network, priority=priority, start=[1, 0, 0, 0], max_phases=4)
    assert run.states[1] == (0, 0, half, 0)
    assert run.states[3] == (half**2, 0, 0, 0)
    assert run.times[1] == long / (1 - rate * long)
    assert run.times[3] == run.times[1] * (1 + half)
    assert run.is_forced


def test_two_paths_lead_on_from_the_start_of_lu_kumar():
    """Exactly balanced shares fit too, but not if class 2 has the least fluid."""
    network, priority = lu_kumar(F(9, 10))
    balanced = MulticlassNetwork(
        stations=[0, 1],
        mean_service=[F(7, 10)] * 2,
        arrival_rates=[F(9, 10), 0],
        routing=[[(1, 1)], []],
    )
    run = priority_fluid(balanced, priority=[0, 0], start=[1, 0])
    assert run.is_forced
    assert run.states == ((0, 0),)
    assert not priority_fluid(
        network, priority=priority, start=[1, 0, 0, 0], max_phases=1
    ).is_forced
    assert priority_fluid(
        network, priority=priority, start=[1, F(1, 9), 0, 0], max_phases=1
    ).is_forced


@pytest.mark.parametrize("seed", range(3))
def test_jobs_follow_the_path_that_is_chosen(seed):
    """All 50/23 of the fluid meet in class 3, not the nothing that the balanced path leaves.

    While classes 1 and 2 empty, jobs that arrive are those of 2,000 busy periods of load
    0.54, whose number has the variance of a Borel law.
    """
    network, priority = lu_kumar(F(9, 10))
    jobs = exponential_jobs(
        network,
        priority=priority,
        start=[1_900, 100, 0, 0],
        seed=seed,
        until=lambda jobs: jobs[0] == jobs[1] == 0,
    )
    error = np.sqrt(2_000 * 0.54 * (1 + 0.54) / (1 - 0.54) ** 3)
    assert error < 135
    assert abs(jobs[2] - 2_000 * 50 / 23) < 4 * error
    assert jobs[3] < 100


@settings(max_examples=40)
@given(networks_with_priority(), STARTS)
def test_small_steps_lead_to_the_same_place(drawn, start):
    network, priority = drawn
    start = start[: network.class_count]
    run = priority_fluid(network, priority=priority, start=start, until=3)
    if run.is_forced and run.ending == "until":
        slow = small_steps(network, priority=priority, start=start, until=3, steps=1_500)
        assert slow == pytest.approx([float(q) for q in run.states[-1]], abs=0.1)


@given(networks_with_priority(), STARTS)
def test_every_phase_obeys_the_model(drawn, start):
    network, priority = drawn
    run = priority_fluid(network, priority=priority, start=start[: network.class_count])
    before = run.start
    for phase, after in zip(run.phases, run.states, strict=True):
        assert phase.duration > 0
        assert min(after) >= 0
        for k, at in enumerate(network.stations):
            first = [l for l in network.classes_at(at) if priority[l] <= priority[k]]
            spent = sum(phase.shares[l] for l in first)
            assert 0 <= phase.shares[k] <= spent <= 1
            if before[k] or after[k]:
                assert spent == 1
            balance = before[k] + phase.duration * (
                network.arrival_rates[k] - phase.shares[k] / network.mean_service[k]
            )
            for l, row in enumerate(network.routing):
                through = phase.duration * phase.shares[l] / network.mean_service[l]
                balance += dict(row).get(k, 0) * through
            assert after[k] == balance
        before = after


@given(networks_with_priority(), STARTS, st.fractions(F(1, 5), 5, max_denominator=9))
def test_paths_scale(drawn, start, scale):
    network, priority = drawn
    start = start[: network.class_count]
    run = priority_fluid(network, priority=priority, start=start, max_phases=9)
    scaled = [scale * q for q in start]
    larger = priority_fluid(network, priority=priority, start=scaled, max_phases=9)
    assert larger.times == tuple(scale * time for time in run.times)
    assert larger.states == tuple(tuple(scale * q for q in state) for state in run.states)


@given(networks_with_priority(most_stations=1), STARTS)
def test_one_station_drains_when_its_work_is_done(drawn, start):
    """Work at one station falls at rate 1 minus the load, whatever the priority."""
    network, priority = drawn
    classes = network.class_count
    routing = np.zeros((classes, classes))
    for k, row in enumerate(network.routing):
        for l, number in row:
            routing[k, l] = number
    if max(abs(np.linalg.eigvals(routing))) > 0.99:
        return
    work = np.linalg.solve(np.eye(classes) - routing, [float(m) for m in network.mean_service])
    load = work @ [float(rate) for rate in network.arrival_rates]
    if load < 0.99 and any(start[:classes]):
        run = priority_fluid(network, priority=priority, start=start[:classes])
        assert run.ending == "drained"
        assert float(run.times[-1]) == pytest.approx(work @ start[:classes] / (1 - load))


def test_overload_has_no_end():
    network, priority = rybko_stolyar(F(2))
    run = priority_fluid(network, priority=priority, start=[0] * 4)
    assert run.ending == "endless"
    assert run.phases == ()
    run = priority_fluid(network, priority=priority, start=[0] * 4, until=3)
    assert run.times == (3,)
    assert sum(run.states[-1]) > 0


def test_an_empty_network_below_load_one_stays_empty():
    network, priority = rybko_stolyar(F(9, 10))
    run = priority_fluid(network, priority=priority, start=[0] * 4)
    assert (run.ending, run.phases) == ("drained", ())


def test_long_numbers_end_a_run():
    network, priority = rybko_stolyar(F(9, 10))
    start = [F(1, 3**13_000), 0, 0, 0]
    assert priority_fluid(network, priority=priority, start=start).ending == "digits"


def test_chatter_ends_a_run():
    """A trace of fluid beside very much of it drains in a phase too short to go on."""
    network = MulticlassNetwork.with_routes(["AB"], mean_service=[1, 1], arrival_rates=[0])
    run = priority_fluid(network, priority=[0, 0], start=[2**60, 1])
    assert run.ending != "chatter"
    two = MulticlassNetwork(
        stations=[0, 1], mean_service=[1, 1], arrival_rates=[0, 0], routing=[[], []]
    )
    run = priority_fluid(two, priority=[0, 0], start=[2**60, 1])
    assert (run.ending, run.phases) == ("chatter", ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": [1, 0, 0]}, "start must be 4 integers"),
        ({"start": [1, 0, 0, 0.5]}, "start must be 4 integers"),
        ({"start": [1, 0, 0, -1]}, "start must be 4 integers"),
        ({"until": 0}, "until must be"),
        ({"until": 1.5}, "until must be"),
        ({"priority": [0, 0, 0, 0]}, "priority must be 4 integers"),
        ({"priority": [0, 1, 2]}, "priority must be 4 integers"),
        ({"priority": [0, 1, 2, 3, 4]}, "priority must be 4 integers"),
        ({"priority": [0, 1, 2, 3.0]}, "priority must be 4 integers"),
    ],
)
def test_what_is_refused(change, message):
    network, priority = lu_kumar(F(9, 10))
    arguments = {"priority": priority, "start": [1, 0, 0, 0]} | change
    with pytest.raises(InvalidArgument, match=message):
        priority_fluid(network, **arguments)
