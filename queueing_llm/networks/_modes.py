"""Modes of a network: which station is busy, and with which class."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from queueing_llm._validate import unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork

Priority: TypeAlias = Sequence[int]
"""A rank for each class; smaller is served first, ranks at one station differ."""
Mode: TypeAlias = tuple[int | None, ...]
"""For each station the class of first rank among those with fluid; None if it may idle."""

Place: TypeAlias = tuple[int, Mode]
"""A piece and a mode in which its station has work."""
MOST_MODES = 1_000


def check_priority(network: MulticlassNetwork, priority: Sequence[int]) -> tuple[int, ...]:
    """Return the ranks as integers; raise unless they order the classes of each station."""
    ranks = tuple(unboxed(rank) for rank in priority)
    is_whole = all(isinstance(rank, int) and not isinstance(rank, bool) for rank in ranks)
    distinct = set(zip(network.stations, ranks, strict=False)) if is_whole else set()
    if not len(ranks) == len(distinct) == network.class_count:
        msg = (
            f"priority must be {network.class_count} integers, one rank per class, different "
            f"within a station, got {tuple(priority)!r}."
        )
        raise InvalidArgument(msg)
    return ranks


def mode_count(network: MulticlassNetwork, priority: Priority | None) -> int:
    """Return how many modes :func:`modes` yields."""
    if priority is None:
        return network.station_count
    sizes = [len(network.classes_at(j)) + 1 for j in range(network.station_count)]
    return math.prod(sizes) - 1


def modes(network: MulticlassNetwork, priority: Priority | None) -> Iterator[Mode]:
    """Yield the modes in which some station has work.

    Without a priority there is one for each station, which names any class of it: that
    station is busy, and nothing is known of the others or of which classes are empty.
    """
    stations = range(network.station_count)
    if priority is None:
        for i in stations:
            yield tuple(network.classes_at(i)[0] if j == i else None for j in stations)
        return
    choices = [(*network.classes_at(j), None) for j in stations]
    for mode in itertools.product(*choices):
        if any(k is not None for k in mode):
            yield mode


def served(
    network: MulticlassNetwork, priority: Priority | None, *, station: int, first: int | None
) -> tuple[int, ...]:
    """Return the classes that a station may serve while its first class with fluid is given."""
    classes = network.classes_at(station)
    if priority is None or first is None:
        return classes
    return tuple(k for k in classes if priority[k] <= priority[first])


def emptied(
    network: MulticlassNetwork, priority: Priority | None, mode: Mode
) -> tuple[int, ...]:
    """Return the classes that are empty throughout a mode, in order."""
    if priority is None:
        return ()
    return tuple(
        k
        for k, j in enumerate(network.stations)
        if (first := mode[j]) is None or priority[k] < priority[first]
    )


def places(network: MulticlassNetwork, priority: Priority | None) -> Iterator[Place]:
    """Yield every piece with every mode in which its station has work, piece by piece."""
    for i in range(network.station_count):
        for mode in modes(network, priority):
            if mode[i] is not None:
                yield i, mode
