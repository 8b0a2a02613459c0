"""Where the fluid of a network with buffer priorities flows, event by event, exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias, final

from queueing_llm._validate import unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._priority_shares import PriorityService, Shares

Ending: TypeAlias = Literal[
    "until", "phases", "drained", "endless", "no shares", "chatter", "digits"
]
State: TypeAlias = tuple[Fraction, ...]

MOST_BITS = 20_000
CHATTER = Fraction(1, 2**40)


@final
@dataclass(frozen=True, slots=True)
class FluidPhase:
    """A stretch of a fluid path on which every share is constant.

    Parameters
    ----------
    duration : Fraction
        How long it lasts [s].
    shares : tuple of Fraction, one per class
        :math:`T'_k`, the part of its station's time that the class gets [1].
    """

    duration: Fraction
    shares: tuple[Fraction, ...]


@final
@dataclass(frozen=True, slots=True)
class FluidRun:
    """An exact stretch of a path of the fluid model of a static priority.

    Parameters
    ----------
    start : tuple of Fraction, one per class
        Where it begins [requests].
    phases : tuple of FluidPhase
        In order of time.
    states : tuple of tuples of Fraction
        The state at the end of each phase [requests].
    ending : str
        Why it stops. ``"until"`` and ``"phases"``: as asked. ``"drained"``: empty, and it
        stays so. ``"endless"``: no class drains any more, so the last shares hold for ever.
        ``"no shares"``: none were found that obey the priorities. ``"chatter"``: a phase
        moves less than :math:`2^{-40}` of the fluid, so that events pile up. ``"digits"``:
        a number is longer than 20,000 bits.
    is_forced : bool
        Whether in each phase the shares are shown to be the only constant ones. False says
        that others were found, or that there are too many cases to try.
    """

    start: State
    phases: tuple[FluidPhase, ...]
    states: tuple[State, ...]
    ending: Ending
    is_forced: bool

    @property
    def times(self) -> tuple[Fraction, ...]:
        """When the phases end [s]."""
        ends, now = [], Fraction(0)
        for phase in self.phases:
            now += phase.duration
            ends.append(now)
        return tuple(ends)


@final
@dataclass(frozen=True, slots=True)
class Step:
    """What happens from a state on: shares, how fast classes fill, and who empties when.

    ``duration`` and ``emptied`` are None if no class drains.
    """

    shares: Shares
    drift: tuple[Fraction, ...]
    duration: Fraction | None
    emptied: int | None

    def after(self, state: Sequence[Fraction | int], duration: Fraction) -> State:
        """Return the state after some time of this step."""
        return tuple(q + duration * d for q, d in zip(state, self.drift, strict=True))


def priority_fluid(
    network: MulticlassNetwork,
    *,
    priority: Sequence[int],
    start: Sequence[Fraction | int],
    until: Fraction | int | None = None,
    max_phases: int = 100,
) -> FluidRun:
    r"""Follow the fluid model of preemptive static buffer priorities in exact arithmetic.

    .. math:: \dot Q_k = \alpha_k + \sum_l R_{lk} \mu_l \dot T_l - \mu_k \dot T_k, \qquad
       \sum_{l \preceq k} \dot T_l = 1 \text{ while } Q_k > 0,

    the second sum over the classes of the station of rank at most that of :math:`k`. Shares
    are constant until a class empties.

    Parameters
    ----------
    network : MulticlassNetwork
        The network.
    priority : sequence of int, one per class
        Ranks; at each station a smaller one is served first.
    start : sequence of int or Fraction, one per class
        :math:`Q_k(0) \ge 0` [requests]; may be empty.
    until : int or Fraction, optional
        When to stop [s].
    max_phases : int, optional
        After how many phases to stop.

    Returns
    -------
    FluidRun
        The path and why it stops.

    Raises
    ------
    InvalidArgument
        If the start is not exact, negative or of a wrong length, ``until`` is not an exact
        number above 0, or the ranks of a station are not different integers.

    Notes
    -----
    Exact, and a path of the fluid model. Priorities without preemption have the same fluid
    limit, as a service in progress is no fluid. Where shares are not unique, one of the paths
    is followed, and ``is_forced`` is False. The equations are those of Dai (1995), adapted to
    priorities as in Chen and Zhang (2000); the event-by-event solution is ours.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> from queueing_llm.networks import priority_fluid
    >>> lu_kumar = MulticlassNetwork.with_routes(
    ...     ["ABBA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(9, 10)]
    ... )
    >>> run = priority_fluid(
    ...     lu_kumar, priority=[4, 2, 3, 1], start=[1, 0, 0, 0], max_phases=4
    ... )
    >>> run.states[-1][0], run.times[-1]
    (Fraction(27, 23), Fraction(60, 23))
    """
    service = PriorityService.of(network, priority)
    state = first = _exact_state(network, start)
    left = _exact_until(until)
    phases: list[FluidPhase] = []
    states: list[State] = []
    ending: Ending | None = None
    forced = True
    while ending is None and len(phases) < max_phases:
        step = next_step(service, state)
        forced = forced and step is not None and is_forced(service, state, step)
        ending = _obstacle(state, step, left)
        if step is None or ending is not None:
            break
        duration = step.duration
        if left is not None and (duration is None or duration >= left):
            duration, ending = left, "until"
        assert duration is not None
        state = step.after(state, duration)
        phases.append(FluidPhase(duration, step.shares))
        states.append(state)
        left = None if left is None else left - duration
        if max(q.denominator.bit_length() for q in state) > MOST_BITS:
            ending = ending or "digits"
    return FluidRun(first, tuple(phases), tuple(states), ending or "phases", forced)


def _obstacle(state: State, step: Step | None, left: Fraction | None) -> Ending | None:
    """Return why a path cannot go on from a state; None if it can."""
    if step is None:
        return "no shares"
    if step.duration is None:
        if left is not None:
            return None
        return "endless" if any(state) or any(step.drift) else "drained"
    return "chatter" if chatters(state, step) else None


def next_step(service: PriorityService, state: Sequence[Fraction | int]) -> Step | None:
    """Return what happens from a state on; None if no shares are found."""
    shares = service.shares(service.mode(state))
    if shares is None:
        return None
    drift = service.drift(shares)
    times = {k: -q / drift[k] for k, q in enumerate(state) if drift[k] < 0}
    emptied = min(times, key=times.__getitem__, default=None)
    return Step(shares, drift, None if emptied is None else times[emptied], emptied)


def is_forced(service: PriorityService, state: Sequence[Fraction | int], step: Step) -> bool:
    """Whether no other shares fit, at the state and just after it."""
    after = [q or max(d, Fraction(0)) for q, d in zip(state, step.drift, strict=True)]
    return service.is_forced(service.mode(state)) and service.is_forced(service.mode(after))


def chatters(state: Sequence[Fraction | int], step: Step) -> bool:
    """Whether a step ends before it has moved a noticeable part of the fluid."""
    moved = sum(abs(d) for d in step.drift) * (step.duration or 0)
    return moved < CHATTER * sum(state)


def _exact_state(network: MulticlassNetwork, start: Sequence[Fraction | int]) -> State:
    state = [unboxed(q) for q in start]
    exact = all(isinstance(q, int | Fraction) and not isinstance(q, bool) for q in state)
    if not exact or len(state) != network.class_count or min(state) < 0:
        msg = (
            f"start must be {network.class_count} integers or Fractions of at least 0, "
            f"got {tuple(start)!r}."
        )
        raise InvalidArgument(msg)
    return tuple(map(Fraction, state))


def _exact_until(until: Fraction | int | None) -> Fraction | None:
    if until is None:
        return None
    until = unboxed(until)
    if isinstance(until, bool) or not isinstance(until, int | Fraction) or until <= 0:
        msg = f"until must be an integer or a Fraction above 0, or None, got {until!r}."
        raise InvalidArgument(msg)
    return Fraction(until)
