"""The quadratic Lyapunov programme, for comparison with piecewise-linear functions."""

from fractions import Fraction

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._programme import add_drift, scaled_numbers
from queueing_llm.networks._sparse import SparseProgramme
from queueing_llm.networks._traffic import station_loads

LEAST_MARGIN = 1e-9
"""Below this the solver may have found nothing but its own tolerance."""


def quadratic_margin(network: MulticlassNetwork) -> float:
    r"""Return the largest drift of a quadratic function that the programme finds.

    For :math:`V = \tfrac12 Q^\top P Q` with a symmetric :math:`P`, :math:`0 \le P_{kl} \le 1`,
    the largest :math:`\gamma` with :math:`\dot V \le -\gamma \sum_k Q_k` that follows column
    by column:

    .. math:: \sum_k \alpha_k P_{kl} - \min_{s(k) = s(l)} D_l(k)
       - \sum_{j \ne s(l)} \min(0, \min_{s(k) = j} D_l(k)) \le -\gamma,

    :math:`D_l(k) = \mu_k (P_{kl} - \sum_i R_{ki} P_{il})`. Every non-idling discipline is
    stable if it is positive.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Returns
    -------
    float
        :math:`\gamma` [1/s], at least 0 up to rounding; numerical, not a proof.

    Raises
    ------
    InvalidArgument
        If the solver fails.

    Notes
    -----
    Conservative: for two stations it never finds more than piecewise-linear functions, which
    are exact there, and often less. Kumar and Meyn (1995), without a linear term.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> queue = MulticlassNetwork.with_routes(
    ...     ["A"], mean_service=[F(1, 2)], arrival_rates=[1]
    ... )
    >>> round(quadratic_margin(queue), 6)
    1.0
    """
    programme, data = SparseProgramme(), scaled_numbers(network)
    count = network.class_count
    margin = programme.column(0.0, np.inf)
    entry = {(k, l): programme.column(0.0, 1.0) for l in range(count) for k in range(l + 1)}
    for l, station in enumerate(network.stations):
        at = [entry[min(k, l), max(k, l)] for k in range(count)]
        mode = tuple(l if j == station else None for j in range(network.station_count))
        add_drift(programme, network, data, priority=None, mode=mode, at=at, margin=margin)
    found = programme.maximum(margin)
    if found is None:
        msg = f"network must be one that the solver can handle, got {network!r}."
        raise InvalidArgument(msg)
    return float(found[0][margin] / data.unit)


def quadratic_scaling(network: MulticlassNetwork, *, tolerance: float = 1e-6) -> float:
    r"""Return the largest multiple of the arrival rates with a positive quadratic margin.

    Parameters
    ----------
    network : MulticlassNetwork
        Its arrival rates are multiplied.
    tolerance : float
        Relative precision, at least 1e-8.

    Returns
    -------
    float
        Numerical; at most the nominal :math:`1 / \max_j \rho_j`.

    Raises
    ------
    InvalidArgument
        If nothing arrives, the tolerance is out of range, or jobs of some classes never
        leave.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ... )
    >>> round(quadratic_scaling(lu_kumar), 4)
    0.7831
    """
    loads = station_loads(network)
    if not any(loads):
        msg = f"arrival_rates must not all be 0, got {network.arrival_rates!r}."
        raise InvalidArgument(msg)
    if not 1e-8 <= tolerance <= 0.1:
        msg = f"tolerance must be between 1e-8 and 0.1, got {tolerance!r}."
        raise InvalidArgument(msg)
    least = LEAST_MARGIN / float(max(network.mean_service))
    low, high = 0.0, float(1 / max(loads))
    while high - low > tolerance * high:
        middle = (low + high) / 2
        if quadratic_margin(network.scaled(Fraction(middle))) > least:
            low = middle
        else:
            high = middle
    return low
