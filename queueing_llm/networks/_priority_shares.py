"""How stations divide their time between classes under buffer priorities, exactly."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias, final

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._modes import check_priority

Mode: TypeAlias = tuple[int, ...]
"""Per station, the place in its order of the first class that has fluid (or their number)."""
Shares: TypeAlias = tuple[Fraction, ...]

MOST_GUESSES = 1024
ROUNDS = 12
GRID = 2**30


@final
@dataclass(frozen=True, slots=True)
class PriorityService:
    r"""The stations of a network that serve their classes in a fixed order, preemptively.

    Let :math:`x_k` be the part of its station's time that class :math:`k` gets. Where a class
    has fluid, the first such class takes all that the classes before it leave. A class before
    it is empty: either it stays so, :math:`x_k = m_k (\alpha_k + \sum_l R_{lk} \mu_l x_l)`, or
    it takes all that is left and begins to fill. So per station there is a *marginal* class:
    those before it stay empty, those after it get nothing. A guess of the marginal classes
    gives linear equations, and is right if no share is negative, no station is overspent and
    no empty marginal class would drain.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    order : tuple of tuples of int, one per station
        Its classes, first served first.
    inflows : tuple of tuples of (int, Fraction), one per class
        The classes :math:`l` that feed it, and :math:`R_{lk}`.
    """

    network: MulticlassNetwork
    order: tuple[tuple[int, ...], ...]
    inflows: tuple[tuple[tuple[int, Fraction], ...], ...]
    _known: dict[Mode, Shares | None] = field(default_factory=dict, repr=False, compare=False)
    _forced: dict[Mode, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, network: MulticlassNetwork, priority: Sequence[int]) -> "PriorityService":
        """Return the service by ranks, one per class; a smaller rank is served first."""
        ranks = check_priority(network, priority)
        order = tuple(
            tuple(sorted(network.classes_at(station), key=ranks.__getitem__))
            for station in range(network.station_count)
        )
        inflows: list[list[tuple[int, Fraction]]] = [[] for _ in ranks]
        for source, row in enumerate(network.routing):
            for target, number in row:
                inflows[target].append((source, Fraction(number)))
        return cls(network, order, tuple(map(tuple, inflows)))

    def mode(self, state: Sequence[Fraction | int]) -> Mode:
        """Return which class of each station is the first with fluid."""
        return tuple(
            next((place for place, k in enumerate(classes) if state[k]), len(classes))
            for classes in self.order
        )

    def shares(self, mode: Mode) -> Shares | None:
        """Return shares that fit, found by pivoting; None if none is found."""
        if mode not in self._known:
            self._known[mode] = self._pivot(mode)
        return self._known[mode]

    def is_forced(self, mode: Mode) -> bool:
        """Whether the shares are shown to be the only ones, by trying every guess.

        False also if there are too many guesses to try.
        """
        if mode not in self._forced:
            places = self._possible_marginals(mode)
            few = math.prod(map(len, places)) <= MOST_GUESSES
            self._forced[mode] = few and self._are_only(mode, places)
        return self._forced[mode]

    def drift(self, shares: Shares) -> tuple[Fraction, ...]:
        r""":math:`\dot Q_k = \alpha_k + \sum_l R_{lk} \mu_l x_l - \mu_k x_k` [1/s]."""
        service = self.network.mean_service
        out = [share / mean for share, mean in zip(shares, service, strict=True)]
        return tuple(self._inflow(k, out) - leaving for k, leaving in enumerate(out))

    def _inflow(self, k: int, out: Sequence[Fraction]) -> Fraction:
        return Fraction(
            self.network.arrival_rates[k] + sum(n * out[l] for l, n in self.inflows[k])
        )

    def _pivot(self, mode: Mode) -> Shares | None:
        guess, seen = self._first_guess(mode), set()
        while guess not in seen:
            seen.add(guess)
            found = self._solve(guess)
            if found is None:
                break
            better = self._correct(mode, guess, found)
            if better == guess and min(found) >= 0:
                return found
            guess = better
        guesses = itertools.product(*self._possible_marginals(mode))
        return next(self._fitting(mode, itertools.islice(guesses, MOST_GUESSES)), None)

    def _first_guess(self, mode: Mode) -> Mode:
        """Return the marginal classes once work has spread from the classes with fluid.

        Shares need not be unique. As work spreads station after station, the iteration does
        not settle on an unstable balance, which a network leaves at once. Floats, as a guess.
        """
        service, guess = [float(m) for m in self.network.mean_service], list(mode)
        arrivals = [float(rate) for rate in self.network.arrival_rates]
        out = [0.0] * len(service)
        for classes, first in zip(self.order, mode, strict=True):
            for k in classes[first : first + 1]:
                out[k] = 1 / service[k]
        for _ in range(len(service) + ROUNDS):
            for station, (classes, first) in enumerate(zip(self.order, mode, strict=True)):
                left, guess[station] = 1.0, first
                for place, k in enumerate(classes[: first + 1]):
                    inflow = arrivals[k] + sum(float(n) * out[l] for l, n in self.inflows[k])
                    share = left if place == first else min(left, inflow * service[k])
                    out[k], left = share / service[k], left - share
                    if left <= 0:
                        guess[station] = min(guess[station], place)
        return tuple(guess)

    def _are_only(self, mode: Mode, places: Sequence[Sequence[int]]) -> bool:
        solvable = all(self._solve(guess) is not None for guess in itertools.product(*places))
        return solvable and len(set(self._fitting(mode, itertools.product(*places)))) == 1

    def _fitting(self, mode: Mode, guesses: Iterator[Mode]) -> Iterator[Shares]:
        for guess in guesses:
            shares = self._solve(guess)
            if shares is None or min(shares) < 0:
                continue
            if self._correct(mode, guess, shares) == guess:
                yield shares

    def _correct(self, mode: Mode, guess: Mode, shares: Shares) -> Mode:
        """Return the guess with the marginal class moved where it contradicts the shares."""
        drift = self.drift(shares)
        places = []
        for station, (first, place) in enumerate(zip(mode, guess, strict=True)):
            classes = self.order[station]
            spent = itertools.accumulate(max(shares[k], Fraction(0)) for k in classes[:place])
            over = next((at for at, total in enumerate(spent) if total > 1), place)
            if over == place < first and drift[classes[place]] < 0:
                over = place + 1
            places.append(over)
        return tuple(places)

    def _solve(self, guess: Mode) -> Shares | None:
        """Return the shares that a guess implies, of any sign; None if it leaves them open."""
        network = self.network
        served = {k for c, p in zip(self.order, guess, strict=True) for k in c[: p + 1]}
        rows: dict[int, dict[int, Fraction]] = {}
        for classes, place in zip(self.order, guess, strict=True):
            for k in classes[:place]:
                rows[k] = {-1: Fraction(network.arrival_rates[k])}
                for l, number in self.inflows[k]:
                    if l in served:
                        rows[k][l] = -number
                rows[k][k] = rows[k].get(k, Fraction(0)) + 1
            if place < len(classes):
                times = {k: Fraction(network.mean_service[k]) for k in classes[: place + 1]}
                rows[classes[place]] = times | {-1: Fraction(1)}
        out = _solution(rows)
        if out is None:
            return None
        return tuple(
            out.get(k, Fraction(0)) * network.mean_service[k]
            for k in range(network.class_count)
        )

    def _possible_marginals(self, mode: Mode) -> list[list[int]]:
        """Return, per station, the places of classes that bounds do not rule out."""
        work = self._most_work(mode)
        possible = []
        for classes, first in zip(self.order, mode, strict=True):
            spent = itertools.accumulate(work[k] for k in classes[:first])
            possible.append([first, *(at for at, total in enumerate(spent) if total > 1)])
        return possible

    def _most_work(self, mode: Mode) -> list[Fraction]:
        """Return upper bounds of the work that comes in, rounded up to short numbers.

        An empty class is served no faster than its work comes in. With fluid the bound is 1,
        and behind fluid 0, as there it does not matter.
        """
        service = self.network.mean_service
        most = [Fraction(0)] * len(service)
        for classes, first in zip(self.order, mode, strict=True):
            for k in classes[: first + 1]:
                most[k] = Fraction(1)
        for _ in range(ROUNDS):
            out = [min(work, Fraction(1)) / m for work, m in zip(most, service, strict=True)]
            for classes, first in zip(self.order, mode, strict=True):
                for k in classes[:first]:
                    work = self._inflow(k, out) * service[k]
                    most[k] = Fraction(math.ceil(work * GRID), GRID)
        return most


def _solution(rows: dict[int, dict[int, Fraction]]) -> dict[int, Fraction] | None:
    """Solve sparse linear equations, given as coefficients with the right side at -1."""
    left = list(rows.values())
    solved: dict[int, dict[int, Fraction]] = {}
    for column in rows:
        fitting = [row for row in left if row.get(column)]
        if not fitting:
            return None
        pivot = min(fitting, key=len)
        left.remove(pivot)
        scale = pivot[column]
        pivot = {at: number / scale for at, number in pivot.items() if number}
        for row in [*left, *solved.values()]:
            times = row.get(column)
            if times:
                for at, number in pivot.items():
                    row[at] = row.get(at, Fraction(0)) - times * number
        solved[column] = pivot
    return {column: row.get(-1, Fraction(0)) for column, row in solved.items()}
