"""The search for growing cycles: thresholds, random networks, what it cannot find."""

import itertools
from fractions import Fraction as F
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._cycle import check_cycle
from queueing_llm.networks._growing_cycle import growing_cycle
from queueing_llm.networks._priority_fluid import priority_fluid
from tests.reference.priority_networks import lu_kumar, networks_with_priority, rybko_stolyar


@pytest.mark.parametrize("rate", [F(5, 6) - F(1, 1000), F(5, 6), F(5, 6) + F(1, 1000), F(7, 5)])
@pytest.mark.parametrize(("family", "power"), [(lu_kumar, 1), (rybko_stolyar, 2)])
def test_a_cycle_grows_just_above_the_virtual_station(family, power, rate):
    """Growth if alpha (m2 + m4) > 1, by alpha m / (1 - alpha m) a half cycle of the pair."""
    network, priority = family(rate)
    cycle = growing_cycle(network, priority=priority)
    if rate <= F(5, 6):
        assert cycle is None
    else:
        busy = rate * F(3, 5)
        assert cycle.factor == (busy / (1 - busy)) ** power


@pytest.mark.parametrize("family", [lu_kumar, rybko_stolyar])
def test_no_other_priority_of_these_networks_grows(family):
    network, unstable = family(F(9, 10))
    pairs = ((0, 1), (1, 0))
    orders = [(first, *middle, last) for first, last in pairs for middle in pairs]
    assert [ranks for ranks in orders if growing_cycle(network, priority=ranks)] == [unstable]


@pytest.mark.parametrize(
    ("route", "tenths", "threshold"),
    [
        ("ABBA", [2, 5, 3, 4], F(10, 9)),
        ("ABABA", [1, 6, 1, 1, 6], F(5, 6)),
        # Push starts: the growth condition is quadratic, 4 - 2 sqrt(21)/3 for AABBA.
        ("AABBA", [3, 1, 5, 1, 4], F("0.9449495366961069")),
        ("BABBA", [3, 1, 4, 1, 4], F("1.0233317728")),
        ("BABABA", [3, 1, 4, 1, 1, 5], F("0.9449495367")),
        ("AABBBA", [4, 5, 4, 5, 4, 4], F("0.6886674196")),
        ("ABAAB", [1, 1, 3, 1, 4], F("1.3397459622")),
    ],
)
def test_some_priority_grows_just_where_not_every_policy_is_stable(route, tenths, threshold):
    """The thresholds of the rule of Dai and Vande Vate (2000) for two stations, within 0.1%."""
    means = [F(number, 10) for number in tenths]
    network = MulticlassNetwork.with_routes([route], mean_service=means, arrival_rates=[1])
    at_a, at_b = (network.classes_at(station) for station in (0, 1))

    def grows(factor):
        scaled = network.scaled(threshold * factor)
        for first, second in itertools.product(permutations(at_a), permutations(at_b)):
            ranks = {k: rank for order in (first, second) for rank, k in enumerate(order)}
            priority = [ranks[k] for k in range(len(ranks))]
            if growing_cycle(scaled, priority=priority) is not None:
                return True
        return False

    assert not grows(F(999, 1000))
    assert grows(F(1001, 1000))


def test_classes_filled_in_fixed_proportions():
    """Two arrival streams for the first visit to A: no class is ever alone, but 1 to 2."""
    network = MulticlassNetwork(
        stations=[0, 0, 1, 1, 0],
        mean_service=[F(1, 10), F(1, 10), F(3, 5), F(1, 10), F(3, 5)],
        arrival_rates=[F(3, 10), F(6, 10), 0, 0, 0],
        routing=[[(2, 1)], [(2, 1)], [(3, 1)], [(4, 1)], []],
    )
    cycle = growing_cycle(network, priority=[1, 2, 0, 1, 0])
    assert cycle.factor == F(27, 23)


def test_growth_in_irrational_proportions_is_not_claimed():
    """In the end each round doubles the fluid (2.256, the root of a quadratic): no witness."""
    tenths = [1, 8, 6, 3, 1, 6, 2, 4, 1, 5, 6, 5]
    network = MulticlassNetwork.with_routes(
        ["DCBB", "ACDB", "BDAA"],
        mean_service=[F(number, 10) for number in tenths],
        arrival_rates=[F(9, 14)] * 3,
    )
    priority = [10, 1, 2, 0, 3, 4, 9, 7, 8, 5, 11, 6]
    assert growing_cycle(network, priority=priority) is None
    start = [1] + [0] * 11
    run = priority_fluid(network, priority=priority, start=start, max_phases=60)
    assert sum(run.states[-1]) > 400


@settings(max_examples=30)
@given(networks_with_priority(most_classes=6))
def test_what_is_found_passes_the_check_and_its_path_is_followed(drawn):
    network, priority = drawn
    cycle = growing_cycle(network, priority=priority)
    if cycle is not None:
        check_cycle(network, cycle)
        run = priority_fluid(
            network, priority=priority, start=cycle.start, max_phases=len(cycle.phases)
        )
        assert run.phases == cycle.phases


def test_random_lines_through_two_stations_have_cycles_only_above_the_threshold():
    """A B B A with any means: every cycle needs alpha (m2 + m4) > 1, and then there is one."""
    random, found = np.random.default_rng(5), 0
    for _ in range(40):
        means = [F(int(tenths), 10) for tenths in random.integers(1, 10, size=4)]
        network = MulticlassNetwork.with_routes(["ABBA"], mean_service=means, arrival_rates=[1])
        load = max(means[0] + means[3], means[1] + means[2])
        rate = F(19, 20) / load
        priorities = [(1, 0, 1, 0), (0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 0, 1)]
        cycles = [growing_cycle(network.scaled(rate), priority=ranks) for ranks in priorities]
        assert (cycles[0] is not None) == (rate * (means[1] + means[3]) > 1)
        assert cycles[1:] == [None] * 3
        found += cycles[0] is not None
    assert 5 < found < 35


def test_limits_are_refused_below_zero():
    network, priority = lu_kumar(F(9, 10))
    with pytest.raises(InvalidArgument, match="random_starts and max_phases"):
        growing_cycle(network, priority=priority, max_phases=-1)
    with pytest.raises(InvalidArgument, match="priority must be"):
        growing_cycle(network, priority=[0] * 4)
    assert growing_cycle(network, priority=priority, max_phases=0) is None
