r"""The mean time of one decode step and the prefill that follows it, with an error bound.

Waiting prompts are counted in *units*: a batch takes up to ``B`` of them and lasts
:math:`t_s` for ``s`` units, an arrival brings ``q``, or a random number of mean ``q``. Prefill
goes on while units wait, so with :math:`A_s` the units that arrive in :math:`t_s`, its mean
length from ``n`` units solves

.. math:: h(n) = t_s + E\, h(n - s + A_s), \qquad s = \min(n, B).

Full batches take out more than arrives, so with :math:`\beta = t_B / (B - q \lambda t_B)` the
difference :math:`k(n) = h(n) - \beta n` is a martingale while :math:`n \ge B`. Hence it is
nowhere larger, in absolute value, than at its largest below ``B``. That bounds what states
beyond the last one kept, ``N``, can contribute: the probability to get there, which is solved
for beside :math:`k`, times twice that largest value.

Arrivals of ``q`` units make the system sparse, and it is factorised. Random arrivals make it
dense, but a convolution beyond ``B``, and it is solved by iteration; the residual says how
well.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from queueing_llm.stability.cycles._compound_arrivals import (
    DenseMoves,
    compound_poisson,
    decay,
    quantile,
)

MOST_ARRIVALS = 600.0
MOST_ENTRIES = 4_000_000
MOST_STATES = 2**17
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
    arrival_units : int or float64 array, shape (U,)
        Units that one arrival brings, ``q``; or the chance that it brings 0, 1, ... of them.
    """

    decode_seconds: float
    batch_seconds: np.ndarray
    arrival_units: int | np.ndarray

    @property
    def mean_units(self) -> float:
        """Mean units that one arrival brings, ``q``."""
        units = self.arrival_units
        return float(units) if isinstance(units, int) else float(units @ np.arange(len(units)))

    @property
    def most_arrivals(self) -> float:
        """The arrival rate from which on prefill never ends [requests/s]."""
        batch = self.batch_seconds
        return len(batch) / (self.mean_units * float(batch[-1]))

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
        system = self._system(arrival_rate)
        return (math.inf, math.inf) if system is None else system.cycle_seconds()

    def about_cycle_seconds(self, arrival_rate: float) -> float:
        """Return the mean time between decode steps, faster, without a bound of its error."""
        if arrival_rate == 0:
            return self.decode_seconds
        system = self._system(arrival_rate)
        return math.inf if system is None else system.about_cycle_seconds()

    def most_solvable(self, at_most: float) -> float:
        """Return the highest arrival rate, up to the one given, that can be solved for."""
        low, high = 0.0, at_most
        while self._kept(high) is None and high - low > 1e-3 * at_most:
            middle = (low + high) / 2
            low, high = (low, middle) if self._kept(middle) is None else (middle, high)
        return high if self._kept(high) is not None else low

    def _system(self, arrival_rate: float) -> "_System | None":
        states = self._kept(arrival_rate)
        return None if states is None else _System.of(self, arrival_rate, states)

    def _kept(self, arrival_rate: float) -> int | None:
        """Return how many units to keep, None if that is too many."""
        load = arrival_rate / self.most_arrivals
        arrivals = arrival_rate * self.longest_seconds
        if load >= 1 or arrivals > MOST_ARRIVALS:
            return None
        states = self._states(load, arrivals) if load else 1
        is_sparse = isinstance(self.arrival_units, int)
        is_large = (
            states * _support(arrivals) > MOST_ENTRIES if is_sparse else states > MOST_STATES
        )
        return None if is_large else states

    def _states(self, load: float, arrivals: float) -> int:
        """Return how many units to keep, so that the rest hardly matters."""
        largest, units = len(self.batch_seconds), self.arrival_units
        if not isinstance(units, int):
            full = load * largest / self.mean_units
            rest = 30 / decay(full, units, largest)
            return largest + quantile(arrivals, units, 30) + math.ceil(rest)
        # The tail falls by exp(-slope) a request, where slope = log(1 + slope / load).
        slope = -math.log(load)
        for _ in range(8):
            slope = math.log1p(slope / load)
        requests = arrivals + 6 * math.sqrt(arrivals) + 8 + 37 / slope
        return largest + units * math.ceil(requests)

    def arrivals(self, means: np.ndarray) -> np.ndarray:
        """Return the chances of 0, 1, ... units that Poisson arrivals bring, (means, L)."""
        units = self.arrival_units
        if not isinstance(units, int):
            return compound_poisson(means, units)
        counts = _poisson(means)
        chances = np.zeros((len(means), units * (counts.shape[1] - 1) + 1))
        chances[:, ::units] = counts
        return chances


