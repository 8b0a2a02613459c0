r"""The time in which requests decode together whose outputs depend on their prompts.

A step takes :math:`t(n) = \alpha + \beta n` for ``n`` decodes, or nearly so while few decode
together. Then only the chance matters that nobody is left: with :math:`w_s(p) = P(p, D < s)`
in place of the law of prompts, prompts follow each other in a batch with the weights
:math:`1 + w_s + w_s \ast w_s + \dots`, the inverse of the power series :math:`1 - w_s`.
"""

import math
from collections.abc import Iterator

import numpy as np

from queueing_llm.model import EmpiricalLengths, Engine, RequestClass, Workload
from queueing_llm.stability.cycles._prompt_packing import Packing
from queueing_llm.stability.cycles._request_laws import marginal_law, prompt_chances, survival

MOST_ENTRIES = 2**26
MOST_OUTPUT = 2**22
ENTRIES_AT_ONCE = 2**21
NEGLIGIBLE = 1e-14
CANCELLATION = 1e-14
RELATIVE_ERROR = 1e-11
"""Allowed for rounding in the power series; the tests compare with exact fractions."""


def correlated_parting_seconds(
    engine: Engine, workload: Workload, batch: Packing, *, chunked: bool
) -> tuple[float, float] | None:
    """Return the mean decode time after a prefill batch, and a bound of its error [s].

    None if outputs are unbounded, the step time is no function of the token count plus a
    multiple of the KV tokens read, a batch-size limit may bind, or the sums are too long.
    """
    slope, moments = engine.step_time.kv_slope, workload.moments
    outputs = _outputs(workload)
    at_least, places = batch.at_least, engine.max_batch_size
    if places is not None and at_least[places - 1 :].sum() > NEGLIGIBLE:
        return None
    if slope is None or outputs is None:
        return None
    if len(outputs) * len(batch.first) > MOST_ENTRIES:
        return None
    shift = -int(engine.decode_steps(0))
    steps = (outputs[-1] - shift) * at_least[0]
    gaps, at = np.diff(outputs), 0
    for nobody in _chances_of_nobody(workload, batch, outputs[:-1], chunked=chunked):
        steps -= float(gaps[at : at + len(nobody)] @ nobody)
        at += len(nobody)
    together = np.arange(1, len(at_least) + 1)
    seconds = np.asarray(engine.step_time(0, together), dtype=np.float64)
    rises = np.diff(seconds)
    per_request = float(np.median(rises)) if len(rises) else 0.0
    served = float(at_least.sum())
    value = (seconds[0] - per_request) * steps
    value += per_request * served * float(engine.decode_steps(moments.output))
    if slope:
        value += float(slope * moments.kv_reads(-shift)) * served
    # Where a rise differs, at most as many steps see it as the longest output has.
    others = float(abs(rises - per_request) @ at_least[1:]) + CANCELLATION * float(seconds[0])
    return float(value), others * float(outputs[-1]) + RELATIVE_ERROR * float(value)


def _outputs(workload: Workload) -> np.ndarray | None:
    """Return all possible output lengths [tokens], increasing; None if too long."""
    known = [marginal_law(c, "output").largest for c in workload.classes]
    longest = max(math.inf if n is None else n for n in known)
    if longest > MOST_OUTPUT:
        return None
    tokens = np.arange(int(longest) + 1)
    survivors = survival(workload, "output", tokens)
    return np.asarray(tokens[np.diff(survivors, prepend=1.0) < 0])


def _chances_of_nobody(
    workload: Workload, batch: Packing, outputs: np.ndarray, *, chunked: bool
) -> Iterator[np.ndarray]:
    """Yield, piece by piece, the chance that a batch completes only outputs up to each."""
    from scipy.fft import next_fast_len
    from scipy.signal import fftconvolve

    size = len(batch.first)
    if chunked:
        alike = survival(workload, "prompt", np.arange(-1, size - 1).clip(0))
    else:
        alike = prompt_chances(workload, size - 1)
    misfit = survival(workload, "prompt", np.arange(size)[::-1])
    rows = max(1, ENTRIES_AT_ONCE // next_fast_len(2 * size))
    for start in range(0, len(outputs), rows):
        short = outputs[start : start + rows]
        among = _joint_chances(workload, size, short)
        if chunked:
            # A prompt that is cut has at least as many tokens as are left of it.
            short_ones = 1 - survival(workload, "output", short)[:, None]
            theirs = short_ones - np.pad(among.cumsum(axis=1), ((0, 0), (1, 0)))[:, :-1]
        else:
            theirs = among
        share = np.divide(theirs, alike, out=np.zeros_like(theirs), where=alike > 0)
        first = share.clip(0, 1) * batch.first
        followed = fftconvolve(first, _inverse(among), axes=1)[:, :size]
        yield followed @ misfit


def _joint_chances(workload: Workload, size: int, outputs: np.ndarray) -> np.ndarray:
    """Return P(p = n, d <= o) for n below ``size`` and each ``o``, shape (outputs, size)."""
    total = np.zeros((len(outputs), size))
    for share, request_class in zip(workload.shares, workload.classes, strict=True):
        total += float(share) * _joint_chances_of_class(request_class, size, outputs)
    return total


def _joint_chances_of_class(
    request_class: RequestClass, size: int, outputs: np.ndarray
) -> np.ndarray:
    lengths = request_class.lengths
    if not isinstance(lengths, EmpiricalLengths):
        prompt = marginal_law(request_class, "prompt").survival(np.arange(size))
        output = marginal_law(request_class, "output").survival(outputs)
        return np.outer(1 - output, np.append(0.0, -np.diff(prompt)))
    prompts, longest = np.asarray(lengths.prompt_tokens), np.asarray(lengths.output_tokens)
    weights = np.ones(len(prompts)) if lengths.weights is None else np.asarray(lengths.weights)
    kept = (prompts < size) & (longest <= outputs[-1])
    table = np.zeros((len(outputs), size))
    row = np.searchsorted(outputs, longest[kept])
    np.add.at(table, (row, prompts[kept]), weights[kept] / weights.sum())
    return np.asarray(table.cumsum(axis=0))


def _inverse(chances: np.ndarray) -> np.ndarray:
    """Return the power series 1 / (1 - w) of each row w, by Newton's iteration."""
    from scipy.signal import fftconvolve

    size = chances.shape[1]
    found = np.ones((len(chances), 1))
    while (known := found.shape[1]) < size:
        length = min(2 * known, size)
        missing = fftconvolve(chances[:, :length], found, axes=1)[:, :length]
        missing[:, :known] -= found
        missing[:, 0] += 1.0
        longer = fftconvolve(missing, found, axes=1)[:, :length]
        longer[:, :known] += found
        found = longer
    return found
