"""A piecewise-linear Lyapunov function, and the drift that it proves in exact numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._modes import (
    MOST_MODES,
    Mode,
    check_priority,
    emptied,
    mode_count,
    places,
    served,
)

Weights: TypeAlias = tuple[Fraction, ...]
Case: TypeAlias = tuple[int, Mode, Weights]


@final
@dataclass(frozen=True, slots=True)
class LyapunovPieces:
    r"""The function :math:`\Phi(Q) = \max_i h_i \cdot Q` with one piece for each station.

    Parameters
    ----------
    weights : tuple of tuples of Fraction, shape (stations, classes)
        :math:`h_i(k) \ge 0`.
    mixture : tuple of tuples of Fraction, shape (stations, stations)
        :math:`w_{ij}`, with a zero diagonal, positive elsewhere, rows that sum to 1; empty
        if all pieces are equal.
    priority : tuple of int or None
        Ranks of the only discipline it speaks of; None: of every non-idling one.
    cases : tuple of (int, mode, tuple of Fraction)
        By priority only: a piece, a mode, and the weights that replace the piece there. A
        mode names for each station its first class with fluid, or None if it has none.
    margin : Fraction
        :math:`\varepsilon`, the rate at which :math:`\Phi` falls at least [1/s, if weights
        are numbers].

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> one = LyapunovPieces(((F(1),),), (), None, (), F(1, 2))
    >>> one.margin
    Fraction(1, 2)
    """

    weights: tuple[Weights, ...]
    mixture: tuple[Weights, ...]
    priority: tuple[int, ...] | None
    cases: tuple[Case, ...]
    margin: Fraction


def drift_margin(network: MulticlassNetwork, pieces: LyapunovPieces) -> Fraction:
    r"""Return the rate at which the pieces prove that fluid falls; it is stable if positive.

    With :math:`D_w(k) = \mu_k (w_k - \sum_l R_{kl} w_l)`, the fluid :math:`\dot Q = \alpha -
    (I - R^\top) \operatorname{diag}(\mu) u` changes :math:`w \cdot Q` at the rate
    :math:`\alpha \cdot w - \sum_k u_k D_w(k)`. While station :math:`i` has work, its
    :math:`u_k` sum to 1, those of another station to at most 1, so :math:`h_i \cdot Q`
    falls at least at the rate

    .. math:: \min_{s(k) = i} D_{h_i}(k) + \sum_{j \ne i} \min(0, \min_{s(k) = j} D_{h_i}(k))
       - \alpha \cdot h_i.

    *Domination*, :math:`h_i(k) \le \sum_{j \ne i} w_{ij} h_j(k)` for :math:`s(k) \ne i`, with
    all :math:`w_{ij} > 0`, makes one of the largest pieces that of a station with work: if
    all of those were empty, each would be at most a mean of the others, so every piece would
    be largest and every station empty. Where :math:`\Phi` and all :math:`h_i \cdot Q` have a
    derivative, those of the largest pieces agree, so :math:`\Phi` falls at the least of the
    rates until the network is empty.

    By priority, a station whose first class with fluid is known serves only classes of at
    most that rank, and the classes before it are empty and stay so, :math:`\dot Q_k = 0`.
    Hence :math:`h_i \cdot \dot Q = w \cdot \dot Q` for every :math:`w` that agrees with
    :math:`h_i` on the other classes, whatever its sign elsewhere.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    pieces : LyapunovPieces
        What is checked; its own ``margin`` is not used.

    Returns
    -------
    Fraction
        The largest :math:`\varepsilon` that the pieces prove; if it is 0 or less, they prove
        nothing.

    Raises
    ------
    InvalidArgument
        If the pieces are no Lyapunov function: a shape does not fit, a weight is negative, a
        class has weight 0 everywhere, domination fails, or a case replaces the weight of a
        class that need not be empty.

    Notes
    -----
    Exact, and a lower bound of the drift. Ours, after Dai and Weiss (1996), Down and Meyn
    (1997), and Bertsimas, Gamarnik and Tsitsiklis (1996). That a stable fluid model makes the
    network positive Harris recurrent is due to Dai (1995).

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)],
    ...     arrival_rates=[F(4, 5)],
    ... )
    >>> weights = tuple(tuple(map(F, h)) for h in ((2, 1, 1, 1), (2, 2, 1, 0)))
    >>> other = ((F(0), F(1)), (F(1), F(0)))
    >>> drift_margin(lu_kumar, LyapunovPieces(weights, other, None, (), F(0)))
    Fraction(1, 15)
    """
    _check_function(network, pieces)
    return min(work - inflow for work, inflow in drift_bounds(network, pieces))


def drift_bounds(
    network: MulticlassNetwork, pieces: LyapunovPieces
) -> Iterator[tuple[Fraction, Fraction]]:
    r"""Yield, for each piece and mode, the fall by service and the rise by arrivals [1/s]."""
    replaced = _checked_cases(network, pieces)
    priority, rates = pieces.priority, network.arrival_rates
    falls = [_falls(network, weights) for weights in pieces.weights]
    rises = [_inner(rates, weights) for weights in pieces.weights]
    known: list[dict[tuple[int, int | None], Fraction]] = [{} for _ in falls]
    for i, mode in places(network, priority):
        if (i, mode) in replaced:
            other = replaced[i, mode]
            fall = _service(network, priority, mode, _falls(network, other), {})
            yield fall, _inner(rates, other)
        else:
            yield _service(network, priority, mode, falls[i], known[i]), rises[i]


def _service(
    network: MulticlassNetwork,
    priority: Sequence[int] | None,
    mode: Mode,
    falls: Sequence[Fraction],
    known: dict[tuple[int, int | None], Fraction],
) -> Fraction:
    """Return the least fall by service in a mode; the parts of stations are remembered."""
    total = Fraction(0)
    for station, first in enumerate(mode):
        if (station, first) not in known:
            classes = served(network, priority, station=station, first=first)
            least = min(falls[k] for k in classes)
            known[station, first] = least if first is not None else min(least, Fraction(0))
        total += known[station, first]
    return total


def _falls(network: MulticlassNetwork, weights: Sequence[Fraction]) -> list[Fraction]:
    """Return :math:`D_w(k)` [1/s] for each class."""
    return [
        (weights[k] - sum((share * weights[l] for l, share in row), Fraction(0))) / mean
        for k, (row, mean) in enumerate(zip(network.routing, network.mean_service, strict=True))
    ]


def _inner(rates: Sequence[int | Fraction], weights: Sequence[Fraction]) -> Fraction:
    return sum((a * w for a, w in zip(rates, weights, strict=True) if a), Fraction(0))


def _check_function(network: MulticlassNetwork, pieces: LyapunovPieces) -> None:
    """Raise unless weights are nonnegative, none vanishes everywhere, and domination holds."""
    weights, count = pieces.weights, network.station_count
    if len(weights) != count or any(len(h) != network.class_count for h in weights):
        msg = f"weights must have shape ({count}, {network.class_count}), got {weights!r}."
        raise InvalidArgument(msg)
    if any(value < 0 for h in weights for value in h):
        msg = f"weights must be at least 0, got {weights!r}."
        raise InvalidArgument(msg)
    for k, name in enumerate(network.class_names):
        if not any(h[k] for h in weights):
            msg = f"weights must be above 0 in some piece for class {name}, got 0 in all."
            raise InvalidArgument(msg)
    if not pieces.mixture:
        if any(h != weights[0] for h in weights):
            msg = "mixture must be given unless all pieces are equal, got ()."
            raise InvalidArgument(msg)
        return
    _check_mixture(pieces.mixture, count)
    for i, row in enumerate(pieces.mixture):
        for k, station in enumerate(network.stations):
            mean = sum((w * h[k] for w, h in zip(row, weights, strict=True)), Fraction(0))
            if station != i and weights[i][k] > mean:
                msg = (
                    f"weights must dominate: piece {i} has {weights[i][k]} for class "
                    f"{network.class_names[k]} of another station, above {mean}, the mean of "
                    "the other pieces."
                )
                raise InvalidArgument(msg)


def _check_mixture(mixture: tuple[Weights, ...], count: int) -> None:
    fits = len(mixture) == count and all(
        len(row) == count
        and sum(row) == 1
        and all((w == 0) if j == i else (w > 0) for j, w in enumerate(row))
        for i, row in enumerate(mixture)
    )
    if not fits:
        msg = (
            f"mixture must be {count} rows that sum to 1, 0 on the diagonal and above 0 "
            f"elsewhere, got {mixture!r}."
        )
        raise InvalidArgument(msg)


def _checked_cases(
    network: MulticlassNetwork, pieces: LyapunovPieces
) -> dict[tuple[int, Mode], Weights]:
    """Return the replaced weights; raise if one is replaced of a class that may have fluid."""
    if pieces.priority is not None:
        check_priority(network, pieces.priority)
        if (count := mode_count(network, pieces.priority)) > MOST_MODES:
            msg = f"priority must leave at most {MOST_MODES} modes to check, got {count}."
            raise InvalidArgument(msg)
    elif pieces.cases:
        msg = f"cases must be empty without a priority, got {pieces.cases!r}."
        raise InvalidArgument(msg)
    known = set(places(network, pieces.priority)) if pieces.cases else set()
    replaced: dict[tuple[int, Mode], Weights] = {}
    for i, mode, weights in pieces.cases:
        fits = (i, mode) in known and len(weights) == network.class_count
        empty = set(emptied(network, pieces.priority, mode)) if fits else set()
        kept = [k for k in range(network.class_count) if k not in empty]
        if not fits or any(weights[k] != pieces.weights[i][k] for k in kept):
            msg = (
                f"cases must replace weights of empty classes only, got {weights!r} for piece "
                f"{i} in mode {mode!r}."
            )
            raise InvalidArgument(msg)
        replaced[i, mode] = weights
    return replaced
