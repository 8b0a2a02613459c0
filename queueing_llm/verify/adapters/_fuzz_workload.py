"""A workload for a scheduler of the field, and what it shows while it serves it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias, final

from queueing_llm.errors import InvalidArgument, QueueingLLMError
from queueing_llm.policies.field import (
    AbstractScheduler,
    FieldRequest,
    FieldStep,
    SglangConfig,
    SglangScheduler,
    VllmV0Config,
    VllmV0Scheduler,
    VllmV1Config,
    VllmV1Scheduler,
)

FieldConfig: TypeAlias = VllmV1Config | VllmV0Config | SglangConfig
"""The settings of a scheduler whose real code can be run."""

MOST_STEPS = 300


@final
@dataclass(frozen=True, slots=True)
class FieldWorkload:
    """Requests and when they arrive, and the settings of the scheduler that is to serve them.

    Parameters
    ----------
    config : VllmV1Config, VllmV0Config or SglangConfig
        The same for a rule model and for the real code.
    arrivals : tuple of (int, FieldRequest)
        Each with the step before which it arrives, in the order of arrival.

    Raises
    ------
    InvalidArgument
        If the steps are not in order.

    Examples
    --------
    >>> config = VllmV1Config(64, 2, num_blocks=100)
    >>> FieldWorkload(config, ((0, FieldRequest("a", 5, 2)),)).requests[0].name
    'a'
    """

    config: FieldConfig
    arrivals: tuple[tuple[int, FieldRequest], ...]

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.arrivals]
        if steps != sorted(steps) or min(steps, default=0) < 0:
            msg = f"arrivals must be in the order of steps from 0 on, got steps {steps}."
            raise InvalidArgument(msg)

    @property
    def requests(self) -> tuple[FieldRequest, ...]:
        """The requests, in the order of arrival."""
        return tuple(request for _, request in self.arrivals)

    def __str__(self) -> str:
        lines = [f"    ({step}, {_in_short(request)})," for step, request in self.arrivals]
        return "\n".join([f"FieldWorkload({_in_short(self.config)}, (", *lines, "))"])


def given(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are not as by default.

    >>> given(FieldRequest("a", 5, 2, arrival=7))
    {'name': 'a', 'prompt_tokens': 5, 'output_tokens': 2, 'arrival': 7}
    """
    return {
        field.name: getattr(value, field.name)
        for field in fields(value)
        if field.default is MISSING or getattr(value, field.name) != field.default
    }


def _in_short(value: Any) -> str:
    """Return the call that makes a dataclass."""
    arguments = [f"{name}={entry!r}" for name, entry in given(value).items()]
    return f"{type(value).__name__}({', '.join(arguments)})"


Shown: TypeAlias = Mapping[str, Any]
"""What a scheduler shows of a step: whatever it knows of the fields of :func:`shown`."""

Player: TypeAlias = Callable[[FieldWorkload], Sequence[Shown]]
"""Whoever serves a workload from an empty engine, and shows every step."""

FAILED: Shown = {"failed": True}
"""All that is shown of a step in which the scheduler ends by an error."""


def shown(step: FieldStep, *, is_idle: bool, **others: object) -> Shown:
    """Return what is compared of a step.

    Parameters
    ----------
    step : FieldStep
        What the scheduler did.
    is_idle : bool
        Whether nobody is there after it.
    **others
        What else it shows afterwards: ``waiting`` and ``running``, names in order, and
        ``free``, KV blocks or tokens; None where it does not.

    Examples
    --------
    >>> shown(FieldStep({"a": 5}), is_idle=False, free=None)["tokens"]
    {'a': 5}
    """
    return {
        "tokens": dict(step.tokens),
        "preempted": list(step.preempted),
        "finished": sorted(step.finished),
        "mode": step.mode,
        "cached": dict(step.cached),
        "is_idle": is_idle,
        "failed": False,
        **{name: value for name, value in others.items() if value is not None},
    }


def model_of(config: FieldConfig) -> AbstractScheduler:
    """Return a fresh rule model for the settings.

    Examples
    --------
    >>> model_of(VllmV1Config(64, 2, num_blocks=100)).is_idle
    True
    """
    if isinstance(config, VllmV1Config):
        return VllmV1Scheduler(config)
    if isinstance(config, VllmV0Config):
        return VllmV0Scheduler(config)
    return SglangScheduler(config)


def played_by_model(workload: FieldWorkload) -> Sequence[Shown]:
    """Let the rule model serve a workload.

    Examples
    --------
    >>> config = VllmV1Config(4, 2, num_blocks=100)
    >>> steps = played_by_model(FieldWorkload(config, ((0, FieldRequest("a", 5, 2)),)))
    >>> [step["tokens"] for step in steps]
    [{'a': 4}, {'a': 1}, {'a': 1}]
    """
    return tuple(play_field(model_of(workload.config), workload.arrivals))


def play_field(
    scheduler: AbstractScheduler,
    arrivals: Iterable[tuple[int, FieldRequest]],
    *,
    most_steps: int = MOST_STEPS,
) -> Iterator[Shown]:
    """Yield what a scheduler shows of each step until all are served.

    Parameters
    ----------
    scheduler : AbstractScheduler
        Without requests yet.
    arrivals : iterable of (int, FieldRequest)
        As in a :class:`FieldWorkload`.
    most_steps : int
        After so many it ends in any case: some schedulers prefill and preempt for ever.

    Yields
    ------
    mapping
        As :func:`shown`; :data:`FAILED`, and no more, where the scheduler ends by an error.

    Raises
    ------
    InvalidArgument
        If the scheduler does not accept a request.
    """
    upcoming = list(arrivals)
    for number in range(most_steps):
        while upcoming and upcoming[0][0] <= number:
            scheduler.add(upcoming.pop(0)[1])
        try:
            step = scheduler.step()
        except QueueingLLMError:
            yield FAILED
            return
        state = _state_of(scheduler)
        yield shown(step, is_idle=scheduler.is_idle, **state)
        if scheduler.is_idle and not upcoming:
            return


def _state_of(scheduler: AbstractScheduler) -> dict[str, object]:
    names = {name: getattr(scheduler, name, None) for name in ("waiting", "running")}
    lists = {name: None if value is None else list(value) for name, value in names.items()}
    free = getattr(scheduler, "free_blocks", None)
    return {**lists, "free": getattr(scheduler, "free_tokens", free)}
