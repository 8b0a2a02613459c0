"""Joint laws of the prompt and the output length of a request."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, final

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import (
    Integers,
    check_draw,
    check_kind,
    drawn_rows,
    exact,
    integer_column,
    start_row,
    sum_of_products,
    weight_column,
)
from queueing_llm.model._lengths import AbstractLength, DeterministicLength
from queueing_llm.model._moments import LengthMoments

LengthSampler: TypeAlias = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Draws the next ``n`` requests: prompt and output tokens, two int64 arrays (n,)."""


class AbstractRequestLengths(abc.ABC):
    """The law of the prompt length :math:`p` and the output length :math:`d` of a request."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def moments(self) -> LengthMoments:
        """First and second moments, exact where they are rational."""

    @property
    @abc.abstractmethod
    def longest_prompt(self) -> int | None:
        """The largest possible :math:`p` [tokens], None if there is none."""

    @property
    @abc.abstractmethod
    def longest_request(self) -> int | None:
        """The largest possible :math:`p + d` [tokens], None if there is none."""

    @property
    @abc.abstractmethod
    def is_iid(self) -> bool:
        """Whether successive requests are independent and identically distributed."""

    @abc.abstractmethod
    def sampler(self, rng: np.random.Generator, *, phase: Real = 0.0) -> LengthSampler:
        """Return a source of requests; drawing 5 then 7 from it equals drawing 12."""

    def sample(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the prompt and output tokens of ``size`` requests, from a fresh sampler."""
        check_draw(rng, size, 0)
        return self.sampler(rng)(size)


@final
@dataclass(frozen=True, slots=True)
class IndependentLengths(AbstractRequestLengths):
    """Prompt and output lengths that do not depend on each other.

    Parameters
    ----------
    prompt, output : AbstractLength
        Laws of :math:`p`, at least 1, and of :math:`d` [tokens].

    Raises
    ------
    InvalidArgument
        If an argument is not a length law or a prompt can be empty.

    Examples
    --------
    >>> from queueing_llm.model import DeterministicLength, GeometricLength, IndependentLengths
    >>> IndependentLengths(DeterministicLength(129), GeometricLength(112)).moments.product
    Fraction(14448, 1)
    """

    prompt: AbstractLength
    output: AbstractLength

    def __post_init__(self) -> None:
        for name, law in (("prompt", self.prompt), ("output", self.output)):
            check_kind(law, name, kind=AbstractLength, such_as="GeometricLength")
        if self.prompt.smallest < 1:
            msg = f"prompt must have at least 1 token, got prompt={self.prompt!r}."
            raise InvalidArgument(msg)

    @property
    def moments(self) -> LengthMoments:
        """First and second moments; the product of the means is that of the lengths."""
        prompt, output = exact(self.prompt.mean), exact(self.output.mean)
        return LengthMoments(
            prompt=prompt,
            output=output,
            prompt_squared=exact(self.prompt.second_moment),
            output_squared=exact(self.output.second_moment),
            product=prompt * output,
            shortest_output=self.output.smallest,
        )

    @property
    def longest_prompt(self) -> int | None:
        """The largest prompt length [tokens], None if unbounded."""
        return self.prompt.largest

    @property
    def longest_request(self) -> int | None:
        """The sum of the largest lengths [tokens], None if unbounded."""
        prompt, output = self.prompt.largest, self.output.largest
        return None if prompt is None or output is None else prompt + output

    @property
    def is_iid(self) -> bool:
        """Always."""
        return True

    def sampler(self, rng: np.random.Generator, *, phase: Real = 0.0) -> LengthSampler:
        """Return a source of requests; ``phase`` has no meaning for independent draws."""
        # A generator per length, so that what one draws never shifts the other.
        prompts, outputs = rng.spawn(2)

        def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
            return self.prompt.sample(prompts, size), self.output.sample(outputs, size)

        return draw


