"""The exact rule for two stations beside programmes, growing cycles and simulated jobs."""

import functools
import math
import random
from fractions import Fraction as F

import numba
import numpy as np
import pytest

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._cycle import check_cycle
from queueing_llm.networks._growing_cycle import growing_cycle
from queueing_llm.networks._two_stations import two_station_threshold
from tests.reference.lyapunov_programme import lyapunov_drift

LONGEST = {1: 10, 2: 6, 3: 5, 4: 3}
BLOCK = 100


def random_network(seed):
    """Return one to four types on two stations: some visit one only, some stay for long."""
    rng = random.Random(seed)
    types = rng.choice([1, 1, 2, 2, 3, 3, 4])
    while True:
        lengths = [rng.randint(1, LONGEST[types]) for _ in range(types)]
        routes = ["".join(rng.choice("AB") for _ in range(n)) for n in lengths]
        if set("".join(routes)) == {"A", "B"}:
            break
    means = [F(rng.choice([1, 10, 50, 100, rng.randint(1, 100)]), 100) for _ in "".join(routes)]
    rates = [rng.choice([F(1), F(1), F(3, 10), F(2)]) for _ in routes]
    return MulticlassNetwork.with_routes(routes, mean_service=means, arrival_rates=rates)


def several(quick, everything):
    slow = [pytest.param(n, marks=pytest.mark.slow) for n in range(quick, everything)]
    return [*range(quick), *slow]


@pytest.mark.parametrize("block", several(2, 6))
def test_the_linear_programme_turns_where_the_rule_does(block):
    limited = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        network = random_network(seed)
        found = two_station_threshold(network)
        scaling = float(found.low)
        assert lyapunov_drift(network, scaling=scaling * (1 - 1e-4)) > 0, seed
        assert lyapunov_drift(network, scaling=scaling * (1 + 1e-4)) < 1e-9, seed
        limited += found.high < found.nominal_scaling
    assert limited >= 15, "too few networks in which the rule matters"


@pytest.mark.parametrize("seed", several(20, 60))
def test_certificates_of_the_programme_end_there(seed):
    lyapunov = pytest.importorskip("queueing_llm.networks._lyapunov")
    network = random_network(seed)
    found = two_station_threshold(network)
    assert lyapunov.stability_pieces(network.scaled(found.low * F(999, 1000))) is not None
    assert lyapunov.stability_pieces(network.scaled(found.high * F(1001, 1000))) is None


@pytest.mark.parametrize("seed", several(20, 60))
def test_the_quadratic_programme_is_below(seed):
    quadratic = pytest.importorskip("queueing_llm.networks._quadratic")
    network = random_network(seed)
    above = network.scaled(two_station_threshold(network).high * F(1001, 1000))
    assert quadratic.quadratic_margin(above) <= 1e-9


@numba.njit(cache=False)
def jobs_after(stations, following, speeds, arrivals, order, events, rng):
    """Return the jobs in a Markovian network after some events from empty, and the time.

    Priorities interrupt; ``order`` lists classes from the first on.
    """
    jobs = np.zeros(len(stations), np.int64)
    serving = np.zeros(2, np.int64)
    now, entering = 0.0, arrivals.sum()
    for _ in range(events):
        serving[:] = -1
        total = entering
        for k in order:
            if jobs[k] > 0 and serving[stations[k]] < 0:
                serving[stations[k]] = k
                total += speeds[k]
        now -= math.log(1.0 - rng.random()) / total
        place = rng.random() * total
        for k in range(len(stations)):
            place -= arrivals[k]
            if place < 0:
                jobs[k] += 1
                break
            if serving[stations[k]] == k:
                place -= speeds[k]
                if place < 0:
                    jobs[k] -= 1
                    if following[k] >= 0:
                        jobs[following[k]] += 1
                    break
    return jobs.sum(), now


def growth(network, priority, *, events=1_000_000):
    """Return the share of the arriving jobs that stay."""
    arrivals = np.array([float(rate) for rate in network.arrival_rates])
    jobs, now = jobs_after(
        np.array(network.stations),
        np.array([row[0][0] if row else -1 for row in network.routing]),
        1 / np.array([float(mean) for mean in network.mean_service]),
        arrivals,
        np.argsort(priority),
        events,
        np.random.default_rng(7),
    )
    return jobs / (now * arrivals.sum())


@functools.cache
def roomy_seed(number):
    """Return the seed of a network whose threshold is far below the nominal one."""
    seed = 0 if number == 0 else roomy_seed(number - 1) + 1
    while True:
        found = two_station_threshold(random_network(seed))
        if found.high * F(115, 100) < found.nominal_scaling:
            return seed
        seed += 1


@pytest.mark.parametrize("number", several(12, 60))
def test_jobs_pile_up_under_the_priority_of_the_condition_that_binds(number):
    """Stations are far from overloaded; a stable network keeps few of 10^5 jobs."""
    network = random_network(roomy_seed(number))
    found = two_station_threshold(network)
    priority = found.binding.priority
    assert growth(network.scaled(found.high * F(112, 100)), priority) > 4e-3
    assert growth(network.scaled(found.low * F(88, 100)), priority) < 1e-3


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_its_fluid_runs_into_growing_cycles_in_exact_numbers(count):
    """A cycle can have an irrational shape, which is not looked for; so not quite always."""
    found = 0
    for number in range(count):
        network = random_network(roomy_seed(number))
        threshold = two_station_threshold(network)
        above = network.scaled(threshold.high * F(11, 10))
        cycle = growing_cycle(above, priority=threshold.binding.priority)
        if cycle is not None:
            found += 1
            assert cycle.factor > 1
            check_cycle(above, cycle)
    assert found >= 0.9 * count


def test_jobs_pile_up_in_a_chain_of_excursions_left_early():
    line = MulticlassNetwork.with_routes(
        ["ABBAABB"], mean_service=[1, 10, 1, 10, 1, 1, 1], arrival_rates=[F(1, 20)]
    )
    priority = two_station_threshold(line).binding.priority
    assert growth(line, priority) > 2e-2
    assert growth(line, tuple(range(7))) < 1e-3
    assert growth(line.scaled(F(3, 4)), priority) < 1e-3
