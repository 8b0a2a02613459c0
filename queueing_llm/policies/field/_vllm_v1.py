"""The scheduler of vLLM v1: no phases, only tokens that are known and not yet computed.

First the running requests in the order of their admission, each as far as the budget goes.
Where a block is missing, the last of them (or the lowest in priority) loses its KV and waits
again at the head of the queue. Then, unless somebody was preempted, requests are admitted.
"""

import bisect
from typing import final

from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep
from queueing_llm.policies.field._vllm_jobs import (
    AbstractBlockPool,
    Arrivals,
    Block,
    BlockPool,
    Draft,
    Job,
)
from queueing_llm.policies.field._vllm_prefix_cache import PrefixCachingPool
from queueing_llm.policies.field._vllm_v1_config import VllmV1Config


@final
class VllmV1Scheduler(AbstractScheduler):
    """The batches of vLLM v1, with synchronous steps.

    Parameters
    ----------
    config : VllmV1Config
        Its settings and its version.

    Notes
    -----
    Prompt and output together are assumed to stay within ``max_model_len``. The engine then
    refuses to start unless one such request fits in its blocks, and, with whole prompts, in
    the budget; the budget must also be at least ``max_num_seqs``. Here it starts, and a
    request that can never finish waits for ever (0.11.2: is prefilled and preempted for
    ever), as the scheduler alone would have it.

    With ``enable_prefix_caching`` the tokens of a step are those that are computed; those
    that were found instead are in :attr:`FieldStep.cached` of the step that admits a request.
    A defect of all three versions under the priority policy: a request that is preempted in a
    step that had served it before leaves blocks behind that were not computed, and are found.

    Source: the scheduler and the block pool of vLLM 0.11.2, 0.32.0 and 0.33.0, with one type
    of attention and no connector.

    Examples
    --------
    >>> engine = VllmV1Scheduler(VllmV1Config(64, 2, num_blocks=100))
    >>> engine.add(FieldRequest("a", prompt_tokens=100, output_tokens=2))
    >>> engine.add(FieldRequest("b", prompt_tokens=10, output_tokens=1))
    >>> [dict(engine.step().tokens) for _ in range(3)]
    [{'a': 64}, {'a': 36, 'b': 10}, {'a': 1}]

    Two questions about one text, of which 48 tokens fill blocks:

    >>> config = VllmV1Config(128, 2, num_blocks=100, enable_prefix_caching=True)
    >>> engine = VllmV1Scheduler(config)
    >>> for name in "ab":
    ...     engine.add(FieldRequest(name, 60, 1, prefix=("text", 50)))
    >>> step = engine.step()
    >>> dict(step.tokens), dict(step.cached)
    ({'a': 60, 'b': 12}, {'b': 48})
    """

    def __init__(self, config: VllmV1Config) -> None:
        self._config = config
        self._arrivals = Arrivals()
        self._pool = _pool(config)
        self._running: list[Job] = []
        self._waiting: list[Job] = []
        self._steps = 0
        self._last_prefill = -config.prefill_schedule_interval
        self._queue_was_left = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not (self._running or self._waiting)

    @property
    def running(self) -> tuple[str, ...]:
        """Requests that hold KV blocks, in the order in which they are served."""
        return tuple(job.name for job in self._running)

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
        job = self._arrivals.job(request)
        self._queue(job, place=len(self._waiting))

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        draft = Draft(self._config.max_num_batched_tokens, cap=self._cap())
        held_back = self._holds_back_prefills()
        has_prefill = self._serve_running(draft, held_back=held_back)
        if not draft.preempted:
            has_prefill |= self._admit(draft, held_back=held_back)
            if not held_back:
                self._queue_was_left = bool(self._waiting)
        self._steps += bool(draft.batch)
        if has_prefill:
            self._last_prefill = self._steps
        done = draft.run(self._pool)
        self._running = [job for job in self._running if job not in done]
        return draft.report(done)

    def _cap(self) -> int | None:
        """Return the most tokens that one request may have in this step."""
        is_alone = len(self._running) + len(self._waiting) == 1
        if is_alone and self._config.release.spares_lone_request:
            return None
        return self._config.long_prefill_token_threshold or None

    def _holds_back_prefills(self) -> bool:
        """Whether decodes have this step for themselves, since prefills are paced."""
        since = self._steps + 1 - self._last_prefill
        is_early = since < self._config.prefill_schedule_interval
        decodes = any(not job.is_prefilling for job in self._running)
        return is_early and decodes and not self._queue_was_left

    def _serve_running(self, draft: Draft, *, held_back: bool) -> bool:
        """Serve those that run, and return whether a prompt was among what was served."""
        has_prefill = False
        for job in tuple(self._running):
            if draft.left == 0:
                break
            if job in draft.preempted or (held_back and job.is_prefilling):
                continue
            tokens = draft.share(job.todo)
            if self._makes_room(draft, job, tokens=job.computed + tokens):
                self._pool.grow(job, job.computed + tokens)
                draft.give(job, tokens)
                has_prefill |= job.is_prefilling
            elif not self._config.goes_on_after_own_preemption:
                break
        return has_prefill

    def _makes_room(self, draft: Draft, job: Job, *, tokens: int) -> bool:
        """Preempt until the job can hold so many tokens; False if it had to go itself."""
        while self._pool.missing(job, tokens) > self._pool.free:
            victim = self._running[-1]
            if self._config.policy == "priority":
                victim = max(self._running, key=lambda other: other.rank)
            self._running.remove(victim)
            draft.preempt(victim, self._pool)
            self._queue(victim, place=0)
            if victim is job:
                return False
        return True

    def _queue(self, job: Job, *, place: int) -> None:
        """Let a job wait at a place in the queue, unless priorities decide."""
        if self._config.policy == "priority":
            place = bisect.bisect(self._waiting, job.rank, key=lambda other: other.rank)
        self._waiting.insert(place, job)

    def _admit(self, draft: Draft, *, held_back: bool) -> bool:
        """Admit who fits, and return whether somebody has more than a last token to compute."""
        config, pool = self._config, self._pool
        has_prefill = False
        passed: list[Job] = []
        while self._waiting and draft.left > 0 and len(self._running) < config.max_num_seqs:
            job = self._waiting[0]
            hits = pool.hits(job)
            cached = len(hits) * config.block_size
            todo = job.length - cached
            if held_back and todo > 1:
                break
            if draft.wish(todo) > draft.left and not config.enable_chunked_prefill:
                if not config.release.passes_oversized:
                    break
                passed.append(self._waiting.pop(0))
                continue
            tokens = cached + draft.share(todo)
            if not self._has_room(job, tokens, hits=hits):
                break
            pool.adopt(job, hits)
            pool.grow(job, tokens)
            draft.give(job, tokens - cached)
            if cached:
                draft.cached[job] = cached
            has_prefill |= todo > 1
            self._running.append(self._waiting.pop(0))
        self._waiting[:0] = reversed(passed) if config.reverses_passed else passed
        return has_prefill

    def _has_room(self, job: Job, tokens: int, *, hits: tuple[Block, ...]) -> bool:
        """Whether a job can be admitted with so many tokens, of which it found the first.

        What it found and others hold is there for nothing; what it found in the queue of the
        free blocks will not be free any more.
        """
        config, pool = self._config, self._pool
        tested = job.length if config.reserves_prompts else tokens
        needed = pool.missing(job, tested) - sum(block.holders > 0 for block in hits)
        spare = pool.free - (config.watermark_blocks if self._running else 0)
        return needed <= spare


def _pool(config: VllmV1Config) -> AbstractBlockPool:
    if not config.enable_prefix_caching:
        return BlockPool(config.usable_blocks, block_size=config.block_size)
    return PrefixCachingPool(
        config.usable_blocks,
        block_size=config.block_size,
        reuses_blank_first=config.release.reuses_blank_first,
        keeps_uncomputed=config.with_defects,
    )
