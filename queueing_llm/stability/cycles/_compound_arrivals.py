r"""Compound Poisson numbers: what arrives in a step if each arrival brings several units.

With :math:`\varphi(z) = E z^U` for the units :math:`U` of one arrival, the number that comes
with a Poisson number of arrivals of mean :math:`\mu` has the transform
:math:`e^{\mu (\varphi(z) - 1)}`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

NEGLIGIBLE = 1e-20
NATS = 37
SLOWEST = 1e-9


def compound_poisson(means: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the chances of 0, 1, ... units, shape (means, L), all but a share of 1e-16."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = quantile(float(means.max()), units, NATS)
    # What the transform wraps around is beyond the length kept.
    length = next_fast_len(2 * size, real=True)
    exponents = rfft(units, length) - 1
    chances = irfft(np.exp(means[:, None] * exponents), length)[:, :size]
    chances[chances < NEGLIGIBLE] = 0.0
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def quantile(mean: float, units: np.ndarray, nats: float) -> int:
    """Return units that are exceeded with a chance of at most ``exp(-nats)`` (Chernoff)."""
    per_unit = np.geomspace(1e-3, 600, 200) / len(units)
    growth = np.exp(np.outer(per_unit, np.arange(len(units)))) @ units - 1
    return math.ceil(float(((mean * growth + nats) / per_unit).min())) + 1


def decay(mean: float, units: np.ndarray, served: int) -> float:
    r"""Return the rate at which the chance of a long queue falls, per unit.

    The root :math:`\theta > 0` of :math:`\mu (E e^{\theta U} - 1) = \theta B`.
    """
    from scipy.optimize import brentq

    counts = np.arange(len(units))

    def drift(theta: float) -> float:
        return mean * float(np.expm1(theta * counts) @ units) - theta * served

    low = high = SLOWEST
    while drift(high) <= 0 and high * len(units) < 500:
        low, high = high, 2 * high
    return float(brentq(drift, low, high)) if drift(low) < 0 < drift(high) else high


def nodes(seconds: np.ndarray, arrival_rate: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Return durations (K,), and weights (B, K) that turn what holds for them into all.

    Over ``t``, the mean of a function of the units that arrive has derivatives of order K of
    at most :math:`(2 \lambda)^K` times the function; so its polynomial through the K
    Chebyshev points of an interval of length ``x`` errs by at most
    :math:`2 (\lambda x / 2)^K / K!` times the function.
    """
    distinct, which = np.unique(seconds, return_inverse=True)
    half = arrival_rate * float(distinct[-1] - distinct[0]) / 2
    count, error = 1, 2 * half
    while error > NEGLIGIBLE:
        count += 1
        error *= half / count
    if len(distinct) <= count + 1:
        return distinct, np.eye(len(distinct))[which]
    angles = (np.arange(count) + 0.5) * math.pi / count
    points = np.cos(angles)
    middle, radius = (distinct[0] + distinct[-1]) / 2, (distinct[-1] - distinct[0]) / 2
    at = ((distinct - middle) / radius).clip(-1, 1)
    order = np.arange(count)
    scale = np.where(order == 0, 1.0, 2.0) / count
    weights = (np.cos(np.outer(np.arccos(at), order)) * scale) @ np.cos(np.outer(order, angles))
    return middle + radius * points, weights[which]


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseMoves:
    """Moves among 1 to ``N`` waiting units, of which a batch serves up to ``B``.

    Parameters
    ----------
    weights : float64 array, shape (B, K)
        Combines ``laws`` to what arrives while 1 to B units are served.
    laws : float64 array, shape (K, L)
        Chances of 0, 1, ... units.
    full : float64 array, shape (L,)
        The last combination: what arrives during a full batch.
    states : int
        N.
    tilt : float
        Less than the rate at which the chance of a long queue falls, per unit.
    """

    weights: np.ndarray
    laws: np.ndarray
    full: np.ndarray
    states: int
    tilt: float

    @classmethod
    def of(
        cls, seconds: np.ndarray, arrival_rate: float, units: np.ndarray, states: int
    ) -> "DenseMoves":
        """Return the moves if batches of 1 to B units last ``seconds`` (B,)."""
        durations, weights = nodes(seconds, arrival_rate)
        means = arrival_rate * np.append(durations, seconds[-1])
        laws = compound_poisson(means, units)
        # Weights that spread over more than this would drown what is small in rounding.
        tilt = min(decay(float(means[-1]), units, len(seconds)) / 2, 15 / states)
        return cls(weights, laws[:-1], laws[-1], states, tilt)

    def __matmul__(self, vector: np.ndarray) -> np.ndarray:
        """Return the mean of ``vector`` (N,) after one batch, 0 where nothing waits."""
        from scipy.signal import fftconvolve

        largest, size = len(self.weights), min(len(self.full), self.states + 1)
        values = np.append(0.0, vector)
        few = self.weights[:-1] @ (self.laws[:, :size] @ values[:size])
        many = fftconvolve(values, self.full[size - 1 :: -1])[size - 1 :]
        return np.concatenate([few, many[: self.states - largest + 1]])

    @property
    def escape(self) -> np.ndarray:
        """The chance to leave for more than N units, shape (N,)."""
        size = len(self.full)

        def beyond(chances: np.ndarray, units: np.ndarray) -> np.ndarray:
            tail = np.append(chances[..., ::-1].cumsum(axis=-1)[..., ::-1], 0.0)
            return np.asarray(tail[np.minimum(units, size)])

        largest = len(self.weights)
        few = [beyond(law, np.array([self.states + 1]))[0] for law in self.laws]
        left = np.arange(self.states - largest + 1)
        many = beyond(self.full, self.states + 1 - left)
        return np.concatenate([(self.weights[:-1] @ few).clip(0), many])

    def rounding(self, means: float) -> float:
        """Return what one row can err where it multiplies unknowns of size 1.

        A transform moves a vector by no more than its length times some roundings; the
        polynomial adds up values with weights of a sum of less than 8.
        """
        size = self.states + 2 * len(self.full)
        widest = max(float((self.laws**2).sum(axis=1).max()), float(self.full @ self.full))
        return 64 * (means + math.log2(size)) * 2.0**-53 * math.sqrt(size * widest)

    def solved(self, gained: np.ndarray) -> np.ndarray:
        """Return x = gained + moves x for each column of ``gained``, shape (N, columns)."""
        from scipy.sparse.linalg import LinearOperator, gmres

        shape = (self.states, self.states)
        left = LinearOperator(shape, matvec=lambda x: x - self @ np.ravel(x), dtype=float)
        nearly = LinearOperator(shape, matvec=self._nearly_inverse(), dtype=float)
        found = np.zeros_like(gained)
        for column in range(gained.shape[1]):
            target = gained[:, column]
            rest, before = target, math.inf
            # One round of it reaches its tolerance; the last rounds gain no more than rounding.
            while 1e-15 * abs(target).max() < abs(rest).max() < before / 2:
                before = abs(rest).max()
                found[:, column] += gmres(
                    left, rest, rtol=1e-7, restart=60, maxiter=2, M=nearly
                )[0]
                rest = target + self @ found[:, column] - found[:, column]
        return found

    def _nearly_inverse(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return what inverts the moves among B units and more, if none left beyond N.

        They are a convolution on a half line: the logarithm of its transform splits into
        steps up and steps down (Wiener and Hopf), each of which inverts by itself. States are
        weighted with ``tilt``, where a step loses mass, so that the logarithm is defined.
        """
        from scipy.fft import irfft, next_fast_len, rfft
        from scipy.signal import fftconvolve

        largest, size = len(self.weights), len(self.full)
        many = self.states - largest + 1
        steps = np.arange(size) - largest
        length = next_fast_len(4 * (many + size), real=True)
        logs = np.exp(self.tilt * steps) * self.full
        symbol = np.zeros(length)
        np.add.at(symbol, steps % length, logs)
        split = irfft(np.log1p(-rfft(symbol, length)), length)
        up, down = split.copy(), split.copy()
        up[length // 2 :] = 0.0
        down[1 : length // 2] = down[0] = 0.0
        rising = irfft(np.exp(-rfft(up)), length)[:many]
        falling = irfft(np.exp(-rfft(down)), length)[-np.arange(many) % length]
        scale = np.exp(self.tilt * np.arange(many))

        def inverse(vector: np.ndarray) -> np.ndarray:
            values = np.ravel(vector)
            weighted = values[largest - 1 :] / scale
            ahead = fftconvolve(weighted, rising[::-1])[many - 1 :]
            behind = fftconvolve(ahead, falling)[:many]
            return np.concatenate([values[: largest - 1], behind * scale])

        return inverse
