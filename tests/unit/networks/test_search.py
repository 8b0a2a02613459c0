"""Advice: the stable priorities with the fewest changes."""

import itertools
import math
from fractions import Fraction as F

import pytest
from hypothesis import given

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._growing_cycle import growing_cycle
from queueing_llm.networks._search import stabilising_priorities
from tests.reference.priority_networks import networks_with_priority, rybko_stolyar


def test_one_swap_cures_the_agent_pair():
    network, priority = rybko_stolyar(F(108, 95), short=F(1, 12), long=F(17, 24))

    def classify(ranks):
        return "stable" if growing_cycle(network, priority=ranks) is None else "unstable"

    found = list(stabilising_priorities(network, priority=priority, classify=classify))
    assert [changes for _, changes in found] == [1, 1, 2]
    assert found[-1] == ((0, 1, 0, 1), 2)


@given(networks_with_priority())
def test_all_orders_come_once_and_closest_first(drawn):
    network, priority = drawn
    found = list(
        stabilising_priorities(network, priority=priority, classify=lambda _: "stable")
    )
    sizes = [len(network.classes_at(j)) for j in range(network.station_count)]
    assert len(set(found)) == len(found) == math.prod(map(math.factorial, sizes))
    assert [changes for _, changes in found] == sorted(changes for _, changes in found)
    for ranks, changes in found:
        swapped = sum(
            (priority[k] < priority[l]) != (ranks[k] < ranks[l])
            for k, l in itertools.combinations(range(network.class_count), 2)
            if network.stations[k] == network.stations[l]
        )
        assert changes == swapped


def test_it_asks_only_as_far_as_it_is_read():
    network, priority = rybko_stolyar(F(9, 10))
    asked = []

    def classify(ranks):
        asked.append(ranks)
        return ("unstable", "undecided", "stable", "stable")[len(asked) - 1]

    found = stabilising_priorities(network, priority=priority, classify=classify)
    assert next(found)[1] == 1
    assert asked[0] == priority
    assert len(asked) == 3


def test_large_networks_are_sampled_with_every_single_change():
    line = MulticlassNetwork.with_routes(
        ["ABABABABABABAB"], mean_service=[F(1, 10)] * 14, arrival_rates=[1]
    )

    def found(seed):
        return list(
            stabilising_priorities(
                line, priority=range(14), classify=lambda _: "stable", most=50, seed=seed
            )
        )

    assert [changes for _, changes in found(0)[:14]] == [0] + [1] * 12 + [found(0)[13][1]]
    assert found(0)[13][1] > 1
    assert found(0) == found(0) != found(1)
    assert len(found(0)) <= 50


def test_what_is_refused():
    network, priority = rybko_stolyar(F(9, 10))
    with pytest.raises(InvalidArgument, match="most must be"):
        next(
            stabilising_priorities(
                network, priority=priority, classify=lambda _: "stable", most=0
            )
        )
    with pytest.raises(InvalidArgument, match="classify must answer"):
        next(stabilising_priorities(network, priority=priority, classify=lambda _: "yes"))
    with pytest.raises(InvalidArgument, match="priority must be"):
        stabilising_priorities(network, priority=[0] * 4, classify=lambda _: "stable")
