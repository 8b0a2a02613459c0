"""Virtual stations: classes of two stations that are never served at the same time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, combinations, product
from typing import TypeAlias, final

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._layers import collected
from queueing_llm.networks._modes import check_priority
from queueing_llm.networks._traffic import visit_rates
from queueing_llm.networks._two_stations import two_station_threshold
from queueing_llm.networks._workload_condition import workload_condition

Classes: TypeAlias = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class VirtualStation:
    r"""Classes of two stations that together have the time of one.

    Parameters
    ----------
    classes : tuple of int
        :math:`V`.
    names : tuple of str
        What they are called.
    push_start : tuple of int
        :math:`F`, beginnings of routes that are served before :math:`V`.
    load : Fraction or None
        :math:`\rho_i(V) / (1 - \rho_i(F)) + \rho_j(V) / (1 - \rho_j(F))` [1]; None if
        :math:`F` alone needs all time of a station.

    Examples
    --------
    >>> VirtualStation((1, 3), names=("2", "4"), push_start=(), load=Fraction(6, 5)).load
    Fraction(6, 5)
    """

    classes: Classes
    names: tuple[str, ...]
    push_start: Classes
    load: Fraction | None


def virtual_stations(
    network: MulticlassNetwork, *, priority: Sequence[int] | None = None
) -> tuple[VirtualStation, ...] | None:
    r"""Return the overloaded virtual stations, which explain why a network is unstable.

    Classes :math:`V` of two stations, served before all others there, are never served at the
    same time if each is fed only by :math:`V` at its own station or by classes outside
    :math:`V` at the other: while one station works on :math:`V`, the other gets nothing new
    for it. So the work of :math:`V` must fit into the time of one server.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    priority : sequence of int, optional
        Ranks, smaller first. Then, for each pair of stations, the virtual station of largest
        load that these ranks form. If left out, of all that some ranks form: the one of
        largest load without a push start, and the one that limits the arrival rates.

    Returns
    -------
    tuple of VirtualStation or None
        Those of load above 1, largest first. Without ``priority``, None unless there are two
        stations and fixed routes.

    Raises
    ------
    InvalidArgument
        If ``priority`` is not one rank per class, different within a station, or jobs come
        back for ever.

    Notes
    -----
    Exact. Under priorities that interrupt, a load above 1 without a push start makes the
    network unstable unless services end at the same instant, which i.i.d. continuous ones do
    with probability 0: from empty, the two stations never work on :math:`V` at once, so the
    jobs of :math:`V` served by time :math:`t` took at most :math:`t` seconds. In lockstep they
    may: with constant times and simultaneous arrivals both jobs of the pair below always change
    sides together, and it keeps up. Priorities that do not interrupt have the same fluid
    model. Push starts are looked for without ``priority`` only. An empty answer proves nothing.
    After Dai and Vande Vate (2000); the test by predecessors is ours.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> pair = MulticlassNetwork.with_routes(
    ...     ["AB", "BA"], mean_service=[F(1, 12), F(17, 24)] * 2, arrival_rates=[1, 1]
    ... )
    >>> virtual_stations(pair)[0].names, virtual_stations(pair)[0].load
    (('2', '4'), Fraction(17, 12))
    >>> virtual_stations(pair, priority=(0, 1, 0, 1))
    ()
    """
    routes = network.routes()
    if priority is not None:
        found = _by_priority(network, check_priority(network, priority))
    elif network.station_count == 2 and routes is not None:
        found = _by_threshold(network, routes)
    else:
        return None
    heavy = {v for v in found if v.load is None or v.load > 1}
    return tuple(sorted(heavy, key=lambda v: (v.load is not None, -(v.load or 0), v.classes)))


def _by_threshold(
    network: MulticlassNetwork, routes: Sequence[Classes]
) -> Iterator[VirtualStation]:
    """Yield the worst virtual station, and the one that binds, if any does."""
    threshold = two_station_threshold(network)
    if threshold is None:
        return
    worst = collected(network, routes, price=Fraction(1), together=True)[1]
    alone = workload_condition(network, (), virtual_station=worst)
    for condition in (alone, threshold.binding):
        if len({network.stations[k] for k in condition.virtual_station}) == 2:
            yield VirtualStation(
                condition.virtual_station,
                names=tuple(network.class_names[k] for k in condition.virtual_station),
                push_start=condition.push_start,
                load=condition.load,
            )


def _by_priority(network: MulticlassNetwork, ranks: Sequence[int]) -> Iterator[VirtualStation]:
    """Yield for each pair of stations the virtual station of largest load."""
    visits = zip(visit_rates(network), network.mean_service, strict=True)
    loads = [rate * seconds for rate, seconds in visits]
    feeders = _feeders(network)
    lines = [
        sorted(network.classes_at(j), key=ranks.__getitem__)
        for j in range(network.station_count)
    ]
    work = [list(accumulate(loads[k] for k in line)) for line in lines]
    for i, j in combinations(range(len(lines)), 2):
        first = _beginnings(network, lines[i], lines[j], feeders=feeders)
        second = _beginnings(network, lines[j], lines[i], feeders=feeders)
        found = [
            (work[i][m - 1] + work[j][n - 1], m, n)
            for (m, most_n), (n, most_m) in product(first.items(), second.items())
            if m <= most_m and n <= most_n
        ]
        if found:
            load, m, n = max(found)
            classes = tuple(sorted(lines[i][:m] + lines[j][:n]))
            names = tuple(network.class_names[k] for k in classes)
            yield VirtualStation(classes, names=names, push_start=(), load=load)


def _feeders(network: MulticlassNetwork) -> list[list[int]]:
    """Return the classes that lead to each class."""
    feeders: list[list[int]] = [[] for _ in network.routing]
    for k, row in enumerate(network.routing):
        for l, _ in row:
            feeders[l].append(k)
    return feeders


def _beginnings(
    network: MulticlassNetwork,
    line: Sequence[int],
    other: Sequence[int],
    *,
    feeders: Sequence[Sequence[int]],
) -> dict[int, int]:
    """Return how many first classes of a station may be in a virtual one of two stations.

    With each number stands how many of the other station may be in it at most.
    """
    own = {k: n for n, k in enumerate(line)}
    across = {k: n for n, k in enumerate(other)}
    found: dict[int, int] = {}
    needed, most = 0, len(other)
    for count, k in enumerate(line, start=1):
        if network.arrival_rates[k] or not all(l in own or l in across for l in feeders[k]):
            break
        needed = max([needed, *(own[l] + 1 for l in feeders[k] if l in own)])
        most = min([most, *(across[l] for l in feeders[k] if l in across)])
        if needed <= count:
            found[count] = most
    return found
