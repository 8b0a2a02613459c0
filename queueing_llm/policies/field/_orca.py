"""The scheduler of the Orca paper: iterations, and slots reserved to the end of a request.

Read in the paper, not driven: no recorded decisions of the system itself stand behind it.
"""

from dataclasses import dataclass
from typing import final

from queueing_llm._validate import Tokens, validate
from queueing_llm.policies.field._field_jobs import (
    BlockPool,
    Door,
    Job,
    Requests,
    computed,
    step_of,
)
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep


@final
@dataclass(frozen=True, slots=True)
class OrcaConfig:
    """The parameters of Algorithm 1 of the Orca paper, with one worker.

    Parameters
    ----------
    max_batch_size : int
        Limit on the requests of a batch.
    num_slots : int
        Slots :math:`n_{slots}` of the KV cache, each for one token.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain.

    Examples
    --------
    >>> OrcaConfig(8, 1000).num_slots
    1000
    """

    max_batch_size: Requests
    num_slots: Tokens

    def __post_init__(self) -> None:
        validate(self)


@final
class OrcaScheduler(AbstractScheduler):
    """The batches of Orca by Algorithm 1 of its paper, with one batch in flight.

    Parameters
    ----------
    config : OrcaConfig
        Its parameters.

    Notes
    -----
    Each iteration takes requests in order of arrival, whole prompts and decodes alike, until
    the batch is full, or one that has not begun finds too few slots: it ends the batch, and
    nobody passes it. There is no token budget and no preemption.

    The paper reserves a request's ``max_tokens``. We read it as prompt and most output
    together, since a slot holds the keys and values of one token of either. A request that
    the slots cannot hold is refused. More workers than one, which the paper pipelines, are
    not here: a step ends as soon as it is formed.

    Source: Yu et al., Orca, OSDI 2022, Algorithm 1.

    Examples
    --------
    >>> engine = OrcaScheduler(OrcaConfig(8, num_slots=100))
    >>> for name in ("a", "b", "c"):
    ...     engine.add(FieldRequest(name, prompt_tokens=40, output_tokens=2))
    >>> [dict(engine.step().tokens) for _ in range(3)]
    [{'a': 40, 'b': 40}, {'a': 1, 'b': 1}, {'c': 40}]
    """

    def __init__(self, config: OrcaConfig) -> None:
        self._config = config
        self._door = Door()
        self._slots = BlockPool(config.num_slots, block_size=1)
        self._pool: list[Job] = []

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not self._pool

    @property
    def running(self) -> tuple[str, ...]:
        """Requests that hold slots, oldest first."""
        return tuple(job.name for job in self._pool if job.blocks)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that wait, next one first."""
        return tuple(job.name for job in self._pool if not job.blocks)

    @property
    def free_slots(self) -> int:
        """Slots that nobody has reserved."""
        return self._slots.free

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        self._pool.append(
            self._door.admit(request, most_tokens=self._config.num_slots, limit="num_slots")
        )

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        batch = self._selected()
        done = computed(batch)
        self._slots.release(*done)
        self._pool = [job for job in self._pool if not job.is_done]
        return step_of(batch, finished=done)

    def _selected(self) -> dict[Job, int]:
        batch: dict[Job, int] = {}
        for job in self._pool[: self._config.max_batch_size]:
            if not job.blocks:
                most_tokens = job.prompt + job.most_output
                if most_tokens > self._slots.free:
                    break
                self._slots.hold(job, most_tokens)
            batch[job] = job.prompt_left or 1
        return batch
