"""All corners of a polytope that only an oracle knows, exactly."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, final

from queueing_llm._validate import Real
from queueing_llm.linear._integers import Numbers

HalfSpace: TypeAlias = tuple[Sequence[Real], Real]
r"""A row :math:`a` and a bound: the points with :math:`a \cdot x \le b`."""


@final
@dataclass(frozen=True, slots=True)
class PolytopeCorner:
    r"""A corner of a polytope and the rows that hold it there.

    Parameters
    ----------
    point : tuple of Fraction
        The corner.
    tight : tuple of tuple of number
        Rows :math:`a` with :math:`a \cdot x \le b`, with equality at the corner; together
        they describe the polytope around it.

    Examples
    --------
    >>> corner = PolytopeCorner(point=(0, 1), tight=((-1, 0), (0, 1)))
    >>> corner.point
    (0, 1)
    """

    point: tuple[Fraction, ...]
    tight: tuple[tuple[Real, ...], ...]


def polytope_corners(
    separate: Callable[[tuple[Fraction, ...]], HalfSpace | None], limits: Numbers
) -> tuple[PolytopeCorner, ...]:
    r"""Return all corners of a polytope in a box, given what cuts points off.

    .. math:: P = \{ x : 0 \le x \le u \} \cap \bigcap_i \{ x : a_i \cdot x \le b_i \}

    Parameters
    ----------
    separate : callable
        Given a point, an :math:`(a_i, b_i)` that it violates, or None if it lies in
        :math:`P`. There must be finitely many such rows.
    limits : sequence of number
        :math:`u` above 0, integers or Fractions; one per dimension.

    Returns
    -------
    tuple of PolytopeCorner
        In lexicographic order.

    Notes
    -----
    Exact. Corners of the box are asked for, and cut off by the double description method
    (T. S. Motzkin and others, 1953), until the oracle accepts all that are left. What is
    described is then :math:`P`: all its corners lie in :math:`P`, and no row was cut that
    :math:`P` does not satisfy. Made for a few dimensions.

    Examples
    --------
    >>> below = lambda point: ((1, 1), 1) if sum(point) > 1 else None
    >>> [[str(x) for x in corner.point] for corner in polytope_corners(below, limits=(1, 1))]
    [['0', '0'], ['0', '1'], ['1', '0']]
    """
    rows, corners = _box(limits)
    waiting = dict(corners)
    while waiting:
        point, _ = waiting.popitem()
        cut = separate(point)
        if cut is not None:
            row, bound = cut
            corners, added = _cut(corners, row, bound=bound, mark=1 << len(rows))
            rows.append(tuple(row))
            waiting = {p: tight for p, tight in waiting.items() if p in corners} | added
    return tuple(
        PolytopeCorner(point, tuple(r for i, r in enumerate(rows) if tight >> i & 1))
        for point, tight in sorted(corners.items())
    )


Corners: TypeAlias = dict[tuple[Fraction, ...], int]
"""Each corner with the set of its tight rows, a bit for each."""


def _box(limits: Numbers) -> tuple[list[tuple[Real, ...]], Corners]:
    size = len(limits)
    units = [tuple(int(i == j) for i in range(size)) for j in range(size)]
    rows: list[tuple[Real, ...]] = [*(tuple(-e for e in unit) for unit in units), *units]
    corners = {}
    for ends in itertools.product((0, 1), repeat=size):
        point = tuple(Fraction(limit) * end for limit, end in zip(limits, ends, strict=True))
        corners[point] = sum(1 << (i + size * end) for i, end in enumerate(ends))
    return rows, corners


def _cut(
    corners: Corners, row: Sequence[Real], *, bound: Real, mark: int
) -> tuple[Corners, Corners]:
    """Return the corners that are left with a new row, and those among them that are new."""
    excess = {p: sum(a * x for a, x in zip(row, p, strict=True)) - bound for p in corners}
    kept = {p: t | mark if excess[p] == 0 else t for p, t in corners.items() if excess[p] <= 0}
    outside = [p for p in corners if excess[p] > 0]
    inside = [p for p in corners if excess[p] < 0]
    added = {}
    for beyond, within in itertools.product(outside, inside):
        common = corners[beyond] & corners[within]
        if _are_adjacent(corners, common, dimensions=len(beyond)):
            share = Fraction(excess[beyond]) / (excess[beyond] - excess[within])
            point = tuple(x + share * (y - x) for x, y in zip(beyond, within, strict=True))
            added[point] = common | mark
    return kept | added, added


def _are_adjacent(corners: Corners, common: int, *, dimensions: int) -> bool:
    """Whether only two corners have these tight rows: then an edge joins them."""
    if common.bit_count() < dimensions - 1:
        return False
    return sum(tight & common == common for tight in corners.values()) == 2
