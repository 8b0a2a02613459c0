"""Shares of a station's time: every guess by brute force against the solver."""

import itertools
from fractions import Fraction as F

import numpy as np
from hypothesis import given

from queueing_llm.networks._priority_shares import PriorityService
from tests.reference.priority_networks import lu_kumar, networks_with_priority, rybko_stolyar


def fits(service, mode, shares):
    """Whether each class in order takes the least of what is left and what comes in."""
    network = service.network
    drift = service.drift(shares)
    for classes, first in zip(service.order, mode, strict=True):
        left = F(1)
        for place, k in enumerate(classes):
            inflow = drift[k] + shares[k] / network.mean_service[k]
            work = inflow * network.mean_service[k]
            if shares[k] != (left if place == first else min(left, work)):
                return place > first and shares[k] == left == 0
            left -= shares[k]
    return True


def modes(service):
    return itertools.product(*(range(len(classes) + 1) for classes in service.order))


@given(networks_with_priority())
def test_shares_fit_in_every_mode(drawn):
    service = PriorityService.of(*drawn)
    for mode in modes(service):
        shares = service.shares(mode)
        assert shares is None or fits(service, mode, shares)
        assert shares is not None or not service.is_forced(mode)


@given(networks_with_priority())
def test_forced_shares_are_found_from_any_start_of_a_fixed_point_iteration(drawn):
    """Damped iteration from random starts: where it settles, it settles on these shares."""
    service = PriorityService.of(*drawn)
    network, random = service.network, np.random.default_rng(0)
    means = [float(mean) for mean in network.mean_service]
    for mode in itertools.islice(modes(service), 8):
        if not service.is_forced(mode):
            continue
        expected = np.array([float(x) for x in service.shares(mode)])
        shares = random.random(network.class_count)
        for _ in range(400):
            after = np.zeros(network.class_count)
            for classes, first in zip(service.order, mode, strict=True):
                left = 1.0
                for place, k in enumerate(classes[: first + 1]):
                    inflow = float(network.arrival_rates[k]) + sum(
                        float(n) * shares[l] / means[l] for l, n in service.inflows[k]
                    )
                    after[k] = left if place == first else min(left, inflow * means[k])
                    left -= after[k]
            step, shares = after - shares, (shares + after) / 2
        if np.max(np.abs(step)) < 1e-9:
            assert np.max(np.abs(shares - expected)) < 1e-6


def test_an_empty_exit_class_is_pushed_or_starved():
    """Fluid in both first classes: whichever exit class begins to fill starves the other."""
    network, priority = rybko_stolyar(F(9, 10))
    service = PriorityService.of(network, priority)
    mode = service.mode([1, 0, 1, 0])
    assert service.order == ((3, 0), (1, 2))
    assert mode == (1, 1)
    assert not service.is_forced(mode)
    guesses = itertools.product((0, 1), repeat=2)
    found = set(service._fitting(mode, guesses))
    assert len(found) == 3
    assert {(1, 1, 0, 0), (0, 0, 1, 1)} < found
    assert service.shares(mode) in {(1, 1, 0, 0), (0, 0, 1, 1)}


def test_lu_kumar_is_forced_only_if_the_first_station_is_the_faster():
    """From class 1 alone, three balances fit if m1 + m4 > m2 + m3, one if less."""
    network, priority = lu_kumar(F(9, 10))
    for extra, forced in ((F(1, 20), False), (F(-1, 20), True)):
        means = list(network.mean_service)
        means[3] += extra
        changed = type(network)(
            stations=network.stations,
            mean_service=means,
            arrival_rates=network.arrival_rates,
            routing=network.routing,
        )
        service = PriorityService.of(changed, priority)
        assert service.is_forced(service.mode([1, 0, 0, 0])) is forced


def test_too_many_guesses_are_not_called_forced():
    routes = [("A", f"S{j}", "A", f"S{j}") for j in range(11)]
    pairs = type(lu_kumar(F(1))[0]).with_routes(
        routes, mean_service=[F(1, 100), 2] * 22, arrival_rates=[1] * 11
    )
    service = PriorityService.of(pairs, [44 - k for k in range(44)])
    state = [int(k == 0) for k in range(44)]
    assert not service.is_forced(service.mode(state))
    assert service.shares(service.mode(state)) is not None
