"""Exact optima against all bases, whatever the solver proposes, and hard programmes."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Matrix, Rational

from queueing_llm import Engine, InvalidArgument, StaircaseStepTime, stability_region
from queueing_llm.linear import _maximum, exact_maximum, is_optimal

SMALL = st.integers(-4, 4) | st.fractions(-3, 3, max_denominator=5)


@st.composite
def programmes(draw, columns=(1, 3), most_rows=6):
    """Return small programmes, often degenerate, infeasible or unbounded."""
    width = draw(st.integers(*columns))
    row = st.lists(SMALL, min_size=width, max_size=width)
    rows = draw(st.lists(row, max_size=most_rows))
    bound = st.integers(-2, 6) | st.fractions(-1, 5, max_denominator=5)
    bounds = draw(st.lists(bound, min_size=len(rows), max_size=len(rows)))
    return draw(row), rows, bounds


def corners(rows, bounds):
    """Return all corners by trying every set of tight rows; none if nothing is feasible."""
    width = len(rows[0])
    signs = [[-int(i == j) for i in range(width)] for j in range(width)]
    every = [*zip(rows, bounds, strict=True), *((sign, 0) for sign in signs)]
    for tight in itertools.combinations(every, width):
        matrix = Matrix([[Rational(a) for a in row] for row, _ in tight])
        if matrix.det() == 0:
            continue
        solved = matrix.LUsolve(Matrix([Rational(bound) for _, bound in tight]))
        point = [Fraction(int(v.p), int(v.q)) for v in solved]
        if all(sum(map(Fraction.__mul__, point, map(Fraction, r))) <= b for r, b in every):
            yield point


def worth(objective, point):
    return sum(Fraction(c) * x for c, x in zip(objective, point, strict=True))


def outcome(objective, rows, bounds):
    """Return what trying every basis finds: a value, None, or that it is unbounded."""
    width = len(objective)
    rows = [*rows, [0] * width]
    values = [worth(objective, point) for point in corners(rows, [*bounds, 0])]
    if not values:
        return None
    # The directions that stay within the rows, cut off where they sum to 1.
    cone = corners([*rows, [1] * width], [0] * len(rows) + [1])
    return "unbounded" if any(worth(objective, way) > 0 for way in cone) else max(values)


def answer(objective, rows, bounds):
    try:
        found = exact_maximum(objective, rows, bounds=bounds)
    except InvalidArgument as refused:
        return "unbounded" if "grows for ever" in str(refused) else refused
    if found is None:
        return None
    assert is_optimal(found, objective, rows=rows, bounds=bounds)
    return found.value


@settings(max_examples=80, deadline=None)
@given(programmes())
def test_the_answer_is_that_of_all_bases(programme):
    objective, rows, bounds = programme
    assert answer(objective, rows, bounds) == outcome(objective, rows, bounds)


@settings(max_examples=150, deadline=None)
@given(programme=programmes(columns=(1, 5), most_rows=9), data=st.data())
def test_the_answer_does_not_depend_on_what_the_solver_proposes(programme, data):
    _, rows, _ = programme
    usual = answer(*programme)
    every = range(len(rows) + len(programme[0]))
    proposed = data.draw(st.lists(st.sampled_from(every), unique=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_maximum, "proposed_rows", lambda _: proposed)
        assert answer(*programme) == usual


GAINS = [10, -57, -9, -24]
SLACKS = [[1, -11, -5, 18], [1, -3, -1, 2], [2, 0, 0, 0]]


def signs(size):
    """Return the signs once more, in the unit of the slacks."""
    return [[-2 * (i == j) for i in range(size)] for j in range(size)]


@pytest.mark.parametrize(
    ("proposed", "programme", "best"),
    [
        ([0, 1, 2, 3], (GAINS, signs(4) + SLACKS, [0, 0, 0, 0, 0, 0, 2]), 1),
        (
            [4, 5, 6],
            (
                [0, 0, -2],
                [[-row[j] for row in SLACKS] for j in range(4)] + signs(3),
                [-gain for gain in GAINS] + [0, 0, 0],
            ),
            -1,
        ),
    ],
    ids=["primal", "dual"],
)
def test_programmes_on_which_the_largest_gain_cycles_for_ever(
    proposed, programme, best, monkeypatch
):
    """The example of K. T. Marshall and J. W. Suurballe (1969), and its dual."""
    monkeypatch.setattr(_maximum, "proposed_rows", lambda _: proposed)
    assert answer(*programme) == best


@pytest.mark.parametrize("scale", [1, 10**12, 10**400, Fraction(1, 10**400)])
def test_the_scale_does_not_matter(scale):
    """In the last two cases no float can hold the numbers beside the others."""
    found = exact_maximum([scale, 1], [[3 * scale, 1], [scale, 2]], bounds=[1, 1])
    assert found.value == Fraction(3, 5)
    assert found.point == (Fraction(1, 5) / scale, Fraction(2, 5))


def test_a_difference_that_no_float_sees_decides():
    tiny = Fraction(1, 10**30)
    assert exact_maximum([1], [[1], [1]], bounds=[1, 1 - tiny]).value == 1 - tiny
    assert exact_maximum([1], [[1], [-1]], bounds=[1, -1]).value == 1
    assert exact_maximum([1], [[1], [-1]], bounds=[1, -1 - tiny]) is None


def test_the_prices_of_an_engine_by_ten_thousands_of_batches():
    step = StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    engine = Engine(step_time=step, token_budget=8192, max_batch_size=100)
    splits = [(n - y, y) for n in range(1, 8193) for y in (0, min(n, 99), min(n, 50))]
    splits.append((0, 100))
    rows, bounds = [[*s, 0] for s in splits], [step(sum(s)) for s in splits]
    found = exact_maximum([290, 990, 0], rows, bounds=bounds)
    assert len(rows) > 24_000
    assert found.value == stability_region(engine).load(290, 990) == Fraction(187, 400)
    assert is_optimal(found, [290, 990, 0], rows=rows, bounds=bounds)


@pytest.mark.parametrize(
    ("programme", "message"),
    [
        (([], [], []), "objective must have at least one"),
        (([1], [[1]], [1, 2]), "bounds must have one entry per row, got 2 for 1"),
        (([1, 2], [[1]], [1]), r"rows\[0\] must have 2 coefficients, got 1"),
        (([1.0], [[1]], [1]), "objective must be of integers or Fractions, got 1.0"),
        (([1], [[1]], [True]), r"rows\[0\] and its bound must be of integers"),
        (([1, 1], [[1, -1]], [1]), r"objective must be bounded .* along \("),
    ],
)
def test_what_is_refused(programme, message):
    objective, rows, bounds = programme
    with pytest.raises(InvalidArgument, match=message):
        exact_maximum(objective, rows, bounds=bounds)


def test_without_rows_only_the_signs_hold():
    assert exact_maximum([-1, 0], [], bounds=[]).value == 0
