"""Random networks with buffer priorities, and one network with exponential services."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from queueing_llm.model import MulticlassNetwork


@st.composite
def networks_with_priority(draw, *, most_stations=3, most_classes=5):
    """Draw a network with random routing, sometimes with feedback, and ranks of its classes."""
    stations = draw(st.integers(1, most_stations))
    classes = draw(st.integers(stations, max(stations, most_classes)))
    at = [*range(stations)] + [
        draw(st.integers(0, stations - 1)) for _ in range(classes - stations)
    ]
    tenths = st.integers(1, 9).map(lambda tenth: Fraction(tenth, 10))
    routing = [
        draw(
            st.dictionaries(st.integers(0, classes - 1), st.integers(1, 3), max_size=2).map(
                lambda row: [(target, Fraction(number, 8)) for target, number in row.items()]
            )
        )
        for _ in range(classes)
    ]
    network = MulticlassNetwork(
        stations=at,
        mean_service=[draw(tenths) for _ in range(classes)],
        arrival_rates=[draw(st.integers(0, 2)) * Fraction(1, 4) for _ in range(classes)],
        routing=routing,
    )
    return network, tuple(draw(st.permutations(range(classes))))


def lu_kumar(rate, *, short=Fraction(1, 10), long=Fraction(3, 5)):
    """Return the line A B B A and the priority of the last class at A, the second at B."""
    network = MulticlassNetwork.with_routes(
        ["ABBA"], mean_service=[short, long, short, long], arrival_rates=[rate]
    )
    return network, (1, 0, 1, 0)


def rybko_stolyar(rate, *, short=Fraction(1, 10), long=Fraction(3, 5)):
    """Return the routes A B and B A and the priority of the class that leaves."""
    network = MulticlassNetwork.with_routes(
        ["AB", "BA"], mean_service=[short, long, short, long], arrival_rates=[rate, rate]
    )
    return network, (1, 0, 1, 0)


def exponential_jobs(network, *, priority, start, seed, until):
    """Return the jobs of each class when a condition first holds; everything is exponential.

    Fixed routes only. Preemptive priorities: a class serves only while those before it at its
    station are empty.
    """
    random = np.random.default_rng(seed)
    jobs = list(start)
    following = [row[0][0] if row else None for row in network.routing]
    arrivals = [float(rate) for rate in network.arrival_rates]
    speeds = [1 / float(mean) for mean in network.mean_service]
    orders = [
        sorted(network.classes_at(station), key=priority.__getitem__)
        for station in range(network.station_count)
    ]
    while not until(jobs):
        served = [next((k for k in order if jobs[k]), None) for order in orders]
        events = [(k, rate, True) for k, rate in enumerate(arrivals) if rate]
        events += [(k, speeds[k], False) for k in served if k is not None]
        marks = np.cumsum([rate for _, rate, _ in events])
        k, _, comes = events[np.searchsorted(marks, random.random() * marks[-1], side="right")]
        jobs[k] += 1 if comes else -1
        if not comes and following[k] is not None:
            jobs[following[k]] += 1
    return jobs
