"""One law and the samples it is fitted to, as a least-squares problem."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from queueing_llm._validate import Tokens, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._forms import Form, form_named
from queueing_llm.fitting._identify import (
    has_blocks,
    require_blocks,
    require_both_sides,
    require_distinct,
    require_enough,
    require_rising,
)
from queueing_llm.fitting._samples import StepSamples
from queueing_llm.fitting._search import best_hinges, least_squares
from queueing_llm.steptime import AbstractStepTime

BLOCKS = (8, 16, 32, 64, 128, 256)
"""Tile sizes tried if none is given [tokens]."""


class Estimate(NamedTuple):
    """Number in the shape of each of R replicates, shape (R,), and coefficients, (P, R)."""

    shapes: np.ndarray
    coefficients: np.ndarray


class Problem(NamedTuple):
    """One least-squares problem, whatever the seconds."""

    form: Form
    samples: StepSamples
    weights: np.ndarray
    kv_reads: bool
    block: int | None = None
    through_zero: bool = False

    def estimate(self, seconds: np.ndarray) -> Estimate:
        """Return the best coefficients for each column of seconds."""
        if self.form.shape == "knee":
            others = self.samples.kv_tokens[:, None][:, : int(self.kv_reads)]
            found = best_hinges(self.samples.tokens, others, seconds, weights=self.weights)
            return Estimate(found.knees, found.coefficients)
        columns = self.columns(self.block)
        free = columns[:, 1:] if self.through_zero else columns
        best = least_squares(free, seconds, weights=self.weights)
        if self.through_zero:
            best = np.vstack([np.zeros(seconds.shape[1]), best])
        return Estimate(np.full(seconds.shape[1], self.block or np.nan), best)

    def columns(self, shape: Any) -> np.ndarray:
        """Return what the linear coefficients multiply, shape (N, P)."""
        return self.form.columns(self.samples, shape=shape, kv_reads=self.kv_reads)

    def law(self, estimate: Estimate) -> AbstractStepTime:
        """Return the law of the first of the estimates."""
        words = self.form.words(kv_reads=self.kv_reads)
        values = dict(zip(words, map(float, estimate.coefficients[:, 0]), strict=True))
        if self.form.shape == "knee":
            values["knee"] = float(estimate.shapes[0])
        elif self.block is not None:
            values["block"] = self.block
        return self.form.build(**values)

    def squares(self) -> float:
        """Return what the best fit leaves of the weighted squares."""
        seconds = self.samples.seconds
        _, coefficients = self.estimate(seconds[:, None])
        residuals = seconds - self.columns(self.block) @ coefficients[:, 0]
        return float(np.sum((self.weights * residuals) ** 2))


def solved(
    samples: StepSamples,
    *,
    law: str,
    objective: str,
    kv_reads: bool | None,
    block: int | None,
) -> tuple[Problem, Estimate]:
    """Return the best law and the problem that it solves, or raise if there is none."""
    form = form_named(law)
    reads = bool(np.any(samples.kv_tokens)) if kv_reads is None else kv_reads
    weights = 1 / samples.seconds if objective == "relative" else np.ones(len(samples))
    samples, weights = _merged(samples, weights)
    require_enough(form, samples, kv_reads=reads)
    problem = _with_block(Problem(form, samples, weights, reads), block)
    # Without the form of the law: a floor or a tread would blame all slope on the KV reads.
    plain = form if form.shape is None else form_named("affine")
    for each in dict.fromkeys((plain, form)):
        columns = each.columns(samples, shape=problem.block or 0, kv_reads=reads)
        require_distinct(columns, each.words(kv_reads=reads), weights=weights)
    estimate = problem.estimate(samples.seconds[:, None])
    if form.shape == "knee":
        require_both_sides(samples.tokens, float(estimate.shapes[0]))
    elif estimate.coefficients[0, 0] < 0:
        problem = problem._replace(through_zero=True)
        estimate = problem.estimate(samples.seconds[:, None])
    require_rising(form.words(kv_reads=reads), estimate.coefficients[:, 0])
    return problem, estimate


def _merged(samples: StepSamples, weights: np.ndarray) -> tuple[StepSamples, np.ndarray]:
    """Return equal batches as one, of their mean seconds: its least squares are theirs.

    They share the misfit of the law, so that for its intervals they are one measurement.
    """
    columns = np.stack([samples.kv_tokens, samples.decode_tokens, samples.prefill_tokens])
    order = np.lexsort(columns)
    is_new = np.any(np.diff(columns[:, order], axis=1) != 0, axis=0)
    starts = np.flatnonzero(np.concatenate([[True], is_new]))
    if len(starts) == len(samples):
        return samples, weights
    squares = weights[order] ** 2
    power = np.add.reduceat(squares, starts)
    seconds = np.add.reduceat(squares * samples.seconds[order], starts) / power
    return replace(samples.select(order[starts]), seconds=seconds), np.sqrt(power)


def _with_block(problem: Problem, block: int | None) -> Problem:
    """Return the problem with the block given, or with the best of the candidates."""
    if problem.form.shape != "block":
        if block is not None:
            msg = f"block must be None for a law without blocks, got block={block!r}."
            raise InvalidArgument(msg)
        return problem
    if block is not None:
        check(block, "block", Tokens)
        require_blocks(problem.samples, block)
        return problem._replace(block=block)
    usable = [size for size in BLOCKS if has_blocks(problem.samples, size)]
    if not usable:
        require_blocks(problem.samples, BLOCKS[-1])
    return min((problem._replace(block=size) for size in usable), key=Problem.squares)
