r"""The mean time of one decode step and the prefill that follows it, with an error bound.

Waiting prompts are counted in *units*: a batch takes up to ``B`` of them and lasts
:math:`t_s` for ``s`` units, an arrival brings ``q``. Prefill goes on while units wait, so its
mean length from ``n`` units solves

.. math:: h(n) = t_s + E\, h(n - s + q\, Poisson(\lambda t_s)), \qquad s = \min(n, B).

Full batches take out more than arrives, so with :math:`\beta = t_B / (B - q \lambda t_B)` the
difference :math:`k(n) = h(n) - \beta n` is a martingale while :math:`n \ge B`. Hence it is
nowhere larger, in absolute value, than at its largest below ``B``. That bounds what states
beyond the last one kept, ``N``, can contribute: the probability to get there, which is solved
for beside :math:`k`, times twice that largest value.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

MOST_ARRIVALS = 600.0
MOST_ENTRIES = 4_000_000
NEGLIGIBLE = 1e-20
ROUNDING = 2.0**-53


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bursts:
    """Decode steps of one length, each followed by prefill until nothing waits.

    Parameters
    ----------
    decode_seconds : float
        Length of a decode step [s].
    batch_seconds : float64 array, shape (B,)
        Length of a prefill batch of 1 to B units [s], nondecreasing.
    arrival_units : int
        Units that one arrival brings, ``q``.
    """

    decode_seconds: float
    batch_seconds: np.ndarray
    arrival_units: int

    @property
    def most_arrivals(self) -> float:
        """The arrival rate from which on prefill never ends [requests/s]."""
        batch = self.batch_seconds
        return len(batch) / (self.arrival_units * float(batch[-1]))

    @property
    def longest_seconds(self) -> float:
        """The longest step [s]."""
        return max(float(self.batch_seconds[-1]), self.decode_seconds)

    def cycle_seconds(self, arrival_rate: float) -> tuple[float, float]:
        """Return the mean time from one decode step to the next, and a bound of its error.

        Both are infinite if prefill never ends, or if the error cannot be bounded by a
        linear system of moderate size.
        """
        if arrival_rate == 0:
            return self.decode_seconds, 0.0
        load = arrival_rate / self.most_arrivals
        arrivals = arrival_rate * self.longest_seconds
        if load >= 1 or arrivals > MOST_ARRIVALS:
            return math.inf, math.inf
        states = self._states(load, arrivals)
        if states * _support(arrivals) > MOST_ENTRIES:
            return math.inf, math.inf
        return _System.of(self, arrival_rate, states).cycle_seconds()

    def _states(self, load: float, arrivals: float) -> int:
        """Return how many units to keep, so that the rest hardly matters."""
        # The tail falls by exp(-decay) a request, where decay = log(1 + decay / load).
        decay = -math.log(load)
        for _ in range(8):
            decay = math.log1p(decay / load)
        requests = arrivals + 6 * math.sqrt(arrivals) + 8 + 37 / decay
        return len(self.batch_seconds) + self.arrival_units * math.ceil(requests)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """The linear system over 1 to ``N`` waiting units, at one arrival rate.

    ``moves`` (N, N) is the chance to go from one number of units to another in one batch and
    ``escape`` (N,) that to leave for more than N; ``reward`` (N,) is what k gains.
    """

    bursts: Bursts
    arrival_rate: float
    slope: float
    moves: Any
    escape: np.ndarray
    reward: np.ndarray

    @classmethod
    def of(cls, bursts: Bursts, arrival_rate: float, states: int) -> "_System":
        from scipy.sparse import csc_array

        seconds, units = bursts.batch_seconds, bursts.arrival_units
        largest = len(seconds)
        waiting = np.arange(1, states + 1)
        served = np.minimum(waiting, largest)
        distinct, which = np.unique(seconds, return_inverse=True)
        chances = _poisson(arrival_rate * distinct)[which[served - 1]]
        landing = (waiting - served)[:, None] + units * np.arange(chances.shape[1])
        kept = (landing > 0) & (landing <= states) & (chances > NEGLIGIBLE)
        rows = np.broadcast_to((waiting - 1)[:, None], landing.shape)
        moves = csc_array(
            (chances[kept], (rows[kept], landing[kept] - 1)), shape=(states, states)
        )
        slope = float(seconds[-1] / (largest - units * arrival_rate * seconds[-1]))
        reward = np.zeros(states)
        fewer = seconds[:-1]
        drift = np.arange(1, largest) - units * arrival_rate * fewer
        reward[: largest - 1] = fewer - slope * drift
        escape = np.where(landing > states, chances, 0.0).sum(axis=1)
        return cls(bursts, arrival_rate, slope, moves, escape, reward)

    def cycle_seconds(self) -> tuple[float, float]:
        decode, units = self.bursts.decode_seconds, self.bursts.arrival_units
        (potential, beyond, batches), residual = self._solution()
        below = len(self.bursts.batch_seconds)
        arrivals = self.arrival_rate * decode
        chances = _poisson(np.array([arrivals]))[0]
        # What rounding can do to one row of a system whose unknowns are of size 1.
        terms = _support(self.arrival_rate * self.bursts.longest_seconds)
        rounding = 4 * terms * ROUNDING
        is_solved = batches.min() >= 0 and residual[2] + rounding * batches.max() < 0.5
        if not is_solved or beyond[:below].max() > 0.1:
            return math.inf, math.inf
        at = units * np.arange(len(chances))
        inside = at < len(potential)

        def after_decode(values: np.ndarray) -> float:
            return float(chances[inside] @ values[at[inside]])

        value = decode + self.slope * units * arrivals + after_decode(potential)
        largest = 2 * float(abs(potential[:below]).max())
        missed = after_decode(beyond) + float(chances[~inside].sum())
        size = float(abs(potential).max()) + self.slope * below + decode
        per_batch = residual[0] + residual[1] * largest + rounding * (size + largest)
        error = missed * largest + (1 + 2 * after_decode(batches)) * float(per_batch)
        return (value, error) if error < value else (math.inf, math.inf)

    def _solution(self) -> tuple[np.ndarray, np.ndarray]:
        """Return k, the chance to exceed N and the batches left, and their residuals.

        The values are of shape (3, N + 1), from 0 units on. If the residual of the batches is
        below 1/2, the true number is at most twice the one found, and a residual of another
        row adds at most itself with each batch.
        """
        from scipy.sparse import eye_array
        from scipy.sparse.linalg import splu

        states = len(self.reward)
        gained = np.stack([self.reward, self.escape, np.ones(states)], axis=1)
        identity = eye_array(states, format="csc")
        found = splu((identity - self.moves).tocsc()).solve(gained)
        residual = abs(gained + self.moves @ found - found).max(axis=0)
        found[:, 1] = np.maximum(found[:, 1], 0.0)
        return np.vstack([np.zeros(3), found]).T, residual


def _support(mean: float) -> int:
    """Return how many values cover a Poisson number but for a share of 1e-20."""
    return math.ceil(mean + 10 * math.sqrt(mean) + 25)


def _poisson(means: np.ndarray) -> np.ndarray:
    """Return P(A = 0), P(A = 1), ... of Poisson numbers, shape (means, values)."""
    count = _support(float(means.max()))
    ratios = means[:, None] / np.arange(1, count)
    chances = np.hstack([np.ones((len(means), 1)), np.cumprod(ratios, axis=1)])
    chances *= np.exp(-means)[:, None]
    # One common factor carries the error of the exponential; the sum is known to be 1.
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))
