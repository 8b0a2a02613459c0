r"""Linear functions of a batch above and below the step time.

.. math:: \underline{\beta}_p x + \underline{\beta}_d y + \underline{\gamma} K
   \le t(x, y, K) \le c + \beta_p x + \beta_d y + \gamma K

for every batch with at most so many requests. A linear programme proposes the slopes, and what
is returned is made to hold at every batch, so no tolerance of a solver enters a bound.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.closed._seconds import MeanSeconds
from queueing_llm.model import Engine, Workload
from queueing_llm.steptime import KernelForm

FEW = 200
ROUNDS = 12
NEARLY = 1e-12


@final
@dataclass(frozen=True, slots=True, eq=False)
class ExtremeBatches:
    """Batches at which a linear function is compared with a law; it then holds at all.

    Parameters
    ----------
    counts : float64 array, shape (C, 3)
        Prefill, decode and KV tokens [tokens].
    seconds : float64 array, shape (C,)
        How long they take [s].
    slope : tuple of float
        Between what the law grows with each KV token, where ``counts`` has none [s/token].
    """

    counts: np.ndarray
    seconds: np.ndarray
    slope: tuple[float, float]

    @classmethod
    def of(cls, engine: Engine, workload: Workload, *, requests: int) -> "ExtremeBatches":
        """Return them for batches of at most so many requests.

        A law of the token count is compared at both ends of each count, between which it is
        constant and the function linear. One that interpolates on a grid is linear along each
        count within a cell: so KV tokens are at the grid, and prefill and decode tokens are,
        too, but where a limit of the batch cuts the cell.
        """
        form = engine.step_time.kernel_form(engine.batch_tokens_limit())
        if form.seconds.size:
            counts = _grid_batches(form, engine, workload, requests=requests)
            return cls(counts, MeanSeconds(form)(*counts.T), (0.0, np.inf))
        tokens = np.arange(1, form.by_tokens.shape[1])
        # One place of a batch with a prompt is not for decodes.
        most = np.where(tokens <= requests, tokens, requests - 1)
        none = np.zeros_like(tokens)
        ends = ((tokens, none, none), (tokens - most, most, none))
        counts = np.concatenate([np.stack(end, axis=1) for end in ends]).astype(np.float64)
        used = np.isfinite(form.by_tokens[:, -1])
        slopes = form.per_kv[used]
        seconds = form.by_tokens[:, 1:].max(axis=0)
        return cls(counts, np.tile(seconds, 2), (float(slopes.min()), float(slopes.max())))


def least_majorant(batches: ExtremeBatches, weights: np.ndarray) -> float:
    r"""Return the least weighted sum of :math:`c, \beta_p, \beta_d, \gamma`, from above.

    Parameters
    ----------
    batches : ExtremeBatches
        Where the law is compared.
    weights : float64 array, shape (4,)
        What the four numbers count, each at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(2.0, 1.0), token_budget=8)
    >>> load = ql.Workload.closed(1, prompt_tokens=3, output_tokens=2)
    >>> batches = ExtremeBatches.of(engine, load, requests=8)
    >>> round(least_majorant(batches, np.array([10.0, 3.0, 2.0, 1.0])), 9)
    15.0
    """
    counts, seconds, least = batches.counts, batches.seconds, batches.slope[1]
    least = 0.0 if least == np.inf else least
    scale = seconds.max()
    rows = -np.column_stack([np.ones(len(counts)), counts])
    limits = [(0.0, np.inf)] * 3 + [(least / scale, np.inf)]
    found = _slopes(weights, rows, -seconds / scale, limits=limits)
    slopes = np.maximum(found[1:] * scale, [0.0, 0.0, least])
    constant = max(0.0, float((seconds - counts @ slopes).max()))
    return float(weights @ np.array([constant, *slopes]))


def greatest_minorant(batches: ExtremeBatches, weights: np.ndarray) -> float:
    r"""Return the greatest weighted sum of the lower slopes, from below.

    Parameters
    ----------
    batches : ExtremeBatches
        Where the law is compared.
    weights : float64 array, shape (3,)
        Prefill, decode and KV tokens of a request [tokens]: what it costs at least.

    Examples
    --------
    >>> import numpy as np
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(2.0, 1.0), token_budget=8)
    >>> load = ql.Workload.closed(4, prompt_tokens=3, output_tokens=2)
    >>> batches = ExtremeBatches.of(engine, load, requests=4)
    >>> round(greatest_minorant(batches, np.array([3.0, 2.0, 7.0])), 9)
    6.3
    """
    counts, seconds = batches.counts, batches.seconds
    most = None if batches.slope[1] == np.inf else batches.slope[0]
    scale = seconds.max()
    # A batch of one token takes at most 1 in this unit, and so cost its tokens.
    limits = [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0 if most is None else most / scale)]
    slopes = _slopes(-weights, counts, seconds / scale, limits=limits) * scale
    slopes = np.clip(slopes, 0.0, [np.inf, np.inf, np.inf if most is None else most])
    excess = float((counts @ slopes / seconds).max())
    return float(weights @ slopes) / max(1.0, excess)


def _slopes(
    cost: np.ndarray, rows: np.ndarray, tops: np.ndarray, *, limits: list[tuple[float, float]]
) -> np.ndarray:
    """Return the cheapest point with ``rows @ point <= tops``, nearly; solved on few rows."""
    from scipy.optimize import linprog

    active = np.unique(np.linspace(0, len(rows) - 1, FEW).astype(int))
    point = np.zeros(len(cost))
    for _ in range(ROUNDS):
        found = linprog(cost, A_ub=rows[active], b_ub=tops[active], bounds=limits)
        if found.x is None:
            break
        point = found.x
        excess = rows @ point - tops
        worst = np.argsort(excess)[-FEW:]
        if excess[worst[-1]] <= NEARLY:
            break
        active = np.union1d(active, worst)
    return np.asarray(point)


def _grid_batches(
    form: KernelForm, engine: Engine, workload: Workload, *, requests: int
) -> np.ndarray:
    """Return the batches at grid points and at the limits of a batch, shape (C, 3)."""
    budget, longest = engine.batch_tokens_limit(), workload.longest_request
    reads = np.inf if longest is None else requests * longest
    kept = int(np.searchsorted(form.kv_grid, reads)) + 1
    filled = np.arange(min(budget, requests) + 1)
    beside = np.where(filled < requests, budget - filled, 0)
    # An empty batch is none, so the smallest of a prompt alone is an end, too.
    pairs = [np.stack([beside, filled], axis=1), np.array([[1, 0]])]
    prefill = form.prefill_grid[form.prefill_grid <= budget]
    for x in prefill:
        most = min(budget - x, requests - (x > 0))
        inner = form.decode_grid[form.decode_grid < most]
        ends = np.clip([0.0, 1.0, most], 0.0, max(most, 0.0))
        decode = np.unique(np.concatenate([inner, ends]))
        pairs.append(np.stack([np.full(len(decode), x), decode], axis=1))
    both = np.unique(np.concatenate(pairs), axis=0)
    both = both[both.sum(axis=1) > 0]
    reading = both[both[:, 1] > 0]
    alone = np.column_stack([both[both[:, 1] == 0], np.zeros((both[:, 1] == 0).sum())])
    kv = np.tile(form.kv_grid[:kept], len(reading))
    many = np.column_stack([np.repeat(reading, len(form.kv_grid[:kept]), axis=0), kv])
    return np.concatenate([alone, many])
