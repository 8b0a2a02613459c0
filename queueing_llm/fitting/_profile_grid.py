"""Measured points that lie scattered, and the complete grid among them."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

Point: TypeAlias = tuple[float, ...]
Axes: TypeAlias = tuple[tuple[float, ...], ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGrid:
    """Seconds on a complete grid of one to four axes, interpolated between its points.

    Below the first count of an axis the time is held: a kernel has a least time. Beyond the
    last it is continued along the last cell.

    Parameters
    ----------
    axes : tuple of float64 array
        Strictly increasing counts, at least two an axis.
    seconds : float64 array, one dimension per axis
        Time at each grid point [s].
    gap : float
        Median relative error of the interpolation at measured points that are not on the
        grid; nan if there are none.
    """

    axes: tuple[np.ndarray, ...]
    seconds: np.ndarray
    gap: float = float("nan")

    def at(self, *counts: np.ndarray) -> np.ndarray:
        """Return the seconds at each point, elementwise."""
        from scipy.interpolate import RegularGridInterpolator

        law = RegularGridInterpolator(
            self.axes, self.seconds, bounds_error=False, fill_value=None
        )
        pairs = zip(np.broadcast_arrays(*counts), self.axes, strict=True)
        held = np.stack([np.maximum(count, axis[0]) for count, axis in pairs], axis=-1)
        # SciPy returns a single point as an array of one.
        return np.reshape(law(held), held.shape[:-1])

    def is_beyond(self, *counts: np.ndarray) -> np.ndarray:
        """Tell the points beyond the last count of some axis."""
        pairs = zip(np.broadcast_arrays(*counts), self.axes, strict=True)
        return np.any([count > axis[-1] for count, axis in pairs], axis=0)


def complete_grid(points: Sequence[np.ndarray], seconds: np.ndarray) -> MeasuredGrid:
    """Return the largest grid that scattered points contain from end to end of each axis.

    Parameters
    ----------
    points : sequence of float64 array, shape (N,) each
        Coordinates of the measured points, one array per axis; no point occurs twice.
    seconds : float64 array, shape (N,)
        Measured time [s].

    Raises
    ------
    ValueError
        If the points contain no complete grid between their ends.
    """
    place = {point: i for i, point in enumerate(zip(*points, strict=True))}
    ends = [(column.min(), column.max()) for column in points]
    spanning = [
        axes
        for axes in _complete_axes(frozenset(place))
        if all(a[0] == e[0] < a[-1] == e[1] for a, e in zip(axes, ends, strict=True))
    ]
    if not spanning:
        msg = "no complete grid reaches from end to end."
        raise ValueError(msg)
    chosen = max(sorted(spanning), key=lambda axes: math.prod(map(len, axes)))
    on_grid = np.array([place[point] for point in itertools.product(*chosen)])
    values = seconds[on_grid].reshape([len(axis) for axis in chosen])
    grid = MeasuredGrid(tuple(np.array(axis) for axis in chosen), values)
    rest = np.delete(np.arange(len(seconds)), on_grid)
    if len(rest) == 0:
        return grid
    errors = np.abs(grid.at(*(column[rest] for column in points)) / seconds[rest] - 1)
    return MeasuredGrid(grid.axes, values, float(np.median(errors)))


def _complete_axes(points: frozenset[Point]) -> Iterator[Axes]:
    """Yield complete grids within a set of points, the largest among them.

    A grid is a set of first coordinates times a grid that all their sections contain.
    """
    if len(next(iter(points))) == 1:
        yield (tuple(sorted(point[0] for point in points)),)
        return
    sections: dict[float, set[Point]] = {}
    for first, *others in points:
        sections.setdefault(first, set()).add(tuple(others))
    for section in set(map(frozenset, sections.values())):
        for axes in _complete_axes(section):
            grid = frozenset(itertools.product(*axes))
            yield (tuple(sorted(c for c, s in sections.items() if grid <= s)), *axes)
