"""The replica scheduler ``lightllm`` of the simulator vidur, which looks ahead.

Outputs are known to it, so it knows how full the KV cache will be at the fullest moment if
nobody else is admitted. It admits while that stays below the cache, so nobody is preempted.
"""

from dataclasses import KW_ONLY, dataclass
from itertools import accumulate
from typing import Annotated, TypeAlias, final

from queueing_llm._validate import Domain, Tokens, validate
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

Steps: TypeAlias = Annotated[int, Domain("i", "steps", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class VidurLightllmConfig:
    """The settings of vidur's ``lightllm`` that decide its batches, under its own names.

    Parameters
    ----------
    batch_size_cap : int
        Limit on the requests that hold KV blocks.
    num_blocks : int
        KV blocks, of one token each.
    max_tokens_in_batch : int
        Most prompt tokens of a batch.
    max_waiting_iters : int
        Batches of decodes after which prompts may interrupt.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain.

    Examples
    --------
    >>> VidurLightllmConfig(8, num_blocks=1000).max_waiting_iters
    10
    """

    batch_size_cap: Requests
    _: KW_ONLY
    num_blocks: Blocks
    max_tokens_in_batch: Tokens = 4096
    max_waiting_iters: Steps = 10

    def __post_init__(self) -> None:
        validate(self)


@final
class VidurLightllmScheduler(AbstractScheduler):
    r"""The batches of vidur's ``lightllm``, each of which ends as soon as it starts.

    Parameters
    ----------
    config : VidurLightllmConfig
        Its settings.

    Notes
    -----
    Batches are of prompts, whole and in order of arrival, or of all decodes. Prompts have
    their turn when nobody decodes, and after ``max_waiting_iters`` batches of decodes. In
    their turn they are admitted while

    .. math:: \max_k \Bigl(k\, d_k + \sum_{i \le k} n_i\Bigr) < N

    over all that run and the one to be admitted, longest rest first, where :math:`n_i` are
    the known tokens of a request, :math:`d_i` its tokens yet to be stored and :math:`N` the
    KV tokens. A request that does not pass alone is refused: it would wait for ever.

    Source: microsoft/vidur at 7d47513, by one recorded run; the turn of prompts that
    interrupt decodes is not in it and follows the source, as read.

    Examples
    --------
    >>> replica = VidurLightllmScheduler(VidurLightllmConfig(8, num_blocks=100))
    >>> for name in ("a", "b", "c"):
    ...     replica.add(FieldRequest(name, prompt_tokens=30, output_tokens=10))
    >>> [dict(replica.step().tokens) for _ in range(2)]
    [{'a': 30, 'b': 30}, {'a': 1, 'b': 1}]
    """

    def __init__(self, config: VidurLightllmConfig) -> None:
        self._config = config
        self._door = Door()
        self._pool = BlockPool(config.num_blocks, block_size=1)
        self._running: list[Job] = []
        self._waiting: list[Job] = []
        self._batches_of_decodes = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not (self._running or self._waiting)

    @property
    def running(self) -> tuple[str, ...]:
        """Requests that hold KV blocks, in the order in which they were admitted."""
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
        config = self._config
        # Even the first token of an output counts, though nothing follows it if it is alone.
        is_single = request.output_tokens == 1
        job = self._door.admit(
            request,
            most_tokens=config.num_blocks - is_single,
            limit="the KV cache",
            most_prompt=config.max_tokens_in_batch,
        )
        self._waiting.append(job)

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        batch: dict[Job, int] = {}
        if not self._running or self._batches_of_decodes >= self._config.max_waiting_iters:
            self._batches_of_decodes = 0
            batch = self._admitted()
        if not batch:
            self._batches_of_decodes += 1
            batch = dict.fromkeys(self._running, 1)
        for job, tokens in batch.items():
            self._pool.hold(job, job.computed + tokens)
        done = computed(batch)
        self._pool.release(*done)
        present = {**dict.fromkeys(self._running), **batch}
        self._running = [job for job in present if not job.is_done]
        return step_of(batch, finished=done)

    def _admitted(self) -> dict[Job, int]:
        """Return the prompts of those that may start now; they no longer wait."""
        config = self._config
        batch: dict[Job, int] = {}
        while self._waiting:
            job = self._waiting[0]
            present = [*self._running, *batch]
            if (
                len(present) == config.batch_size_cap
                or sum(batch.values()) + job.prompt > config.max_tokens_in_batch
                or most_stored([*present, job]) >= config.num_blocks
            ):
                break
            batch[self._waiting.pop(0)] = job.prompt
        return batch


def most_stored(jobs: list[Job]) -> int:
    """Return the KV tokens at the fullest moment, if these jobs alone run to their ends."""
    written = {job: max(job.generated, 1) for job in jobs}
    rests = {job: max(job.output - written[job] - 1, 0) for job in jobs}
    longest_first = sorted(jobs, key=lambda job: rests[job], reverse=True)
    known = accumulate(job.prompt + written[job] for job in longest_first)
    return max(
        count * rests[job] + stored
        for count, (job, stored) in enumerate(zip(longest_first, known, strict=True), start=1)
    )
