"""Multiclass queueing networks: what the fluid model of a network of engines needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias, final

from queueing_llm._validate import unboxed
from queueing_llm.errors import InvalidArgument

Exact: TypeAlias = int | Fraction
Row: TypeAlias = tuple[tuple[int, Fraction], ...]


@final
@dataclass(frozen=True, slots=True)
class MulticlassNetwork:
    r"""Single-server stations that serve several classes of jobs each, in exact numbers.

    A job of class :math:`k` is served at station :math:`s(k)` for :math:`m_k` seconds on
    average; then :math:`R_{kl}` jobs of class :math:`l` come of it on average (one or none,
    unless the work forks).

    Parameters
    ----------
    stations : sequence of int, one per class
        :math:`s(k)`, numbered from 0 without gaps.
    mean_service : sequence of int or Fraction, one per class
        :math:`m_k` [s], above 0.
    arrival_rates : sequence of int or Fraction, one per class
        :math:`\alpha_k`, arrivals from outside [1/s], at least 0.
    routing : sequence of sequences of (int, Fraction), one per class
        Row :math:`k` of :math:`R` without its zeros: pairs of a class :math:`l` and
        :math:`R_{kl}`, in any order, each class once.
    class_names, station_names : sequence of str, optional
        What they are called in answers; numbers from 1 if left out.

    Raises
    ------
    InvalidArgument
        If lengths do not fit, a number is a float or out of range, or a station has no class.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ... )
    >>> lu_kumar.stations, lu_kumar.routes()
    ((0, 1, 1, 0), ((0, 1, 2, 3),))
    """

    stations: Sequence[int]
    mean_service: Sequence[Exact]
    arrival_rates: Sequence[Exact]
    routing: Sequence[Sequence[tuple[int, Exact]]]
    class_names: Sequence[str] = ()
    station_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        classes = len(self.stations)
        for name in ("mean_service", "arrival_rates", "routing"):
            if len(getattr(self, name)) != classes:
                msg = (
                    f"{name} must have one entry for each of {classes} classes, "
                    f"got {len(getattr(self, name))}."
                )
                raise InvalidArgument(msg)
        freeze = object.__setattr__
        freeze(self, "stations", tuple(int(unboxed(s)) for s in self.stations))
        if not classes or sorted(set(self.stations)) != list(range(max(self.stations) + 1)):
            msg = f"stations must be numbered from 0 without gaps, got {self.stations!r}."
            raise InvalidArgument(msg)
        freeze(self, "mean_service", _exact(self.mean_service, "mean_service", positive=True))
        freeze(self, "arrival_rates", _exact(self.arrival_rates, "arrival_rates"))
        freeze(self, "routing", tuple(map(self._row, self.routing)))
        for name, count in (("class_names", classes), ("station_names", self.station_count)):
            names = tuple(map(str, getattr(self, name) or range(1, count + 1)))
            if len(names) != count or len(set(names)) != count:
                msg = f"{name} must be {count} different names, got {names!r}."
                raise InvalidArgument(msg)
            freeze(self, name, names)

    @classmethod
    def with_routes(
        cls,
        routes: Sequence[Sequence[str]],
        *,
        mean_service: Sequence[Exact],
        arrival_rates: Sequence[Exact],
    ) -> "MulticlassNetwork":
        """Return the network of jobs that follow fixed routes; a class is one hop of a route.

        Parameters
        ----------
        routes : sequence of str, or of sequences of station names
            The stations of each route in order: ``["ABBA"]``, ``["AB", "BA"]``.
        mean_service : sequence of int or Fraction, one per hop
            :math:`m_k` [s], route after route.
        arrival_rates : sequence of int or Fraction, one per route
            [1/s].
        """
        hops = [str(name) for route in routes for name in route]
        names = sorted(set(hops))
        if len(arrival_rates) != len(routes) or any(len(route) == 0 for route in routes):
            msg = (
                "routes must not be empty and have one arrival rate each, "
                f"got {routes!r} and {arrival_rates!r}."
            )
            raise InvalidArgument(msg)
        rates: list[Exact] = []
        routing: list[Row] = []
        for route, rate in zip(routes, arrival_rates, strict=True):
            rates += [rate] + [0] * (len(route) - 1)
            first = len(routing)
            routing += [((first + i, Fraction(1)),) for i in range(1, len(route))] + [()]
        return cls(
            stations=[names.index(name) for name in hops],
            mean_service=mean_service,
            arrival_rates=rates,
            routing=routing,
            station_names=names,
        )

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return len(self.stations)

    @property
    def station_count(self) -> int:
        """Number of stations."""
        return max(self.stations) + 1

    def classes_at(self, station: int) -> tuple[int, ...]:
        """Return the classes that a station serves, in order."""
        return tuple(k for k, at in enumerate(self.stations) if at == station)

    def routes(self) -> tuple[tuple[int, ...], ...] | None:
        """Return the classes along each route; None if jobs do not follow fixed routes.

        Routes are fixed if every class is followed by at most one class, with certainty,
        follows at most one, and jobs arrive from outside at first classes only.
        """
        follower: dict[int, int] = {}
        for k, row in enumerate(self.routing):
            if row and (len(row) > 1 or row[0][1] != 1):
                return None
            follower.update((k, l) for l, _ in row)
        later = set(follower.values())
        if len(later) < len(follower) or any(self.arrival_rates[l] for l in later):
            return None
        firsts = [k for k in range(self.class_count) if k not in later]
        routes = []
        for k in firsts:
            route = [k]
            while route[-1] in follower:
                route.append(follower[route[-1]])
            routes.append(tuple(route))
        return tuple(routes) if sum(map(len, routes)) == self.class_count else None

    def scaled(self, factor: Exact) -> "MulticlassNetwork":
        """Return the network with all arrival rates multiplied by a factor."""
        (factor,) = _exact([factor], "factor")
        return replace(self, arrival_rates=[rate * factor for rate in self.arrival_rates])

    def _row(self, row: Sequence[tuple[int, Exact]]) -> Row:
        targets = [int(unboxed(l)) for l, _ in row]
        if len(set(targets)) < len(targets) or not all(
            0 <= l < self.class_count for l in targets
        ):
            msg = f"routing must name each next class once, from 0 on, got {tuple(row)!r}."
            raise InvalidArgument(msg)
        numbers = _exact([number for _, number in row], "routing")
        return tuple(sorted((l, p) for l, p in zip(targets, numbers, strict=True) if p))


def _exact(
    values: Sequence[Exact], name: str, *, positive: bool = False
) -> tuple[Fraction, ...]:
    """Return numbers as Fractions, refusing floats."""
    numbers = [unboxed(value) for value in values]
    for value in numbers:
        in_kind = isinstance(value, int | Fraction) and not isinstance(value, bool)
        if not in_kind or value < 0 or (positive and value == 0):
            least = "above 0" if positive else "at least 0"
            msg = f"{name} must be integers or Fractions {least}, got {value!r}."
            raise InvalidArgument(msg)
    return tuple(map(Fraction, numbers))
