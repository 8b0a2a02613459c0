"""The static priorities that are stable and closest to the present one."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._modes import check_priority

Classifier: TypeAlias = Callable[[tuple[int, ...]], Literal["stable", "unstable", "undecided"]]
Order: TypeAlias = tuple[tuple[int, ...], ...]
"""Per station, its classes, first served first."""


def stabilising_priorities(
    network: MulticlassNetwork,
    *,
    priority: Sequence[int],
    classify: Classifier,
    most: int = 2_000,
    seed: int = 0,
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield stable static priorities, those with the fewest changes first.

    A change swaps two classes of a station that are neighbours in its order, so the number of
    changes is the Kendall distance, summed over the stations.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    priority : sequence of int, one per class
        The present ranks; at each station a smaller one is served first.
    classify : callable
        Takes ranks and answers ``"stable"``, ``"unstable"`` or ``"undecided"``; called once
        per priority, when it is that one's turn.
    most : int, optional
        How many priorities to try. If there are more, every single change is tried, and a
        random sample of the rest.
    seed : int, optional
        Seed of the sample.

    Yields
    ------
    tuple of int, int
        Ranks 0, 1, ... at each station, and the number of changes; 0 for the present order,
        if that is stable.

    Raises
    ------
    InvalidArgument
        If the ranks of a station are not different integers, ``most`` is below 1, or the
        classifier answers something else.

    Notes
    -----
    As good as the classifier: what it calls stable is yielded.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> from queueing_llm.networks import growing_cycle, stabilising_priorities
    >>> pair = MulticlassNetwork.with_routes(
    ...     ["AB", "BA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)] * 2
    ... )
    >>> def without_cycle(ranks):
    ...     return "stable" if growing_cycle(pair, priority=ranks) is None else "unstable"
    >>> next(stabilising_priorities(pair, priority=[2, 1, 2, 1], classify=without_cycle))
    ((0, 0, 1, 1), 1)
    """
    ranks = check_priority(network, priority)
    if most < 1:
        msg = f"most must be at least 1, got {most}."
        raise InvalidArgument(msg)
    present = tuple(
        tuple(sorted(network.classes_at(station), key=ranks.__getitem__))
        for station in range(network.station_count)
    )
    return _stable(present, classify, _orders(present, most, seed))


def _stable(
    present: Order, classify: Classifier, orders: list[Order]
) -> Iterator[tuple[tuple[int, ...], int]]:
    for order in orders:
        ranks = {k: rank for classes in order for rank, k in enumerate(classes)}
        candidate = tuple(ranks[k] for k in range(len(ranks)))
        answer = classify(candidate)
        if answer not in ("stable", "unstable", "undecided"):
            msg = (
                "classify must answer 'stable', 'unstable' or 'undecided', "
                f"got {answer!r} for {candidate}."
            )
            raise InvalidArgument(msg)
        if answer == "stable":
            yield candidate, _changes(present, order)


def _orders(present: Order, most: int, seed: int) -> list[Order]:
    """Return all orders, or at most some of them, by the number of changes."""
    if math.prod(math.factorial(len(classes)) for classes in present) <= most:
        orders = set(itertools.product(*map(itertools.permutations, present)))
    else:
        orders = {present, *_single_changes(present)}
        random = np.random.default_rng(seed)
        for _ in range(max(0, most - len(orders))):
            orders.add(tuple(tuple(random.permutation(c).tolist()) for c in present))
    return sorted(orders, key=lambda order: (_changes(present, order), order))[:most]


def _single_changes(present: Order) -> Iterator[Order]:
    for station, classes in enumerate(present):
        for at in range(len(classes) - 1):
            swapped = (*classes[:at], classes[at + 1], classes[at], *classes[at + 2 :])
            yield (*present[:station], swapped, *present[station + 1 :])


def _changes(present: Order, order: Order) -> int:
    """Return how many pairs of classes stand the other way round."""
    return sum(
        after.index(first) > after.index(second)
        for before, after in zip(present, order, strict=True)
        for first, second in itertools.combinations(before, 2)
    )
