"""What the scheduler of a serving engine is asked, and what it answers.

Unlike a :data:`~queueing_llm.policies.Policy`, which sees one state and forgets it, the
schedulers of the field keep lists whose order decides. So they are objects: requests are
added, and each step returns what every request got. A step ends as soon as it is formed, and
the tokens that it was to yield are there.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

NOBODY: Mapping[str, int] = MappingProxyType({})
"""Nobody gets anything."""


@final
@dataclass(frozen=True, slots=True)
class FieldRequest:
    """A request as the scheduler of a serving engine sees it.

    Parameters
    ----------
    name : str
        Different from that of every other request.
    prompt_tokens, output_tokens : int
        :math:`P`, :math:`D` [tokens], each at least 1.
    priority : int
        Smaller goes first, where the scheduler looks at it.
    arrival : int
        Orders requests that wait; requests are added in this order.
    most_output_tokens : int or None
        What the scheduler is told about the output [tokens]; None: the output itself.
    prefix : tuple of str and int, or None
        A group of requests and how many of the first tokens are those of a text that the
        group has in common, for schedulers that keep a prefix cache. The rest of the prompt,
        and all of the output, is its own.

    Examples
    --------
    >>> FieldRequest("a", prompt_tokens=100, output_tokens=5, prefix=("chat", 64)).prefix
    ('chat', 64)
    """

    name: str
    prompt_tokens: int
    output_tokens: int
    priority: int = 0
    arrival: int = 0
    most_output_tokens: int | None = None
    prefix: tuple[str, int] | None = None


@final
@dataclass(frozen=True, slots=True)
class FieldStep:
    """What a scheduler did in one step.

    Parameters
    ----------
    tokens : mapping of str to int
        Tokens computed, by the name of the request; empty if nothing ran.
    preempted, finished : tuple of str
        Requests that lost their KV cache, and requests that are done.
    mode : str
        What kind of batch it was, in the words of the system; empty if there is one kind.
    cached : mapping of str to int
        Tokens found in a prefix cache instead, by the name of a request that began, or began
        anew, in this step.

    Examples
    --------
    >>> FieldStep({"a": 36, "b": 1}, cached={"a": 64}).preempted
    ()
    """

    tokens: Mapping[str, int] = field(default_factory=lambda: NOBODY)
    preempted: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()
    mode: str = ""
    cached: Mapping[str, int] = field(default_factory=lambda: NOBODY)


class AbstractScheduler(abc.ABC):
    """The batch rule of one version of a serving engine, as an object with state."""

    @abc.abstractmethod
    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""

    @abc.abstractmethod
    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""

    @property
    @abc.abstractmethod
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
