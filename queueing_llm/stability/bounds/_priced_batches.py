"""What batches use of each resource, and the batches that decide whether prices are right."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import TypeAlias, final

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.stability.bounds._batches import BatchLimits, is_of_token_count
from queueing_llm.steptime import AbstractStepTime, TableStepTime

PREFILL, DECODE, MEMORY, KV_READ = range(4)

Row: TypeAlias = tuple[Real, ...]
"""A coefficient for each price, or the prices themselves: integers or Fractions."""


@final
@dataclass(frozen=True, slots=True)
class PricedBatches:
    r"""Batches among which, at any prices, one is worth the most beyond its time.

    Parameters
    ----------
    batches : int64 array, shape (N, 3)
        Prefill tokens :math:`x`, decode tokens :math:`y` and KV tokens read :math:`K` of each
        of ``N`` batches [tokens].
    uses : int64 array, shape (N, 4)
        What they are paid for, in the order of the prices: prefill tokens, decode tokens, KV
        slots held and KV tokens read. A recomputed decode step counts as one.
    seconds : float64 array, shape (N,)
        Their times, rounded to double precision [s].
    law : AbstractStepTime
        What knows them exactly.
    is_exact : bool
        Whether every time is an integer or a Fraction.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(3, 1), token_budget=2, kv_capacity=6)
    >>> PricedBatches.of(engine, shortest_prompt=1).row(1)
    ((0, 1, 6, 0), Fraction(4, 1))
    """

    batches: np.ndarray
    uses: np.ndarray
    seconds: np.ndarray
    law: AbstractStepTime
    is_exact: bool

    @classmethod
    def of(cls, engine: Engine, *, shortest_prompt: int) -> "PricedBatches":
        r"""Return the batches that decide for an engine.

        Raises
        ------
        InvalidArgument
            If an allowed batch has no known time, or a time holds symbols.

        Notes
        -----
        *A law of the tokens* :math:`n = x + y` is fastest without reads, whose price its slope
        bounds: the ends of the segments of equal :math:`n`, each with the whole cache held.
        Where a prefill yields a token, a recomputed prompt may count as a decode token, so
        these may fill all places of a batch that prefills.

        *A grid* :math:`t(x, y, K)` is linear along each coordinate of a cell, and so is what a
        batch is worth beyond its time. It is therefore worth the most after it was moved:
        :math:`K` to a grid point or its limit; then :math:`x` to a grid point, or to the most
        that is allowed beside :math:`y`; in the former case :math:`y` to a grid point, to 1 or
        to the most allowed beside :math:`x`. Along the line :math:`x + y = b` times are not
        linear, so all its integer points are listed. Any :math:`K \le M` is allowed beside
        decodes, even one below :math:`y` or above :math:`M - x - y`: more batches than there
        are can only lower the prices. Decodes may share a batch with prompts that hold all
        the rest of the cache; prefill alone holds :math:`x`, since a prompt holds, in the
        batch that completes it, no more than was processed for it.

        Where a prefill yields a token, :math:`c \le \min(x, k - y)` of the prompts that a
        batch completes may be recomputations, each of at least :math:`s + 1` tokens, where
        :math:`s` is the shortest prompt: it counts as a decode token and :math:`s` reads. As
        what that adds is worth the more, the larger :math:`c` is, or nothing, :math:`c = 0`
        and the most decide, and :math:`x + y = k` is one more line.
        """
        law = engine.step_time
        if isinstance(law, TableStepTime) and not is_of_token_count(law):
            batches, uses = _grid_uses(law, engine, shortest_prompt)
            exact = all(isinstance(value, Rational) for value in law.seconds)
            return cls(batches, uses, np.asarray(law(*batches.T)), law, exact)
        rows = list(_segment_ends(engine))
        times = [seconds for *_, seconds in rows]
        batches = np.array([(x, y, 0) for x, y, _ in rows], dtype=np.int64)
        held = np.full(len(rows), engine.kv_capacity or 1)
        uses = np.insert(batches, MEMORY, held, axis=1)
        exact = all(isinstance(value, Rational) for value in times)
        return cls(batches, uses, np.array([_float(value) for value in times]), law, exact)

    def row(self, batch: int) -> tuple[Row, Fraction]:
        """Return what one batch is paid for and its exact time, a float's being its value."""
        use = tuple(map(int, self.uses[batch]))
        return use, Fraction(self.law(*map(int, self.batches[batch])))


