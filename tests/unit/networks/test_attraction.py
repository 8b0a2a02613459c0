"""Whether nearby paths are drawn to a cycle, and a cycle that does not draw them."""

from dataclasses import replace
from fractions import Fraction as F

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._attraction import cycle_attraction
from queueing_llm.networks._growing_cycle import growing_cycle
from queueing_llm.networks._priority_fluid import priority_fluid
from queueing_llm.networks._priority_shares import PriorityService
from tests.reference.priority_networks import lu_kumar, rybko_stolyar


@pytest.mark.parametrize("push", [F(1, 10), F(1, 1000), F(1, 10**6)])
@pytest.mark.parametrize("family", [lu_kumar, rybko_stolyar])
def test_all_nearby_paths_come_back_onto_the_classic_cycles(family, push):
    network, priority = family(F(9, 10))
    found = cycle_attraction(network, growing_cycle(network, priority=priority), push=push)
    assert found.attracts
    assert found.deviation == 0
    assert found.starts == 3


def test_the_pair_leaves_no_choice_unless_both_first_classes_have_fluid():
    network, priority = rybko_stolyar(F(9, 10))
    found = cycle_attraction(network, growing_cycle(network, priority=priority))
    assert found.is_forced
    assert found.forced_starts == 2
    network, priority = lu_kumar(F(9, 10))
    found = cycle_attraction(network, growing_cycle(network, priority=priority))
    assert not found.is_forced


def test_another_path_drains_from_the_start_of_the_cycle_of_lu_and_kumar():
    """Why attraction speaks of the paths tried: of all fluid paths it would be false."""
    network, priority = lu_kumar(F(9, 10))
    cycle = growing_cycle(network, priority=priority)
    assert cycle.start == (1, 0, 0, 0)
    assert cycle_attraction(network, cycle).attracts
    balance = (F(1, 7), F(6, 7), F(1, 7), F(6, 7))
    assert balance != cycle.phases[0].shares
    drift = PriorityService.of(network, priority).drift(balance)
    assert drift == (F(9, 10) - F(10, 7), 0, 0, 0)
    # Class 0 is the last of its station, and both stations are busy all the time.
    assert [sum(balance[k] for k in network.classes_at(j)) for j in (0, 1)] == [1, 1]


def two_pairs(first, second):
    """Two pairs of stations that have nothing to do with each other."""
    return MulticlassNetwork.with_routes(
        ["AB", "BA", "CD", "DC"],
        mean_service=[F(1, 10), F(3, 5)] * 4,
        arrival_rates=[first, first, second, second],
    )


def test_a_cycle_beside_which_something_else_grows_does_not_attract():
    """The control: one of two pairs grows, until the other is pushed and grows as well."""
    network, priority = two_pairs(F(9, 10), F(6, 5)), [1, 0] * 4
    cycle = growing_cycle(network, priority=priority)
    assert cycle.factor == F(27, 23) ** 2
    found = cycle_attraction(network, cycle)
    assert found.deviation > 1
    assert not found.attracts


def test_events_that_pile_up_beside_the_cycle_are_passed():
    """A second pair drains in rounds of 9/49, infinitely many in finite time."""
    network, priority = two_pairs(F(9, 10), F(1, 2)), [1, 0] * 4
    run = priority_fluid(network, priority=priority, start=[10, 0, 0, 0, 1, 0, 0, 0])
    assert run.ending == "chatter"
    cycle = growing_cycle(network, priority=priority)
    found = cycle_attraction(network, cycle)
    assert (found.starts, found.deviation) == (7, 0)
    assert found.forced_starts <= 3


def test_a_forged_cycle_and_a_wrong_push_are_refused():
    network, priority = rybko_stolyar(F(9, 10))
    cycle = growing_cycle(network, priority=priority)
    with pytest.raises(InvalidArgument, match="times its start"):
        cycle_attraction(network, replace(cycle, factor=F(3, 2)))
    for push in (F(0), F(1), 0.1):
        with pytest.raises(InvalidArgument, match="push must be"):
            cycle_attraction(network, cycle, push=push)
