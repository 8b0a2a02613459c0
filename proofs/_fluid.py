"""Paths of the fluid model of a network with fixed routes, in SymPy or in numbers.

Written out once more here, so that a proof does not rest on the package: from ``start`` each
phase gives class k the share u_k of its station's time for a while, and then dQ_k = alpha_k -
mu_k u_k + mu_l u_l, where l is the class before k on its route. The rules of a static priority
are checked in every phase; what must be positive is shown to be so term by term.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import sympy

from proofs._claim import require

Number = sympy.Expr | Fraction | int


@dataclass(frozen=True)
class Fluid:
    """Classes with a station, a mean service time, a rate of arrival and a next class each.

    ``ranks`` orders the classes of a station, smaller first. ``slacks`` replaces symbols by
    expressions of symbols that may be any numbers above 0.
    """

    stations: Sequence[int]
    means: Sequence[Number]
    rates: Sequence[Number]
    followers: Sequence[int | None]
    ranks: Sequence[int]
    slacks: Mapping[sympy.Symbol, sympy.Expr]

    def follow(
        self, start: Sequence[Number], phases: Sequence[tuple[Number, Sequence[Number]]]
    ) -> tuple[list[sympy.Expr], int]:
        """Return where the phases lead, and how many comparisons show that they are a path."""
        fluid = [sympy.sympify(level) for level in start]
        comparisons = 0
        for seconds, shares in phases:
            require(self.is_positive(seconds), f"{seconds} is not a positive duration")
            end = [
                sympy.cancel(level + seconds * change)
                for level, change in zip(fluid, self._changes(shares), strict=True)
            ]
            for k, ends in enumerate((*fluid, *end)):
                holds = ends == 0 or self.is_positive(ends)
                require(holds, f"class {k % len(fluid)} has {ends} fluid")
            for k, station in enumerate(self.stations):
                mates = [l for l, at in enumerate(self.stations) if at == station]
                idle = sympy.cancel(1 - sum(shares[l] for l in mates))
                require(idle == 0 or self.is_positive(idle), f"station {station} overworks")
                require(shares[k] == 0 or self.is_positive(shares[k]), f"class {k} gives time")
                ahead = sum(shares[l] for l in mates if self.ranks[l] <= self.ranks[k])
                waits = fluid[k] != 0 or end[k] != 0
                require(not waits or sympy.cancel(ahead - 1) == 0, f"class {k} is passed over")
            fluid, comparisons = end, comparisons + 1 + 5 * len(end)
        return fluid, comparisons

    def _changes(self, shares: Sequence[Number]) -> list[Number]:
        changes = list(self.rates)
        for k, (share, mean) in enumerate(zip(shares, self.means, strict=True)):
            changes[k] -= share / mean
            follower = self.followers[k]
            if follower is not None:
                changes[follower] += share / mean
        return changes

    def is_positive(self, value: Number) -> bool:
        """Whether a rational function of the slacks has positive terms only."""
        above, below = sympy.fraction(
            sympy.cancel(sympy.sympify(value).subs(self.slacks, simultaneous=True))
        )
        return _has_positive_terms(above * below)


def _has_positive_terms(value: sympy.Expr) -> bool:
    terms = sympy.expand(value).as_coefficients_dict()
    return bool(terms) and all(
        coefficient > 0 and all(symbol.is_positive for symbol in term.free_symbols)
        for term, coefficient in terms.items()
    )
