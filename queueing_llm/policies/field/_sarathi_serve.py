"""The schedulers of the Sarathi-Serve repository, among them its vLLM, Orca and FT.

All serve in the order of arrival and lose the newest request not yet served in the step when
a block is missing for a decode. They differ in the passes that fill a batch.
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
    SIMPLE_CHUNKING,
    VLLM,
    Pass,
    Passes,
)
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep

SARATHI_SERVE_POLICIES: Mapping[str, Passes] = MappingProxyType(
    {
        "faster_transformer": FASTER_TRANSFORMER,
        "orca": ORCA,
        "sarathi": SARATHI,
        "simple_chunking": SIMPLE_CHUNKING,
        "vllm": VLLM,
    }
)
"""The schedulers of the repository, by name."""


@final
@dataclass(frozen=True, slots=True)
class SarathiServeConfig:
    """The settings of Sarathi-Serve that decide its batches, on one pipeline stage.

    Parameters
    ----------
    policy : {"faster_transformer", "orca", "sarathi", "simple_chunking", "vllm"}
        A key of :data:`SARATHI_SERVE_POLICIES`. ``"sarathi"``: decodes, then prompts begun,
        then new ones, in one batch. ``"vllm"``: new prompts, decodes only if there is none.
        ``"orca"``: decodes and new prompts in one batch. ``"faster_transformer"``: nobody
        joins until the batch is empty. ``"simple_chunking"``: prompts and decodes in turn.
    max_num_seqs : int
        Limit :math:`S` on running requests.
    num_blocks, block_size : int
        KV blocks, and the tokens in one.
    max_model_len : int
        Limit on prompt and output together [tokens]; sizes the slots of ``"orca"`` and
        ``"faster_transformer"``.
    chunk_size : int
        Tokens :math:`C` of a batch under ``"sarathi"`` and ``"simple_chunking"``.
    max_num_batched_tokens : int
        Most prompt tokens of a batch under ``"vllm"``; at most ``max_model_len`` counts.
    watermark : float
        Fraction of the blocks that admission leaves free, but for slots.
    with_defects : bool
        Whether to repeat two defects of the code. A preempted request counts its output
        anew, so it generates more than was asked. And it is reset only after the step: a
        decode just preempted stops admission, a prompt just preempted may go on with its rest.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain, or the policy is unknown.

    Examples
    --------
    >>> SarathiServeConfig("vllm", max_num_seqs=8, num_blocks=1000).watermark_blocks
    10
    """

    policy: str
    max_num_seqs: Requests
    _: KW_ONLY
    num_blocks: Blocks
    block_size: Tokens = 16
    max_model_len: Tokens = 2048
    chunk_size: Tokens = 512
    max_num_batched_tokens: Tokens = 2**62
    watermark: Fraction = 0.01
    with_defects: bool = True

    def __post_init__(self) -> None:
        validate(self)
        if self.policy not in SARATHI_SERVE_POLICIES:
            hint = nearest(str(self.policy), SARATHI_SERVE_POLICIES)
            msg = f"policy={self.policy!r} is unknown: {hint}."
            raise InvalidArgument(msg)

    @property
    def passes(self) -> Passes:
        """How the policy fills a batch."""
        return SARATHI_SERVE_POLICIES[self.policy]

    @property
    def watermark_blocks(self) -> int:
        """The blocks that admission leaves free, rounded down; slots leave none."""
        if self.passes.slots:
            return 0
        watermark: Real = self.watermark
        return int(watermark * self.num_blocks)

    @property
    def prompt_budget(self) -> int:
        """Tokens of a batch beyond which no prompt is taken."""
        if self.passes.chunked:
            return self.chunk_size
        return 2**62 if self.passes.slots else self.longest_admitted

    @property
    def longest_admitted(self) -> int:
        """Known tokens beyond which a request is dropped instead of admitted."""
        if self.passes is VLLM:
            return min(self.max_num_batched_tokens, self.max_model_len)
        return self.max_model_len


@final
class SarathiServeScheduler(AbstractScheduler):
    """The batches of Sarathi-Serve, of its own policy and of those it compares with.

    Parameters
    ----------
    config : SarathiServeConfig
        Its settings.

    Notes
    -----
    Decodes are never cut, but on one stage they never exceed the chunk either. A request
    longer than the model (as one becomes by the defect of the output count) or, under
    ``"vllm"``, the budget is dropped when its turn comes: it counts as finished, and
    :attr:`dropped` names it. One that the KV blocks cannot hold waits for ever.

    Source: microsoft/sarathi-serve at 96f9911, by its recorded decisions (``simple_chunking``
    by one recorded run and the source); arXiv:2403.02310.

    Examples
    --------
    >>> config = SarathiServeConfig("sarathi", max_num_seqs=3, num_blocks=64, chunk_size=100)
    >>> engine = SarathiServeScheduler(config)
    >>> engine.add(FieldRequest("a", prompt_tokens=60, output_tokens=4))
    >>> engine.add(FieldRequest("b", prompt_tokens=90, output_tokens=2))
    >>> [dict(engine.step().tokens) for _ in range(3)]
    [{'a': 60, 'b': 40}, {'a': 1, 'b': 50}, {'a': 1, 'b': 1}]
    """

    def __init__(self, config: SarathiServeConfig) -> None:
        self._config = config
        self._door = Door()
        self._pool = BlockPool(config.num_blocks, block_size=config.block_size)
        self._running: list[Job] = []
        self._waiting: list[Job] = []
        self._dropped: list[str] = []
        self._decodes_are_next = False

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

    @property
    def dropped(self) -> tuple[str, ...]:
        """Requests that were given up since they were too long."""
        return tuple(self._dropped)

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        limit = self._config.max_model_len
        self._waiting.append(
            self._door.admit(request, most_tokens=limit, limit="max_model_len")
        )

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        draft = _Draft(self._config, self._pool, running=self._running, waiting=self._waiting)
        only_decodes: tuple[Pass, ...] = ("decode",)
        for stage in only_decodes if self._decodes_are_next else self._config.passes.order:
            draft.fill(stage)
            if not self._config.passes.mixed and (draft.batch or draft.dropped):
                break
        self._decodes_are_next = self._config.passes.alternates and draft.has_prompts
        finished = self._run(draft)
        return step_of(draft.batch, preempted=draft.preempted, finished=finished)

    def _run(self, draft: "_Draft") -> list[Job]:
        if self._config.with_defects:
            for job in draft.preempted:
                job.restart(forgets_output=True)
        done = computed(draft.batch)
        self._pool.release(*done)
        self._running = [job for job in draft.running if not job.is_done]
        self._waiting = draft.waiting
        self._dropped += [job.name for job in draft.dropped]
        return done + draft.dropped


class _Draft:
    """A batch that is being filled."""

    def __init__(
        self,
        config: SarathiServeConfig,
        pool: BlockPool,
        *,
        running: list[Job],
        waiting: list[Job],
    ) -> None:
        self._config, self._pool = config, pool
        self.running = sorted(running, key=lambda job: job.number)
        self.waiting = waiting
        self.batch: dict[Job, int] = {}
        self.preempted: list[Job] = []
        self.dropped: list[Job] = []
        self.has_prompts = False
        self._left = config.prompt_budget

    def fill(self, stage: Pass) -> None:
        {"decode": self._decode, "continue": self._continue, "admit": self._admit}[stage]()

    def _decode(self) -> None:
        unvisited, self.running = self.running, []
        begun: list[Job] = []
        while unvisited:
            job = unvisited.pop(0)
            if job.prompt_left:
                begun.append(job)
            elif self._config.passes.slots or self._pool.has_room_for(
                job, unvisited=unvisited, preempt=self._preempt
            ):
                self._pool.hold(job, self._pool.blocks_for(job.length))
                self.running.append(job)
                self.batch[job] = 1
                self._left -= 1
        self.running += begun

    def _continue(self) -> None:
        for job in self.running:
            if job.prompt_left and self._left > 0:
                self._take(job, min(job.prompt_left, self._left))

    def _admit(self) -> None:
        while self.waiting:
            job = self.waiting[0]
            if job.length > self._config.longest_admitted:
                self.dropped.append(self.waiting.pop(0))
                continue
            held = self._config.max_model_len if self._config.passes.slots else job.length
            blocks = self._pool.blocks_for(held)
            tokens = job.prompt_left
            if self._config.passes.chunked:
                tokens = min(tokens, self._left)
            if (
                self._pool.free - blocks < self._config.watermark_blocks
                or len(self.running) >= self._config.max_num_seqs
                or not 0 < tokens <= self._left
            ):
                break
            self.running.append(self.waiting.pop(0))
            self._pool.hold(job, blocks)
            self._take(job, tokens)

    def _take(self, job: Job, tokens: int) -> None:
        self.batch[job] = tokens
        self._left -= tokens
        self.has_prompts = True

    def _preempt(self, job: Job) -> None:
        self._pool.release(job)
        if not self._config.with_defects:
            job.restart()
        self.preempted.append(job)
        self.waiting.insert(0, job)
