"""A step-time law as plain arrays, for compiled code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm._ops import coefficients
from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument

_UNUSED = -np.inf


@final
@dataclass(frozen=True, slots=True, eq=False)
class KernelForm:
    r"""The arrays from which compiled code evaluates a law in constant time.

    If ``seconds`` is empty the law is the larger of two rows,

    .. math:: t(x, y, K) = \max_j \; T_j(x + y) + \gamma_j K,

    and otherwise the multilinear interpolation of ``seconds`` between the grid points around
    the batch. In the shape descriptions, ``n`` is the most tokens in a batch.

    Parameters
    ----------
    by_tokens : float64 array, shape (2, n + 1)
        :math:`T_j` [s]; minus infinity where a row is unused or its time is not known (both
        rows at 0 tokens, for a table that starts later). Shape (2, 0) beside a grid.
    per_kv : float64 array, shape (2,)
        :math:`\gamma_j` [s/token].
    prefill_grid, decode_grid, kv_grid : float64 arrays, shapes (X,), (Y,), (Z,)
        Strictly increasing counts [tokens], at least two each; empty if unused.
    seconds : float64 array, shape (X, Y, Z)
        :math:`t` [s] at the grid points; shape (0, 0, 0) if unused.

    Examples
    --------
    >>> from queueing_llm.steptime import AffineStepTime
    >>> form = AffineStepTime(base=0.01, per_token=5e-5, per_kv_token=1e-7).kernel_form(512)
    >>> round(form.seconds_of(400, 100, 14950), 6)
    0.036495
    """

    by_tokens: np.ndarray
    per_kv: np.ndarray
    prefill_grid: np.ndarray
    decode_grid: np.ndarray
    kv_grid: np.ndarray
    seconds: np.ndarray

    @classmethod
    def of_rows(cls, by_tokens: Sequence[np.ndarray], per_kv: Sequence[Real]) -> "KernelForm":
        r"""Return the form of a law that is the larger of one or two rows.

        Parameters
        ----------
        by_tokens : sequence of float64 arrays, shape (n + 1,) each
            :math:`T_j` [s].
        per_kv : sequence of number
            :math:`\gamma_j` [s/token], one for each row.

        Returns
        -------
        KernelForm
            Rows filled up to two, and no grid.
        """
        times = np.full((2, len(by_tokens[0])), _UNUSED)
        slopes = np.zeros(2)
        times[: len(by_tokens)] = by_tokens
        slopes[: len(per_kv)] = coefficients(times, *per_kv)
        empty = np.empty(0)
        return cls(times, slopes, empty, empty, empty, np.empty((0, 0, 0)))

    @classmethod
    def of_grid(cls, grids: Sequence[np.ndarray], seconds: np.ndarray) -> "KernelForm":
        """Return the form of a law that interpolates between grid points.

        Parameters
        ----------
        grids : three sequences of float, lengths (X,), (Y,), (Z,)
            Prefill, decode and KV tokens of the grid points [tokens].
        seconds : float64 array, shape (X, Y, Z)
            :math:`t` [s] at the grid points.

        Returns
        -------
        KernelForm
            A grid, and no rows.
        """
        prefill, decode, kv = (np.array(g, dtype=np.float64) for g in grids)
        times = np.array(seconds, dtype=np.float64)
        return cls(np.empty((2, 0)), np.zeros(2), prefill, decode, kv, times)

    def seconds_of(
        self, prefill_tokens: int, decode_tokens: int = 0, kv_tokens: int = 0
    ) -> float:
        """Return the seconds of one batch, as the compiled code evaluates them.

        Parameters
        ----------
        prefill_tokens, decode_tokens, kv_tokens : int
            :math:`x`, :math:`y`, :math:`K` [tokens].

        Returns
        -------
        float
            :math:`t` [s].

        Raises
        ------
        InvalidArgument
            If the batch is outside the range of the arrays.
        """
        if self.seconds.size:
            return self._on_grid(prefill_tokens, decode_tokens, kv_tokens)
        tokens, most = prefill_tokens + decode_tokens, self.by_tokens.shape[1] - 1
        _require("prefill_tokens", prefill_tokens, (0, most))
        _require("decode_tokens", decode_tokens, (0, most))
        _require("kv_tokens", kv_tokens, (0, np.inf))
        _require("prefill_tokens + decode_tokens", tokens, (0, most))
        seconds = max(self.by_tokens[:, tokens] + self.per_kv * kv_tokens)
        if seconds == _UNUSED:
            msg = f"the time of a batch of {tokens} tokens is not known."
            raise InvalidArgument(msg)
        return float(seconds)

    def _on_grid(self, *batch: int) -> float:
        names = ("prefill_tokens", "decode_tokens", "kv_tokens")
        grids = (self.prefill_grid, self.decode_grid, self.kv_grid)
        corners = self.seconds
        for name, grid, count in zip(names, grids, batch, strict=True):
            _require(name, count, (grid[0], grid[-1]))
            cell = np.searchsorted(grid[1:-1], count, side="right")
            weight = (count - grid[cell]) / (grid[cell + 1] - grid[cell])
            corners = (1 - weight) * corners[cell] + weight * corners[cell + 1]
        return float(corners)


def _require(name: str, count: int, limits: tuple[float, float]) -> None:
    first, last = limits
    if not first <= count <= last:
        msg = f"{name} must lie between {first:g} and {last:g} [tokens], got {name}={count!r}."
        raise InvalidArgument(msg)
