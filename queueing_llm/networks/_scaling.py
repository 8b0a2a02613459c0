"""The largest multiple of the arrival rates that a Lyapunov function certifies."""

from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._climb import Reach, certified_pieces, climb, equal_shares, simple
from queueing_llm.networks._lyapunov import disciplines
from queueing_llm.networks._modes import Priority
from queueing_llm.networks._pieces import LyapunovPieces, drift_margin
from queueing_llm.networks._traffic import station_loads

ROOM = 4
"""A certificate stands a tolerance over this below the largest scale found."""


@final
@dataclass(frozen=True, slots=True)
class CriticalScaling:
    r"""How far all arrival rates of a network can be multiplied.

    Parameters
    ----------
    low : Fraction
        Stable when the rates are multiplied by this: proved by the pieces.
    high : Fraction
        See ``is_nominal``.
    is_nominal : bool
        Whether ``high`` is :math:`1 / \max_j \rho_j`, above which every discipline is
        unstable. If not, it is a scale for which the programme found no pieces: numerical,
        and not a proof of anything.
    pieces : LyapunovPieces
        The certificate of the network scaled by ``low``.
    holds_below : bool
        Whether the same pieces prove every smaller positive scale; always without priority.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> tandem = MulticlassNetwork.with_routes(
    ...     ["AB"], mean_service=[F(1, 2), F(4, 5)], arrival_rates=[1]
    ... )
    >>> found = critical_scaling(tandem)
    >>> found.high, found.is_nominal, found.holds_below
    (Fraction(5, 4), True, True)
    """

    low: Fraction
    high: Fraction
    is_nominal: bool
    pieces: LyapunovPieces
    holds_below: bool


def critical_scaling(
    network: MulticlassNetwork,
    *,
    priority: Priority | None = None,
    tolerance: float | Fraction = Fraction(1, 10**6),
) -> CriticalScaling:
    r"""Return the largest multiple of the arrival rates for which pieces are found.

    Parameters
    ----------
    network : MulticlassNetwork
        Its arrival rates are multiplied.
    priority : sequence of int, one per class, optional
        Ranks of static priorities, as for :func:`stability_pieces`.
    tolerance : number
        Relative distance of ``low`` and ``high``, from 1e-8 to 1e-1.

    Returns
    -------
    CriticalScaling
        ``low`` is a proved lower bound of the scale at which stability ends.

    Raises
    ------
    InvalidArgument
        If nothing arrives, the tolerance is out of range, the priority is not one, or jobs
        of some classes never leave.

    Notes
    -----
    For two stations and no priority the exact threshold lies between ``low`` and, as far as
    the solver can be trusted, ``high``.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ... )
    >>> found = critical_scaling(lu_kumar)
    >>> found.low < F(5, 6) < found.high, found.is_nominal
    (True, False)
    """
    loads = station_loads(network)
    if not any(loads):
        msg = f"arrival_rates must not all be 0, got {network.arrival_rates!r}."
        raise InvalidArgument(msg)
    if not 1e-8 <= tolerance <= 0.1:
        msg = f"tolerance must be between 1e-8 and 0.1, got {tolerance!r}."
        raise InvalidArgument(msg)
    room = Fraction(tolerance).limit_denominator(10**9)
    nominal = 1 / max(loads)
    goal = nominal * (1 - room / ROOM)
    reach = Reach(1 / sum(loads, Fraction(0)), goal, equal_shares(network))
    for ranks in disciplines(network, priority):
        begin = Reach(min(reach.low, goal), goal, reach.shares)
        reach = climb(network, begin, priority=ranks, tolerance=room / 2)
        if reach.low == goal:
            break
    is_nominal = reach.low == goal
    back = Fraction(0) if is_nominal else room / ROOM
    low, pieces = _certificate(network, reach, priority, back=back)
    return CriticalScaling(
        low=low,
        high=nominal if is_nominal else reach.high,
        is_nominal=is_nominal,
        pieces=pieces,
        holds_below=drift_margin(network.scaled(0), pieces) >= 0,
    )


def _certificate(
    network: MulticlassNetwork, reach: Reach, priority: Priority | None, *, back: Fraction
) -> tuple[Fraction, LyapunovPieces]:
    """Return the certificate next to the scale reached, a little below if need be."""
    while True:
        scale = reach.low * (1 - back)
        scale = simple(scale) if back else scale
        for ranks in disciplines(network, priority):
            pieces = certified_pieces(network.scaled(scale), reach.shares, priority=ranks)
            if pieces is not None:
                return scale, pieces
        back = 2 * back or Fraction(1, 10**9)
        if back >= 1:
            msg = "the solver proposes no pieces at any scale of these rates."
            raise InvalidArgument(msg)
