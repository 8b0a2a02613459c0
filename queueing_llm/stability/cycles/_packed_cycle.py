"""FasterTransformer's saturated cycle when prompts are random."""

import math

import numpy as np

from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.cycles._correlated_parting import correlated_parting_seconds
from queueing_llm.stability.cycles._parting import parting_seconds
from queueing_llm.stability.cycles._prompt_packing import Packing, packing
from queueing_llm.stability.cycles._request_laws import (
    has_independent_lengths,
    has_known_lengths,
)

RELATIVE_ERROR = 1e-11
"""Allowed for rounding in the transforms; the tests compare with exact fractions."""
WIDEST = 1e-8
NEGLIGIBLE = 1e-15
"""A chance that is not told from the noise of the transforms."""


def packed_cycle_rate(
    engine: Engine, workload: Workload, *, chunked: bool
) -> CriticalRate | None:
    r"""Return FasterTransformer's critical rate for random prompts.

    .. math:: \lambda_c = \frac{E[J]}{E[t(X)] + E[\text{decode time of the } J]},

    where a prefill batch of :math:`X` tokens completes :math:`J` prompts; see
    :mod:`queueing_llm.stability.cycles._prompt_packing` for the law of both.

    Parameters
    ----------
    engine, workload
        The system; the rate of the workload does not matter.
    chunked : bool
        Whether prompts are split, so that each prefill batch holds :math:`b` tokens.

    Returns
    -------
    CriticalRate or None
        Evidence ``NUMERICAL``, with an interval; None if lengths are replayed, outputs are
        unbounded and depend on prompts, a batch-size limit cannot be followed, or a table
        would be too large.
    """
    longest = workload.longest_prompt
    if not chunked and (longest is None or longest > engine.token_budget):
        return None
    batch = packing(engine, workload, chunked=chunked) if has_known_lengths(workload) else None
    if batch is None:
        return None
    if has_independent_lengths(workload):
        decodes = _independent_decodes(engine, workload, batch.at_least)
    else:
        decodes = correlated_parting_seconds(engine, workload, batch, chunked=chunked)
    if decodes is None:
        return None
    return _enclosed(engine, workload, batch, decodes)


def _independent_decodes(
    engine: Engine, workload: Workload, at_least: np.ndarray
) -> tuple[float, float] | None:
    """Return the mean decode time after a batch, and a bound of its error [s]."""
    exactly = -np.diff(at_least, append=0.0)
    likely = exactly > NEGLIGIBLE * exactly.max()
    kept = np.flatnonzero(likely) + 1
    value = error = longest = 0.0
    for together in kept:
        spent = parting_seconds(engine, workload, int(together))
        if spent is None:
            return None
        value += float(exactly[together - 1]) * spent[0]
        error += float(exactly[together - 1]) * spent[1]
        longest = spent[0] + spent[1]
    # Fewer than the most of those finish no later, and more do in as many groups of as many.
    groups = np.ceil(np.arange(1, len(exactly) + 1) / kept[-1])
    left_out = np.where(likely, 0.0, abs(exactly)) @ groups
    steps = np.asarray(engine.step_time(0, np.arange(1, len(exactly) + 1)), dtype=np.float64)
    error += float(left_out * longest * steps.max() / steps.min())
    return value, error


def _enclosed(
    engine: Engine, workload: Workload, batch: Packing, decodes: tuple[float, float]
) -> CriticalRate | None:
    """Return requests over seconds of a batch, between the bounds of their errors."""
    requests = float(batch.at_least.sum())
    seconds = batch.seconds + decodes[0]
    # The first prompt is less than this many times as likely as a fresh one of its length,
    # and as many fresh ones, in the mean, fit at most.
    fresh = float(batch.sums.sum())
    error = batch.first_error * fresh
    slack = 2 * RELATIVE_ERROR + decodes[1] / seconds + error * fresh / requests
    slack += error * _most_seconds(engine, workload, fresh) / seconds
    if not math.isfinite(slack) or slack > WIDEST:
        return None
    value = requests / seconds
    return CriticalRate(
        value=value,
        low=value * (1 - slack),
        high=value * (1 + slack),
        evidence=Evidence.NUMERICAL,
        basis="mean of the saturated cycle over the stationary law of the prompts that one "
        "prefill completes, with truncation and rounding bounded",
    )


def _most_seconds(engine: Engine, workload: Workload, fresh: float) -> float:
    """Return a bound of the mean cycle whose first prompt is a fresh one [s]."""
    moments, offset = workload.moments, engine.decode_steps(0)
    longest = float(np.max(engine.step_time(np.arange(1, engine.token_budget + 1))))
    alone = longest * float(engine.decode_steps(moments.output))
    if engine.step_time.kv_slope:
        alone += float(engine.step_time.kv_slope * moments.kv_reads(offset))
    # With the one that did not fit, the number of prompts is a stopping time.
    return longest + (fresh + 1) * alone
