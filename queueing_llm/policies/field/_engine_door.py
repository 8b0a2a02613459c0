"""The door of an engine: what is longer than its model never reaches the scheduler."""

from typing import final

from queueing_llm._validate import Tokens, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep


@final
class EngineDoor(AbstractScheduler):
    """A scheduler whose engine refuses requests that are longer than its model.

    Engines with whole prompts start only if their token budget holds a request of that
    length, and engines that recompute only if their KV cache does. Behind this door a
    scheduler meets no request that it could never serve.

    Parameters
    ----------
    scheduler : AbstractScheduler
        Who forms the batches.
    max_model_len : int
        Limit on prompt and most output together [tokens].

    Raises
    ------
    InvalidArgument
        If ``max_model_len`` is not positive; by :meth:`add`, for a longer request.

    Examples
    --------
    >>> from queueing_llm.policies.field import VllmV0Config, VllmV0Scheduler
    >>> scheduler = VllmV0Scheduler(VllmV0Config(64, 8, num_blocks=100))
    >>> engine = EngineDoor(scheduler, max_model_len=64)
    >>> engine.add(FieldRequest("a", prompt_tokens=60, output_tokens=4))
    >>> engine.add(FieldRequest("b", prompt_tokens=60, output_tokens=5))
    Traceback (most recent call last):
    ...
    queueing_llm.errors.InvalidArgument: prompt and output together must be at most 64 ...
    """

    def __init__(self, scheduler: AbstractScheduler, *, max_model_len: int) -> None:
        check(max_model_len, "max_model_len", Tokens)
        self.scheduler = scheduler
        self._max_model_len = max_model_len

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return self.scheduler.is_idle

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        told = request.most_output_tokens
        most_output = request.output_tokens if told is None else told
        if request.prompt_tokens + most_output > self._max_model_len:
            msg = (
                f"prompt and output together must be at most {self._max_model_len} tokens "
                f"(max_model_len), got {request.prompt_tokens} + {most_output} for request "
                f"{request.name!r}."
            )
            raise InvalidArgument(msg)
        self.scheduler.add(request)

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        return self.scheduler.step()
