"""KV blocks that remember what is in them, so that a request may find its first tokens there.

A full block is known by its tokens and all that stand before them. It is known as soon as the
step is planned that fills it, so a request admitted later in this very step shares it. Blocks
that nobody holds wait in a queue, and are known until they are taken from its head.

Two blocks with the same content are both kept: they arise when requests fill them side by side.
"""

from collections import OrderedDict
from typing import final

from queueing_llm.policies.field._vllm_jobs import AbstractBlockPool, Block, Job


@final
class PrefixCachingPool(AbstractBlockPool):
    """Blocks that requests with a common prefix share, least recently used ones reused first.

    Parameters
    ----------
    blocks : int
        Blocks that requests can hold.
    block_size : int
        Tokens in a block.
    reuses_blank_first : bool
        Whether a block that is not full goes to the head of the queue when nobody holds it
        any more, and not to its tail as all others.
    keeps_uncomputed : bool
        A defect: whether a block stays known whose tokens were planned and then, since its
        request was preempted in the same step, not computed.

    Notes
    -----
    The blocks of one request go to the tail of the queue last one first, so that what stands
    at the beginning of a text is forgotten last.

    Source: the block pool of vLLM 0.11.2, 0.32.0 and 0.33.0 (one attention type, no connector).

    Examples
    --------
    >>> from queueing_llm.policies.field import FieldRequest
    >>> def job(name):
    ...     request = FieldRequest(name, 40, 1, prefix=("chat", 32))
    ...     return Job(request, rank=(0, 0, 0), goal=40)
    >>> pool = PrefixCachingPool(
    ...     9, block_size=16, reuses_blank_first=True, keeps_uncomputed=True
    ... )
    >>> pool.grow(job("a"), 40)
    >>> len(pool.hits(job("b"))), pool.free
    (2, 6)
    """

    def __init__(
        self, blocks: int, *, block_size: int, reuses_blank_first: bool, keeps_uncomputed: bool
    ) -> None:
        super().__init__(block_size=block_size)
        self._reuses_blank_first = reuses_blank_first
        self._keeps_uncomputed = keeps_uncomputed
        # The head of the queue: blocks without content, which so need not be told apart.
        self._blank = blocks
        self._queue: OrderedDict[Block, None] = OrderedDict()
        self._known: dict[tuple[str, str, int], dict[Block, None]] = {}
        self._tables: dict[Job, list[Block]] = {}

    @property
    def free(self) -> int:
        return self._blank + len(self._queue)

    def hits(self, job: Job) -> tuple[Block, ...]:
        """Return the blocks in which a job that waits would find its first tokens.

        The last token is always computed anew, since the step that computes it yields the
        next one; so its block is, if the whole text is known.
        """
        found: list[Block] = []
        for number in range((job.length - 1) // self._block_size):
            same = self._known.get(self._content(job, number))
            if same is None:
                break
            found.append(next(iter(same)))
        return tuple(found)

    def adopt(self, job: Job, hits: tuple[Block, ...]) -> None:
        for block in hits:
            if block.holders == 0:
                del self._queue[block]
            block.holders += 1
        self._tables[job] = list(hits)
        job.blocks = len(hits)
        job.computed = len(hits) * self._block_size

    def grow(self, job: Job, tokens: int) -> None:
        table = self._tables.setdefault(job, [])
        table.extend(self._taken() for _ in range(self.missing(job, tokens)))
        job.blocks = len(table)
        full = range(job.computed // self._block_size, tokens // self._block_size)
        for number in full:
            block = table[number]
            block.content = self._content(job, number)
            self._known.setdefault(block.content, {})[block] = None

    def release(self, job: Job) -> None:
        table = self._tables.pop(job)
        job.blocks = 0
        if not self._keeps_uncomputed:
            for block in table[job.computed // self._block_size :]:
                self._forget(block)
        for block in reversed(table):
            block.holders -= 1
            if block.holders > 0:
                continue
            if block.content is None and self._reuses_blank_first:
                self._blank += 1
            else:
                self._queue[block] = None

    def _taken(self) -> Block:
        """Take the block at the head of the queue for new content."""
        if self._blank > 0:
            self._blank -= 1
            return Block(holders=1)
        block, _ = self._queue.popitem(last=False)
        self._forget(block)
        block.holders = 1
        return block

    def _forget(self, block: Block) -> None:
        if block.content is None:
            return
        same = self._known[block.content]
        del same[block]
        if not same:
            del self._known[block.content]
        block.content = None

    def _content(self, job: Job, number: int) -> tuple[str, str, int]:
        """Return what a block of the job holds when it is full."""
        group, shared = job.request.prefix or ("", 0)
        if (number + 1) * self._block_size <= shared:
            return "group", group, number
        return "request", job.name, number
