"""What the closed answers need to know about random lengths: chances, and independence."""

import math
from typing import Literal

import numpy as np

from queueing_llm.model import (
    AbstractLength,
    DeterministicLength,
    EmpiricalLength,
    EmpiricalLengths,
    GeometricLength,
    IndependentLengths,
    RequestClass,
    Workload,
)

MOST_LENGTHS = 2**20
ENOUGH_LENGTHS = 2**16


def has_known_lengths(workload: Workload) -> bool:
    """Whether requests are i.i.d. with laws of this package."""
    known = (IndependentLengths, EmpiricalLengths)
    return workload.has_iid_lengths and all(
        isinstance(c.lengths, known) for c in workload.classes
    )


def has_independent_lengths(workload: Workload) -> bool:
    """Whether the prompt of a request is known to say nothing about its output."""
    moments = workload.moments
    alike = moments.output_squared == moments.output**2
    one_law = isinstance(workload.classes[0].lengths, IndependentLengths)
    return alike or (len(workload.classes) == 1 and one_law)


def memoryless(workload: Workload) -> tuple[int, float] | None:
    """Return the constant prompt and the chance to end with each token, if they are such."""
    lengths = workload.classes[0].lengths
    if len(workload.classes) > 1 or not isinstance(lengths, IndependentLengths):
        return None
    prompt, output = lengths.prompt, lengths.output
    if not isinstance(prompt, DeterministicLength) or not isinstance(output, GeometricLength):
        return None
    return prompt.tokens, 1 / float(output.mean)


def survival(
    workload: Workload, length: Literal["prompt", "output"], tokens: np.ndarray
) -> np.ndarray:
    """Return the chance that a request of any class is longer than each number of tokens."""
    total = np.zeros(len(tokens))
    for share, request_class in zip(workload.shares, workload.classes, strict=True):
        total += float(share) * marginal_law(request_class, length).survival(tokens)
    return total


def prompt_chances(workload: Workload, most: int) -> np.ndarray:
    """Return the chance of each prompt length from 0 to ``most`` tokens, (most + 1,)."""
    return np.append(0.0, -np.diff(survival(workload, "prompt", np.arange(most + 1))))


def marginal_law(
    request_class: RequestClass, length: Literal["prompt", "output"]
) -> AbstractLength:
    """Return the law of one of the two lengths of a class of i.i.d. requests."""
    lengths = request_class.lengths
    if isinstance(lengths, IndependentLengths):
        return lengths.prompt if length == "prompt" else lengths.output
    assert isinstance(lengths, EmpiricalLengths)
    column = lengths.prompt_tokens if length == "prompt" else lengths.output_tokens
    return EmpiricalLength(column, weights=lengths.weights)


def prompt_span(workload: Workload, most: int) -> int | None:
    """Return the greatest common divisor of all prompt lengths, None if it is not known."""
    longest = workload.longest_prompt
    looked_at = min(MOST_LENGTHS, max(most, ENOUGH_LENGTHS) if longest is None else longest)
    possible = np.flatnonzero(prompt_chances(workload, looked_at) > 0)
    span = math.gcd(*possible.tolist())
    return span if span == 1 or looked_at == longest else None
