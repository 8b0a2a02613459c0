"""The longest paths through two layers, one for each station, and what they collect."""

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

from queueing_llm.model import MulticlassNetwork

Route: TypeAlias = tuple[int, ...]
Weights: TypeAlias = tuple[tuple[Fraction, ...], tuple[Fraction, ...]]


def layer_weights(
    network: MulticlassNetwork, routes: Sequence[Route], *, price: Fraction
) -> Weights:
    r"""Return the most that a path can collect from each class of each layer to the end.

    A path moves along a route, always in the layer of one of the two stations. A class of
    that station is collected: it is worth :math:`m_k`, times the price at the second station.
    A class of the other station is passed for nothing. At a class of its own station a path
    may leave it uncollected and change to the other layer:

    .. math:: h_i(k) = \max(m_k y_i + h_i(k + 1),\; h_j(k)), \qquad
       h_j(k) = h_j(k + 1), \qquad s(k) = i \ne j

    Parameters
    ----------
    network : MulticlassNetwork
        Two stations.
    routes : sequence of tuples of int
        Its routes.
    price : Fraction
        :math:`y_2 / y_1`, above 0.

    Returns
    -------
    tuple of two tuples of Fraction, one per class
        :math:`h_1` and :math:`h_2` [s].

    Notes
    -----
    They are the least weights with domination and a fall :math:`D_i(k) \ge y_i` at the own
    station and :math:`D_i(k) \ge 0` at the other one. Weights that may rise there,
    :math:`D_i(k) \ge -s_i`, prove no more. In the dual, :math:`u_1` paths begin in the first
    layer and :math:`u_2` in the second. They collect at least :math:`u_j` at each station
    :math:`j` (dual to :math:`y_j`), and in each layer :math:`i` they pass at most :math:`u_i`
    of the other station :math:`j` (dual to :math:`s_i`). The second follows from the first:
    as no path collects or passes a class twice, they pass at most :math:`(u_1 + u_2) \rho_j
    - u_j < u_i` if :math:`\rho_j < 1`.
    """
    prices = (Fraction(1), price)
    layers = ([Fraction(0)] * network.class_count, [Fraction(0)] * network.class_count)
    for route in routes:
        later = [Fraction(0), Fraction(0)]
        for k in reversed(route):
            own = network.stations[k]
            later[own] += network.mean_service[k] * prices[own]
            later[own] = max(later)
            for layer, worth in zip(layers, later, strict=True):
                layer[k] = worth
    return tuple(layers[0]), tuple(layers[1])


def collected(
    network: MulticlassNetwork, routes: Sequence[Route], *, price: Fraction, together: bool
) -> tuple[Route, Route]:
    """Return what the two longest paths, one from each layer, collect apart and together.

    Until one of them changes layers each collects every class of its own station, so they
    collect a whole prefix of the route; then they are in the same layer.

    Parameters
    ----------
    network, routes, price
        As for :func:`layer_weights`.
    together : bool
        Whether the paths must meet at the first class of every route, so that they collect
        nothing apart.

    Returns
    -------
    tuple of two tuples of int
        The classes collected apart and together, in order.
    """
    weights = layer_weights(network, routes, price=price)
    prices = (Fraction(1), price)
    apart: list[int] = []
    common: list[int] = []
    for route in routes:
        layer: int | None = None
        for k, following in zip(route, (*route[1:], None), strict=True):
            own = network.stations[k]
            later = Fraction(0) if following is None else weights[own][following]
            gain = network.mean_service[k] * prices[own] + later - weights[1 - own][k]
            if layer is None:
                if gain <= 0 or together:
                    layer = 1 - own
                else:
                    apart.append(k)
            elif layer == own:
                if gain < 0:
                    layer = 1 - own
                else:
                    common.append(k)
    return tuple(sorted(apart)), tuple(sorted(common))
