"""Claims that the fluid model of a network is stable, by a maximum of weighted sums.

Kind ``network-stability``. The function Phi(Q) = max_i h_i . Q, with weights h_i >= 0 and every
class positive in some h_i, falls at ``margin`` per second or faster while there is fluid. Let
u_k be the share of its station's time that class k gets, and

    D_w(k) = mu_k (w_k - sum_l R_kl w_l),    so that    (w . Q)' = alpha . w - sum_k D_w(k) u_k.

*Some piece i that attains the maximum has work at its station i.* All pieces are equal, or
h_i(k) <= sum_j w_ij h_j(k) for every class k that is not at station i, with w_ij > 0 for j != i
and sum_j w_ij = 1: if a piece attains the maximum and its station is empty, it is at most this
mean of the others, so all pieces attain the maximum, and some station has work.

``priority`` null, *every non-idling policy*: with work at station i its shares add up to 1, and
those of every other station to at most 1. So for every i

    min over k at i of D(k) + sum_{j != i} min(0, min over k at j of D(k)) - alpha . h_i,

with D for the weights h_i, must be at least ``margin``.

``priority`` given, *this static priority*. A mode names for every station j its first class n_j
that has fluid, or null if it is empty. Then classes after n_j get nothing at j and the shares
of the others add up to 1; if n_j is null, the shares of all its classes add up to at most 1.
Classes before n_j (all, if null) are empty, and where the path has a derivative they stay so:
whatever they weigh, it changes nothing. So for every i and every mode with work at station i
there must be weights w, equal to h_i but for these empty classes, with

    sum_j min over k served at j of D(k), with 0 where n_j is null, - alpha . w >= ``margin``,

with D for w. ``cases`` lists the weights w of a piece and mode; elsewhere w = h_i. The checker
itself goes through all modes.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR
from fractions import Fraction
from typing import Any, TypeAlias, final

from queueing_llm.certificates._checker._document import (
    Checked,
    brief,
    entries,
    fields_of,
    position,
    rational,
    rationals,
    reject,
)
from queueing_llm.certificates._checker._network import Network, read_network, read_priority

STABILITY = ("network", "priority", "weights", "mixture", "cases", "margin")
MOST_MODES = 20_000

Weights: TypeAlias = tuple[Fraction, ...]
Cases: TypeAlias = dict[tuple[int, tuple[int | None, ...]], Weights]


@final
@dataclass(frozen=True, slots=True)
class _State:
    """What may happen at a station: whom it serves, who is empty, whether it is busy."""

    first: int | None
    served: tuple[int, ...]
    empty: tuple[int, ...]
    is_busy: bool

    def least(self, done: Sequence[Fraction]) -> Fraction:
        """Return the least that the station does per second, if class k does done[k]."""
        least = min(done[k] for k in self.served)
        return least if self.is_busy else min(Fraction(0), least)


@final
@dataclass(frozen=True, slots=True)
class _Station:
    """The states of a station: if it is known to have work, and if nothing is known."""

    with_work: tuple[_State, ...]
    in_all: tuple[_State, ...]


def check_stability(fields: Mapping[str, Any]) -> Checked:
    """Compare the fall of every piece in every mode with the claimed margin."""
    network = read_network(fields["network"])
    priority = read_priority(fields["priority"], network)
    stations = [_station(ranked, priority) for ranked in network.members]
    pieces = _read_pieces(fields, network)
    modes = math.prod(len(station.in_all) for station in stations)
    if modes > MOST_MODES:
        reject(f"{modes} modes are too many to check: at most {MOST_MODES}")
    if priority is None and fields["cases"] != []:
        reject("cases must be empty without a priority")
    cases = _read_cases(fields["cases"], pieces, stations=stations)
    margin = rational(fields["margin"], "margin")
    falls = [
        fall
        for i, weights in enumerate(pieces)
        for fall in _falls(network, stations, piece=i, weights=weights, cases=cases)
    ]
    if margin <= 0 or min(falls) < margin:
        reject(
            f"a weighted sum falls by {brief(min(falls))} per second in some mode, "
            f"which is not the claimed {brief(margin)}"
        )
    whom = "every non-idling policy" if priority is None else "this static priority"
    statement = (
        f"the fluid model of {whom} is stable: the largest of {len(pieces)} weighted sums of "
        f"its backlog falls by at least {brief(margin, ROUND_FLOOR)} per second"
    )
    comparisons = len(falls) + len(pieces) * len(network.stations) + 1
    return Checked("network-stability", statement, comparisons)


def _read_pieces(fields: Mapping[str, Any], network: Network) -> list[Weights]:
    """Return one vector of weights per station, after the checks that need no drift."""
    classes, count = len(network.stations), len(network.members)
    rows = entries(fields["weights"], "weights", count=count)
    pieces = [rationals(row, "weights", count=classes) for row in rows]
    for k in range(classes):
        if not any(piece[k] for piece in pieces):
            reject(f"class {k} has no weight")
    if fields["mixture"] == []:
        if any(piece != pieces[0] for piece in pieces):
            reject("mixture must not be empty where pieces differ")
        return pieces
    for i, row in enumerate(entries(fields["mixture"], "mixture", count=count)):
        shares = rationals(row, "mixture", count=count)
        others = [share for j, share in enumerate(shares) if j != i]
        if shares[i] or not all(others) or sum(others) != 1:
            reject("a row of mixture must be 0 at its piece, else positive, and add up to 1")
        for k, at in enumerate(network.stations):
            mean = sum(share * piece[k] for share, piece in zip(shares, pieces, strict=True))
            if at != i and pieces[i][k] > mean:
                reject(f"class {k} weighs more in piece {i} than in the mixture of the others")
    return pieces


def _station(members: Sequence[int], priority: Sequence[int] | None) -> _Station:
    """Return what may happen at a station of these classes."""
    every = tuple(members)
    if priority is None:
        busy, any_work = (_State(None, every, (), is_busy) for is_busy in (True, False))
        return _Station((busy,), (any_work,))
    ranked = tuple(sorted(members, key=lambda k: priority[k]))
    with_work = tuple(
        _State(first, ranked[: n + 1], ranked[:n], is_busy=True)
        for n, first in enumerate(ranked)
    )
    return _Station(with_work, (*with_work, _State(None, ranked, ranked, is_busy=False)))


def _read_cases(
    document: object, pieces: Sequence[Weights], *, stations: Sequence[_Station]
) -> Cases:
    """Return the weights of the pieces and modes that have their own."""
    if not isinstance(document, list):
        reject("cases must be a list")
    cases: Cases = {}
    for entry in document:
        case = fields_of(entry, "each of cases", ("piece", "mode", "weights"))
        piece = position(case["piece"], "cases.piece", count=len(pieces))
        firsts = entries(case["mode"], "cases.mode", count=len(stations))
        empty: set[int] = set()
        for j, (station, first) in enumerate(zip(stations, firsts, strict=True)):
            states = station.with_work if j == piece else station.in_all
            meant = [s for s in states if type(first) is type(s.first) and first == s.first]
            if not meant:
                reject(f"cases.mode must name a class of station {j}, or null elsewhere")
            empty.update(meant[0].empty)
        own = rationals(case["weights"], "cases.weights", count=len(pieces[piece]), signed=True)
        for k, (weight, usual) in enumerate(zip(own, pieces[piece], strict=True)):
            if weight != usual and k not in empty:
                reject(f"cases.weights must leave the weight of class {k} as it is")
        if cases.setdefault((piece, tuple(firsts)), own) is not own:
            reject("cases must name each piece and mode once")
    return cases


def _falls(
    network: Network,
    stations: Sequence[_Station],
    *,
    piece: int,
    weights: Weights,
    cases: Cases,
) -> Iterator[Fraction]:
    """Yield how fast a piece falls at least, in each mode with work at its station."""
    done, arriving = _rates(network, weights)
    states = [s.with_work if j == piece else s.in_all for j, s in enumerate(stations)]
    for mode in itertools.product(
        *([(state, state.least(done)) for state in listed] for listed in states)
    ):
        own = cases.get((piece, tuple(state.first for state, _ in mode)))
        if own is None:
            yield sum((least for _, least in mode), -arriving)
        else:
            own_done, own_arriving = _rates(network, own)
            yield sum((state.least(own_done) for state, _ in mode), -own_arriving)


def _rates(network: Network, weights: Weights) -> tuple[list[Fraction], Fraction]:
    """Return D(k) for every class, and what arrives, weighted, per second."""
    left_behind = network.traffic.left_behind(weights)
    pairs = zip(left_behind, network.mean_service, strict=True)
    return [left / seconds for left, seconds in pairs], network.traffic.arriving(weights)
