r"""Vanilla vLLM's own critical rate, by dynamic programming over the prefill phase.

The pool of decodes is what grows. With a large pool a cycle is one decode step of
:math:`\hat d = \min(b, k_{max})` tokens, then prefill batches until no prompt waits. With
Poisson arrivals and constant whole prompts the length of the prefill phase from n waiting
prompts solves

.. math:: h(n) = t(s p) + E\, h(n - s + Poisson(\lambda t(s p))), \qquad s = \min(n, J),

and the policy is stable iff :math:`\lambda m_d (t(\hat d) + E h(Poisson(\lambda t(\hat d))))
< \hat d`. A derivation of this project's notes, not a result of arXiv:2504.07347.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import poisson

MOST_WAITING = 250


def critical_rate(step_time, *, budget, prompt, output, members=None):
    """Return the rate at which the decode pool stops draining [requests/s]."""
    pool = min(budget, members or budget)
    together = min(budget // prompt, members or budget)

    def excess(rate):
        decode = step_time(0, pool)
        phase = _phase(step_time, rate, prompt, together)
        cycle = decode + _arrivals(rate * decode) @ phase
        return rate * output * cycle - pool

    longest = step_time(together * prompt)
    return brentq(excess, 1e-3, 0.98 * together / longest, xtol=1e-10)


def _arrivals(mean):
    weights = poisson.pmf(np.arange(MOST_WAITING), mean)
    weights[-1] += 1 - weights.sum()
    return weights


def _phase(step_time, rate, prompt, together):
    """Return the mean length of the prefill phase from 0, 1, ... waiting prompts [s]."""
    matrix, seconds = np.eye(MOST_WAITING), np.zeros(MOST_WAITING)
    lasts = [step_time(served * prompt) for served in range(1, together + 1)]
    arriving = [_arrivals(rate * last) for last in lasts]
    for waiting in range(1, MOST_WAITING):
        served = min(waiting, together)
        seconds[waiting] = lasts[served - 1]
        after = np.minimum(waiting - served + np.arange(MOST_WAITING), MOST_WAITING - 1)
        np.subtract.at(matrix[waiting], after, arriving[served - 1])
    return np.linalg.solve(matrix, seconds)
