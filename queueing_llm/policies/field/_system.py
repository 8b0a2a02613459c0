"""A scheduler of the field as something to be tested: limits in, a fresh scheduler out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from queueing_llm.policies.field._scheduler import AbstractScheduler


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine allows, and what it will meet, before any of it has arrived.

    Parameters
    ----------
    token_budget : int
        :math:`b` [tokens/step].
    max_batch_size : int or None
        :math:`k_{max}` [requests].
    kv_capacity : int or None
        :math:`M` [tokens], a multiple of the block size.
    kv_block_size : int
        Tokens in a KV block.
    requests, tokens : int
        Requests that will arrive, and prompt and output tokens of all of them: what to make
        room for where there is no limit.
    """

    token_budget: int
    max_batch_size: int | None
    kv_capacity: int | None
    kv_block_size: int
    requests: int
    tokens: int

    @property
    def places(self) -> int:
        """Requests that may run at once: the limit, or all that will arrive."""
        return self.max_batch_size or max(self.requests, 1)

    @property
    def blocks(self) -> int:
        """KV blocks: those of the cache, or at least what all requests need at once."""
        if self.kv_capacity is None:
            return max(2 * self.tokens, 1)
        return self.kv_capacity // self.kv_block_size


Build: TypeAlias = Callable[[Limits], AbstractScheduler]


@final
@dataclass(frozen=True, slots=True)
class FieldSystem:
    """A version of a serving engine with its settings: whatever makes its schedulers.

    Parameters
    ----------
    name : str
        Such as ``"vllm==0.33.0"``, or ``"vllm==0.6.3:chunked"`` for other settings.
    build : callable
        Makes a fresh scheduler for an engine with those limits.
    known_by : str
        How it is known that the scheduler decides as the system does.
    settings : callable or None
        From those limits to the configuration that the scheduler is made of, where the code
        of the system itself can be started from it, too.
    reads_priority : bool
        Whether the priority of a request, its class in a trial, changes what is done.
    """

    name: str
    build: Build
    known_by: str
    settings: Callable[[Limits], Any] | None = None
    reads_priority: bool = False
