"""The schedulers of TensorRT-LLM: first who may hold KV blocks, then who is in the batch.

Read, not driven: no recorded decisions stand behind this module.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal, final

from queueing_llm._validate import Tokens, validate
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies.field._field_jobs import (
    BlockPool,
    Blocks,
    Door,
    Job,
    Requests,
    computed,
    step_of,
)
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep

CAPACITY_POLICIES = ("guaranteed_no_evict", "max_utilization", "static_batch")
CHUNKING_POLICIES = ("none", "first_come_first_served", "equal_progress")


@final
@dataclass(frozen=True, slots=True)
class TensorrtLlmConfig:
    """The settings of TensorRT-LLM that decide its batches, under its own names.

    Parameters
    ----------
    max_batch_size : int
        Limit on the requests of a batch.
    max_num_tokens : int
        Budget of a batch [tokens].
    num_blocks, block_size : int
        KV blocks, and the tokens in one.
    capacity_policy : {"guaranteed_no_evict", "max_utilization", "static_batch"}
        ``"guaranteed_no_evict"``: a request starts if its blocks are there to the end.
        ``"max_utilization"``: if its blocks are there for this step; when they are missing,
        the last request that was started is paused. ``"static_batch"``: as the first, but
        only when nobody decodes.
    chunking_policy : {"none", "first_come_first_served", "equal_progress"}
        Whether prompts are whole; or the first ones get all tokens that decodes leave; or
        each gets a unit in turn.
    chunk_unit_size : int
        A split prompt gets a multiple of so many tokens, but for its end.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain, or a policy is unknown.

    Examples
    --------
    >>> TensorrtLlmConfig(8, 512, num_blocks=100).capacity_policy
    'guaranteed_no_evict'
    """

    max_batch_size: Requests
    max_num_tokens: Tokens
    _: KW_ONLY
    num_blocks: Blocks
    block_size: Tokens = 64
    capacity_policy: Literal["guaranteed_no_evict", "max_utilization", "static_batch"] = (
        "guaranteed_no_evict"
    )
    chunking_policy: Literal["none", "first_come_first_served", "equal_progress"] = "none"
    chunk_unit_size: Tokens = 64

    def __post_init__(self) -> None:
        validate(self)
        for name, accepted in (
            ("capacity_policy", CAPACITY_POLICIES),
            ("chunking_policy", CHUNKING_POLICIES),
        ):
            value = getattr(self, name)
            if value not in accepted:
                msg = f"{name}={value!r} is unknown: {nearest(str(value), accepted)}."
                raise InvalidArgument(msg)
        if self.chunking_policy != "none" and self.chunk_unit_size > self.max_num_tokens:
            msg = (
                "chunk_unit_size must be at most max_num_tokens="
                f"{self.max_num_tokens}, got chunk_unit_size={self.chunk_unit_size}."
            )
            raise InvalidArgument(msg)


@final
class TensorrtLlmScheduler(AbstractScheduler):
    """The batches of TensorRT-LLM. Read, not driven.

    Parameters
    ----------
    config : TensorrtLlmConfig
        Its settings.

    Notes
    -----
    Requests keep their place in the order of arrival, also when paused. A paused request
    computes its prompt and what it generated again. One that the whole KV cache, or, with
    whole prompts, the budget cannot hold is refused. How many blocks a decode needs is our
    reading: those of the tokens that are known.

    Source: the capacity scheduler and the micro-batch scheduler of NVIDIA/TensorRT-LLM, as
    read; one beam, no drafts, no reuse of blocks, one batch in flight.

    Examples
    --------
    >>> engine = TensorrtLlmScheduler(TensorrtLlmConfig(8, 512, num_blocks=4))
    >>> for name in ("a", "b", "c"):
    ...     engine.add(FieldRequest(name, prompt_tokens=100, output_tokens=2))
    >>> [dict(engine.step().tokens) for _ in range(3)]
    [{'a': 100, 'b': 100}, {'a': 1, 'b': 1}, {'c': 100}]
    """

    def __init__(self, config: TensorrtLlmConfig) -> None:
        self._config = config
        self._door = Door()
        self._pool = BlockPool(config.num_blocks, block_size=config.block_size)
        self._active: list[Job] = []

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not self._active

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that hold no blocks, oldest first."""
        return tuple(job.name for job in self._active if not job.blocks)

    @property
    def free_blocks(self) -> int:
        """KV blocks that nobody holds."""
        return self._pool.free

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        config = self._config
        most_tokens = config.num_blocks * config.block_size
        is_whole = config.chunking_policy == "none"
        # What a paused request generated belongs to the prompt that it has to compute again.
        is_recomputed = is_whole and config.capacity_policy == "max_utilization"
        job = self._door.admit(
            request,
            most_tokens=min(most_tokens, config.max_num_tokens)
            if is_recomputed
            else most_tokens,
            limit="the KV cache or max_num_tokens",
            most_prompt=config.max_num_tokens if is_whole else None,
        )
        self._active.append(job)

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        if self._config.capacity_policy == "max_utilization":
            fitting, paused = self._fitting_now()
        else:
            fitting, paused = self._fitting_to_the_end(), []
        batch = self._batch(fitting)
        for job in batch:
            self._pool.hold(job, self._pool.blocks_for(job.length))
        done = computed(batch)
        self._pool.release(*done)
        self._active = [job for job in self._active if not job.is_done]
        return step_of(batch, preempted=paused, finished=done)

    def _fitting_to_the_end(self) -> list[Job]:
        """Return those that decode, then others in order while all can run to their end."""
        decoding = [job for job in self._active if not job.prompt_left]
        fitting = decoding[: self._config.max_batch_size]
        free = self._pool.free - sum(self._missing_to_the_end(job) for job in fitting)
        if fitting and self._config.capacity_policy == "static_batch":
            return fitting
        for job in self._active:
            if job.prompt_left:
                free -= self._missing_to_the_end(job)
                if free < 0 or len(fitting) == self._config.max_batch_size:
                    break
                fitting.append(job)
        return fitting

    def _missing_to_the_end(self, job: Job) -> int:
        return self._pool.blocks_for(job.prompt + job.most_output) - job.blocks

    def _fitting_now(self) -> tuple[list[Job], list[Job]]:
        """Return those whose blocks are there for a step, and those paused to that end."""
        fitting: list[Job] = []
        paused: list[Job] = []
        candidates = list(self._active)
        taken = 0
        while len(fitting) < len(candidates):
            job = candidates[len(fitting)]
            missing = max(self._pool.blocks_for(job.length) - job.blocks, 0)
            has_place = len(fitting) < self._config.max_batch_size
            if has_place and taken + missing <= self._pool.free:
                fitting.append(job)
                taken += missing
                continue
            behind = range(len(fitting), len(candidates))
            started = [i for i in behind if candidates[i].blocks]
            if not started:
                break
            victim = candidates[started[-1]]
            candidates = candidates[: started[-1]]
            self._pool.release(victim)
            victim.restart()
            paused.append(victim)
        return fitting, paused

    def _batch(self, fitting: list[Job]) -> dict[Job, int]:
        """Return the tokens of a batch: decodes take one each, prompts are whole or split."""
        left = self._config.max_num_tokens
        is_whole = self._config.chunking_policy == "none"
        batch: dict[Job, int] = {}
        for job in fitting[: self._config.max_batch_size]:
            tokens = job.prompt_left or 1
            if job.prompt_left and not is_whole:
                batch[job] = tokens
                continue
            if tokens > left:
                break
            batch[job] = tokens
            left -= tokens
        if is_whole:
            return batch
        prompts = [job for job in batch if job.prompt_left]
        return {
            job: tokens
            for job, tokens in (batch | self._chunks(prompts, left)).items()
            if tokens
        }

    def _chunks(self, prompts: list[Job], left: int) -> dict[Job, int]:
        """Return the prompt tokens of each request in what the decodes left."""
        if sum(job.prompt_left for job in prompts) <= left:
            return {job: job.prompt_left for job in prompts}
        chunks = dict.fromkeys(prompts, 0)
        unit = self._config.chunk_unit_size
        if self._config.chunking_policy == "first_come_first_served":
            for job in prompts:
                fits = job.prompt_left <= left
                chunks[job] = job.prompt_left if fits else left // unit * unit
                left -= chunks[job]
            return chunks
        goes_on = True
        while goes_on:
            goes_on = False
            for job in prompts:
                more = min(unit, job.prompt_left - chunks[job])
                if 0 < more <= left:
                    chunks[job] += more
                    left -= more
                    goes_on = True
        return chunks
