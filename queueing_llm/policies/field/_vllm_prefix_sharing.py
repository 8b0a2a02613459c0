"""KV blocks of which equal ones are held only once, as in vLLM v0 with prefix caching.

The scheduler does not know what is in the blocks: it counts all tokens of a prompt, and asks
for as many free blocks as if nothing were shared. What it saves are the blocks themselves.
Which free block is reused first changes no batch, so that is not kept.
"""

from collections import Counter
from typing import final

from queueing_llm.policies._contract import blocks_for
from queueing_llm.policies.field._vllm_jobs import AbstractBlockPool, Block, Job


@final
class PrefixSharingPool(AbstractBlockPool):
    """Blocks that are counted, those of a common prefix once for all who hold them.

    Parameters
    ----------
    blocks : int
        Blocks that requests can hold.
    block_size : int
        Tokens in a block.

    Notes
    -----
    A prompt takes all its blocks when its request is admitted, so whatever is shared is full.

    Source: the block allocator of vLLM 0.6.3.

    Examples
    --------
    >>> from queueing_llm.policies.field import FieldRequest
    >>> pool = PrefixSharingPool(9, block_size=16)
    >>> for name in "ab":
    ...     request = FieldRequest(name, 40, 1, prefix=("chat", 32))
    ...     pool.grow(Job(request, rank=(0, 0, 0), goal=40), 40)
    >>> pool.free
    5
    """

    def __init__(self, blocks: int, *, block_size: int) -> None:
        super().__init__(block_size=block_size)
        self._free = blocks
        self._holders: Counter[tuple[str, int]] = Counter()

    @property
    def free(self) -> int:
        return self._free

    def hits(self, job: Job) -> tuple[Block, ...]:
        return ()

    def adopt(self, job: Job, hits: tuple[Block, ...]) -> None:
        pass

    def grow(self, job: Job, tokens: int) -> None:
        before = job.blocks
        job.blocks = max(before, blocks_for(tokens, block_size=self._block_size))
        shared = self._shared(job)[before:]
        found = sum(self._holders[block] > 0 for block in shared)
        self._holders.update(shared)
        self._free -= job.blocks - before - found

    def release(self, job: Job) -> None:
        shared = self._shared(job)
        self._holders.subtract(shared)
        self._free += job.blocks - sum(self._holders[block] > 0 for block in shared)
        job.blocks = 0

    def _shared(self, job: Job) -> list[tuple[str, int]]:
        """Return the blocks of a job that others can hold, too, first one first."""
        group, shared = job.request.prefix or ("", 0)
        blocks = min(job.blocks, shared // self._block_size)
        return [(group, number) for number in range(blocks)]
