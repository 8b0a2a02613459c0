"""How fast something grows, from its running time integral."""

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.simulate._estimate import Estimate

PARTS = 10
CLEAR = 0.01
"""Growth below this share of what arrives is not called growth."""


def trend(area: np.ndarray, times: np.ndarray) -> Estimate:
    """Return the mean of the second half less that of the first, over half the time.

    Parameters
    ----------
    area : float64 array, shape (R, S)
        Time integral of a quantity up to each sample.
    times : float64 array, shape (S,)
        The samples [s].

    Raises
    ------
    InvalidArgument
        If there are fewer than three samples.
    """
    last = len(times) - 1
    half = last // 2
    if half == 0:
        msg = "growth needs at least 2 samples after the warm-up: use more samples."
        raise InvalidArgument(msg)
    several = len(area) > 1
    marks = np.linspace(0, half, 1 + (1 if several else min(PARTS, half))).astype(int)
    late = last - half + marks
    gained = np.diff(area[:, late]) - np.diff(area[:, marks])
    rates = gained / np.diff(times[marks]) / (times[last - half] - times[0])
    if several:
        return Estimate.of(rates[:, 0], "replications")
    return Estimate.of(rates[0], "batch means")


def is_clear(growth: Estimate, arriving: float) -> bool:
    """Whether growth is above 4 standard errors and 1 % of what arrives."""
    error = 0.0 if np.isnan(growth.standard_error) else growth.standard_error
    return bool(growth.value > max(4 * error, CLEAR * arriving))
