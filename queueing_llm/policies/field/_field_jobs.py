"""What a scheduler keeps about a request, and the KV blocks that requests share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, TypeAlias, final

from queueing_llm._validate import Domain, Real, Tokens, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies._contract import blocks_for
from queueing_llm.policies.field._scheduler import FieldRequest, FieldStep

Requests: TypeAlias = Annotated[int, Domain("S", "requests", at_least=1, integer=True)]
Blocks: TypeAlias = Annotated[int, Domain("N", "blocks", at_least=1, integer=True)]
Fraction: TypeAlias = Annotated[Real, Domain("w", "1", at_least=0, at_most=1)]


@final
@dataclass(slots=True, eq=False)
class Job:
    """A request and how far it has come.

    Parameters
    ----------
    name : str
        Name of the request.
    prompt : int
        Tokens that are computed as one prompt; grows when generated tokens are lost.
    output : int
        Tokens to generate after that prompt.
    most_output : int
        What the scheduler is told that the output may be, over the whole life.
    number : int
        How many requests came before it.
    computed, generated, blocks : int
        Tokens whose KV is there, tokens generated after the prompt, KV blocks held.
    """

    name: str
    prompt: int
    output: int
    most_output: int
    number: int
    computed: int = 0
    generated: int = 0
    blocks: int = 0

    @property
    def length(self) -> int:
        """The tokens that are known."""
        return self.prompt + self.generated

    @property
    def prompt_left(self) -> int:
        """The tokens of the prompt that are to be computed."""
        return max(self.prompt - self.computed, 0)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to generate."""
        return self.generated == self.output

    def advance(self, tokens: int) -> None:
        """Compute tokens; with all known tokens computed, one more is generated."""
        self.computed += tokens
        if self.computed == self.length:
            self.generated += 1

    def restart(self, *, forgets_output: bool = False) -> None:
        """Lose the KV; what was generated becomes part of the prompt.

        With ``forgets_output`` as many tokens as at first are generated after it.
        """
        self.prompt, self.computed = self.length, 0
        if not forgets_output:
            self.output -= self.generated
        self.generated = 0


class Door:
    """Turns requests into jobs and refuses what no scheduler can serve."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def admit(
        self,
        request: FieldRequest,
        *,
        most_tokens: int,
        limit: str,
        most_prompt: int | None = None,
    ) -> Job:
        """Return a job for the request, whose tokens must not exceed those of a limit."""
        told = request.most_output_tokens
        most_output = request.output_tokens if told is None else told
        for name, value in (
            ("prompt_tokens", request.prompt_tokens),
            ("output_tokens", request.output_tokens),
            ("most_output_tokens", most_output),
        ):
            check(value, name, Tokens)
        if request.output_tokens > most_output:
            msg = (
                "most_output_tokens must be at least output_tokens="
                f"{request.output_tokens}, got most_output_tokens={most_output}."
            )
            raise InvalidArgument(msg)
        if request.prompt_tokens + most_output > most_tokens:
            msg = (
                f"prompt and output together must be at most {most_tokens} tokens ({limit}), "
                f"got {request.prompt_tokens} + {most_output} for request {request.name!r}."
            )
            raise InvalidArgument(msg)
        if most_prompt is not None and request.prompt_tokens > most_prompt:
            msg = (
                f"prompt_tokens must be at most {most_prompt}, since a prompt has to fit in "
                f"one batch, got prompt_tokens={request.prompt_tokens}."
            )
            raise InvalidArgument(msg)
        if request.name in self._names:
            msg = f"name must differ from those of all requests before, got {request.name!r}."
            raise InvalidArgument(msg)
        self._names.add(request.name)
        return Job(
            request.name,
            request.prompt_tokens,
            request.output_tokens,
            most_output,
            len(self._names),
        )


class BlockPool:
    """KV blocks of one size; a job holds whole blocks."""

    def __init__(self, blocks: int, *, block_size: int) -> None:
        self.free = blocks
        self.block_size = block_size

    def blocks_for(self, tokens: int) -> int:
        """Return the blocks that hold so many tokens."""
        return blocks_for(tokens, block_size=self.block_size)

    def hold(self, job: Job, blocks: int) -> None:
        """Let the job hold at least so many blocks."""
        missing = max(blocks - job.blocks, 0)
        self.free -= missing
        job.blocks += missing

    def release(self, *jobs: Job) -> None:
        """Take all blocks of jobs back."""
        for job in jobs:
            self.free += job.blocks
            job.blocks = 0

    def has_room_for(
        self, job: Job, *, unvisited: list[Job], preempt: Callable[[Job], None]
    ) -> bool:
        """Preempt jobs until a block is free, the last unvisited first, the job itself last.

        Asks for a free block even if the next token fits in those that the job holds.
        """
        while self.free == 0:
            victim = unvisited.pop() if unvisited else job
            preempt(victim)
            if victim is job:
                return False
        return True


def computed(batch: Mapping[Job, int]) -> list[Job]:
    """Compute the tokens of a batch and return the jobs that are done."""
    for job, tokens in batch.items():
        job.advance(tokens)
    return [job for job in batch if job.is_done]


def step_of(
    batch: Mapping[Job, int],
    *,
    preempted: Iterable[Job] = (),
    finished: Iterable[Job] = (),
    mode: str = "",
) -> FieldStep:
    """Return what happened, by the names of the requests."""
    return FieldStep(
        tokens=MappingProxyType({job.name: tokens for job, tokens in batch.items()}),
        preempted=tuple(job.name for job in preempted),
        finished=tuple(job.name for job in finished),
        mode=mode,
    )
