"""The schedulers of vLLM v0: prompts first and alone, or, chunked, what runs first.

Both take all blocks of a prompt when they admit it, and preempt from the tail of the running
requests that were not visited yet. A preempted request returns to the head of the queue
after the step, so with chunked prefills a younger one can take its blocks.
"""

from dataclasses import dataclass
from typing import Annotated, TypeAlias, final

from queueing_llm._validate import Domain, Real, Tokens, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep
from queueing_llm.policies.field._vllm_jobs import (
    Arrivals,
    BlockPool,
    BlockSize,
    Draft,
    Job,
    MaxNumSeqs,
    WatermarkFraction,
)
from queueing_llm.policies.field._vllm_prefix_sharing import PrefixSharingPool

NumBlocks: TypeAlias = Annotated[int, Domain("N", "blocks", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class VllmV0Config:
    """The settings of vLLM v0 that decide its batches, under its own names.

    Parameters
    ----------
    max_num_batched_tokens : int
        Budget :math:`B` of a step [tokens]. Unchunked it limits prompts only.
    max_num_seqs : int
        Limit :math:`S` on running requests; chunked: on those in the batch.
    num_blocks : int
        KV blocks.
    block_size : int
        Tokens in a block.
    enable_chunked_prefill : bool
        Whether decodes and parts of prompts share a batch.
    watermark : float
        Fraction of the blocks that admission leaves free.
    enable_prefix_caching : bool
        Whether equal full blocks at the beginning of prompts are held only once.

    Raises
    ------
    InvalidArgument
        If prompts are chunked by a budget that is no multiple of the block size, while blocks
        are shared: vLLM refuses it.

    Examples
    --------
    >>> VllmV0Config(2048, 64, num_blocks=1000).watermark_blocks
    10
    """

    max_num_batched_tokens: Tokens
    max_num_seqs: MaxNumSeqs
    num_blocks: NumBlocks
    block_size: BlockSize = 16
    enable_chunked_prefill: bool = False
    watermark: WatermarkFraction = 0.01
    enable_prefix_caching: bool = False

    def __post_init__(self) -> None:
        validate(self)
        if self.chunks_whole_blocks and self.max_num_batched_tokens % self.block_size:
            msg = (
                f"max_num_batched_tokens must be a multiple of block_size={self.block_size} "
                "with enable_chunked_prefill and enable_prefix_caching, "
                f"got max_num_batched_tokens={self.max_num_batched_tokens}."
            )
            raise InvalidArgument(msg)

    @property
    def chunks_whole_blocks(self) -> bool:
        """Whether a prompt that is cut is cut where a block ends."""
        return self.enable_chunked_prefill and self.enable_prefix_caching

    @property
    def watermark_blocks(self) -> int:
        """The blocks that admission leaves free, rounded as vLLM does."""
        watermark: Real = self.watermark
        return int(watermark * self.num_blocks)


@final
class VllmV0Scheduler(AbstractScheduler):
    """The batches of vLLM v0 (0.6.3), first come first served, preempting by recomputation.

    Parameters
    ----------
    config : VllmV0Config
        Its settings.

    Notes
    -----
    Unchunked, the mode of a step is ``"prefill"`` or ``"decode"``.

    A request that could not be admitted even if it were alone is dropped when its turn
    comes: it counts as finished, and :attr:`dropped` names it. Unchunked that also meets a
    preempted request whose prompt and output so far exceed the budget; the engine excludes
    it by a budget of at least ``max_model_len``, within which requests are assumed to stay.

    With ``enable_prefix_caching`` the tokens of a step are still all that are planned: what
    need not be computed is found out after the batch is formed. Chunked, what a prompt that
    is cut leaves of the budget, less than a block, may admit a short prompt behind it. In the
    next step the short one may find no budget left; then it goes first in the one after.

    Source: the scheduler of vLLM 0.6.3, by its recorded decisions.

    Examples
    --------
    >>> engine = VllmV0Scheduler(VllmV0Config(128, 2, num_blocks=100))
    >>> engine.add(FieldRequest("a", prompt_tokens=100, output_tokens=3))
    >>> engine.add(FieldRequest("b", prompt_tokens=50, output_tokens=2))
    >>> [dict(engine.step().tokens) for _ in range(3)]
    [{'a': 100}, {'b': 50}, {'a': 1, 'b': 1}]
    """

    def __init__(self, config: VllmV0Config) -> None:
        self._config = config
        self._arrivals = Arrivals()
        pool = PrefixSharingPool if config.enable_prefix_caching else BlockPool
        self._pool = pool(config.num_blocks, block_size=config.block_size)
        self._running: list[Job] = []
        self._waiting: list[Job] = []
        self._dropped: list[str] = []

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not (self._running or self._waiting)

    @property
    def running(self) -> tuple[str, ...]:
        """Requests that hold KV blocks, in the order in which they are visited next."""
        return tuple(job.name for job in self._running)

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
        """Requests that were given up since they could never be admitted."""
        return tuple(self._dropped)

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        self._waiting.append(self._arrivals.job(request))

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        draft, mode = Draft(self._config.max_num_batched_tokens), ""
        if self._config.enable_chunked_prefill:
            self._serve_running(draft)
            dropped = self._admit(draft, members=len(draft.batch))
        else:
            dropped = self._admit(draft, members=len(self._running))
            mode = "prefill"
            if not draft.batch:
                self._serve_running(draft)
                mode = "decode" if draft.batch else ""
        self._waiting[:0] = reversed(draft.preempted)
        self._running += sorted(draft.batch, key=lambda job: job.is_prefilling)
        done = draft.run(self._pool)
        self._running = [job for job in self._running if job not in done]
        self._dropped += [job.name for job in dropped]
        return draft.report([*done, *dropped], mode=mode)

    def _serve_running(self, draft: Draft) -> None:
        """Serve those that run, in the order in which they were served, decodes first.

        Chunked, each had a token in the step before and only the last can want more than
        one now, so the budget reaches them all, unless prompts are cut to whole blocks.
        """
        while self._running:
            job = self._running[0]
            tokens = self._chunk(draft, job) if self._config.enable_chunked_prefill else 1
            if tokens == 0:
                break
            self._running.pop(0)
            if self._makes_room(draft, job):
                self._pool.grow(job, job.computed + tokens)
                draft.give(job, tokens)

    def _chunk(self, draft: Draft, job: Job) -> int:
        """Return the tokens that the job can have of what is left of the budget."""
        tokens = draft.share(job.todo)
        if tokens < job.todo and self._config.chunks_whole_blocks:
            tokens -= tokens % self._config.block_size
        return tokens

    def _makes_room(self, draft: Draft, job: Job) -> bool:
        """Preempt until there is a block for the job; False if it had to go itself.

        A decode asks for a block whether or not its token needs it, for the worst case of
        copy on write; so does a prompt, which has its blocks, unless the last one is full.
        """
        asked = 0 if job.is_prefilling and self._pool.has_full_blocks(job) else 1
        while self._pool.free < asked:
            victim = self._running.pop() if self._running else job
            draft.preempt(victim, self._pool)
            if victim is job:
                return False
        return True

    def _admit(self, draft: Draft, *, members: int) -> list[Job]:
        """Admit who fits, first come first served, and return who could never fit."""
        config, pool = self._config, self._pool
        dropped: list[Job] = []
        while self._waiting:
            job = self._waiting[0]
            blocks = pool.missing(job, job.length)
            is_cut = job.length > draft.left
            if not self._could_ever_admit(job):
                dropped.append(self._waiting.pop(0))
            elif (
                pool.free - blocks < config.watermark_blocks
                or members == config.max_num_seqs
                or self._chunk(draft, job) == 0
                or (is_cut and not config.enable_chunked_prefill)
            ):
                break
            else:
                pool.grow(job, job.length)
                draft.give(job, self._chunk(draft, job))
                self._waiting.pop(0)
                members += 1
        return dropped

    def _could_ever_admit(self, job: Job) -> bool:
        """Whether the job could be admitted if it were alone."""
        config = self._config
        is_whole = config.enable_chunked_prefill or job.length <= config.max_num_batched_tokens
        blocks = self._pool.missing(job, job.length)
        return is_whole and config.num_blocks - blocks >= config.watermark_blocks
