"""The linear programme of piecewise-linear Lyapunov functions for two stations, in floats.

Slow and obvious: dense rows, one at a time, as the drift conditions are written down. Dai and
Weiss (1996), Down and Meyn (1997), Bertsimas, Gamarnik and Tsitsiklis (1996).
"""

import numpy as np
from scipy.optimize import linprog


def lyapunov_drift(network, *, scaling=1):
    """Return the best drift of weights with sum 1; the network is stable if it is positive.

    Columns: the weights of station 0, those of station 1, for each station the least fall of
    its piece by its own work and by work elsewhere, and the drift.
    """
    classes = network.class_count
    columns = 2 * classes + 5
    rates = np.array([float(rate * scaling) for rate in network.arrival_rates])
    rows = []
    for i in (0, 1):
        own, elsewhere = 2 * classes + 2 * i, 2 * classes + 2 * i + 1
        drift = np.zeros(columns)
        drift[i * classes : (i + 1) * classes] = rates
        drift[[own, elsewhere, -1]] = -1, -1, 1
        rows += [drift, _unit(columns, elsewhere)]
        for k, station in enumerate(network.stations):
            fall = _unit(columns, own if station == i else elsewhere)
            speed = 1 / float(network.mean_service[k])
            fall[i * classes + k] -= speed
            for l, share in network.routing[k]:
                fall[i * classes + l] += speed * float(share)
            rows.append(fall)
            if station != i:
                dominated = _unit(columns, i * classes + k)
                dominated[(1 - i) * classes + k] = -1
                rows.append(dominated)
    total = np.zeros(columns)
    total[: 2 * classes] = 1
    found = linprog(
        -_unit(columns, columns - 1),
        A_ub=np.array([*rows, total]),
        b_ub=[0.0] * len(rows) + [1.0],
        bounds=[(0, None)] * (2 * classes) + [(None, None)] * 5,
        method="highs",
    )
    assert found.success, found.message
    return -found.fun


def _unit(columns, place):
    row = np.zeros(columns)
    row[place] = 1
    return row
