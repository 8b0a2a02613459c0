"""Measurements that might have been: a bootstrap of residuals that may be correlated."""

import math
from typing import NamedTuple

import numpy as np

_MOST_LEVERAGE = 0.9
_MOST_CORRELATION = 0.95


class Replicates(NamedTuple):
    """Seconds of ``R`` measurements that might have been, shape (N, R)."""

    seconds: np.ndarray
    correlation: float
    freedom: int


def replicates(
    fitted: np.ndarray,
    residuals: np.ndarray,
    *,
    jacobian: np.ndarray,
    order: np.ndarray,
    number: int,
    rng: np.random.Generator,
) -> Replicates:
    r"""Return measurements whose errors have the size and smoothness of the residuals.

    Residuals are first enlarged by one over one less their leverage, as for the jackknife,
    since a law bends to samples that stand alone. If neighbours are uncorrelated, each is then
    multiplied by a standard normal number: the wild bootstrap of Wu (1986), Annals of
    Statistics 14, 1261, for errors that are larger for some batches than for others. If they
    are correlated, as the misfit of tile steps is, errors are drawn as a first-order
    autoregression of that correlation and of the local size of the residuals (ours).

    Parameters
    ----------
    fitted, residuals : float64 array, shape (N,)
        Weighted seconds of the law, and weighted measured less fitted seconds.
    jacobian : float64 array, shape (N, P)
        Weighted derivatives of the law by its coefficients.
    order : int array, shape (N,)
        The order in which samples are neighbours.
    number : int
        ``R``.
    rng : numpy.random.Generator
        Source of the errors.

    Returns
    -------
    Replicates
        Weighted seconds; the correlation; independent errors less coefficients.
    """
    enlarged = residuals / (1 - np.minimum(_MOST_LEVERAGE, _leverages(jacobian)))
    correlation = neighbour_correlation(residuals[order])
    alike = (1 + correlation) / (1 - correlation)
    size = _local_size(enlarged[order], window=1 if correlation == 0 else math.ceil(4 * alike))
    errors = np.empty((len(residuals), number))
    errors[order] = size[:, None] * _smooth_noise(len(size), number, correlation, rng)
    freedom = max(1, math.floor(len(residuals) / alike) - jacobian.shape[1])
    return Replicates(fitted[:, None] + errors, correlation, freedom)


def neighbour_correlation(residuals: np.ndarray) -> float:
    r"""Return the correlation of neighbouring residuals, 0 if it is within noise.

    Within noise is below :math:`2 / \sqrt N`. The bias of the estimate :math:`r`,
    :math:`-(1 + 3 r) / N` (Kendall 1954), is taken off; at most 0.95.
    """
    count = len(residuals)
    centred = residuals - residuals.mean()
    power = float(centred @ centred)
    found = 0.0 if power == 0 else float(centred[1:] @ centred[:-1]) / power
    if found < 2 / math.sqrt(count):
        return 0.0
    return min(_MOST_CORRELATION, found + (1 + 3 * found) / count)


def half_width(confidence: float, freedom: int) -> float:
    """Return the quantile of Student's t that an interval spans on either side."""
    import scipy.stats

    return float(scipy.stats.t.ppf((1 + confidence) / 2, freedom))


def _local_size(residuals: np.ndarray, *, window: int) -> np.ndarray:
    """Return the root mean square of the residuals around each."""
    sums = np.concatenate([[0.0], np.cumsum(residuals**2)])
    at = np.arange(len(residuals))
    low = np.maximum(0, at - window // 2)
    high = np.minimum(len(residuals), at + (window + 1) // 2)
    return np.asarray(np.sqrt(np.maximum(0, sums[high] - sums[low]) / (high - low)))


def _smooth_noise(
    size: int, number: int, correlation: float, rng: np.random.Generator
) -> np.ndarray:
    """Return stationary standard normal autoregressions, shape (size, number)."""
    noise = rng.standard_normal((size, number))
    if correlation == 0:
        return noise
    from scipy.signal import lfilter

    noise[1:] *= math.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise, axis=0))


def _leverages(jacobian: np.ndarray) -> np.ndarray:
    """Return the diagonal of the projection on the columns, shape (N,)."""
    lengths = np.linalg.norm(jacobian, axis=0)
    orthogonal, _ = np.linalg.qr(jacobian / np.where(lengths > 0, lengths, 1))
    return np.asarray(np.sum(orthogonal**2, axis=1))
