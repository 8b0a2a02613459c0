"""The fluid model of a static priority in small steps of time: a slow twin, in floats."""

import numpy as np


def small_steps(network, *, priority, start, until, steps):
    """Return the state at a time, by Euler steps in which stations serve rank by rank."""
    stations = np.array(network.stations)
    service = np.array([float(m) for m in network.mean_service])
    arrivals = np.array([float(rate) for rate in network.arrival_rates])
    routing = np.zeros((len(service), len(service)))
    for source, row in enumerate(network.routing):
        for target, number in row:
            routing[source, target] = float(number)
    order = sorted(range(len(service)), key=lambda k: priority[k])
    state = np.array([float(q) for q in start])
    step = float(until) / steps
    for _ in range(steps):
        left = np.full(stations.max() + 1, step)
        served = np.zeros(len(service))
        for k in order:
            served[k] = min(state[k], left[stations[k]] / service[k])
            left[stations[k]] = max(left[stations[k]] - served[k] * service[k], 0.0)
        state = np.maximum(state + step * arrivals - served + served @ routing, 0.0)
    return state
