"""The search for growing fluid cycles of a static priority."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._cycle import GrowingCycle, check_cycle
from queueing_llm.networks._modes import check_priority
from queueing_llm.networks._priority_fluid import FluidPhase, chatters, next_step
from queueing_llm.networks._priority_shares import PriorityService

Ray: TypeAlias = tuple[int, ...]
"""A state up to scale: integers without a common factor."""

MOST_BITS = 4_000
MOST_RANDOM = 5


def growing_cycle(
    network: MulticlassNetwork,
    *,
    priority: Sequence[int],
    random_starts: int = 8,
    max_phases: int = 120,
    seed: int = 0,
) -> GrowingCycle | None:
    r"""Search for a self-similar fluid path that grows under a static priority.

    Paths are followed from each class alone and from a few random states, up to scale. A
    state that comes back larger closes a cycle.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    priority : sequence of int, one per class
        Ranks; at each station a smaller one is served first.
    random_starts : int, optional
        How many random states to begin with, after each class alone.
    max_phases : int, optional
        How long to follow one path.
    seed : int, optional
        Seed of the random states.

    Returns
    -------
    GrowingCycle or None
        A cycle that has passed :func:`check_cycle`. None says nothing about stability: the
        search is finite, and fluid may grow without coming back, as it does if a load is
        above 1, or towards a state in irrational proportions.

    Raises
    ------
    InvalidArgument
        If the ranks of a station are not different integers, or a limit is negative.

    Notes
    -----
    Exact. A state comes back exactly where a round passes a point with one class alone, or
    with classes filled in fixed proportions; in random networks nearly all growing cycles
    that were seen did. Where shares are not unique, the path follows those that arise when
    work spreads from the classes with fluid, station after station. The examples are those
    of Lu and Kumar (1991), and Rybko and Stolyar (1992); the search is ours.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> from queueing_llm.networks import growing_cycle
    >>> pair = MulticlassNetwork.with_routes(
    ...     ["AB", "BA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)] * 2
    ... )
    >>> growing_cycle(pair, priority=[2, 1, 2, 1]).factor
    Fraction(729, 529)
    """
    if min(random_starts, max_phases) < 0:
        msg = (
            "random_starts and max_phases must be at least 0, "
            f"got {random_starts} and {max_phases}."
        )
        raise InvalidArgument(msg)
    ranks = check_priority(network, priority)
    service = PriorityService.of(network, ranks)
    dead: set[Ray] = set()
    for start in _starts(network.class_count, random_starts, seed):
        ray = _returning(service, start, max_phases, dead)
        cycle = None if ray is None else _round_from(service, ray, max_phases, ranks)
        if cycle is not None:
            check_cycle(network, cycle)
            return cycle
    return None


def _returning(
    service: PriorityService, start: Ray, max_phases: int, dead: set[Ray]
) -> Ray | None:
    """Follow a path until it comes back; return the ray of the round with fewest classes.

    None if it meets a ray of an earlier path, ends, or takes too long. Adds its own to them.
    """
    trail: dict[Ray, None] = {}
    ray, found = start, None
    while len(trail) < max_phases and ray not in dead and max(ray).bit_length() < MOST_BITS:
        if ray in trail:
            rays = list(trail)
            found = min(rays[rays.index(ray) :], key=_by_filled)
            break
        step = next_step(service, ray)
        if step is None or step.duration is None or chatters(ray, step):
            break
        trail[ray] = None
        ray, _ = _ray(step.after(ray, step.duration))
    dead.update(trail)
    return found


def _round_from(
    service: PriorityService, ray: Ray, max_phases: int, priority: tuple[int, ...]
) -> GrowingCycle | None:
    """Return the cycle that starts from a ray; None if it does not come back larger."""
    state = start = tuple(map(Fraction, ray))
    phases: list[FluidPhase] = []
    for _ in range(max_phases):
        step = next_step(service, state)
        if step is None or step.duration is None:
            return None
        state = step.after(state, step.duration)
        phases.append(FluidPhase(step.duration, step.shares))
        if not any(state) or max(map(_bits, state)) > MOST_BITS:
            return None
        back, scale = _ray(state)
        if back == ray:
            return GrowingCycle(start, tuple(phases), scale, priority) if scale > 1 else None
    return None


def _starts(classes: int, random_starts: int, seed: int) -> Iterator[Ray]:
    for k in range(classes):
        yield tuple(int(k == l) for l in range(classes))
    random = np.random.default_rng(seed)
    for _ in range(random_starts):
        state = random.integers(0, MOST_RANDOM, size=classes).tolist()
        if any(state):
            yield _ray(state)[0]


def _ray(state: Sequence[Fraction | int]) -> tuple[Ray, Fraction]:
    """Return a state as integers without a common factor, and what they are multiplied by."""
    unit = math.lcm(*(q.denominator for q in state))
    whole = [int(q * unit) for q in state]
    common = math.gcd(*whole) or 1
    return tuple(q // common for q in whole), Fraction(common, unit)


def _bits(number: Fraction) -> int:
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def _by_filled(ray: Ray) -> tuple[int, list[bool]]:
    """Sort key: the number of classes with fluid, then the first ones."""
    return sum(map(bool, ray)), [not q for q in ray]
