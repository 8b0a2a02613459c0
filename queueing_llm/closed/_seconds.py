"""The step time at mean counts, which need not be whole."""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.model import Engine
from queueing_llm.steptime import KernelForm


@final
@dataclass(frozen=True, slots=True, eq=False)
class MeanSeconds:
    """The law of an engine between whole numbers of tokens.

    Parameters
    ----------
    form : KernelForm
        The law as arrays.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=1, per_block=1, block=4)
    >>> mean = MeanSeconds.of(ql.Engine(step_time=step, token_budget=8))
    >>> float(mean(np.array(4.25), np.array(0.5), np.array(0.0)))
    2.75
    """

    form: KernelForm

    @classmethod
    def of(cls, engine: Engine) -> "MeanSeconds":
        """Return the law of all batches that an engine may form."""
        return cls(engine.step_time.kernel_form(engine.batch_tokens_limit()))

    def __call__(self, prefill: np.ndarray, decode: np.ndarray, kv: np.ndarray) -> np.ndarray:
        """Return the seconds of batches, elementwise.

        Between two whole numbers of tokens the mean of both is taken, as for a batch that
        holds one of them at random: a staircase is not evaluated at the top of its next step.

        Parameters
        ----------
        prefill, decode, kv : float64 arrays, broadcastable shapes
            :math:`x`, :math:`y`, :math:`K` [tokens]; counts beyond what the engine can form
            are taken as the most that it can.
        """
        if self.form.seconds.size:
            return self._on_grid(prefill, decode, kv)
        tokens = np.clip(np.asarray(prefill) + decode, 1, self.form.by_tokens.shape[1] - 1)
        below = np.floor(tokens + 1e-9).astype(np.int64)
        above = np.minimum(below + 1, self.form.by_tokens.shape[1] - 1)
        share = np.clip(tokens - below, 0.0, 1.0)
        return (1 - share) * self._row(below, kv) + share * self._row(above, kv)

    def _row(self, tokens: np.ndarray, kv: np.ndarray) -> np.ndarray:
        times, slopes = self.form.by_tokens, self.form.per_kv
        return np.maximum(times[0][tokens] + slopes[0] * kv, times[1][tokens] + slopes[1] * kv)

    def _on_grid(self, *batch: np.ndarray) -> np.ndarray:
        form, cells, weights = self.form, [], []
        grids = (form.prefill_grid, form.decode_grid, form.kv_grid)
        for grid, count in zip(grids, np.broadcast_arrays(*batch), strict=True):
            inside = np.clip(count, grid[0], grid[-1])
            cell = np.searchsorted(grid[1:-1], inside, side="right")
            cells.append(cell)
            weights.append((inside - grid[cell]) / (grid[cell + 1] - grid[cell]))
        total = np.zeros(cells[0].shape)
        for corner in np.ndindex(2, 2, 2):
            share = np.ones(cells[0].shape)
            for weight, side in zip(weights, corner, strict=True):
                share = share * (weight if side else 1 - weight)
            index = tuple(cell + side for cell, side in zip(cells, corner, strict=True))
            total += share * form.seconds[index]
        return total
