"""Weighted least squares, for many measurements of the same batches at once."""

from typing import NamedTuple

import numpy as np

_SINGULAR = 1e13
"""Condition of scaled normal equations beyond which a segment decides nothing."""


class Hinges(NamedTuple):
    """Best hinges, one for each column of seconds."""

    knees: np.ndarray
    coefficients: np.ndarray


def least_squares(
    columns: np.ndarray, seconds: np.ndarray, *, weights: np.ndarray
) -> np.ndarray:
    r"""Return the coefficients that minimise :math:`\sum_i w_i^2 (t_i - (A q)_i)^2`.

    Parameters
    ----------
    columns : float64 array, shape (N, P)
        :math:`A`.
    seconds : float64 array, shape (N, R)
        :math:`t` [s] of each of ``R`` measurements.
    weights : float64 array, shape (N,)
        :math:`w` [1/s or 1].

    Returns
    -------
    float64 array, shape (P, R)
        :math:`q`.
    """
    weighted = columns * weights[:, None]
    lengths = np.linalg.norm(weighted, axis=0)
    scale = np.where(lengths > 0, lengths, 1)
    solution = np.linalg.lstsq(weighted / scale, seconds * weights[:, None], rcond=None)[0]
    return solution / scale[:, None]


def best_hinges(
    tokens: np.ndarray, others: np.ndarray, seconds: np.ndarray, *, weights: np.ndarray
) -> Hinges:
    r"""Return the hinges of least weighted squares, the knee found by exact search.

    Parameters
    ----------
    tokens : float64 array, shape (N,)
        :math:`n` [tokens]; at least two different counts.
    others : float64 array, shape (N, Q)
        Further columns of the law, such as the KV tokens.
    seconds : float64 array, shape (N, R)
        :math:`t` [s] of each of ``R`` measurements.
    weights : float64 array, shape (N,)
        :math:`w` [1/s or 1].

    Returns
    -------
    Hinges
        Knees [tokens], shape (R,), from the fewest tokens to the most; coefficients of the
        constant, of the tokens above the knee and of ``others``, shape (2 + Q, R).

    Notes
    -----
    With the knee in :math:`[n_k, n_{k+1}]`, the samples below it determine the constant
    :math:`c` and those above a line :math:`d + a n`. The four-parameter problem is linear; if
    its :math:`b_0 = (c - d) / a` lies in the interval, that is the best knee there, else the
    best is at an end, since the squares are a convex function of :math:`(c, d, a, \gamma)`
    and the interval is a wedge of it. So the least of all interior solutions and of all knees
    at a sample is the global optimum. Sums over the samples below each knee make a segment
    cost the same however many samples there are. Ours.
    """
    nodes, which = np.unique(tokens, return_inverse=True)
    scales = np.array([1.0, nodes[-1] or 1.0, *np.maximum(1e-300, _largest(others))])
    basis = np.column_stack([np.ones_like(tokens), tokens, others]) / scales
    segments = _Segments.of(basis, seconds, weights=weights, which=which, nodes=nodes)
    knots = nodes[:-1] / scales[1]
    fixed, squares_fixed = segments.at_knots(knots)
    inner, squares_inner = segments.between(knots, nodes[1:] / scales[1])
    best_knot, best_inner = squares_fixed.argmin(0), squares_inner.argmin(0)
    column = np.arange(seconds.shape[1])
    is_inner = squares_inner[best_inner, column] < squares_fixed[best_knot, column]
    at_knot, interior = fixed[best_knot, :, column], inner[best_inner, :, column]
    constant, shift, slope = interior[:, 0], interior[:, 1], interior[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (constant - shift) / slope
    knees = np.where(is_inner, crossing, knots[best_knot]) * scales[1]
    found = np.where(is_inner[:, None], np.delete(interior, 1, axis=1), at_knot)
    return Hinges(knees, found.T / scales[:, None])


class _Segments(NamedTuple):
    """Weighted sums over the samples up to each node, and over those beyond it.

    ``grams`` have shape (M - 1, B, B) and ``moments`` (M - 1, B, R) for a basis of ``B``
    functions: the constant, the tokens, the others.
    """

    grams_below: np.ndarray
    grams_above: np.ndarray
    moments_below: np.ndarray
    moments_above: np.ndarray

    @classmethod
    def of(
        cls,
        basis: np.ndarray,
        seconds: np.ndarray,
        *,
        weights: np.ndarray,
        which: np.ndarray,
        nodes: np.ndarray,
    ) -> "_Segments":
        order = np.argsort(which, kind="stable")
        starts = np.searchsorted(which[order], np.arange(len(nodes)))
        sorted_basis = (basis * weights[:, None])[order]
        sorted_seconds = (seconds * weights[:, None])[order]
        grams = np.add.reduceat(
            sorted_basis[:, :, None] * sorted_basis[:, None, :], starts, axis=0
        )
        moments = np.stack(
            [
                np.add.reduceat(column[:, None] * sorted_seconds, starts, axis=0)
                for column in sorted_basis.T
            ],
            axis=1,
        )
        return cls(*_below_and_above(grams), *_below_and_above(moments))

    def at_knots(self, knots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the solutions with the knee at each node, and what they leave of squares."""
        size = self.grams_below.shape[1]
        below = np.eye(size)
        below[1, 1] = 0
        above = np.tile(np.eye(size), (len(knots), 1, 1))
        above[:, 1, 0] = -knots
        return self._solved(np.tile(below, (len(knots), 1, 1)), above)

    def between(self, lows: np.ndarray, highs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the solutions with a free knee, infinite where it is not in the segment."""
        size = self.grams_below.shape[1]
        below, above = np.zeros((2, size + 1, size))
        below[0, 0] = above[1, 0] = above[2, 1] = 1
        for other in range(2, size):
            below[other + 1, other] = above[other + 1, other] = 1
        stack = np.tile(below, (len(lows), 1, 1)), np.tile(above, (len(lows), 1, 1))
        solutions, squares = self._solved(*stack)
        slope, drop = solutions[:, 2], solutions[:, 0] - solutions[:, 1]
        inside = (drop >= lows[:, None] * slope) & (drop <= highs[:, None] * slope)
        return solutions, np.where(inside & (slope > 0), squares, np.inf)

    def _solved(self, below: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Solve all segments, each parameter a combination of the basis on either side."""
        gram = below @ self.grams_below @ below.swapaxes(1, 2)
        gram = gram + above @ self.grams_above @ above.swapaxes(1, 2)
        moment = below @ self.moments_below + above @ self.moments_above
        diagonal = np.sqrt(np.maximum(1e-300, np.einsum("kii->ki", gram)))
        scaled = gram / (diagonal[:, :, None] * diagonal[:, None, :])
        with np.errstate(divide="ignore", invalid="ignore"):
            conditions = np.linalg.cond(scaled)
        usable = conditions < _SINGULAR
        scaled[~usable] = np.eye(gram.shape[1])
        solutions = np.linalg.solve(scaled, moment / diagonal[:, :, None])
        solutions = solutions / diagonal[:, :, None]
        # Less the squares of the seconds themselves, which are the same for all segments.
        squares = -np.einsum("kpr,kpr->kr", solutions, moment)
        return solutions, np.where(usable[:, None], squares, np.inf)


def _below_and_above(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    below = np.cumsum(sums, axis=0)[:-1]
    above = np.cumsum(sums[::-1], axis=0)[::-1][1:]
    return below, above


def _largest(others: np.ndarray) -> np.ndarray:
    return np.max(np.abs(others), axis=0) if others.size else np.empty(others.shape[1])
