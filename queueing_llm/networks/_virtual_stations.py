"""Virtual stations: classes of two stations that are never served at the same time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
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
    network unstable: from empty, the two stations never work on :math:`V` at once, so the
    jobs of :math:`V` served by time :math:`t` took at most :math:`t` seconds. Priorities that
    do not interrupt have the same fluid model. Push starts are looked for without
    ``priority`` only. An empty answer proves nothing.
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
    for pair in combinations(lines, 2):
        found = [
            (sum((loads[k] for k in classes), Fraction(0)), classes)
            for sizes in product(*(range(1, len(line) + 1) for line in pair))
            for classes in [[k for line, n in zip(pair, sizes, strict=True) for k in line[:n]]]
            if _is_exclusive(network, classes, feeders=feeders, pair=pair)
        ]
        if found:
            load, classes = max(found)
            classes.sort()
            names = tuple(network.class_names[k] for k in classes)
            yield VirtualStation(tuple(classes), names=names, push_start=(), load=load)


def _feeders(network: MulticlassNetwork) -> list[list[int]]:
    """Return the classes that lead to each class."""
    feeders: list[list[int]] = [[] for _ in network.routing]
    for k, row in enumerate(network.routing):
        for l, _ in row:
            feeders[l].append(k)
    return feeders


def _is_exclusive(
    network: MulticlassNetwork,
    classes: Sequence[int],
    *,
    feeders: Sequence[Sequence[int]],
    pair: Sequence[Sequence[int]],
) -> bool:
    """Whether the first classes of two stations are never served at the same time."""
    ours = set(classes)
    both = {k for line in pair for k in line}
    return not any(network.arrival_rates[k] for k in classes) and all(
        l in both and (network.stations[l] == network.stations[k]) == (l in ours)
        for k in classes
        for l in feeders[k]
    )
