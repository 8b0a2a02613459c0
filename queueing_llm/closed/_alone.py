r"""The least mean time that a request takes, as if it had the engine for itself.

Others in a batch can only add to it where the step time never falls with more tokens. Where
it does, as measured ones may, a batch is counted with the fastest among those that hold at
least as much.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.closed._demand import survival
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy

MOST_SPLIT = 2**13
"""Longer prompts are counted by their tokens alone."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class LeastSeconds:
    """Lower bounds on the length of a batch by what one request has in it.

    Parameters
    ----------
    prefill : float64 array, shape (b + 1,)
        Seconds of a batch with at least so many prefill tokens of one request [s].
    decode : float64 array, shape (L,)
        Seconds of a batch with a decode that has stored 0, 1, ... tokens [s].
    is_monotone : bool
        Whether the law never falls as a batch grows, so that these are its values.
    """

    prefill: np.ndarray
    decode: np.ndarray
    is_monotone: bool

    @classmethod
    def of(cls, engine: Engine, longest: int) -> "LeastSeconds":
        """Return the bounds for requests that store less than ``longest`` tokens."""
        budget = engine.batch_tokens_limit()
        form = engine.step_time.kernel_form(budget)
        tokens, stored = np.arange(budget + 1), np.arange(longest)
        if not form.seconds.size:
            least = np.minimum.accumulate(form.by_tokens[:, ::-1], axis=1)[:, ::-1]
            slopes = np.maximum(form.per_kv, 0.0)
            decode = np.max(least[:, 1, None] + slopes[:, None] * stored, axis=0)
            falls = (least < form.by_tokens)[:, 1:].any()
            return cls(least.max(axis=0), decode, not falls)
        least = form.seconds
        for axis in range(3):
            least = np.flip(np.minimum.accumulate(np.flip(least, axis), axis=axis), axis)
        is_monotone = bool((least == form.seconds).all())
        grids = (form.prefill_grid, form.decode_grid, form.kv_grid)
        zero, one = np.zeros(1), np.ones(1)
        value = _interpolated if is_monotone else _below
        prefill = value(least, grids, (tokens, zero, zero))
        return cls(prefill, value(least, grids, (zero, one, stored)), is_monotone)


def least_response(
    engine: Engine, workload: Workload, policy: Policy, *, preempts: bool
) -> tuple[float, bool]:
    r"""Return a lower bound on the mean response time [s], and whether the law is monotone.

    .. math:: E\Bigl[ \bigl( \lceil p / b \rceil - 1 \bigr) t(b) + t(\text{rest})
       + \sum_{j=0}^{D-1} t(0, 1, p + j) \Bigr],

    the time of a request alone. A prompt that is split has all chunks but its last in batches
    of :math:`b` tokens, whoever else is in them. A policy that is not a rule, or a KV cache
    that is short, may split it anyhow, and where decodes may be cheaper than prompts a full
    batch proves nothing: then the cheapest of all splits is taken.

    Parameters
    ----------
    engine, workload, policy
        The system.
    preempts : bool
        Whether the KV cache may be too small for all users.
    """
    prompt = survival(workload, "prompt", shift=0)
    steps = survival(workload, "output", shift=-engine.decode_steps(0))
    shortest = int(np.argmax(prompt < 1)) if prompt[0] == 1 else 0
    law = LeastSeconds.of(engine, shortest + len(steps))
    chances = -np.diff(prompt, prepend=1.0)
    lengths = np.arange(len(chances))
    anyhow = preempts or not isinstance(policy, BatchRule)
    by_phase = engine.step_time.kernel_form(1).seconds.size > 0
    mixes = isinstance(policy, BatchRule) and policy.is_work_conserving
    is_split = anyhow or (by_phase and mixes)
    prefill = (_anyhow if is_split else _in_order)(law, lengths)
    decode = law.decode[shortest : shortest + len(steps)]
    if anyhow and engine.first_token_from_prefill:
        # One that is preempted may compute all its tokens again instead of a decode step.
        again = _anyhow(law, np.arange(shortest, shortest + len(steps)) + 1)
        decode = np.minimum(decode, again)
    slope = engine.step_time.kv_slope
    if slope is not None and not anyhow:
        reads = float(slope) * float(workload.moments.kv_reads(engine.decode_steps(0)))
        mean = float(engine.decode_steps(workload.mean_output_tokens)) * float(law.decode[0])
        return float(chances @ prefill) + mean + reads, law.is_monotone
    return float(chances @ prefill) + float(steps @ decode), law.is_monotone


def _in_order(law: LeastSeconds, lengths: np.ndarray) -> np.ndarray:
    budget = len(law.prefill) - 1
    full = np.maximum(-(-lengths // budget) - 1, 0)
    rest = lengths - full * budget
    return full * law.prefill[-1] + np.where(rest > 0, law.prefill[rest], 0.0)


def _anyhow(law: LeastSeconds, lengths: np.ndarray) -> np.ndarray:
    """Return the least time of prompts over all ways to split them, from below."""
    budget = len(law.prefill) - 1
    per_token = float((law.prefill[1:] / np.arange(1, budget + 1)).min())
    listed = min(MOST_SPLIT, int(lengths.max(initial=0)))
    least = np.zeros(listed + 1)
    for tokens in range(1, listed + 1):
        last = min(tokens, budget)
        least[tokens] = (law.prefill[1 : last + 1] + least[tokens - last : tokens][::-1]).min()
    return np.maximum(least[np.minimum(lengths, listed)], lengths * per_token)


def _interpolated(
    seconds: np.ndarray, grids: tuple[np.ndarray, ...], batch: tuple[np.ndarray, ...]
) -> np.ndarray:
    for grid, count in zip(grids[::-1], batch[::-1], strict=True):
        flat = seconds.reshape(-1, seconds.shape[-1]) if seconds.ndim > 1 else seconds[None]
        lines = np.stack([np.interp(count, grid, line) for line in flat])
        seconds = np.moveaxis(lines.reshape(*seconds.shape[:-1], len(count)), -1, 0)
    return np.asarray(seconds).ravel()


def _below(
    seconds: np.ndarray, grids: tuple[np.ndarray, ...], batch: tuple[np.ndarray, ...]
) -> np.ndarray:
    corner = [
        np.searchsorted(grid, count, side="right").clip(1) - 1
        for grid, count in zip(grids, batch, strict=True)
    ]
    return np.asarray(seconds[tuple(np.broadcast_arrays(*corner))])
