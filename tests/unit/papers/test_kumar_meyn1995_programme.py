"""The quadratic programme written a second time, densely, against the library's."""

import numpy as np
import pytest
from scipy.optimize import linprog

from paper_repro.kumar_meyn1995.fig_quadratic import NETWORKS
from queueing_llm.networks import quadratic_scaling

FOUND = 1e-8


def margin(network, scale):
    """Return the largest drift: symmetric entries in [0, 1], one drift row for each column."""
    classes = network.class_count
    rates = [scale * float(rate) for rate in network.arrival_rates]
    speed = [1 / float(mean) for mean in network.mean_service]
    follower = [row[0][0] if row else None for row in network.routing]
    position = {}
    for i in range(classes):
        for j in range(i, classes):
            position[i, j] = position[j, i] = len(set(position.values()))
    entries = len(set(position.values()))
    own, other, drift = entries, entries + classes, entries + 2 * classes
    rows = []
    for j in range(classes):
        for i in range(classes):
            row = np.zeros(drift + 1)
            if follower[i] is not None:
                row[position[follower[i], j]] += speed[i]
            row[position[i, j]] -= speed[i]
            row[(own if network.stations[i] == network.stations[j] else other) + j] = -1
            rows.append(row)
        row = np.zeros(drift + 1)
        for i in range(classes):
            row[position[i, j]] += rates[i]
        row[[own + j, other + j, drift]] = 1
        rows.append(row)
    free, positive = [(None, None)] * classes, [(0, None)] * (classes + 1)
    found = linprog(
        -np.eye(drift + 1)[drift],
        A_ub=np.array(rows),
        b_ub=np.zeros(len(rows)),
        bounds=[(0, 1)] * entries + free + positive,
    )
    return -found.fun


@pytest.mark.parametrize("name", NETWORKS)
def test_both_programmes_end_at_the_same_multiple(name):
    end = quadratic_scaling(NETWORKS[name])
    assert margin(NETWORKS[name], end * (1 - 1e-4)) > FOUND
    assert margin(NETWORKS[name], end * (1 + 1e-4)) < FOUND
