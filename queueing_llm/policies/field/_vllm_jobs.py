"""What the schedulers of vLLM keep about a request, its KV blocks, and the batch they form."""

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, TypeAlias, final

from queueing_llm._validate import Domain, Real, Tokens, TokensOrZero, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies._contract import blocks_for
from queueing_llm.policies.field._scheduler import FieldRequest, FieldStep

MaxNumSeqs: TypeAlias = Annotated[int, Domain("S", "requests", at_least=1, integer=True)]
BlockSize: TypeAlias = Annotated[int, Domain("s", "tokens", at_least=1, integer=True)]
WatermarkFraction: TypeAlias = Annotated[Real, Domain("w", "1", at_least=0, at_most=1)]


@final
@dataclass(slots=True, eq=False)
class Job:
    """A request and how far it has come.

    ``computed`` is C, the tokens whose KV is there; ``generated`` is G; ``goal`` is what C
    has to reach until the prompt is complete, or what is recomputed as one; ``rank`` orders
    by priority, then by arrival.
    """

    request: FieldRequest
    rank: tuple[int, int, int]
    goal: int
    computed: int = 0
    generated: int = 0
    blocks: int = 0

    @property
    def name(self) -> str:
        return self.request.name

    @property
    def length(self) -> int:
        """The tokens that are known: P + G."""
        return self.request.prompt_tokens + self.generated

    @property
    def todo(self) -> int:
        """The known tokens whose KV is missing: 1 for a decode, more for a prompt."""
        return self.length - self.computed

    @property
    def is_prefilling(self) -> bool:
        return self.computed < self.goal

    @property
    def is_done(self) -> bool:
        return self.generated == self.request.output_tokens


class Arrivals:
    """The door: turns requests into jobs and refuses those that make no sense."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def job(self, request: FieldRequest) -> Job:
        """Return a new job for the request."""
        for field in ("prompt_tokens", "output_tokens"):
            check(getattr(request, field), field, Tokens)
        _, shared = request.prefix or ("", 0)
        check(shared, "the tokens of prefix", TokensOrZero)
        if shared > request.prompt_tokens:
            msg = (
                f"prefix must be a part of the prompt, at most {request.prompt_tokens} tokens, "
                f"got prefix={request.prefix!r} for request {request.name!r}."
            )
            raise InvalidArgument(msg)
        if request.name in self._names:
            msg = f"name must differ from those of all requests before, got {request.name!r}."
            raise InvalidArgument(msg)
        self._names.add(request.name)
        rank = (request.priority, request.arrival, len(self._names))
        return Job(request, rank, goal=request.prompt_tokens)


@final
@dataclass(slots=True, eq=False)
class Block:
    """A KV block: who holds it and, in a prefix cache, what is in it.

    ``content`` names the tokens in it and all tokens before them; None while it is not full.
    """

    content: tuple[str, str, int] | None = None
    holders: int = 0


class AbstractBlockPool(abc.ABC):
    """The KV cache in blocks of equal size; a job holds whole blocks."""

    def __init__(self, *, block_size: int) -> None:
        self._block_size = block_size

    @property
    @abc.abstractmethod
    def free(self) -> int:
        """Blocks that nobody holds."""

    @abc.abstractmethod
    def hits(self, job: Job) -> tuple[Block, ...]:
        """Return the blocks in which a job that waits would find its first tokens."""

    @abc.abstractmethod
    def adopt(self, job: Job, hits: tuple[Block, ...]) -> None:
        """Let a job that begins hold the blocks in which its first tokens are."""

    @abc.abstractmethod
    def grow(self, job: Job, tokens: int) -> None:
        """Let the job hold so many tokens, which this step computes as far as they are new."""

    @abc.abstractmethod
    def release(self, job: Job) -> None:
        """Take all blocks back."""

    def missing(self, job: Job, tokens: int) -> int:
        """Return the blocks that the job lacks to hold so many tokens."""
        return max(0, blocks_for(tokens, block_size=self._block_size) - job.blocks)

    def has_full_blocks(self, job: Job) -> bool:
        """Whether the prompt of the job ends where a block ends."""
        return job.goal % self._block_size == 0


@final
class BlockPool(AbstractBlockPool):
    """Blocks that are only counted, since nobody asks what is in them."""

    def __init__(self, blocks: int, *, block_size: int) -> None:
        super().__init__(block_size=block_size)
        self._free = blocks

    @property
    def free(self) -> int:
        return self._free

    def hits(self, job: Job) -> tuple[Block, ...]:
        return ()

    def adopt(self, job: Job, hits: tuple[Block, ...]) -> None:
        pass

    def grow(self, job: Job, tokens: int) -> None:
        blocks = self.missing(job, tokens)
        self._free -= blocks
        job.blocks += blocks

    def release(self, job: Job) -> None:
        self._free += job.blocks
        job.blocks = 0


class Draft:
    """A batch being filled from the budget of one step.

    Parameters
    ----------
    budget : int
        What is left [tokens].
    cap : int or None
        The most for one job [tokens]; None: no cap.
    """

    def __init__(self, budget: int, *, cap: int | None = None) -> None:
        self.left = budget
        self.batch: dict[Job, int] = {}
        self.cached: dict[Job, int] = {}
        self.preempted: list[Job] = []
        self._cap = cap

    def wish(self, todo: int) -> int:
        """Return the tokens that a job would take of any budget."""
        return todo if self._cap is None else min(todo, self._cap)

    def share(self, todo: int) -> int:
        """Return the tokens that a job can have of what is left."""
        return min(self.wish(todo), self.left)

    def give(self, job: Job, tokens: int) -> None:
        """Put tokens of a job into the batch."""
        self.batch[job] = tokens
        self.left -= tokens

    def preempt(self, job: Job, pool: AbstractBlockPool) -> None:
        """Take the KV of a job; what it has generated becomes part of its prompt."""
        pool.release(job)
        job.computed = 0
        job.goal = job.length
        self.left += self.batch.pop(job, 0)
        self.preempted.append(job)

    def run(self, pool: AbstractBlockPool) -> list[Job]:
        """Compute the tokens and return the jobs that are done.

        The step in which a job has computed all that is known of it yields a token.
        """
        for job, tokens in self.batch.items():
            job.computed += tokens
            job.generated += job.todo == 0
        done = [job for job in self.batch if job.is_done]
        for job in done:
            pool.release(job)
        return done

    def report(self, finished: Iterable[Job], *, mode: str = "") -> FieldStep:
        """Return what happened, by the names of the requests."""
        return FieldStep(
            tokens=MappingProxyType({job.name: tokens for job, tokens in self.batch.items()}),
            preempted=tuple(job.name for job in self.preempted),
            finished=tuple(job.name for job in finished),
            mode=mode,
            cached=MappingProxyType({job.name: tokens for job, tokens in self.cached.items()}),
        )
