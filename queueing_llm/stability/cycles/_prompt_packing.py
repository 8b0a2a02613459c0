r"""Random prompts that one prefill completes, while more of them wait than fit.

The first prompt that a batch completes ends after ``n`` tokens with some chance; what follows
it is a fresh stream of independent prompts, so with :math:`S_j` the sum of ``j`` of them the
batch completes at least :math:`j \ge 1` if the first end and :math:`S_{j-1}` fit.

Whole prompts: the first prompt is the one that did not fit before, and is longer than most.
From a first prompt of ``a`` tokens the next one has ``p`` with probability

.. math:: w(p) \sum_j P(b - a - p < S_j \le b - a).

Chunked prompts: batches cut the stream every :math:`b` tokens, so the first end is spread as
in a stationary renewal process, :math:`P(n) = g P(p \ge n) / E[p]` for multiples of the
greatest common divisor :math:`g` of the budget and all prompt lengths.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.model import Engine, Workload
from queueing_llm.stability.cycles._request_laws import prompt_chances, prompt_span, survival

NEGLIGIBLE = 1e-20
MOST_ENTRIES = 2**24
MOST_PROMPTS = 2_000


@final
@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """What one prefill batch of a saturated engine does.

    Parameters
    ----------
    first : float64 array, shape (b + 1,)
        Chance that the first prompt that a batch completes ends after 0 to b tokens.
    sums : float64 array, shape (J, b + 1)
        Chance that 0 to J - 1 fresh prompts have 0 to b tokens together.
    seconds : float
        Mean length of a batch [s].
    first_error : float
        Bound of the sum of all errors of ``first``, as far as a linear system caused them.
    """

    first: np.ndarray
    sums: np.ndarray
    seconds: float
    first_error: float

    @property
    def at_least(self) -> np.ndarray:
        """The chance that a batch completes at least 1 to J prompts, shape (J,)."""
        return np.asarray(self.sums.cumsum(axis=1) @ self.first[::-1])


def packing(engine: Engine, workload: Workload, *, chunked: bool) -> Packing | None:
    """Return what prefill batches do if i.i.d. prompts never run out.

    None if a batch-size limit may split a batch of chunks, or the tables would be too large.
    """
    budget = engine.token_budget
    if chunked and engine.max_batch_size is not None:
        return None
    if budget >= MOST_ENTRIES:
        return None
    chances = prompt_chances(workload, budget)
    sums = _sums(chances, engine.max_batch_size or budget)
    if sums is None:
        return None
    if not chunked:
        return _of_whole_prompts(engine, workload, chances, sums)
    span = prompt_span(workload, budget)
    if span is None:
        return None
    step = math.gcd(budget, span)
    first = np.zeros(budget + 1)
    first[step::step] = survival(workload, "prompt", np.arange(step - 1, budget, step))
    first *= step / float(workload.moments.prompt)
    return Packing(first, sums, float(engine.step_time(budget)), 0.0)


def _sums(chances: np.ndarray, most: int) -> np.ndarray | None:
    """Return the chances of the sums of 0, 1, ... prompts, fewer than ``most``."""
    from scipy.signal import fftconvolve

    size = len(chances)
    sums = [np.append(1.0, np.zeros(size - 1))]
    while len(sums) < most and sums[-1].sum() > NEGLIGIBLE:
        if (len(sums) + 1) * size > MOST_ENTRIES:
            return None
        # The transform leaves noise around 0, of either sign.
        longer = fftconvolve(sums[-1], chances)[:size]
        sums.append(np.where(longer > NEGLIGIBLE, longer, 0.0))
    return np.array(sums)


def _of_whole_prompts(
    engine: Engine, workload: Workload, chances: np.ndarray, sums: np.ndarray
) -> Packing | None:
    """Return the stationary batches of whole prompts, the misfit of one heading the next."""
    budget, places = engine.token_budget, engine.max_batch_size
    lengths = np.flatnonzero(chances > 0)
    if len(lengths) > MOST_PROMPTS:
        return None
    # With every place taken, the next prompt was not looked at: it may be of any length.
    ends = sums[: places - 1] if places is not None else sums
    taken = sums[len(ends) :].sum(axis=0)
    fitting = np.append(np.zeros(budget), ends.sum(axis=0).cumsum())
    room = budget - lengths
    moves = fitting[room + budget, None] - fitting[(room[:, None] - lengths) + budget]
    moves += taken.cumsum()[room, None]
    moves *= chances[lengths]
    head, error = _stationary(moves)
    first = np.zeros(budget + 1)
    first[lengths] = head
    return Packing(first, sums, _mean_seconds(engine, workload, first, ends, taken), error)


def _mean_seconds(
    engine: Engine,
    workload: Workload,
    first: np.ndarray,
    ends: np.ndarray,
    taken: np.ndarray,
) -> float:
    """Return the mean length of a batch that ends with a misfit or with all places taken."""
    from scipy.signal import fftconvolve

    tokens = np.arange(len(first))
    seconds = np.asarray(engine.step_time(tokens[1:]), dtype=np.float64)
    misfit = survival(workload, "prompt", tokens[::-1])
    batches = fftconvolve(first, ends.sum(axis=0))[: len(first)] * misfit
    batches += fftconvolve(first, taken)[: len(first)]
    return float(batches[1:] @ seconds)


def _stationary(moves: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the stationary law of a chain, and a bound of the sum of its errors.

    Whatever the state, some next states have a chance of at least the column's least; so one
    step shrinks the difference of two laws to at most 1 less the sum of these.
    """
    states = len(moves)
    system = np.eye(states) - moves.T + 1.0
    law = np.linalg.solve(system, np.ones(states)).clip(0) @ moves
    law /= law.sum()
    common = float(moves.min(axis=0).sum())
    rounding = 1e-13 + float(abs(moves.sum(axis=1) - 1).max())
    left = float(abs(law @ moves - law).sum())
    return law, (left + rounding) / common
