"""Published theorems that make a network stable below load 1, with their hypotheses checked."""

from collections.abc import Sequence

from queueing_llm.evidence import Hypothesis
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._forward_order import forward_order
from queueing_llm.networks._modes import check_priority
from queueing_llm.networks._theorem_match import TheoremMatch, loads_below_one, no_forks
from queueing_llm.networks._two_stations import two_station_threshold


def applicable_theorems(
    network: MulticlassNetwork,
    *,
    priority: Sequence[int] | None = None,
    is_fifo: bool = False,
    has_joins: bool = False,
) -> tuple[TheoremMatch, ...]:
    """Return the theorems that make a network stable, those for more disciplines first.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    priority : sequence of int, optional
        Ranks of the discipline, smaller first; None if it is none or unknown.
    is_fifo : bool
        Whether each station serves all its jobs in order of arrival there.
    has_joins : bool
        Whether jobs wait for each other. Then only the theorem on feed-forward networks is
        considered.

    Returns
    -------
    tuple of TheoremMatch
        Those whose hypotheses all hold; empty if none does, which decides nothing.

    Raises
    ------
    InvalidArgument
        If ``priority`` is not one rank per class, different within a station, or jobs come
        back for ever.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> line = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ... )
    >>> [match.name for match in applicable_theorems(line)]
    []
    >>> [match.name for match in applicable_theorems(line, priority=(0, 1, 2, 3))]
    ['first buffer first served']
    """
    matches = [feed_forward(network)]
    if not has_joins:
        matches += [one_class_per_station(network), two_stations(network)]
        if is_fifo:
            matches.append(kelly_fifo(network))
        if priority is not None:
            matches += [
                buffer_order(network, priority, forwards=forwards) for forwards in (True, False)
            ]
    return tuple(match for match in matches if match.applies)


def feed_forward(network: MulticlassNetwork) -> TheoremMatch:
    r"""Return the theorem that networks without a way back are stable below load 1.

    Consecutive visits at one station count as one, so a single station always qualifies.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Returns
    -------
    TheoremMatch
        Its hypothesis says in which order jobs pass the stations, or names a circle of them.

    Notes
    -----
    Argument: the work left for the first station in the order drains at rate
    :math:`1 - \rho_j`, and once its fluid is gone it passes jobs on as they arrive; and so
    on down the order. A join of branches passes the smallest of their flows, which agree once
    all are empty. It holds for forks as for routes.

    Examples
    --------
    >>> from queueing_llm.model import MulticlassNetwork
    >>> ring = MulticlassNetwork.with_routes(
    ...     ["AB", "BA"], mean_service=[1, 1, 1, 1], arrival_rates=[0, 0]
    ... )
    >>> feed_forward(ring).hypotheses[1].how
    'circle: A -> B -> A'
    """
    order, is_acyclic = forward_order(network)
    way = " -> ".join(network.station_names[j] for j in order)
    return TheoremMatch(
        name="feed-forward",
        statement="Every non-idling discipline is stable.",
        source="Dai (1995); consecutive visits to one station, forks and joins: ours",
        disciplines="every non-idling one",
        hypotheses=(
            loads_below_one(network),
            Hypothesis(
                name="no job comes back to a station that it has left",
                holds=is_acyclic,
                how=f"{'order' if is_acyclic else 'circle'}: {way}",
            ),
        ),
    )


def one_class_per_station(network: MulticlassNetwork) -> TheoremMatch:
    """Return the theorem on generalised Jackson networks, which have one class per station.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> retry = MulticlassNetwork([0], [F(1, 10)], [3], [[(0, F(1, 4))]])
    >>> one_class_per_station(retry).applies
    True
    """
    stations = enumerate(network.station_names)
    shared = [name for j, name in stations if len(network.classes_at(j)) > 1]
    return TheoremMatch(
        name="one class per station",
        statement="Every non-idling discipline is stable.",
        source="Sigman (1990), Dai (1995)",
        disciplines="every non-idling one",
        hypotheses=(
            loads_below_one(network),
            no_forks(network),
            Hypothesis(
                name="each station serves one class",
                holds=not shared,
                how=f"several at {', '.join(shared)}" if shared else "one at each",
            ),
        ),
    )


