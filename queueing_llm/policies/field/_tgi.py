"""The router of Text Generation Inference 3: prompts interrupt decodes, nobody is preempted.

Read, not driven: no recorded decisions stand behind this module.
"""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, TypeAlias, final

from queueing_llm._validate import Domain, Real, Tokens, validate
from queueing_llm.policies.field._field_jobs import BlockPool, Door, Job, computed, step_of
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep

Ratio: TypeAlias = Annotated[Real, Domain("r", "1", at_least=0)]
Steps: TypeAlias = Annotated[int, Domain("i", "steps", at_least=1, integer=True)]
RequestsOrNone: TypeAlias = Annotated[
    int | None, Domain("S", "requests", at_least=1, integer=True, optional=True)
]


@final
@dataclass(frozen=True, slots=True)
class TgiConfig:
    """The settings of the router of TGI 3 that decide its batches, under its own names.

    Parameters
    ----------
    max_batch_total_tokens : int
        Limit on prompt and most output of all running requests together [tokens].
    max_batch_prefill_tokens : int
        Most prompt tokens of a batch, rounded up to blocks.
    waiting_served_ratio : float
        New requests interrupt decodes if they are at least so many times the running ones,
        rounded down.
    max_waiting_tokens : int
        After so many steps since the last prompts, any number of them may interrupt.
    block_size : int
        Tokens in a KV block.
    max_batch_size : int or None
        Limit on running requests; None, as by default: no limit.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain.

    Examples
    --------
    >>> TgiConfig(16000, max_batch_prefill_tokens=1000, block_size=16).prompt_budget
    1008
    """

    max_batch_total_tokens: Tokens
    max_batch_prefill_tokens: Tokens = 4096
    _: KW_ONLY
    waiting_served_ratio: Ratio = 0.3
    max_waiting_tokens: Steps = 20
    block_size: Tokens = 1
    max_batch_size: RequestsOrNone = None

    def __post_init__(self) -> None:
        validate(self)

    @property
    def num_blocks(self) -> int:
        """The KV blocks of all requests together."""
        return self.max_batch_total_tokens // self.block_size

    @property
    def prompt_budget(self) -> int:
        """Most prompt tokens of a batch."""
        return -(-self.max_batch_prefill_tokens // self.block_size) * self.block_size


@final
class TgiScheduler(AbstractScheduler):
    """The batches of TGI 3. Read, not driven.

    Parameters
    ----------
    config : TgiConfig
        Its settings.

    Notes
    -----
    The mode of a step is ``"prefill"`` or ``"decode"``. When prompts have interrupted, a
    decode follows. A request takes its blocks for the whole of its life at admission, so
    nobody is preempted. A request that no batch can hold is refused.

    Source: the router of huggingface/text-generation-inference 3, as read; no window, no
    speculation, and no splitting of prompts, which later releases of it can do.

    Examples
    --------
    >>> engine = TgiScheduler(TgiConfig(1000, waiting_served_ratio=1))
    >>> for name in ("a", "b"):
    ...     engine.add(FieldRequest(name, prompt_tokens=50, output_tokens=3))
    >>> print(engine.step().mode)
    prefill
    >>> engine.add(FieldRequest("c", prompt_tokens=50, output_tokens=3))
    >>> print(dict(engine.step().tokens))
    {'a': 1, 'b': 1}
    """

    def __init__(self, config: TgiConfig) -> None:
        self._config = config
        self._door = Door()
        self._pool = BlockPool(config.num_blocks, block_size=config.block_size)
        self._running: list[Job] = []
        self._waiting: list[Job] = []
        self._steps_since_prompts = 1
        self._must_decode = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not (self._running or self._waiting)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that wait, next one first."""
        return tuple(job.name for job in self._waiting)

    @property
    def free_blocks(self) -> int:
        """KV blocks that nobody holds."""
        return self._pool.free

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        config = self._config
        job = self._door.admit(
            request,
            # The last output token is never computed, so it needs no place in a block.
            most_tokens=min(
                config.max_batch_total_tokens, config.num_blocks * config.block_size + 1
            ),
            limit="max_batch_total_tokens in whole blocks",
            most_prompt=self._config.prompt_budget,
        )
        self._waiting.append(job)

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        joining = [] if self._must_decode else self._joining()
        if joining:
            self._waiting = self._waiting[len(joining) :]
            self._must_decode = bool(self._running)
            self._steps_since_prompts = 1
            return self._run({job: job.prompt for job in joining}, mode="prefill")
        self._must_decode = False
        if not self._running:
            return FieldStep()
        self._steps_since_prompts += 1
        return self._run(dict.fromkeys(self._running, 1), mode="decode")

    def _joining(self) -> list[Job]:
        """Return those that wait and may join, oldest first; they hold their blocks."""
        joining: list[Job] = []
        prompts = 0
        total = sum(_most_tokens(job) for job in self._running)
        for job in self._waiting[: self._places()]:
            prompts += job.prompt
            total += _most_tokens(job)
            blocks = self._pool.blocks_for(_most_tokens(job) - 1)
            if (
                prompts > self._config.prompt_budget
                or total > self._config.max_batch_total_tokens
                or blocks > self._pool.free
            ):
                break
            self._pool.hold(job, blocks)
            joining.append(job)
        if len(joining) < self._least_joining():
            self._pool.release(*joining)
            return []
        return joining

    def _places(self) -> int:
        """Return how many may join the running ones."""
        limit = self._config.max_batch_size
        return len(self._waiting) if limit is None else limit - len(self._running)

    def _least_joining(self) -> int:
        if self._steps_since_prompts >= self._config.max_waiting_tokens:
            return 0
        return math.floor(len(self._running) * self._config.waiting_served_ratio)

    def _run(self, batch: dict[Job, int], *, mode: str) -> FieldStep:
        done = computed(batch)
        self._pool.release(*done)
        present = {**dict.fromkeys(self._running), **batch}
        self._running = [job for job in present if not job.is_done]
        return step_of(batch, finished=done, mode=mode)


def _most_tokens(job: Job) -> int:
    return job.prompt + job.most_output