def known_reads(engine: Engine) -> int | None:
    """Return the most KV tokens of a batch whose time is known; None if it reads nothing."""
    law = engine.step_time
    if not isinstance(law, TableStepTime) or is_of_token_count(law) or law.axes[2] is None:
        return None
    last = law.axes[2][-1]
    return last if engine.kv_capacity is None else min(last, engine.kv_capacity)


def _segment_ends(engine: Engine) -> Iterator[tuple[int, int, Real]]:
    limits, law = BatchLimits.of(engine, None), engine.step_time
    # Called for its check that every batch within the limits has a known time.
    law.candidate_batches(limits.tokens)
    for n in range(1, limits.tokens + 1):
        seconds = law(n)
        decode = limits.most_decode(n)
        if engine.first_token_from_prefill:
            decode = min(n, limits.requests)
        yield n, 0, seconds
        yield n - decode, decode, seconds


def _grid_uses(
    law: TableStepTime, engine: Engine, shortest_prompt: int
) -> tuple[np.ndarray, np.ndarray]:
    limits = BatchLimits.of(engine, None)
    # Called for its check that the table covers every batch within the limits.
    law.candidate_batches(limits.tokens, most_decode_tokens=limits.requests)
    pairs = _grid_pairs(law, limits)
    idle, busy = pairs[pairs[:, 1] == 0], pairs[pairs[:, 1] > 0]
    most = known_reads(engine) or 0
    reads = np.array(sorted({kv for kv in law.axes[2] or (0,) if kv <= most} | {most}))
    beside = np.column_stack([np.repeat(busy, len(reads), axis=0), np.tile(reads, len(busy))])
    batches = np.concatenate([np.insert(idle, 2, 0, axis=1), beside])
    x, y, kv = batches.T
    held = np.where(y > 0, engine.kv_capacity or 1, x)
    uses = np.column_stack([x, y, held, kv])
    if not engine.first_token_from_prefill:
        return batches, uses
    completed = np.minimum(x, limits.requests - y)[:, None]
    worth = np.array([-1 - shortest_prompt, 1, 0, shortest_prompt])
    can = completed[:, 0] > 0
    return (
        np.concatenate([batches, batches[can]]),
        np.concatenate([uses, (uses + completed * worth)[can]]),
    )


def _grid_pairs(law: TableStepTime, limits: BatchLimits) -> np.ndarray:
    """Return the tokens of either kind that the batches which decide have."""
    prefill_axis, decode_axis, _ = ((0,) if axis is None else axis for axis in law.axes)
    y = np.arange(limits.requests + 1)
    x = np.where(y < limits.requests, limits.tokens - y, 0)
    # The smallest prefill: without one, and without a decode token, there is no batch.
    found = [np.column_stack(pair) for pair in ((x, y), (limits.requests - y, y), (1, 0))]
    for prefill in prefill_axis:
        most = limits.most_decode_beside(prefill)
        if most >= 0:
            ends = {0, 1, *decode_axis, limits.requests - prefill, most}
            chosen = np.array(sorted(y for y in ends if 0 <= y <= most))
            found.append(np.column_stack([np.full_like(chosen, prefill), chosen]))
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[pairs.sum(axis=1) > 0]


def _float(seconds: Real) -> float:
    try:
        return float(seconds)
    except TypeError:
        msg = f"step_time must have numbers as parameters, got {seconds} s for a batch."
        raise InvalidArgument(msg) from None