@final
@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """The linear system over 1 to ``N`` waiting units, at one arrival rate.

    ``moves`` (N, N) is the chance to go from one number of units to another in one batch and
    ``escape`` (N,) that to leave for more than N; ``reward`` (N,) is what k gains.
    ``rounding`` is what that can do to one row, where the unknowns are of size 1.
    """

    bursts: Bursts
    arrival_rate: float
    slope: float
    moves: Any
    escape: np.ndarray
    reward: np.ndarray
    rounding: float

    @classmethod
    def of(cls, bursts: Bursts, arrival_rate: float, states: int) -> "_System":
        seconds, units = bursts.batch_seconds, bursts.mean_units
        largest = len(seconds)
        most = arrival_rate * bursts.longest_seconds
        moves: Any
        if isinstance(bursts.arrival_units, int):
            moves, escape = _sparse_moves(bursts, arrival_rate, states)
            rounding = 4 * _support(most) * ROUNDING
        else:
            moves = DenseMoves.of(seconds, arrival_rate, bursts.arrival_units, states)
            escape, rounding = moves.escape, moves.rounding(most)
        slope = float(seconds[-1] / (largest - units * arrival_rate * seconds[-1]))
        reward = np.zeros(states)
        fewer = seconds[:-1]
        drift = np.arange(1, largest) - units * arrival_rate * fewer
        reward[: largest - 1] = fewer - slope * drift
        return cls(bursts, arrival_rate, slope, moves, escape, reward, rounding)

    def cycle_seconds(self) -> tuple[float, float]:
        decode, units = self.bursts.decode_seconds, self.bursts.mean_units
        (potential, beyond, batches), residual = self._solution()
        below = len(self.bursts.batch_seconds)
        arrivals = self.arrival_rate * decode
        chances = self.bursts.arrivals(np.array([arrivals]))[0]
        is_solved = batches.min() >= 0 and residual[2] + self.rounding * batches.max() < 0.5
        if not is_solved or beyond[:below].max() > 0.1:
            return math.inf, math.inf
        kept = min(len(chances), len(potential))

        def after_decode(values: np.ndarray) -> float:
            return float(chances[:kept] @ values[:kept])

        value = decode + self.slope * units * arrivals + after_decode(potential)
        largest = 2 * float(abs(potential[:below]).max())
        missed = after_decode(beyond) + float(chances[kept:].sum())
        size = float(abs(potential).max()) + self.slope * below + decode
        per_batch = residual[0] + residual[1] * largest + self.rounding * (size + largest)
        error = missed * largest + (1 + 2 * after_decode(batches)) * float(per_batch)
        return (value, error) if error < value else (math.inf, math.inf)

    def about_cycle_seconds(self) -> float:
        decode, units = self.bursts.decode_seconds, self.bursts.mean_units
        potential = np.append(0.0, _solved(self.moves, self.reward[:, None])[:, 0])
        arrivals = self.arrival_rate * decode
        chances = self.bursts.arrivals(np.array([arrivals]))[0][: len(potential)]
        gained = float(chances @ potential[: len(chances)])
        return decode + self.slope * units * arrivals + gained

    def _solution(self) -> tuple[np.ndarray, np.ndarray]:
        """Return k, the chance to exceed N and the batches left, and their residuals.

        The values are of shape (3, N + 1), from 0 units on. If the residual of the batches is
        below 1/2, the true number is at most twice the one found, and a residual of another
        row adds at most itself with each batch.
        """
        gained = np.stack([self.reward, self.escape, np.ones(len(self.reward))], axis=1)
        found = _solved(self.moves, gained)
        residual = abs(gained + _product(self.moves, found) - found).max(axis=0)
        found[:, 1] = np.maximum(found[:, 1], 0.0)
        return np.vstack([np.zeros(3), found]).T, residual


def _sparse_moves(bursts: Bursts, arrival_rate: float, states: int) -> tuple[Any, np.ndarray]:
    """Return the chances to move among 1 to ``states`` units, and those to leave for more."""
    from scipy.sparse import csc_array

    distinct, which = np.unique(bursts.batch_seconds, return_inverse=True)
    waiting = np.arange(1, states + 1)
    served = np.minimum(waiting, len(which))
    chances = _poisson(arrival_rate * distinct)[which[served - 1]]
    units = bursts.arrival_units * np.arange(chances.shape[1])
    landing = (waiting - served)[:, None] + units
    kept = (landing > 0) & (landing <= states) & (chances > NEGLIGIBLE)
    rows = np.broadcast_to((waiting - 1)[:, None], landing.shape)
    moves = csc_array((chances[kept], (rows[kept], landing[kept] - 1)), shape=(states, states))
    return moves, np.where(landing > states, chances, 0.0).sum(axis=1)


def _product(moves: Any, columns: np.ndarray) -> np.ndarray:
    return np.stack([moves @ column for column in columns.T], axis=1)


def _solved(moves: Any, gained: np.ndarray) -> np.ndarray:
    """Return x = gained + moves x for each column, as well as doubles can."""
    if isinstance(moves, DenseMoves):
        return moves.solved(gained)
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import splu

    identity = eye_array(len(gained), format="csc")
    return np.asarray(splu((identity - moves).tocsc()).solve(gained))


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