@final
@dataclass(frozen=True, slots=True, eq=False)
class EmpiricalLengths(AbstractRequestLengths):
    """Requests from a table: drawn at random, or replayed in the recorded order.

    Parameters
    ----------
    prompt_tokens, output_tokens : int array, shape (N,)
        Lengths of each row [tokens], prompts at least 1 and outputs at least 0.
    weights : int array, shape (N,), or None
        Positive integer weights of the rows; None makes them equally likely.
    in_order : bool
        Whether the rows are replayed cyclically, from row ``floor(phase * N)`` on, instead
        of drawn independently. A replay has no weights.

    Raises
    ------
    InvalidArgument
        If the columns differ in length, or hold anything but integers in these ranges.

    Examples
    --------
    >>> from queueing_llm.model import EmpiricalLengths
    >>> EmpiricalLengths([100, 300], [10, 20], weights=[3, 1]).moments.prompt
    Fraction(150, 1)
    """

    prompt_tokens: Integers
    output_tokens: Integers
    weights: Integers | None = None
    in_order: bool = False

    def __post_init__(self) -> None:
        prompt = integer_column(self.prompt_tokens, "prompt_tokens", at_least=1)
        output = integer_column(self.output_tokens, "output_tokens", at_least=0)
        if len(prompt) != len(output):
            msg = f"output_tokens has {len(output)} rows, prompt_tokens has {len(prompt)}."
            raise InvalidArgument(msg)
        if self.in_order and self.weights is not None:
            msg = "weights must be None when in_order=True: a replay plays each row once."
            raise InvalidArgument(msg)
        object.__setattr__(self, "prompt_tokens", prompt)
        object.__setattr__(self, "output_tokens", output)
        object.__setattr__(self, "weights", weight_column(self.weights, len(prompt)))

    @property
    def moments(self) -> LengthMoments:
        """Weighted averages over the table, as exact Fractions."""
        prompt, output = self._columns()
        weights = np.ones_like(prompt) if self.weights is None else np.asarray(self.weights)
        total = sum_of_products(weights)

        def average(*columns: np.ndarray) -> Fraction:
            return Fraction(sum_of_products(weights, *columns), total)

        return LengthMoments(
            prompt=average(prompt),
            output=average(output),
            prompt_squared=average(prompt, prompt),
            output_squared=average(output, output),
            product=average(prompt, output),
            shortest_output=int(output.min()),
        )

    @property
    def longest_prompt(self) -> int | None:
        """The largest prompt length in the table [tokens]."""
        return int(self._columns()[0].max())

    @property
    def longest_request(self) -> int | None:
        """The largest sum of both lengths in one row [tokens]."""
        prompt, output = self._columns()
        return int((prompt + output).max())

    @property
    def is_iid(self) -> bool:
        """Whether the rows are drawn instead of replayed."""
        return not self.in_order

    def sampler(self, rng: np.random.Generator, *, phase: Real = 0.0) -> LengthSampler:
        """Return a source of rows; ``phase`` is where a replay starts, in [0, 1)."""
        prompt, output = self._columns()
        weights = None if self.weights is None else np.asarray(self.weights)
        at = start_row(phase, len(prompt))

        def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
            rows = drawn_rows(rng, size, rows=len(prompt), weights=weights)
            return prompt[rows], output[rows]

        def replay(size: int) -> tuple[np.ndarray, np.ndarray]:
            nonlocal at
            rows = np.arange(at, at + size) % len(prompt)
            at = (at + size) % len(prompt)
            return prompt[rows], output[rows]

        return replay if self.in_order else draw

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.prompt_tokens), np.asarray(self.output_tokens)


def length_law(value: int | AbstractLength, name: str, *, at_least: int) -> AbstractLength:
    """Return the length law that an argument stands for."""
    if isinstance(value, AbstractLength):
        return value
    tokens = exact(value)
    whole = isinstance(tokens, Fraction) and tokens.denominator == 1
    if isinstance(value, bool) or not whole or tokens < at_least:
        msg = (
            f"{name} must be an integer of at least {at_least} [tokens] or a length law such "
            f"as GeometricLength(mean), got {name}={value!r}."
        )
        raise InvalidArgument(msg)
    return DeterministicLength(int(tokens))


def independent_lengths(
    prompt_tokens: int | AbstractLength, output_tokens: int | AbstractLength
) -> IndependentLengths:
    """Return the joint law that two arguments of these names stand for."""
    prompt = length_law(prompt_tokens, "prompt_tokens", at_least=1)
    return IndependentLengths(prompt, length_law(output_tokens, "output_tokens", at_least=0))


def largest_of(values: list[int | None]) -> int | None:
    """Return the largest value, None if one of them is unbounded."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
