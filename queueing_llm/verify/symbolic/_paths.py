r"""Linear arithmetic over natural numbers, by running ordinary Python on symbols.

A statement is a function that compares numbers. Run on :class:`Linear` expressions, every
comparison may come out either way, and each way is followed that the comparisons before it
allow. A way is closed by *multipliers*: inequalities :math:`e_j \ge 0` between naturals
contradict each other if :math:`\sum_j y_j e_j` with :math:`y_j \ge 0` has no positive
coefficient and a negative constant. The multipliers are found by an exact linear programme
and checked by integers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias, final

from queueing_llm.errors import MissingDependency
from queueing_llm.linear import exact_maximum

Natural: TypeAlias = Any
"""An ``int`` that is at least 0, or a :class:`Linear` expression."""

Inequality: TypeAlias = tuple[tuple[tuple[str, int], ...], int]
"""Coefficients of named naturals and a constant, together at least 0."""

Contradiction: TypeAlias = Callable[[Sequence[Inequality]], frozenset[Inequality] | None]
"""Returns some of the inequalities that have no solution together, or None."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A sum of natural numbers with integer weights, on one path."""

    path: "Path"
    weights: Mapping[str, int]
    constant: int = 0

    def __add__(self, other: Natural) -> "Linear":
        """Return the sum."""
        if isinstance(other, int):
            return Linear(self.path, self.weights, self.constant + other)
        names = dict.fromkeys([*self.weights, *other.weights])
        sums = {n: self.weights.get(n, 0) + other.weights.get(n, 0) for n in names}
        weights = {name: weight for name, weight in sums.items() if weight}
        return Linear(self.path, weights, self.constant + other.constant)

    __radd__ = __add__

    def __neg__(self) -> "Linear":
        """Return the opposite number."""
        return Linear(self.path, {n: -w for n, w in self.weights.items()}, -self.constant)

    def __sub__(self, other: Natural) -> "Linear":
        """Return the difference."""
        return self + -other

    def __rsub__(self, other: Natural) -> "Linear":
        """Return the difference."""
        return -self + other

    def __ge__(self, other: Natural) -> bool:
        """Decide the comparison on this path, as all those below."""
        return self.path.decide(self - other)

    def __le__(self, other: Natural) -> bool:
        """Decide."""
        return self.path.decide(other - self)

    def __gt__(self, other: Natural) -> bool:
        """Decide."""
        return self.path.decide(self - other - 1)

    def __lt__(self, other: Natural) -> bool:
        """Decide."""
        return self.path.decide(other - self - 1)

    def __eq__(self, other: object) -> bool:
        """Decide."""
        return self >= other and self <= other

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        """Decide whether the number is positive."""
        return self >= 1


class Impossible(Exception):
    """The path contradicts what the statement assumes."""


@final
@dataclass(slots=True)
class Path:
    """One way through a statement: which comparisons held.

    Parameters
    ----------
    closed : list of frozenset
        Contradictions that were found before.
    decisions : list of bool
        How the first comparisons come out.
    """

    closed: list[frozenset[Inequality]]
    decisions: list[bool] = field(default_factory=list)
    taken: int = 0
    inequalities: dict[Inequality, None] = field(default_factory=dict)
    alternatives: list[list[bool]] = field(default_factory=list)

    def natural(self, name: str, *, at_least: int = 0) -> Linear:
        """Return an arbitrary natural number."""
        return Linear(self, {name: 1}, at_least)

    def assume(self, holds: object) -> None:
        """Leave the path unless ``holds``."""
        if not holds:
            raise Impossible

    def decide(self, number: Natural) -> bool:
        """Return whether ``number`` is at least 0, and note that it is, or is not."""
        constant: int = number if isinstance(number, int) else number.constant
        weights = [] if isinstance(number, int) else number.weights.values()
        if constant >= 0 and all(weight >= 0 for weight in weights):
            return True
        if constant < 0 and all(weight <= 0 for weight in weights):
            return False
        yes, no = _inequality(number), _inequality(-number - 1)
        if self.taken == len(self.decisions):
            self._fork(yes, no)
        answer = self.decisions[self.taken]
        self.taken += 1
        self.inequalities[yes if answer else no] = None
        return answer

    def _fork(self, yes: Inequality, no: Inequality) -> None:
        may_hold, may_fail = not self._closes(yes, no), not self._closes(no, yes)
        if not may_hold and not may_fail:
            raise Impossible
        if may_hold and may_fail:
            self.alternatives.append([*self.decisions, False])
        self.decisions.append(may_hold)

    def _closes(self, new: Inequality, opposite: Inequality) -> bool:
        if opposite in self.inequalities:
            return True
        known = self.inequalities
        return any(
            new in core and all(one == new or one in known for one in core)
            for core in self.closed
        )


