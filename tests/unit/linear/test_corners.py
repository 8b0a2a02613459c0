"""All corners of polytopes known by an oracle, against trying every set of tight rows."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Matrix, Rational

from queueing_llm.linear import polytope_corners


def oracle(rows, bounds):
    """Return what cuts a point off: the first of the rows that it violates."""

    def separate(point):
        for row, bound in zip(rows, bounds, strict=True):
            if sum(a * x for a, x in zip(row, point, strict=True)) > bound:
                return row, bound
        return None

    return separate


def brute_force(rows, bounds, limits):
    """Return the corners by trying every set of tight rows."""
    size = len(limits)
    units = [[int(i == j) for i in range(size)] for j in range(size)]
    every = [
        *zip(rows, bounds, strict=True),
        *(([-e for e in unit], 0) for unit in units),
        *zip(units, limits, strict=True),
    ]
    found = set()
    for tight in itertools.combinations(every, size):
        matrix = Matrix([[Rational(a) for a in row] for row, _ in tight])
        if matrix.det() == 0:
            continue
        solved = matrix.LUsolve(Matrix([Rational(bound) for _, bound in tight]))
        point = tuple(Fraction(int(v.p), int(v.q)) for v in solved)
        if all(sum(a * x for a, x in zip(r, point, strict=True)) <= b for r, b in every):
            found.add(point)
    return found


@st.composite
def polytopes(draw):
    size = draw(st.integers(1, 3))
    row = st.lists(st.integers(-2, 3), min_size=size, max_size=size)
    rows = draw(st.lists(row, max_size=4))
    bounds = draw(st.lists(st.integers(-1, 4), min_size=len(rows), max_size=len(rows)))
    limits = draw(st.lists(st.fractions(1, 3, max_denominator=3), min_size=size, max_size=size))
    return rows, bounds, limits


@settings(max_examples=60, deadline=None)
@given(polytopes())
def test_the_corners_are_those_of_all_tight_rows(polytope):
    rows, bounds, limits = polytope
    corners = polytope_corners(oracle(rows, bounds), limits)
    points = [corner.point for corner in corners]
    assert points == sorted(set(points))
    assert set(points) == brute_force(rows, bounds, limits)
    for corner in corners:
        assert Matrix(corner.tight).rank() == len(limits)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_cross_polytope_in_which_most_corners_are_degenerate(size):
    """Around the middle of the box; every corner has 2^(size - 1) tight rows."""
    rows = list(itertools.product((-1, 1), repeat=size))
    bounds = [1 + sum(row) for row in rows]
    corners = polytope_corners(oracle(rows, bounds), [3] * size)
    middle = [1] * size
    expected = {
        (*middle[:j], 1 + step, *middle[j + 1 :]) for j in range(size) for step in (-1, 1)
    }
    assert {corner.point for corner in corners} == expected


@pytest.mark.parametrize(("size", "half"), [(4, 2), (5, 2), (6, 3)])
def test_a_slice_of_the_cube_by_two_opposite_rows(size, half):
    """A flat polytope, whose corners choose which coordinates are 1."""
    rows, bounds = [[1] * size, [-1] * size], [half, -half]
    corners = polytope_corners(oracle(rows, bounds), [1] * size)
    assert len(corners) == math.comb(size, half)
    assert {sum(corner.point) for corner in corners} == {half}


def test_an_empty_polytope_has_no_corner():
    assert polytope_corners(oracle([[-1, -1]], [-3]), [1, 1]) == ()