def two_stations(network: MulticlassNetwork) -> TheoremMatch:
    """Return the theorem on two stations and fixed routes, whose condition is necessary, too.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> line = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ... )
    >>> two_stations(line).hypotheses[-1].how
    'binding: alpha (m_2 + m_4) < 1, left side 1.2'
    """
    found = two_station_threshold(network)
    fits = network.station_count == 2 and network.routes() is not None
    holds, how = fits, "no arrivals" if fits else "not looked at"
    if found is not None:
        load = found.binding.load
        holds = load is not None and load < 1
        how = f"binding: {found.binding.text}"
        how += "" if load is None else f", left side {float(load):.6g}"
    return TheoremMatch(
        name="two stations",
        statement="Every non-idling discipline is stable.",
        source="Dai and Vande Vate (2000)",
        disciplines="every non-idling one",
        hypotheses=(
            Hypothesis(
                name="two stations and fixed routes",
                holds=fits,
                how=f"{network.station_count} stations, routes "
                f"{'not ' if network.routes() is None else ''}fixed",
            ),
            Hypothesis("all virtual workload conditions hold", holds=holds, how=how),
        ),
    )


def kelly_fifo(network: MulticlassNetwork) -> TheoremMatch:
    """Return the theorem on FIFO networks of Kelly type.

    Parameters
    ----------
    network : MulticlassNetwork
        The network; that the discipline is FIFO is not checked here.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> line = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 3)] * 4, arrival_rates=[1]
    ... )
    >>> kelly_fifo(line).applies
    True
    """
    uneven = []
    for j, name in enumerate(network.station_names):
        means = [network.mean_service[k] for k in network.classes_at(j)]
        if min(means) != max(means):
            uneven.append(f"{float(min(means)):.4g} to {float(max(means)):.4g} s at {name}")
    return TheoremMatch(
        name="Kelly type under FIFO",
        statement="FIFO is stable.",
        source="Bramson (1996)",
        disciplines="FIFO",
        hypotheses=(
            loads_below_one(network),
            no_forks(network),
            Hypothesis(
                name="all classes of a station have the same mean service",
                holds=not uneven,
                how=", ".join(uneven) or "equal at each station",
            ),
        ),
    )


def buffer_order(
    network: MulticlassNetwork, priority: Sequence[int], *, forwards: bool
) -> TheoremMatch:
    """Return the theorem on one route whose earlier, or later, classes come first.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    priority : sequence of int, one per class
        Ranks, smaller first.
    forwards : bool
        Whether earlier classes come first (FBFS), not later ones (LBFS).

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> line = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ... )
    >>> buffer_order(line, (2, 4, 3, 1), forwards=False).hypotheses[2].how
    'compared at each station'
    >>> buffer_order(line, (2, 3, 4, 1), forwards=False).hypotheses[2].how
    'not at B'
    """
    ranks, routes = check_priority(network, priority), network.routes()
    count = 0 if routes is None else len(routes)
    broken = []
    if routes is not None and count == 1:
        route = routes[0] if forwards else routes[0][::-1]
        for station, name in enumerate(network.station_names):
            line = [ranks[k] for k in route if network.stations[k] == station]
            if line != sorted(line):
                broken.append(name)
    compared = f"not at {', '.join(broken)}" if broken else "compared at each station"
    return TheoremMatch(
        name="first buffer first served" if forwards else "last buffer first served",
        statement="This static priority is stable.",
        source="Dai (1995)" if forwards else "Dai and Weiss (1996), Kumar and Kumar (1996)",
        disciplines="this priority",
        hypotheses=(
            loads_below_one(network),
            Hypothesis(
                name="all jobs follow one route",
                holds=count == 1,
                how=f"{count} routes" if count else "routes are not fixed",
            ),
            Hypothesis(
                name=f"stations rank classes {'along' if forwards else 'against'} the route",
                holds=count == 1 and not broken,
                how=compared if count == 1 else "not looked at",
            ),
        ),
    )
