"""The linear programme that proposes a piecewise-linear Lyapunov function."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._modes import Mode, Place, Priority, emptied, places, served
from queueing_llm.networks._sparse import SparseProgramme


@final
@dataclass(frozen=True, slots=True)
class Proposal:
    """What the solver proposes; nothing of it is believed before it is checked exactly.

    Parameters
    ----------
    weights : array, shape (stations, classes)
        The pieces, between 0 and 1.
    cases : dict from (piece, mode) to array, shape (classes,)
        The weights in each mode; empty without a priority.
    margin : float
        Their drift [1/s].
    gains : array, shape (stations,)
        How fast the margin rises with the share of each station.
    """

    weights: Any
    cases: dict[Place, Any]
    margin: float
    gains: Any


def proposed_pieces(
    network: MulticlassNetwork, shares: Sequence[Fraction], *, priority: Priority | None = None
) -> Proposal | None:
    r"""Maximise the drift of the pieces while none exceeds a weighted mean elsewhere.

    .. math::
       \max \varepsilon \quad \text{s.t.} \quad
       & m_k y_j \le w_k - \sum_l R_{kl} w_l \text{ for } k \text{ served at } j, \quad
         y_j \le 0 \text{ if } j \text{ may idle}, \\
       & \varepsilon + \alpha \cdot w \le \sum_j y_j, \\
       & h_i(k) \le \sum_j p_j h_j(k) \text{ for } s(k) \ne i, \quad 0 \le h \le 1,

    the first two lines for each piece :math:`i` and each mode in which station :math:`i` has
    work; :math:`w` is :math:`h_i` but free for empty classes.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    shares : sequence of Fraction, one per station
        :math:`p_j > 0`, with sum 1. Domination holds with the mixture
        :math:`w_{ij} = p_j / (1 - p_i)`.
    priority : sequence of int, optional
        Ranks of the discipline.

    Returns
    -------
    Proposal or None
        None if the solver fails.

    Notes
    -----
    Equal pieces satisfy the third line, so the linear function is one of the choices.
    """
    count, classes = network.station_count, network.class_count
    programme, data = SparseProgramme(), scaled_numbers(network)
    margin = programme.column(0.0, np.inf)
    pieces = [[programme.column(0.0, 1.0) for _ in range(classes)] for _ in range(count)]
    columns: dict[Place, list[int]] = {}
    for i, mode in places(network, priority):
        at = list(pieces[i])
        for k in emptied(network, priority, mode):
            at[k] = programme.column(-np.inf, np.inf)
        columns[i, mode] = at
        add_drift(programme, network, data, priority=priority, mode=mode, at=at, margin=margin)
    if priority is not None:
        # Draining class k alone takes at least m_k, so this excludes nothing.
        for k, i in enumerate(network.stations):
            programme.row((margin, data.means[k]), (pieces[i][k], -1.0))
    dominated = _add_domination(programme, network, shares, pieces=pieces)
    found = programme.maximum(margin)
    if found is None:
        return None
    point, prices = found
    weights = np.clip(point[np.array(pieces)], 0, 1)
    gains = sum((prices[row] * weights[:, k] for row, k in dominated), np.zeros(count))
    cases = {} if priority is None else {place: point[at] for place, at in columns.items()}
    return Proposal(weights, cases, float(point[margin] / data.unit), gains)


@final
@dataclass(frozen=True, slots=True)
class ScaledNumbers:
    """The numbers of a network in a unit of time in which the longest service is 1."""

    unit: float
    means: list[float]
    rates: list[float]
    routing: list[list[tuple[int, float]]]


def scaled_numbers(network: MulticlassNetwork) -> ScaledNumbers:
    unit = max(network.mean_service)
    return ScaledNumbers(
        unit=float(unit),
        means=[float(mean / unit) for mean in network.mean_service],
        rates=[float(rate * unit) for rate in network.arrival_rates],
        routing=[[(l, float(share)) for l, share in row] for row in network.routing],
    )


def add_drift(
    programme: SparseProgramme,
    network: MulticlassNetwork,
    data: ScaledNumbers,
    *,
    priority: Priority | None,
    mode: Mode,
    at: list[int],
    margin: int,
) -> None:
    """Add the drift of the weights in the columns ``at`` in a mode."""
    falls = []
    for j, first in enumerate(mode):
        fall = programme.column(-np.inf, np.inf if first is not None else 0.0)
        falls.append((fall, -1.0))
        for k in served(network, priority, station=j, first=first):
            onward = [(at[l], share) for l, share in data.routing[k]]
            programme.row((fall, data.means[k]), (at[k], -1.0), *onward)
    arriving = [(at[k], rate) for k, rate in enumerate(data.rates) if rate]
    programme.row((margin, 1.0), *arriving, *falls)


def _add_domination(
    programme: SparseProgramme,
    network: MulticlassNetwork,
    shares: Sequence[Fraction],
    *,
    pieces: list[list[int]],
) -> list[tuple[int, int]]:
    """Add domination; return its rows, each with its class."""
    dominated = []
    for k, station in enumerate(network.stations):
        mean = programme.column(0.0, 1.0)
        of_pieces = [(h[k], -float(share)) for h, share in zip(pieces, shares, strict=True)]
        programme.row((mean, 1.0), *of_pieces)
        dominated += [
            (programme.row((h[k], 1.0), (mean, -1.0)), k)
            for i, h in enumerate(pieces)
            if i != station
        ]
    return dominated
