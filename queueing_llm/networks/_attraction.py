"""Whether states near a growing cycle are drawn to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._cycle import GrowingCycle, check_cycle
from queueing_llm.networks._priority_fluid import State, chatters, is_forced, next_step
from queueing_llm.networks._priority_shares import PriorityService

ROUNDS = 2
EXTRA_PHASES = 150
PUSH = Fraction(1, 1000)
DUST = Fraction(1, 2**10)


@final
@dataclass(frozen=True, slots=True)
class CycleAttraction:
    """What became of paths that began near a growing cycle.

    Parameters
    ----------
    is_forced : bool
        Whether along the cycle the shares are shown to be the only ones, at every event too.
    starts : int
        How many states near its start were tried: one for each class, pushed up, and one for
        each class with fluid, pushed down, where more than one has.
    forced_starts : int
        Of how many of them the same is shown; from the others more
        than one path may lead on, of which one was followed.
    deviation : Fraction or None
        The worst ratio of the distance from the cycle after a round to that before it [1];
        0 if all paths come back onto the cycle. None if some path does not come back larger.
    """

    is_forced: bool
    starts: int
    forced_starts: int
    deviation: Fraction | None

    @property
    def attracts(self) -> bool:
        """Whether every path came back larger and closer to the cycle."""
        return self.deviation is not None and self.deviation < 1


def cycle_attraction(
    network: MulticlassNetwork, cycle: GrowingCycle, *, push: Fraction = PUSH
) -> CycleAttraction:
    r"""Follow exact fluid paths that begin near a growing cycle until they come back.

    The distance of a state :math:`q` from the start :math:`s` is
    :math:`\sum_k |q_k / |q| - s_k / |s||`, so that only its direction counts. A path has come
    back at the end of the first phase where it is closer than at its start and larger by at
    least :math:`(1 + \kappa) / 2`. It gets two rounds and 150 phases for that.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    cycle : GrowingCycle
        A growing cycle of it.
    push : Fraction, optional
        How far to begin from it, relative to all fluid [1]; above 0 and below 1.

    Returns
    -------
    CycleAttraction
        The worst deviation, and whether the cycle itself leaves no choice.

    Raises
    ------
    InvalidArgument
        If :func:`check_cycle` refuses the cycle, or the push is out of range.

    Notes
    -----
    A computation of a few paths, no theorem: directions between those tried are not covered,
    and neither are random fluctuations. Nor can it be one about all fluid paths: even from the
    start of the cycle of Lu and Kumar another path drains, with shares 1/7, 6/7, 1/7, 6/7, a
    balance that jobs do not keep. A proof for jobs, from empty, is an overloaded virtual
    station of these ranks (:func:`virtual_stations`), where there is one.

    The paths are exact, but where events pile up while a part of the network drains, what is
    left there is dropped once it is less than :math:`2^{-10}` of the push. Attraction says that
    the stochastic network, once near a large multiple of the start, should follow the cycle;
    together with a positive chance to get there this is how instability is proved for single
    examples (Lu and Kumar 1991, Rybko and Stolyar 1992). A proof for all networks would need
    Dai (1996), every path from empty leaving it; Gamarnik and Hasenbein (2005) prove it for two
    stations and the class of all non-idling policies.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> from queueing_llm.networks import cycle_attraction, growing_cycle
    >>> pair = MulticlassNetwork.with_routes(
    ...     ["AB", "BA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)] * 2
    ... )
    >>> found = cycle_attraction(pair, growing_cycle(pair, priority=[2, 1, 2, 1]))
    >>> found.attracts, found.deviation, found.is_forced
    (True, Fraction(0, 1), True)
    """
    check_cycle(network, cycle)
    if not isinstance(push, Fraction) or not 0 < push < 1:
        msg = f"push must be a Fraction above 0 and below 1, got {push!r}."
        raise InvalidArgument(msg)
    service = PriorityService.of(network, cycle.priority)
    ways = [_way_back(service, cycle, start, push * DUST) for start in _near(cycle.start, push)]
    known = [ratio for ratio, _ in ways if ratio is not None]
    return CycleAttraction(
        is_forced=_is_forced_along(service, cycle),
        starts=len(ways),
        forced_starts=sum(forced for _, forced in ways),
        deviation=max(known) if len(known) == len(ways) else None,
    )


def _near(start: State, push: Fraction) -> Iterator[State]:
    """Yield states beside a start: a class pushed up, or one with fluid pushed down."""
    size = push * sum(start)
    for pushed in range(len(start)):
        up = tuple(q + size * (k == pushed) for k, q in enumerate(start))
        down = tuple(q - min(q, size) * (k == pushed) for k, q in enumerate(start))
        for near in (up, down):
            if any(near) and _distance(near, start):
                yield near


def _way_back(
    service: PriorityService, cycle: GrowingCycle, start: State, dust: Fraction
) -> tuple[Fraction | None, bool]:
    """Return how much closer a path comes back, and whether it is forced all the way.

    It ends where it is larger and closer. None if it is never larger at the end of a phase.
    Where events pile up, classes with less than the dust are emptied.
    """
    state, forced, nearest = start, True, None
    beside, grown = _distance(start, cycle.start), sum(start) * (1 + cycle.factor) / 2
    for _ in range(ROUNDS * len(cycle.phases) + EXTRA_PHASES):
        step = next_step(service, state)
        if step is None or step.duration is None:
            break
        if chatters(state, step):
            whole = tuple(q if q > dust * sum(state) else Fraction(0) for q in state)
            if whole == state:
                break
            state, forced = whole, False
            continue
        forced = forced and is_forced(service, state, step)
        state = step.after(state, step.duration)
        if sum(state) >= grown:
            ratio = _distance(state, cycle.start) / beside
            nearest = ratio if nearest is None else min(nearest, ratio)
            if nearest < 1:
                break
    return nearest, forced


def _is_forced_along(service: PriorityService, cycle: GrowingCycle) -> bool:
    state = cycle.start
    for phase in cycle.phases:
        step = next_step(service, state)
        if step is None or step.shares != phase.shares:
            return False
        if not is_forced(service, state, step):
            return False
        state = step.after(state, phase.duration)
    return True


def _distance(state: State, start: State) -> Fraction:
    here, there = sum(state), sum(start)
    return sum(
        (abs(q / here - s / there) for q, s in zip(state, start, strict=True)), Fraction(0)
    )
