"""Stability of a network by a piecewise-linear Lyapunov function, in exact numbers."""

from fractions import Fraction

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._climb import (
    Reach,
    certified_pieces,
    climb,
    equal_shares,
    has_choice,
)
from queueing_llm.networks._modes import MOST_MODES, Priority, check_priority, mode_count
from queueing_llm.networks._pieces import LyapunovPieces
from queueing_llm.networks._traffic import station_loads

COARSE = Fraction(1, 1000)


def stability_pieces(
    network: MulticlassNetwork, *, priority: Priority | None = None
) -> LyapunovPieces | None:
    r"""Return a Lyapunov function that proves the fluid of a network stable, if one is found.

    A linear programme proposes :math:`\Phi(Q) = \max_i h_i \cdot Q` with the largest drift;
    its weights are rounded to the simplest fractions that keep half of the drift, which
    :func:`drift_margin` then computes exactly.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    priority : sequence of int, one per class, optional
        Ranks of static priorities, smaller served first, different within a station. What is
        proved then is the stability of this discipline; without, of every non-idling one.

    Returns
    -------
    LyapunovPieces or None
        Its ``margin`` is positive and exact, and its ``priority`` is None if it speaks of
        every non-idling discipline, which is tried first. None says only that no such
        function was found.

    Raises
    ------
    InvalidArgument
        If the priority is not one, or jobs of some classes never leave.

    Notes
    -----
    Sufficient. For two stations and no priority the programme is exact: where it fails, some
    non-idling discipline is unstable (Dai and Vande Vate 2000; here only compared with it).
    For three and more it depends on how the pieces are weighted against each other, for
    which some choices are tried. With more than 1,000 modes a priority is left aside. After
    Dai and Weiss (1996), Down and Meyn (1997); the treatment of priorities is ours.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)],
    ...     arrival_rates=[F(4, 5)],
    ... )
    >>> stability_pieces(lu_kumar).margin
    Fraction(1, 30)
    >>> stability_pieces(lu_kumar.scaled(F(9, 8)), priority=[1, 0, 1, 0]) is None
    True
    """
    loads = station_loads(network)
    if max(loads) >= 1:
        return None
    for ranks in disciplines(network, priority):
        equal = equal_shares(network)
        pieces = certified_pieces(network, equal, priority=ranks)
        if pieces is not None:
            return pieces
        if not has_choice(network, ranks):
            continue
        goal = Reach(1 / sum(loads, Fraction(1)), Fraction(1), equal)
        reach = climb(network, goal, priority=ranks, tolerance=COARSE)
        if reach.low == 1:
            return certified_pieces(network, reach.shares, priority=ranks)
    return None


def disciplines(
    network: MulticlassNetwork, priority: Priority | None
) -> list[tuple[int, ...] | None]:
    """Return what pieces can speak of, the strongest first."""
    if priority is None:
        return [None]
    ranks = check_priority(network, priority)
    return [None] if mode_count(network, ranks) > MOST_MODES else [None, ranks]
