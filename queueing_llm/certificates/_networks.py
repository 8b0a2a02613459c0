"""Write certificates about networks, from what was found elsewhere."""

from fractions import Fraction
from typing import Any

from queueing_llm.certificates._checker import FORMAT, VERSION, Rejected, check
from queueing_llm.certificates._network_system import (
    network_system,
    own_servers,
    pairs,
)
from queueing_llm.certificates._store import Certificate
from queueing_llm.certificates._system import pair
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import (
    GrowingCycle,
    LyapunovPieces,
    StaticPlan,
    solve_flow,
    station_loads,
    visit_rates,
)
from queueing_llm.networks._forward_order import forward_order
from queueing_llm.networks._planning import Servers


def certify_network_stability(
    network: MulticlassNetwork, pieces: LyapunovPieces
) -> Certificate | None:
    """Return a proof that the fluid model is stable, by a piecewise-linear function.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    pieces : LyapunovPieces
        The function and the discipline that it speaks of: a static priority, or every
        non-idling policy.

    Returns
    -------
    Certificate or None
        Checked already; None if the checker rejects it.

    Notes
    -----
    That a stable fluid model makes the network positive Harris recurrent is the human
    argument: J. G. Dai, "On positive Harris recurrence of multiclass queueing networks", 1995.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.networks import LyapunovPieces
    >>> one = MulticlassNetwork.with_routes(["A"], mean_service=[1], arrival_rates=[F(1, 2)])
    >>> pieces = LyapunovPieces(((F(1),),), (), None, (), F(1, 2))
    >>> certify_network_stability(one, pieces).document["margin"]
    [1, 2]
    """
    return _proved(
        "network-stability",
        network=network_system(network),
        priority=pieces.priority if pieces.priority is None else list(pieces.priority),
        weights=[pairs(piece) for piece in pieces.weights],
        mixture=[pairs(row) for row in pieces.mixture],
        cases=[
            {"piece": piece, "mode": list(mode), "weights": pairs(weights)}
            for piece, mode, weights in pieces.cases
        ],
        margin=pair(pieces.margin),
    )


def certify_feed_forward(network: MulticlassNetwork) -> Certificate | None:
    """Return a proof that the fluid model is stable, as jobs never turn back to a station.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Returns
    -------
    Certificate or None
        Checked already; None if jobs turn back, never leave, or a load is 1 or more.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> tandem = MulticlassNetwork.with_routes(
    ...     ["AAB"], mean_service=[F(1, 4), F(1, 4), F(2, 3)], arrival_rates=[1]
    ... )
    >>> certify_feed_forward(tandem).document["slack"]
    [1, 3]
    """
    order, is_acyclic = forward_order(network)
    if not is_acyclic:
        return None
    ones = [Fraction(1)] * network.class_count
    try:
        rates, loads = visit_rates(network), station_loads(network)
        remaining_visits = solve_flow(ones, network.routing, names=network.class_names)
    except InvalidArgument:
        return None
    return _proved(
        "network-feed-forward",
        network=network_system(network),
        order=order,
        visit_rates=pairs(rates),
        worth=pairs(remaining_visits),
        slack=pair(1 - max(loads)),
    )


def certify_growth(network: MulticlassNetwork, cycle: GrowingCycle) -> Certificate | None:
    """Return a proof that the fluid model of a static priority is unstable.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    cycle : GrowingCycle
        A path of the fluid model that ends at a multiple of its start.

    Returns
    -------
    Certificate or None
        Checked already; None if the checker rejects it.

    Notes
    -----
    The fluid model of this discipline is not stable. That the network grows, too, takes a
    further argument; see :class:`queueing_llm.networks.GrowingCycle`.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.networks import growing_cycle
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)]
    ... )
    >>> cycle = growing_cycle(lu_kumar, priority=[1, 0, 1, 0])
    >>> certify_growth(lu_kumar, cycle).document["factor"]
    [27, 23]
    """
    return _proved(
        "network-growth",
        network=network_system(network),
        priority=list(cycle.priority),
        start=pairs(cycle.start),
        phases=[
            {"duration": pair(phase.duration), "shares": pairs(phase.shares)}
            for phase in cycle.phases
        ],
        factor=pair(cycle.factor),
    )


def certify_network_overload(
    network: MulticlassNetwork, plan: StaticPlan, *, servers: Servers | None = None
) -> Certificate | None:
    """Return a proof that no policy keeps up, by the prices of static planning.

    Parameters
    ----------
    network : MulticlassNetwork
        Its arrivals and routing; stations and times of service only without ``servers``.
    plan : StaticPlan
        The prices and worths that prove the load of this network and these servers.
    servers : sequence of sequences of (int, int or Fraction), one per class, optional
        Stations that can serve the class, and the mean service there [s]; none for a class
        that takes no station's time.

    Returns
    -------
    Certificate or None
        Checked already; None if the checker rejects it, as it does if the load is at most 1.

    Notes
    -----
    The prices are a dual of the programme of Dai and Lin (2005).

    Examples
    --------
    >>> from queueing_llm.networks import plan_static
    >>> one = MulticlassNetwork.with_routes(["A"], mean_service=[1], arrival_rates=[3])
    >>> plan = plan_static(one.arrival_rates, one.routing, servers=[[(0, 1)]])
    >>> certify_network_overload(one, plan).document["excess"]
    [2, 1]
    """
    servers = own_servers(network) if servers is None else servers
    return _proved(
        "network-overload",
        network=network_system(network, servers=servers),
        prices=pairs(plan.prices),
        worth=pairs(plan.worth),
        excess=pair(plan.load - 1),
    )


def _proved(kind: str, **fields: Any) -> Certificate | None:
    """Return the certificate if it proves its claim."""
    document = {"format": FORMAT, "version": VERSION, "kind": kind, **fields}
    try:
        check(document)
    except Rejected:
        return None
    return Certificate(document)
