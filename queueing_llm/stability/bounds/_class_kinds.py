"""How classes of requests and their limits become kinds of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import TypeAlias, final

import numpy as np

from queueing_llm._validate import Domain, Real, check, is_symbolic, unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.model._arguments import check_kind
from queueing_llm.stability.bounds._batches import is_of_token_count
from queueing_llm.stability.bounds._class_batches import TokenKinds
from queueing_llm.stability.bounds._region import LongestPrompt

ClassPairs: TypeAlias = tuple[tuple[Real, Real], ...]
"""Of each class, a number for its prefill and one for its decode tokens."""

MOST_CELLS = 2**28


@final
@dataclass(frozen=True, slots=True)
class ClassKinds:
    """The kinds of tokens that the limits of a batch tell apart, and who has which.

    Parameters
    ----------
    tokens : TokenKinds
        The kinds.
    of_class : tuple of (int, int)
        The kinds of the prefill and of the decode tokens of each class, by position.
    is_exact : bool
        Whether the step times are integers or Fractions, not floats.
    """

    tokens: TokenKinds
    of_class: tuple[tuple[int, int], ...]
    is_exact: bool

    @classmethod
    def of(cls, engine: Engine, longest_prompts: Sequence[int | None]) -> "ClassKinds":
        """Return the kinds for the longest prompts of the classes, after a check of both."""
        check_kind(
            engine, "engine", kind=Engine, such_as="Engine(step_time=..., token_budget=512)"
        )
        if not isinstance(longest_prompts, list | tuple) or not longest_prompts:
            msg = (
                "longest_prompts must be a list with an integer or None for each class, "
                f"got longest_prompts={longest_prompts!r}."
            )
            raise InvalidArgument(msg)
        for index, prompt in enumerate(longest_prompts):
            check(prompt, f"longest_prompts[{index}]", LongestPrompt)
        longest, places, of_class = _kinds(engine, longest_prompts)
        seconds = _step_seconds(engine, longest, places)
        tokens = TokenKinds.of(longest, places, seconds=[exactly(t) for t in seconds])
        return cls(tokens, of_class, all(isinstance(t, Rational) for t in seconds))

    def by_kind(self, pairs: ClassPairs, name: str, *, unit: str) -> list[list[Real]]:
        """Return the numbers of each kind, exact and at least 0, of a pair for each class."""
        classes = len(self.of_class)
        if not hasattr(pairs, "__len__") or [np.size(p) for p in pairs] != [2] * classes:
            msg = (
                f"{name} must have a (prefill, decode) pair [{unit}] for each of {classes} "
                f"classes, got {name}={pairs!r}."
            )
            raise InvalidArgument(msg)
        sorted_out: list[list[Real]] = [[] for _ in self.tokens.longest]
        domain = Domain(name, unit, at_least=0)
        for index, (kinds, pair) in enumerate(zip(self.of_class, pairs, strict=True)):
            for kind, number in zip(kinds, pair, strict=True):
                domain.check(f"{name}[{index}]", number)
                sorted_out[kind].append(exactly(number))
        return sorted_out


def exactly(number: Real) -> Real:
    """Return a number as an integer or a Fraction; a float is taken at its exact value."""
    value = unboxed(number)
    if isinstance(value, Rational):
        return value
    if is_symbolic(value) and not value.is_number:
        msg = f"rates and step times must be numbers, got {value}: substitute its symbols."
        raise InvalidArgument(msg)
    return Fraction(float(value))


def _kinds(
    engine: Engine, longest_prompts: Sequence[int | None]
) -> tuple[tuple[int, ...], int, tuple[tuple[int, int], ...]]:
    """Return the most tokens of each kind in a place, the places, and the kinds of classes."""
    tokens = engine.batch_tokens_limit()
    places = engine.max_batch_size or tokens
    if places >= tokens:
        # A batch that fits the budget fits the places: as if all of it were one request.
        return (tokens,), 1, tuple((0, 0) for _ in longest_prompts)
    prompts = [min(prompt or tokens, tokens) for prompt in longest_prompts]
    longest = tuple(sorted({1, *prompts}))
    return longest, places, tuple((longest.index(prompt), 0) for prompt in prompts)


def _step_seconds(engine: Engine, longest: tuple[int, ...], places: int) -> list[Real]:
    """Return the least times of the batches of 1, 2, ... tokens."""
    law, most = engine.step_time, min(engine.batch_tokens_limit(), places * longest[-1])
    if not is_of_token_count(law):
        msg = (
            "step_time must be a law of the total tokens in a batch for a region of classes, "
            f"got step_time={law!r}."
        )
        raise InvalidArgument(msg)
    if places * most > MOST_CELLS:
        msg = (
            "max_batch_size times token_budget must be at most 2^28 for a region of classes, "
            f"got {places} requests and {most} tokens."
        )
        raise InvalidArgument(msg)
    # Called for its check that every batch within the limits has a known time.
    law.candidate_batches(most)
    return [law(tokens) for tokens in range(1, most + 1)]
