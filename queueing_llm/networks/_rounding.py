"""From the floats of a solver to pieces in fractions that pass the exact check."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._modes import Place, Priority, emptied, places
from queueing_llm.networks._pieces import LyapunovPieces, Weights, drift_bounds
from queueing_llm.networks._programme import Proposal

SIMPLE = (10, 20, 50, 100, 200, 500, 1_000, 10**4, 10**6, 10**9, 10**12)
FEW = (1_000, 10**6, 10**9, 10**12)
FINE = (10**12,)
"""Denominators in the order in which they are tried; few where a check takes long."""


def rounded_pieces(
    network: MulticlassNetwork,
    proposal: Proposal,
    *,
    shares: Sequence[Fraction],
    priority: Priority | None = None,
    denominators: Sequence[int] = SIMPLE,
) -> LyapunovPieces | None:
    """Return pieces near a proposal that keep half of its drift.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    proposal : Proposal
        Pieces in floating point.
    shares : sequence of Fraction, one per station
        Those that the proposal was made for.
    priority : sequence of int, optional
        Ranks of the discipline.
    denominators : sequence of int
        What weights are rounded to, after the largest is scaled to 1.

    Returns
    -------
    LyapunovPieces or None
        The first that pass :func:`drift_margin` with a positive margin; None if none do.
    """
    largest = float(proposal.weights.max())
    if not largest > 0 or not proposal.margin > 0:
        return None
    aim = Fraction(proposal.margin / largest) / 2
    for denominator in denominators:
        weights = _dominating(
            network,
            [_rounded(h / largest, denominator) for h in proposal.weights],
            shares=shares,
        )
        if not all(map(any, zip(*weights, strict=True))):
            continue
        ranks = None if priority is None else tuple(priority)
        pieces = LyapunovPieces(weights, _mixture(weights, shares), ranks, (), aim)
        fine = {
            place: _rounded(w / largest, denominator) for place, w in proposal.cases.items()
        }
        pieces = _with_cases(network, pieces, fine)
        margin = min(work - inflow for work, inflow in drift_bounds(network, pieces))
        if margin >= aim:
            return LyapunovPieces(weights, pieces.mixture, ranks, pieces.cases, margin)
    return None


def _rounded(values: Any, denominator: int) -> Weights:
    return tuple(Fraction(round(float(value) * denominator), denominator) for value in values)


def _dominating(
    network: MulticlassNetwork, weights: Sequence[Weights], *, shares: Sequence[Fraction]
) -> tuple[Weights, ...]:
    """Return the weights after raising those of own classes until domination is exact.

    Only the piece of its own station is changed for a class, so one pass is enough.
    """
    changed = [list(h) for h in weights]
    for k, station in enumerate(network.stations):
        others = [j for j in range(len(weights)) if j != station]
        if others:
            mean = sum((shares[j] * weights[j][k] for j in others), Fraction(0))
            needed = (max(weights[j][k] for j in others) - mean) / shares[station]
            changed[station][k] = max(changed[station][k], needed)
    return tuple(map(tuple, changed))


def _mixture(weights: Sequence[Weights], shares: Sequence[Fraction]) -> tuple[Weights, ...]:
    if all(h == weights[0] for h in weights):
        return ()
    return tuple(
        tuple(Fraction(0) if j == i else p / (1 - share) for j, p in enumerate(shares))
        for i, share in enumerate(shares)
    )


def _with_cases(
    network: MulticlassNetwork, pieces: LyapunovPieces, proposed: dict[Place, Weights]
) -> LyapunovPieces:
    """Replace the weights where the piece itself falls more slowly than ``margin``."""
    if not proposed:
        return pieces
    cases = []
    bounds = drift_bounds(network, pieces)
    for (i, mode), (work, inflow) in zip(places(network, pieces.priority), bounds, strict=True):
        if work - inflow < pieces.margin:
            weights = list(pieces.weights[i])
            for k in emptied(network, pieces.priority, mode):
                weights[k] = proposed[i, mode][k]
            cases.append((i, mode, tuple(weights)))
    return LyapunovPieces(
        pieces.weights, pieces.mixture, pieces.priority, tuple(cases), pieces.margin
    )
