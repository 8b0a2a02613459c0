"""Two stations: the exact region in which no non-idling policy is unstable."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._layers import Route, collected, layer_weights
from queueing_llm.networks._pieces import LyapunovPieces, drift_margin
from queueing_llm.networks._workload_condition import (
    Pair,
    WorkloadCondition,
    workload_condition,
)

ONE = Fraction(1)
DENOMINATORS = tuple(10**n for n in range(13))


@final
@dataclass(frozen=True, slots=True)
class TwoStationThreshold:
    r"""Up to which multiple of its arrival rates a network is stable under every policy.

    Parameters
    ----------
    low, high : Fraction
        They enclose :math:`x^\star` [1]: below it every non-idling policy is stable, above
        it some is not. Equal if :math:`x^\star` is rational; otherwise they differ by less
        than :math:`10^{-18}` of it.
    nominal_scaling : Fraction
        :math:`1 / \max_j \rho_j`: above it no policy is stable.
    virtual_station_scaling : Fraction
        What :math:`x^\star` would be without push starts.
    binding : WorkloadCondition
        The condition that binds at :math:`x^\star`. Of several, the one of a real station,
        or without a push start. Above :math:`x^\star` fluid and jobs grow under its
        ``priority`` (checked on random networks, not proved).

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> line = MulticlassNetwork.with_routes(
    ...     ["AABBA"], mean_service=[F(3, 10), F(1, 10), F(1, 2), F(1, 10), F(2, 5)],
    ...     arrival_rates=[1],
    ... )
    >>> found = two_station_threshold(line)
    >>> float(found.low), found.binding.push_start
    (0.9449495366961067, (0,))
    """

    low: Fraction
    high: Fraction
    nominal_scaling: Fraction
    virtual_station_scaling: Fraction
    binding: WorkloadCondition

    @property
    def scaling(self) -> Fraction | None:
        r""":math:`x^\star` if it is rational, else None [1]."""
        return self.low if self.low == self.high else None


def two_station_threshold(network: MulticlassNetwork) -> TwoStationThreshold | None:
    r"""Return the largest scaling of the arrival rates that every non-idling policy survives.

    A network of two stations and fixed routes is stable under every non-idling policy if and
    only if :math:`\rho_1, \rho_2 < 1` and :math:`\rho_1(V) / (1 - \rho_1(F)) + \rho_2(V) / (1
    - \rho_2(F)) < 1` for all push starts :math:`F` and virtual stations :math:`V`. :math:`F`
    is a beginning of each route, possibly empty or whole. Split the rest into *excursions*
    :math:`E_0, E_1, \dots`, runs at one station. :math:`V` consists of a choice of excursions
    without any :math:`E_0` and without two neighbours, and of all but the last class of every
    :math:`E_i`, :math:`i \ge 1`, that was not chosen and does not follow a chosen one.

    Instead of all :math:`(F, V)`, one number is searched. By duality the conditions hold
    if and only if some price :math:`t > 0` has :math:`f_1(t) < 1` and :math:`f_2(t) < 1`,

    .. math:: f_1(t) = \sum_r \alpha_r h_1(r), \qquad f_2(t) = \sum_r \alpha_r h_2(r) / t,

    where :math:`h_i(r)` is the longest path through two layers (:func:`layer_weights`) from
    the first class of route :math:`r`. As :math:`f_1` rises and :math:`f_2` falls,
    :math:`1 / x^\star = \min_t \max(f_1, f_2)` is where they cross. What the longest paths
    there collect apart is :math:`F`, together :math:`V`.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Returns
    -------
    TwoStationThreshold or None
        Exact; None unless there are exactly two stations, jobs follow fixed routes, and some
        arrive.

    Notes
    -----
    Tight, for the fluid model by Dai and Vande Vate (2000), "The stability of two-station
    multitype fluid networks", and above :math:`x^\star` for the network itself by Gamarnik
    and Hasenbein (2005): some non-idling policy makes it unstable. Below, stability is also
    proved by :func:`two_station_pieces`. The search, linear in the classes for each price, is
    ours, as is the argument in :func:`layer_weights` that a linear programme finds no more.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ... )
    >>> found = two_station_threshold(lu_kumar)
    >>> found.scaling, found.nominal_scaling, found.binding.text
    (Fraction(5, 6), Fraction(10, 7), 'alpha (m_2 + m_4) < 1')
    """
    routes = network.routes()
    if network.station_count != 2 or routes is None or not any(network.arrival_rates):
        return None
    nominal = _real_station(network)
    nominal_scaling = virtual_scaling = nominal.scaling()[0]
    virtual = workload_condition(
        network, (), virtual_station=collected(network, routes, price=ONE, together=True)[1]
    )
    if any(virtual.virtual_loads):
        virtual_scaling = min(nominal_scaling, virtual.scaling()[0])
    binding, _ = _crossing(network, routes)
    low, high = binding.scaling()
    if low == nominal_scaling:
        binding = nominal
    elif low == virtual_scaling:
        binding = virtual
    return TwoStationThreshold(low, high, nominal_scaling, virtual_scaling, binding)


def is_globally_stable(network: MulticlassNetwork) -> bool:
    """Whether every non-idling policy keeps two stations with fixed routes stable.

    Parameters
    ----------
    network : MulticlassNetwork
        Two stations and fixed routes.

    Returns
    -------
    bool
        Exact, at the given arrival rates; False at the threshold itself, where the fluid
        need not drain.

    Raises
    ------
    InvalidArgument
        If the network has not exactly two stations or routes are not fixed.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> is_globally_stable(
    ...     MulticlassNetwork.with_routes(
    ...         ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)],
    ...         arrival_rates=[F(4, 5)],
    ...     )
    ... )
    True
    """
    if network.station_count != 2 or network.routes() is None:
        msg = (
            "network must have two stations and fixed routes, got "
            f"{network.station_count} stations and routing={network.routing!r}."
        )
        raise InvalidArgument(msg)
    found = two_station_threshold(network)
    if found is None:
        return True
    load = found.binding.load
    return load is not None and load < 1


def two_station_pieces(network: MulticlassNetwork) -> LyapunovPieces | None:
    r"""Return a Lyapunov function for every non-idling policy, without a linear programme.

    Its weights are the longest paths of :func:`layer_weights` at a price close to the one
    where :math:`f_1 = f_2`, so it exists whenever :func:`is_globally_stable` holds.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Returns
    -------
    LyapunovPieces or None
        A proof in exact numbers; None unless there are two stations, fixed routes, and
        stability.

    Notes
    -----
    Ours. The price has the smallest denominator, of powers of ten, that proves stability.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> two_station_pieces(
    ...     MulticlassNetwork.with_routes(
    ...         ["AB"], mean_service=[F(1, 2), F(1, 4)], arrival_rates=[1]
    ...     )
    ... ).margin
    Fraction(1, 2)
    """
    routes = network.routes()
    if network.station_count != 2 or routes is None or not is_globally_stable(network):
        return None
    price = _proving_price(network, routes) if any(network.arrival_rates) else ONE
    weights = layer_weights(network, routes, price=price)
    mixture = ((0 * ONE, ONE), (ONE, 0 * ONE))
    margin = drift_margin(network, LyapunovPieces(weights, mixture, None, (), 0 * ONE))
    return LyapunovPieces(weights, mixture, None, (), margin)


def _real_station(network: MulticlassNetwork) -> WorkloadCondition:
    """Return the condition that the busier station has a load below 1."""
    stations = (
        workload_condition(network, (), virtual_station=network.classes_at(j)) for j in (0, 1)
    )
    return max(stations, key=lambda condition: max(condition.virtual_loads))


def _crossing(
    network: MulticlassNetwork, routes: Sequence[Route]
) -> tuple[WorkloadCondition, Pair]:
    r"""Return the condition that binds, and an interval that holds the best price.

    What the longest paths collect at one price gives lower bounds of :math:`f_1` and
    :math:`f_2` at all prices. Where these cross is the next price; the search ends where they
    are exact. Both functions have finitely many pieces, and each step, which halves the
    interval if it does not move to a new piece, goes on towards the crossing.
    """
    low, high, price = Fraction(0), None, ONE
    nominal = _real_station(network)
    while True:
        first, second = _inflows(network, routes, price=price)
        if max(first, second) == max(nominal.virtual_loads):
            return nominal, (price, price)
        apart, common = collected(network, routes, price=price, together=False)
        condition = workload_condition(network, apart, virtual_station=common)
        if first == second:
            return condition, (price, price)
        ends = condition.price()
        if ends and all(_is_exact(condition, network, routes=routes, price=t) for t in ends):
            return condition, ends
        low, high = (price, high) if first < second else (low, price)
        if ends and low < ends[0] and (high is None or ends[0] < high):
            price = ends[0]
        else:
            price = 2 * low if high is None else (low + high) / 2


def _inflows(network: MulticlassNetwork, routes: Sequence[Route], *, price: Fraction) -> Pair:
    """Return :math:`f_1(t)` and :math:`f_2(t)` at a price."""
    weights = layer_weights(network, routes, price=price)
    first, second = (
        sum((network.arrival_rates[r[0]] * h[r[0]] for r in routes), Fraction(0))
        for h in weights
    )
    return first, second / price


def _is_exact(
    condition: WorkloadCondition,
    network: MulticlassNetwork,
    *,
    routes: Sequence[Route],
    price: Fraction,
) -> bool:
    """Whether the bounds of a condition are the values at a price."""
    (f_1, f_2), (v_1, v_2) = condition.push_loads, condition.virtual_loads
    bounds = (f_1 + v_1 + v_2 * price, f_2 + v_2 + v_1 / price)
    return bounds == _inflows(network, routes, price=price)


def _proving_price(network: MulticlassNetwork, routes: Sequence[Route]) -> Fraction:
    """Return a price of few digits at which both inflows are below 1."""
    condition, ends = _crossing(network, routes)
    for denominator in DENOMINATORS:
        price = ends[0].limit_denominator(denominator)
        if price > 0 and max(_inflows(network, routes, price=price)) < 1:
            return price
    bits, price = 64, ends[0]
    while max(_inflows(network, routes, price=price)) >= 1:
        bits *= 2
        price = (condition.price(bits=bits) or ends)[0]
    return price
