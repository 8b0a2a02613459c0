"""A small experiment for a policy: an engine, and requests that arrive at certain steps."""

from dataclasses import dataclass
from typing import final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload


@final
@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """One request, and the step that it is there for.

    Parameters
    ----------
    step : int
        Number of the first step that may serve it; a step without work passes, too.
    prompt_tokens, output_tokens : int
        :math:`p`, :math:`d` [tokens].
    class_index : int
        Whose request it is: the class, or the tenant, that a policy sees in its state.
    """

    step: int
    prompt_tokens: int
    output_tokens: int
    class_index: int = 0


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """An engine that starts empty, and the requests that it meets.

    A policy sees no time, so one batch is one step, whatever it lasts.

    Parameters
    ----------
    engine : Engine
        Its limits and its accounting of the first token; its step time does not matter.
    arrivals : tuple of Arrival
        The requests, in order of arrival.

    Raises
    ------
    InvalidArgument
        If steps decrease, a length is not positive, or a request fits in no KV cache.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import Arrival, Trial
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    >>> Trial(engine, (Arrival(0, 3, 1), Arrival(1, 1, 1))).work_tokens
    6
    """

    engine: Engine
    arrivals: tuple[Arrival, ...]

    def __post_init__(self) -> None:
        capacity, before = self.engine.kv_capacity, 0
        for i, arrival in enumerate(self.arrivals):
            if arrival.step < before or min(arrival.prompt_tokens, arrival.output_tokens) < 1:
                msg = (
                    "arrivals must have steps that never decrease and lengths of at least 1, "
                    f"got arrivals[{i}]={arrival!r} after step {before}."
                )
                raise InvalidArgument(msg)
            if capacity is not None and self._work(arrival) > capacity:
                msg = (
                    f"arrivals[{i}] must fit in kv_capacity={capacity}, got {arrival!r}, which "
                    f"stores {self._work(arrival)} tokens."
                )
                raise InvalidArgument(msg)
            before = arrival.step

    @property
    def work_tokens(self) -> int:
        """Tokens that all requests are processed for [tokens]."""
        return sum(self._work(arrival) for arrival in self.arrivals)

    @property
    def workload(self) -> Workload:
        """The requests as a workload for an engine whose steps last one second."""
        return Workload.of_requests(
            [arrival.step for arrival in self.arrivals],
            prompt_tokens=[arrival.prompt_tokens for arrival in self.arrivals],
            output_tokens=[arrival.output_tokens for arrival in self.arrivals],
        )

    def _work(self, arrival: Arrival) -> int:
        return int(self.engine.work_tokens(arrival.prompt_tokens, arrival.output_tokens))
