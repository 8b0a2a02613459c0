"""The exact simplex method, begun where a solver in floating point ended."""

from collections.abc import Sequence
from fractions import Fraction

from queueing_llm.errors import InvalidArgument
from queueing_llm.linear._corner import Corner
from queueing_llm.linear._integers import IntegerProgramme, Numbers, dot
from queueing_llm.linear._optimum import ExactOptimum
from queueing_llm.linear._proposal import proposed_rows


def exact_maximum(
    objective: Numbers, rows: Sequence[Numbers], *, bounds: Numbers
) -> ExactOptimum | None:
    r"""Return the exact optimum of a linear programme in inequality form.

    .. math:: \max c \cdot x \quad \text{s.t.} \quad A x \le b, \; x \ge 0

    Parameters
    ----------
    objective : sequence of number, one per column
        :math:`c`, integers or Fractions like all that follows.
    rows : sequence of sequences of number
        :math:`A`, a row at a time.
    bounds : sequence of number, one per row
        :math:`b`, of any sign.

    Returns
    -------
    ExactOptimum or None
        An optimal corner and the multipliers that prove it; None if no point satisfies the
        rows, which is found in exact arithmetic, too.

    Raises
    ------
    InvalidArgument
        If the objective is unbounded (the message shows a direction), a number is neither an
        integer nor a Fraction, or a length does not fit.

    Notes
    -----
    Exact. HiGHS proposes the tight rows; from that corner, or from the origin if it finds
    none, the simplex method runs in integers: dual steps until every row holds, then primal
    steps until no multiplier is negative. Usually it takes no step. It ends: after a step
    without progress it follows Bland's rule. Made for few columns (a step costs their number
    squared) and many rows.

    Examples
    --------
    >>> exact_maximum([1, 1], [[3, 1], [1, 2]], bounds=[1, 1]).point
    (Fraction(1, 5), Fraction(2, 5))
    """
    programme = IntegerProgramme.of(objective, rows, bounds=bounds)
    corner = _proposed_corner(programme)
    if not _make_feasible(corner):
        return None
    _make_optimal(corner)
    return _optimum(corner)


def _proposed_corner(programme: IntegerProgramme) -> Corner:
    """Return the corner of the first independent rows among those that are proposed."""
    corner = Corner(programme)
    proposed = proposed_rows(programme)
    rank = {row: at for at, row in enumerate(proposed)}
    settled: set[int] = set()
    for row in proposed:
        if len(settled) == len(corner.tight):
            break
        if row in corner.tight:
            settled.add(row)
            continue
        combination = corner.combination(programme.rows[row])
        free = [k for k, i in enumerate(corner.tight) if combination[k] and i not in settled]
        if free:
            # Signs that are proposed as well stay as long as possible.
            place = max(free, key=lambda k: rank.get(corner.tight[k], len(rank)))
            corner.exchange(place, row, combination=combination)
            settled.add(row)
    return corner


def _make_feasible(corner: Corner) -> bool:
    """Take dual steps until every row holds; False if that is impossible."""
    programme = corner.programme
    objective: Sequence[int] = programme.objective
    if min(corner.combination(objective)) < 0:
        # Optimal here: the sum of the tight rows.
        objective = [
            sum(e) for e in zip(*(programme.rows[i] for i in corner.tight), strict=True)
        ]
    progress = True
    while True:
        excess = corner.excess()
        broken = [i for i, amount in enumerate(excess) if amount > 0]
        if not broken:
            return True
        row = max(broken, key=excess.__getitem__) if progress else broken[0]
        combination = corner.combination(programme.rows[row])
        multipliers = corner.combination(objective)
        ratios = {k: Fraction(multipliers[k], w) for k, w in enumerate(combination) if w > 0}
        if not ratios:
            return False
        place = min(ratios, key=lambda k: (ratios[k], corner.tight[k]))
        progress = ratios[place] > 0
        corner.exchange(place, row, combination=combination)


def _make_optimal(corner: Corner) -> None:
    """Take primal steps, from a corner where every row holds, to the best one."""
    programme, progress = corner.programme, True
    while True:
        multipliers = corner.combination(programme.objective)
        negative = [k for k, multiplier in enumerate(multipliers) if multiplier < 0]
        if not negative:
            return
        place = (
            min(negative, key=multipliers.__getitem__)
            if progress
            else min(negative, key=corner.tight.__getitem__)
        )
        row, progress = _first_to_block(corner, place)
        combination = corner.combination(programme.rows[row])
        corner.exchange(place, row, combination=combination)


def _first_to_block(corner: Corner, place: int) -> tuple[int, bool]:
    """Return the row that stops the way off a tight one, and whether it is a way at all."""
    direction = corner.directions[place]
    best, room, speed = -1, 0, 0
    for i, excess in enumerate(corner.excess()):
        rate = -dot(corner.programme.rows[i], direction)
        if rate > 0 and (best < 0 or -excess * speed < room * rate):
            best, room, speed = i, -excess, rate
    if best < 0:
        way = ", ".join(str(Fraction(-entry, corner.scale)) for entry in direction)
        msg = f"objective must be bounded by the rows, but grows for ever along ({way})."
        raise InvalidArgument(msg)
    return best, room > 0


def _optimum(corner: Corner) -> ExactOptimum:
    programme, point = corner.programme, corner.point()
    prices = corner.combination(programme.objective)
    unit = corner.scale * programme.unit
    multipliers = [Fraction(0)] * len(programme.row_units)
    for row, price in zip(corner.tight, prices, strict=True):
        if row < len(multipliers):
            multipliers[row] = Fraction(price * programme.row_units[row], unit)
    return ExactOptimum(
        value=Fraction(dot(programme.objective, point), unit),
        point=tuple(Fraction(entry, corner.scale) for entry in point),
        multipliers=tuple(multipliers),
    )