def cases_of(statement: Callable[[Path], bool], *, contradiction: Contradiction) -> int | None:
    """Return how many cases prove a statement about all natural numbers.

    Parameters
    ----------
    statement : callable
        Draws numbers from a path, and returns whether it holds for them.
    contradiction : callable
        Closes paths: :func:`by_multipliers` or :func:`by_z3`.

    Returns
    -------
    int or None
        Contradictions that close all paths on which the statement does not hold, and paths
        on which it holds; None if on some path that is not closed it does not hold.

    Examples
    --------
    >>> def larger(path):
    ...     one, other = path.natural("one"), path.natural("other")
    ...     return max(one, other) + 1 > other
    >>> cases_of(larger, contradiction=by_multipliers)
    2
    """
    closed: list[frozenset[Inequality]] = []
    cases, waiting = 0, [list[bool]()]
    while waiting:
        path = Path(closed, waiting.pop())
        try:
            if statement(path):
                cases += 1
            else:
                core = contradiction(list(path.inequalities))
                if core is None:
                    return None
                closed.append(core)
        except Impossible:
            pass
        waiting.extend(path.alternatives)
    return cases + len(closed)


def by_multipliers(inequalities: Sequence[Inequality]) -> frozenset[Inequality] | None:
    """Return inequalities that multipliers show to contradict each other.

    An exact linear programme proposes them, integers check them. None means that there are
    none: the inequalities have a solution in rational numbers.
    """
    names = sorted({name for weights, _ in inequalities for name, _ in weights})
    tables = [dict(weights) for weights, _ in inequalities]
    rows = [[table.get(name, 0) for table in tables] for name in names]
    objective = [-constant for _, constant in inequalities]
    if max(objective, default=0) <= 0:
        return None
    bounds = [0] * len(rows) + [1]
    found = exact_maximum(objective, [*rows, [1] * len(objective)], bounds=bounds)
    if found is None or not _contradict(found.point, rows, objective):
        return None
    pairs = zip(inequalities, found.point, strict=True)
    return frozenset(one for one, multiplier in pairs if multiplier)


def _contradict(
    multipliers: Sequence[Fraction], rows: Sequence[Sequence[int]], objective: Sequence[int]
) -> bool:
    def total(numbers: Sequence[int]) -> Fraction:
        pairs = zip(multipliers, numbers, strict=True)
        return sum((y * number for y, number in pairs), Fraction(0))

    is_weight = all(y >= 0 for y in multipliers)
    return is_weight and all(total(row) <= 0 for row in rows) and total(objective) > 0


def by_z3(inequalities: Sequence[Inequality]) -> frozenset[Inequality] | None:
    """Return inequalities that no integers at least 0 satisfy together, says z3.

    Raises
    ------
    MissingDependency
        If z3 is not installed.
    """
    try:
        import z3
    except ImportError:
        msg = "proofs by z3 need the solver: pip install 'queueing-llm[prove]'."
        raise MissingDependency(msg) from None
    solver = z3.Solver()
    for name in {name for weights, _ in inequalities for name, _ in weights}:
        solver.add(z3.Int(name) >= 0)
    labels = {f"inequality {i}": one for i, one in enumerate(inequalities)}
    for label, (weights, constant) in labels.items():
        total = z3.Sum([weight * z3.Int(name) for name, weight in weights])
        solver.assert_and_track(z3.IntVal(constant) + total >= 0, label)
    if solver.check() != z3.unsat:
        return None
    return frozenset(labels[str(label)] for label in solver.unsat_core())


def _inequality(number: Linear) -> Inequality:
    return tuple(sorted(number.weights.items())), number.constant
