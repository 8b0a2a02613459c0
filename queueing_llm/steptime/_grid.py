"""Multilinear interpolation on a grid of batches, and the batches that can be best on it."""

import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from queueing_llm._ops import Number, pick, position, ratio, tabulated
from queueing_llm._validate import Real

Axis: TypeAlias = tuple[int, ...] | None
"""Strictly increasing counts [tokens]; None if the time does not depend on the count."""


def interpolate(
    seconds: Sequence[Real], axes: Sequence[Axis], counts: Sequence[Number]
) -> Number:
    """Return the interpolated seconds; the last axis varies fastest in ``seconds``."""
    table = tabulated(seconds, counts[0])
    ends, stride = [], 1
    for axis, count in zip(reversed(axes), reversed(counts), strict=True):
        if axis is None:
            continue
        cell = position(axis[1:-1], count, side="right")
        nodes = tabulated(axis, count)
        low, high = pick(nodes, cell), pick(nodes, cell + 1)
        weight = ratio(count - low, high - low)
        ends.append(((stride * cell, 1 - weight), (stride * (cell + 1), weight)))
        stride *= len(axis)
    corners = (zip(*corner, strict=True) for corner in itertools.product(*ends))
    return sum(math.prod(weights) * pick(table, sum(index)) for index, weights in corners)


def best_vertices(
    axes: Sequence[Axis], *, most_tokens: int, most_decode_tokens: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the batches to which a fastest one can be moved without loss.

    The argument is in :meth:`TableStepTime.candidate_batches`.
    """
    x, y, kv = (np.asarray((0,) if axis is None else axis, dtype=np.int64) for axis in axes)
    y_ends = np.concatenate([y, [1, most_decode_tokens]])
    grid = np.stack([m.ravel() for m in np.meshgrid(x, y_ends, kv)])

    y_all = np.arange(most_decode_tokens + 1)
    y_full, kv_full = (m.ravel() for m in np.meshgrid(y_all, kv))
    full = np.stack([most_tokens - y_full, y_full, kv_full])

    x, y, kv = np.concatenate([grid, full], axis=1)
    reads_kv = (y > 0) | (kv == 0)
    fits = (x + y >= 1) & (x + y <= most_tokens) & (y <= most_decode_tokens)
    chosen = reads_kv & fits
    return x[chosen], y[chosen], kv[chosen]
