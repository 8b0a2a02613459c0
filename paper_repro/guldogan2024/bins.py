r"""Multi-bin batching: the model of arXiv:2412.04504 for the library, and its policy.

Requests go into bins by their (known) service time; :math:`B` of a bin form a batch, which runs
until its longest request is done. Here a request of service time :math:`\ell` has one prompt
token and :math:`\ell` output tokens, the first one by its prefill, and a step takes the same
time whatever is in it.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np

import queueing_llm as ql

BATCH, LONGEST, STEP = 8, 16, Fraction(1, 100)
"""Requests in a batch, the longest request [tokens], and the time of a step [s]."""


def engine() -> ql.Engine:
    """Return an engine that serves a batch at a time, one token of each member a step."""
    law = ql.AffineStepTime(base=STEP, per_token=0)
    return ql.Engine(step_time=law, token_budget=BATCH, first_token_from_prefill=True)


def equal_bins(bins: int) -> tuple[int, ...]:
    """Return the longest request of each bin, where all bins are as wide [tokens].

    Examples
    --------
    >>> equal_bins(4)
    (4, 8, 12, 16)
    """
    return tuple(LONGEST * (i + 1) // bins for i in range(bins))


def batch_tokens(shortest: int, longest: int) -> Fraction:
    """Return the mean of the longest of ``BATCH`` uniform lengths [tokens].

    Examples
    --------
    >>> batch_tokens(5, 5), float(batch_tokens(1, 16)).__round__(3)
    (Fraction(5, 1), 14.681)
    """
    values = longest - shortest + 1
    below = sum((Fraction(i, values) ** BATCH for i in range(values)), Fraction(0))
    return longest - below


def throughput(ends: tuple[int, ...]) -> Fraction:
    """Return the requests per second of a server that never waits for a batch.

    Every bin forms batches at the rate at which requests fall into it, so the mean batch is
    the mean over requests. Theorem 4.2 as reported; the sum for uniform lengths is ours.

    Examples
    --------
    >>> throughput(equal_bins(LONGEST)) == BATCH / (Fraction(17, 2) * STEP)
    True
    """
    starts = (0, *ends[:-1])
    mean = sum(
        Fraction(end - start, LONGEST) * batch_tokens(start + 1, end)
        for start, end in zip(starts, ends, strict=True)
    )
    return BATCH / (mean * STEP)


def throughput_of_the_library(ends: tuple[int, ...]) -> float:
    """Return the same from the critical rates of request-level batching, a bin at a time."""
    starts = (0, *ends[:-1])
    seconds = 0.0
    for start, end in zip(starts, ends, strict=True):
        lengths = ql.UniformLength(start + 1, end)
        load = ql.Workload.poisson(1, prompt_tokens=1, output_tokens=lengths)
        own = ql.critical_rate(engine(), load, policy=ql.FASTER_TRANSFORMER)
        seconds += (end - start) / LONGEST / float(own.value or 0)
    return 1 / seconds


@final
@dataclass(frozen=True, slots=True)
class MultiBinBatching:
    """Run batches of one bin to the end, first formed first served.

    Parameters
    ----------
    ends : tuple of int
        The longest request of each bin, increasing [tokens].

    Notes
    -----
    The state tells how long a waiting request is: the predictor never errs. A batch is formed
    when the last of its members arrives. With fewer than ``BATCH`` requests waiting in every
    bin, the server waits.

    Examples
    --------
    >>> times, output = [0] * 16, [1, 16] * 8
    >>> load = ql.Workload.of_requests(times, prompt_tokens=[1] * 16, output_tokens=output)
    >>> steps = ql.watch(engine(), load, policy=MultiBinBatching((8, 16)), horizon=9)
    >>> sum(1 for step in steps)
    17
    """

    ends: tuple[int, ...]

    def __call__(self, state: ql.EngineState) -> ql.Batch:
        """Return the batch of this step."""
        tokens = np.zeros(len(state.request), dtype=np.int64)
        running = state.decoding
        tokens[running if len(running) else self._next_batch(state)] = 1
        return ql.Batch(tokens)

    def _next_batch(self, state: ql.EngineState) -> np.ndarray:
        """Return the positions of the batch that was formed first, or none."""
        # One more than the decode steps: the prefill yields a token.
        lengths = state.decode_left + 1
        bins = np.searchsorted(self.ends, lengths)
        formed = [
            members[:BATCH]
            for i in range(len(self.ends))
            if len(members := np.flatnonzero(bins == i)) >= BATCH
        ]
        nobody = np.empty(0, dtype=np.int64)
        return min(formed, key=lambda members: int(members[-1]), default=nobody)


def saturated(ends: tuple[int, ...], *, horizon: float) -> ql.Estimate:
    """Return the throughput of token-exact runs in which some bin always has a batch.

    There are so many users that they cannot all wait in bins that are not full.
    """
    load = ql.Workload.closed(
        len(ends) * (BATCH - 1) + BATCH,
        prompt_tokens=1,
        output_tokens=ql.UniformLength(1, LONGEST),
    )
    run = ql.simulate(
        engine(),
        load,
        policy=MultiBinBatching(ends),
        horizon=horizon,
        warmup=horizon / 6,
        replications=16,
        # Lengths are drawn in order of arrival: one seed would give all bins the same ones.
        seed=2412 + len(ends),
    )
    return run.throughput
