"""The bulk queue at its epochs, three ways: roots, a truncated chain, and an engine.

Every second up to s waiting customers are taken, whether any wait or not, and Poisson(m) new
ones come until the next second: q' = max(q - s, 0) + xi.
"""

import cmath
import math
from typing import Any

import numpy as np

import queueing_llm as ql
from queueing_llm.model import DeterministicArrivals, DeterministicLength

LEAST_WEIGHT = 1e-15


def mean_by_roots(rate: float, batch: int) -> float:
    r"""Return the mean queue at the epochs, by the roots of z^s = exp(-m (1 - z)).

    .. math:: E q = m - \frac{s (s - 1) - m^2}{2 (s - m)} + \sum_{r=1}^{s-1} \frac{1}{1 - z_r},

    the sum over the roots inside the unit circle.

    Parameters
    ----------
    rate : float
        :math:`m` [customers/epoch], below the batch.
    batch : int
        :math:`s` [customers].

    Examples
    --------
    >>> round(mean_by_roots(0.7, 1), 6)
    1.516667
    """
    inside = sum(1 / (1 - root) for root in roots(rate, batch))
    return rate - (batch * (batch - 1) - rate**2) / (2 * (batch - rate)) + inside.real


def roots(rate: float, batch: int) -> list[complex]:
    """Return the roots of z^s = exp(-m (1 - z)) inside the unit circle, 1 left out.

    Each is the fixed point of z = w exp(-m (1 - z) / s), w one of the roots of unity: a
    contraction of the unit disc, by m / s < 1.
    """
    found = []
    for r in range(1, batch):
        unit, root = cmath.exp(2j * math.pi * r / batch), 0j
        for _ in range(math.ceil(math.log(LEAST_WEIGHT) / math.log(rate / batch))):
            root = unit * cmath.exp(-rate * (1 - root) / batch)
        found.append(root)
    return found


def distribution(rate: float, batch: int, *, states: int) -> np.ndarray:
    """Return the stationary law of the queue at the epochs, cut off at a number of states."""
    chain = np.zeros((states, states))
    new = poisson_weights(rate, states)
    for queue in range(states):
        left = max(queue - batch, 0)
        chain[queue, left:] = new[: states - left]
        chain[queue, -1] += 1 - chain[queue].sum()
    balance = np.vstack([(chain.T - np.eye(states))[:-1], np.ones(states)])
    return np.linalg.solve(balance, np.eye(states)[-1])


def poisson_weights(rate: float, count: int) -> np.ndarray:
    """Return the first probabilities of the Poisson law."""
    logs = [n * math.log(rate) - rate - math.lgamma(n + 1) for n in range(count)]
    return np.exp(logs)


def simulated(rate: float, batch: int, *, epochs: int, replications: int, seed: int) -> Any:
    """Return a run of an engine whose time average of requests is the mean at the epochs.

    A step takes a second and serves up to ``batch`` requests of one token; those of a second
    arrive together at its end, so that the number does not change in between.
    """
    engine = ql.Engine(
        ql.AffineStepTime(base=1, per_token=0),
        token_budget=batch,
        first_token_from_prefill=True,
    )
    weights = np.rint(poisson_weights(rate, 60) * 1e12).astype(np.int64)
    sizes = ql.EmpiricalLength(np.flatnonzero(weights), weights=weights[weights > 0])
    arrivals = ql.BatchArrivals(DeterministicArrivals(1), sizes)
    token = DeterministicLength(1)
    workload = ql.Workload.of(arrivals, ql.IndependentLengths(token, token))
    return ql.simulate(
        engine,
        workload,
        policy=ql.SARATHI,
        horizon=epochs,
        replications=replications,
        seed=seed,
        warmup=epochs / 20,
        samples=2000,
    )
