"""Growing fluid cycles: what they are, and a check that needs nothing but their numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._modes import check_priority
from queueing_llm.networks._priority_fluid import FluidPhase, State


@final
@dataclass(frozen=True, slots=True)
class GrowingCycle:
    r"""A path of the fluid model of a static priority that ends in a multiple of its start.

    Fluid paths scale, so the path goes on for ever, each round larger by the factor.

    Parameters
    ----------
    start : tuple of Fraction, one per class
        :math:`Q(0)` [requests].
    phases : tuple of FluidPhase
        One round.
    factor : Fraction
        :math:`\kappa > 1`, where :math:`Q` at the end is :math:`\kappa Q(0)` [1].
    priority : tuple of int, one per class
        Ranks; at each station a smaller one is served first.

    Notes
    -----
    What it proves: the fluid model of this discipline has a path that does not drain, so
    the theorem that fluid stability gives positive recurrence (Dai 1995) cannot be applied.
    What it does not prove by itself: that the stochastic network is unstable. That follows
    if every fluid path from empty leaves it (weak instability, Dai 1996), and is known for
    two-station networks and *classes* of policies (Gamarnik and Hasenbein 2005: if some
    non-idling fluid path diverges, then some non-idling policy is unstable); for the given
    priority, :func:`cycle_attraction` checks that nearby states are drawn to the cycle.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> from queueing_llm.networks import growing_cycle
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)]
    ... )
    >>> growing_cycle(lu_kumar, priority=[4, 2, 3, 1]).factor
    Fraction(27, 23)
    """

    start: tuple[Fraction, ...]
    phases: tuple[FluidPhase, ...]
    factor: Fraction
    priority: tuple[int, ...]

    @property
    def duration(self) -> Fraction:
        """Length of the first round [s]."""
        return sum((phase.duration for phase in self.phases), Fraction(0))


def check_cycle(network: MulticlassNetwork, cycle: GrowingCycle) -> None:
    r"""Check in exact arithmetic that a cycle is a growing path of the fluid model.

    States are linear within a phase, so what holds at both its ends holds throughout.
    Checked: durations are above 0; shares are at least 0 and sum to at most 1 per station;
    :math:`Q \ge 0`; a station idles only while all its classes are empty; a class is served
    only while all classes of smaller rank at its station are empty; :math:`Q` ends in the
    factor times its start, and the factor is above 1.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    cycle : GrowingCycle
        What is claimed.

    Raises
    ------
    InvalidArgument
        If one of these fails, with the phase and the numbers.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> from queueing_llm.networks import check_cycle, growing_cycle
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)]
    ... )
    >>> cycle = growing_cycle(lu_kumar, priority=[4, 2, 3, 1])
    >>> check_cycle(lu_kumar, cycle)
    >>> check_cycle(lu_kumar, replace(cycle, factor=F(28, 23)))
    Traceback (most recent call last):
        ...
    queueing_llm.errors.InvalidArgument: cycle must end in 28/23 times its start, ...
    """
    check_priority(network, cycle.priority)
    _check_numbers(network, cycle)
    state = cycle.start
    for number, phase in enumerate(cycle.phases, start=1):
        after = _after(network, state, phase)
        _check_phase(network, cycle.priority, phase, f"phase {number}", state, after)
        state = after
    if state != tuple(cycle.factor * q for q in cycle.start):
        msg = (
            f"cycle must end in {cycle.factor} times its start, got {_shown(state)} "
            f"from {_shown(cycle.start)}."
        )
        raise InvalidArgument(msg)


def passages(
    network: MulticlassNetwork, cycle: GrowingCycle
) -> tuple[tuple[int, Fraction], ...]:
    """Return the ends of phases at which one class alone has fluid, and how much.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    cycle : GrowingCycle
        A cycle that passes :func:`check_cycle`.

    Returns
    -------
    tuple of (int, Fraction)
        Class, and its fluid relative to all fluid at the start [1]. Where a cycle is made of
        equal parts, such as the halves of a symmetric pair, they show the factor of each.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> from queueing_llm.networks import growing_cycle, passages
    >>> pair = MulticlassNetwork.with_routes(
    ...     ["AB", "BA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)] * 2
    ... )
    >>> passages(pair, growing_cycle(pair, priority=[2, 1, 2, 1]))
    ((2, Fraction(27, 23)), (0, Fraction(729, 529)))
    """
    size = sum(cycle.start)
    found = []
    for state in cycle_states(network, cycle):
        filled = [k for k, q in enumerate(state) if q]
        if len(filled) == 1:
            found.append((filled[0], state[filled[0]] / size))
    return tuple(found)


def cycle_states(network: MulticlassNetwork, cycle: GrowingCycle) -> Iterator[State]:
    """Yield the state at the end of each phase."""
    state = cycle.start
    for phase in cycle.phases:
        state = _after(network, state, phase)
        yield state


def _after(network: MulticlassNetwork, state: State, phase: FluidPhase) -> State:
    """Return the state after a phase, by the balance of each class."""
    after = [
        q + rate * phase.duration for q, rate in zip(state, network.arrival_rates, strict=True)
    ]
    for k, share in enumerate(phase.shares):
        served = share * phase.duration / network.mean_service[k]
        after[k] -= served
        for target, number in network.routing[k]:
            after[target] += served * number
    return tuple(after)


def _check_numbers(network: MulticlassNetwork, cycle: GrowingCycle) -> None:
    """Raise unless every number is exact and every list complete."""
    numbers = [*cycle.start, cycle.factor]
    lengths = {len(cycle.start)}
    for phase in cycle.phases:
        numbers += [phase.duration, *phase.shares]
        lengths.add(len(phase.shares))
    inexact = [x for x in numbers if type(x) not in (int, Fraction)]
    if inexact:
        msg = f"cycle must hold integers and Fractions only, got {inexact[0]!r}."
        raise InvalidArgument(msg)
    if lengths != {network.class_count} or not cycle.phases:
        msg = (
            "cycle must have phases, and a start and shares for "
            f"{network.class_count} classes, got {len(cycle.phases)} phases and lengths "
            f"{sorted(lengths)}."
        )
        raise InvalidArgument(msg)
    if min(cycle.start) < 0 or not any(cycle.start) or cycle.factor <= 1:
        msg = (
            "cycle must start with fluid, none of it negative, and grow by a factor above 1, "
            f"got {_shown(cycle.start)} and {cycle.factor}."
        )
        raise InvalidArgument(msg)


def _check_phase(
    network: MulticlassNetwork,
    priority: tuple[int, ...],
    phase: FluidPhase,
    name: str,
    before: State,
    after: State,
) -> None:
    """Raise unless a phase between two states is a path of the fluid model."""
    if phase.duration <= 0 or min(phase.shares) < 0 or min(after) < 0:
        msg = (
            f"{name} must have a duration above 0 and no negative shares or fluid, got "
            f"{phase.duration}, {_shown(phase.shares)} and {_shown(after)}."
        )
        raise InvalidArgument(msg)
    for station in range(network.station_count):
        classes = sorted(network.classes_at(station), key=priority.__getitem__)
        spent = sum(phase.shares[k] for k in classes)
        filled = [k for k in classes if before[k] or after[k]]
        behind = classes[classes.index(filled[0]) + 1 :] if filled else []
        if spent > 1 or (filled and spent < 1):
            rule = "exactly" if filled else "at most"
            msg = f"{name} must use {rule} 1 of the time of station {station}, got {spent}."
            raise InvalidArgument(msg)
        if any(phase.shares[k] for k in behind):
            msg = (
                f"{name} must not serve classes {behind} of station {station}, as class "
                f"{filled[0]} comes first and has fluid."
            )
            raise InvalidArgument(msg)


def _shown(values: tuple[Fraction, ...]) -> str:
    return "(" + ", ".join(map(str, values)) + ")"
