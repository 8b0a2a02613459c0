"""Static planning: the least load of the busiest station, when classes have a choice."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, final

from queueing_llm._validate import unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.linear import exact_maximum
from queueing_llm.model import MulticlassNetwork
from queueing_llm.model._multiclass_network import Exact, Row
from queueing_llm.networks._traffic import solve_flow, visit_rates

Servers: TypeAlias = Sequence[Sequence[tuple[int, Exact]]]
"""For each class the stations that can serve it, each with the mean service there [s]."""


@final
@dataclass(frozen=True, slots=True)
class StaticPlan:
    r"""Where each class is served, and prices that prove that no plan is better.

    Parameters
    ----------
    load : Fraction
        :math:`\rho^\star`, load of the busiest station under the best plan [1].
    loads : tuple of Fraction, one per station
        Load of each station under this plan [1].
    shares : tuple of tuples of (int, Fraction), one per class
        The part of each class that each station serves [1]; zeros are left out.
    prices : tuple of Fraction, one per station
        :math:`y_j \ge 0` of a second of each station, with sum 1.
    worth : tuple of Fraction, one per class
        :math:`v_k` [s], priced work that a job of the class still is.

    Notes
    -----
    The proof, for every policy: :math:`v_k - \sum_l R_{kl} v_l \le y_j m_{kj}` wherever
    :math:`j` can serve :math:`k`, so a station works off at most its price per second, all
    stations together at most 1; and :math:`\sum_k \alpha_k v_k = \rho^\star` comes in.
    """

    load: Fraction
    loads: tuple[Fraction, ...]
    shares: tuple[Row, ...]
    prices: tuple[Fraction, ...]
    worth: tuple[Fraction, ...]


@dataclass(slots=True)
class _Demand:
    """What is planned: arrivals per second of the classes and where they can be served."""

    rates: Sequence[Fraction]
    servers: list[Row]
    stations: int

    def seconds(self, k: int, station: int) -> Fraction:
        """Work of a class per second, all of it at one station [1]."""
        return self.rates[k] * dict(self.servers[k])[station]


def plan_static(
    arrival_rates: Sequence[Exact],
    routing: Sequence[Sequence[tuple[int, Exact]]],
    *,
    servers: Servers,
) -> StaticPlan:
    r"""Return the plan under which the busiest station is the least busy.

    .. math:: \min \rho \quad\text{s.t.}\quad
       \sum_j x_{kj} = \lambda_k, \quad \sum_k m_{kj} x_{kj} \le \rho, \quad x \ge 0

    with :math:`\lambda = \alpha + R^\top \lambda`, since routing does not depend on where a
    class is served. Among the best plans, this one makes the next busiest stations the
    least busy, and so on.

    Parameters
    ----------
    arrival_rates : sequence of int or Fraction, one per class
        :math:`\alpha_k` [1/s], not all 0.
    routing : sequence of sequences of (int, Fraction), one per class
        :math:`R`, as for :class:`MulticlassNetwork`.
    servers : sequence of sequences of (int, int or Fraction), one per class
        Stations that can serve the class, numbered from 0, and :math:`m_{kj} > 0` [s]; none
        for a class that takes no station's time.

    Returns
    -------
    StaticPlan
        Exact. Every policy is unstable if its load is above 1; below 1, max pressure is
        stable (Dai and Lin 2005) in the model of service one job at a time.

    Raises
    ------
    InvalidArgument
        If lengths do not fit, nothing arrives or is served, or jobs never leave.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> plan = plan_static(
    ...     [1, 1], [(), ()], servers=[[(0, F(1, 2)), (1, 1)], [(0, F(6, 5)), (1, F(2, 5))]]
    ... )
    >>> plan.load, plan.shares[0]
    (Fraction(7, 15), ((0, Fraction(14, 15)), (1, Fraction(1, 15))))
    """
    # One station is as good as another: only arrivals and routing are read and checked.
    ones = [1] * len(arrival_rates)
    traffic = MulticlassNetwork([0 for _ in ones], ones, arrival_rates, routing)
    demand = _demand(traffic, servers)
    shares: list[Row] = [_fastest(row) for row in demand.servers]
    levels = [Fraction(0)] * demand.stations
    best, prices = Fraction(0), (Fraction(0),) * demand.stations
    for classes, stations in _parts(demand):
        load, priced = _spread(demand, classes, stations, shares=shares, levels=levels)
        if load > best:
            best, prices = load, tuple(priced.get(j, Fraction(0)) for j in range(len(levels)))
    if best == 0:
        msg = "arrival_rates must let some class with a server arrive, got none that does."
        raise InvalidArgument(msg)
    costs = [
        min((prices[j] * seconds for j, seconds in row), default=Fraction(0))
        for row in demand.servers
    ]
    worth = solve_flow(costs, traffic.routing, names=traffic.class_names)
    return StaticPlan(best, tuple(levels), tuple(shares), prices, worth)


def _demand(traffic: MulticlassNetwork, servers: Servers) -> _Demand:
    if len(servers) != traffic.class_count:
        msg = (
            f"servers must have one entry for each of {traffic.class_count} classes, "
            f"got {len(servers)}."
        )
        raise InvalidArgument(msg)
    rows: list[Row] = []
    for k, row in enumerate(servers):
        numbers = [unboxed(seconds) for _, seconds in row]
        is_exact = all(isinstance(m, int | Fraction) and m > 0 for m in numbers)
        stations = {j for j, _ in row}
        if not is_exact or len(stations) < len(row) or min(stations, default=0) < 0:
            msg = (
                f"servers[{k}] must name different stations, numbered from 0, each with a mean "
                f"service above 0 [s], an integer or a Fraction, got {row!r}."
            )
            raise InvalidArgument(msg)
        rows.append(tuple((int(j), Fraction(unboxed(m))) for j, m in sorted(row)))
    count = 1 + max((j for row in rows for j, _ in row), default=-1)
    return _Demand(visit_rates(traffic), rows, count)


def _fastest(row: Row) -> Row:
    """Return the whole of a class at its fastest station: what the unvisited keep."""
    return ((min(row, key=lambda pair: pair[1])[0], Fraction(1)),) if row else ()


def _parts(demand: _Demand) -> list[tuple[list[int], list[int]]]:
    """Return the classes and stations of each part that can be planned by itself."""
    import networkx as nx

    choices = nx.Graph()
    for k, row in enumerate(demand.servers):
        if demand.rates[k]:
            choices.add_edges_from((("class", k), ("station", j)) for j, _ in row)
    return [
        (
            sorted(n for kind, n in part if kind == "class"),
            sorted(n for kind, n in part if kind == "station"),
        )
        for part in nx.connected_components(choices)
    ]


def _spread(
    demand: _Demand,
    classes: list[int],
    stations: list[int],
    *,
    shares: list[Row],
    levels: list[Fraction],
) -> tuple[Fraction, dict[int, Fraction]]:
    """Plan one part; fill in its shares and levels, return its load and its prices."""
    if len(stations) == 1:
        (station,) = stations
        for k in classes:
            shares[k] = ((station, Fraction(1)),)
        levels[station] = sum((demand.seconds(k, station) for k in classes), Fraction(0))
        return levels[station], {station: Fraction(1)}
    settled: dict[int, Fraction] = {}
    first: tuple[Fraction, dict[int, Fraction]] | None = None
    while len(settled) < len(stations):
        load, prices, plan = _least_busy(demand, classes, stations, settled=settled)
        first = first or (load, prices)
        # A station with a price has this load in every best plan.
        settled.update((j, load) for j, price in prices.items() if price > 0 or load == 0)
    assert first is not None, "a part has a station"
    for k in classes:
        total = sum(plan[k].values())
        shares[k] = tuple((j, part / total) for j, part in plan[k].items() if part)
        for j, part in shares[k]:
            levels[j] += part * demand.seconds(k, j)
    return first


def _least_busy(
    demand: _Demand, classes: list[int], stations: list[int], *, settled: dict[int, Fraction]
) -> tuple[Fraction, dict[int, Fraction], dict[int, dict[int, Fraction]]]:
    """Minimise the load of the stations that are not settled; return load, prices, shares."""
    columns = [(k, j) for k in classes for j, _ in demand.servers[k]]
    served = [[-int(k == c) for c, _ in columns] + [0] for k in classes]
    busy = [
        [demand.seconds(c, s) if s == j else 0 for c, s in columns] + [-int(j not in settled)]
        for j in stations
    ]
    optimum = exact_maximum(
        [0] * len(columns) + [-1],
        [*served, *busy],
        bounds=[-1] * len(classes) + [settled.get(j, Fraction(0)) for j in stations],
    )
    assert optimum is not None, "every class has a station"
    multipliers = dict(zip(stations, optimum.multipliers[len(classes) :], strict=True))
    prices = {j: price for j, price in multipliers.items() if j not in settled}
    plan: dict[int, dict[int, Fraction]] = {k: {} for k in classes}
    for (k, j), part in zip(columns, optimum.point, strict=False):
        plan[k][j] = part
    return -optimum.value, prices, plan
