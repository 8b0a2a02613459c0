"""The replica schedulers of the simulator vidur.

They carry the names of systems but decide differently from them. Between batches, requests
wait in the order in which their last batches held them.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import final

from queueing_llm._validate import Real, Tokens, validate
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies.field._field_jobs import (
    BlockPool,
    Blocks,
    Door,
    Fraction,
    Job,
    Requests,
    computed,
    step_of,
)
from queueing_llm.policies.field._field_passes import (
    FASTER_TRANSFORMER,
    ORCA,
    SARATHI,
    VLLM,
    Pass,
    Passes,
)
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep

VIDUR_POLICIES: Mapping[str, Passes] = MappingProxyType(
    {
        "faster_transformer": FASTER_TRANSFORMER,
        "orca": ORCA,
        "sarathi": SARATHI,
        "vllm": VLLM,
    }
)
"""The replica schedulers, by name; ``lightllm`` has a module of its own."""


@final
@dataclass(frozen=True, slots=True)
class VidurConfig:
    """The settings of vidur that decide the batches of a replica, on one pipeline stage.

    Parameters
    ----------
    policy : {"faster_transformer", "orca", "sarathi", "vllm"}
        A key of :data:`VIDUR_POLICIES`.
    batch_size_cap : int
        Limit on the members of a batch and, under ``"sarathi"`` and ``"vllm"``, on the
        requests that hold blocks. Under the others the smaller one of this and the limit of
        the memory planner.
    num_blocks, block_size : int
        KV blocks, and the tokens in one.
    max_request_tokens : int
        Limit on prompt and output together [tokens]. A slot of ``"orca"`` and
        ``"faster_transformer"`` has that many, rounded down to blocks.
    chunk_size : int
        Tokens of a batch under ``"sarathi"`` beyond which no prompt is taken.
    max_tokens_in_batch : int
        Most prompt tokens of a batch under ``"vllm"``, each prompt counted as the longest.
    watermark : float
        Fraction of the blocks that admission leaves free under ``"sarathi"`` and ``"vllm"``.
    with_defects : bool
        Whether to repeat two defects of the code, to follow it exactly. Under
        ``"faster_transformer"`` only the last survivors of a batch give their slots back.
        And a request that is preempted before its prompt is complete keeps as its prompt
        only what was computed, and generates the rest of it.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain, or the policy is unknown.

    Examples
    --------
    >>> VidurConfig("orca", 8, num_blocks=100, max_request_tokens=250).blocks_per_slot
    15
    """

    policy: str
    batch_size_cap: Requests
    _: KW_ONLY
    num_blocks: Blocks
    block_size: Tokens = 16
    max_request_tokens: Tokens = 4096
    chunk_size: Tokens = 512
    max_tokens_in_batch: Tokens = 4096
    watermark: Fraction = 0.01
    with_defects: bool = True

    def __post_init__(self) -> None:
        validate(self)
        if self.policy not in VIDUR_POLICIES:
            hint = nearest(str(self.policy), VIDUR_POLICIES)
            msg = f"policy={self.policy!r} is unknown: {hint}."
            raise InvalidArgument(msg)
        if self.passes.slots and not self.blocks_per_slot:
            msg = (
                f"max_request_tokens must be at least block_size={self.block_size}, for slots "
                f"are rounded down, got max_request_tokens={self.max_request_tokens}."
            )
            raise InvalidArgument(msg)

    @property
    def passes(self) -> Passes:
        """How the policy fills a batch."""
        return VIDUR_POLICIES[self.policy]

    @property
    def blocks_per_slot(self) -> int:
        """The blocks of a slot."""
        return self.max_request_tokens // self.block_size

    @property
    def watermark_blocks(self) -> int:
        """The blocks that admission leaves free, rounded down; slots leave none."""
        if self.passes.slots:
            return 0
        watermark: Real = self.watermark
        return int(watermark * self.num_blocks)


@final
class VidurScheduler(AbstractScheduler):
    """The batches of a replica of vidur, each of which ends as soon as it starts.

    Parameters
    ----------
    config : VidurConfig
        Its settings.

    Notes
    -----
    A decode needs a free block even if its token fits in those that it holds. A request that
    the KV blocks cannot hold above the watermark waits for ever; so do others when all slots
    have leaked under ``"faster_transformer"``.

    Source: microsoft/vidur at 7d47513, by its recorded decisions.

    Examples
    --------
    >>> config = VidurConfig("vllm", 8, num_blocks=100, max_tokens_in_batch=100)
    >>> replica = VidurScheduler(config)
    >>> for name, prompt in (("x", 60), ("y", 10), ("z", 10)):
    ...     replica.add(FieldRequest(name, prompt_tokens=prompt, output_tokens=2))
    >>> [dict(replica.step().tokens) for _ in range(3)]
    [{'x': 60}, {'y': 10, 'z': 10}, {'x': 1, 'y': 1, 'z': 1}]
    """

    def __init__(self, config: VidurConfig) -> None:
        self._config = config
        self._door = Door()
        self._pool = BlockPool(config.num_blocks, block_size=config.block_size)
        self._running: list[Job] = []
        self._waiting: list[Job] = []

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
        limit = self._config.max_request_tokens
        job = self._door.admit(request, most_tokens=limit, limit="max_request_tokens")
        self._waiting.append(job)

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        draft = _Draft(self._config, self._pool, running=self._running, waiting=self._waiting)
        for stage in self._config.passes.order:
            draft.fill(stage)
            if draft.batch and not self._config.passes.mixed:
                break
        done = computed(draft.batch)
        if not self._leaks or len(done) == len(draft.batch):
            self._pool.release(*done)
        self._running = draft.unserved + [job for job in draft.batch if not job.is_done]
        self._waiting = draft.waiting
        return step_of(draft.batch, preempted=draft.preempted, finished=done)

    @property
    def _leaks(self) -> bool:
        return self._config.with_defects and self._config.passes is FASTER_TRANSFORMER


class _Draft:
    """A batch that is being filled."""

    def __init__(
        self, config: VidurConfig, pool: BlockPool, *, running: list[Job], waiting: list[Job]
    ) -> None:
        self._config, self._pool = config, pool
        self.unserved, self.waiting = running, waiting
        self.batch: dict[Job, int] = {}
        self.preempted: list[Job] = []

    def fill(self, stage: Pass) -> None:
        {"decode": self._decode, "continue": self._continue, "admit": self._admit}[stage]()

    @property
    def _chunk_left(self) -> int:
        return max(self._config.chunk_size - sum(self.batch.values()), 0)

    @property
    def _has_places(self) -> bool:
        return len(self.batch) < self._config.batch_size_cap

    def _decode(self) -> None:
        unvisited, begun = self.unserved, []
        if not self._config.passes.mixed:
            unvisited = _by_arrival(unvisited)
        while unvisited and self._has_places:
            job = unvisited.pop(0)
            if job.prompt_left:
                begun.append(job)
            elif self._config.passes.slots or self._pool.has_room_for(
                job, unvisited=unvisited, preempt=self._preempt
            ):
                if not self._config.passes.slots:
                    self._pool.hold(job, self._pool.blocks_for(job.length))
                self.batch[job] = 1
        self.unserved = begun + unvisited

    def _continue(self) -> None:
        for job in self.unserved:
            tokens = min(job.prompt_left, self._chunk_left)
            if tokens:
                self.batch[job] = tokens
        self.unserved = _by_arrival([job for job in self.unserved if job not in self.batch])

    def _admit(self) -> None:
        while self.waiting and self._has_places:
            job = self.waiting[0]
            blocks, tokens = self._pool.blocks_for(job.prompt), job.prompt
            if self._config.passes.slots:
                blocks = self._config.blocks_per_slot
            elif self._config.passes.chunked:
                tokens = min(tokens, self._chunk_left)
            if (
                self._pool.free - blocks < self._config.watermark_blocks
                or not tokens
                or not self._admits(tokens)
            ):
                break
            self.waiting.pop(0)
            self._pool.hold(job, blocks)
            self.batch[job] = tokens

    def _admits(self, tokens: int) -> bool:
        """Whether the limits on holders of blocks and on padded prompts leave a place."""
        config = self._config
        if config.passes.slots:
            return True
        if len(self.batch) + len(self.unserved) >= config.batch_size_cap:
            return False
        longest = max((tokens, *self.batch.values()))
        padded = (len(self.batch) + 1) * longest
        return config.passes.chunked or padded <= config.max_tokens_in_batch

    def _preempt(self, job: Job) -> None:
        self._pool.release(job)
        if self._config.with_defects and job.prompt_left:
            job.output += job.prompt_left
            job.prompt = job.computed
        job.restart()
        self.preempted.append(job)
        self.waiting.insert(0, job)


def _by_arrival(jobs: list[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: job.number)
