"""Step times read from a table, without assuming a form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from queueing_llm._ops import (
    Number,
    coefficients,
    is_false,
    pick,
    position,
    tabulated,
    where_known,
)
from queueing_llm._validate import Real, Seconds, Tokens, check, is_symbolic
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.steptime._entries import check_axis, entries, require_shape
from queueing_llm.steptime._grid import Axis, best_vertices, interpolate
from queueing_llm.steptime._kernel_form import KernelForm
from queueing_llm.steptime._law import AbstractStepTime, check_limits, every_token_count

_TOKENS = ("tokens",)
_BATCH = ("prefill_tokens", "decode_tokens", "kv_tokens")
_ANY_COUNT = (0.0, 2.0**53)


@final
@dataclass(frozen=True, slots=True)
class TableStepTime(AbstractStepTime):
    r"""Tabulated seconds, and a rule for the batches between the entries.

    Build one with :meth:`of_tokens` or :meth:`of_batches`. The values need not be monotone.
    Nothing is extrapolated: a batch outside the table is an error.

    Parameters
    ----------
    axes : tuple of (tuple of int, or None)
        Strictly increasing counts [tokens]: one axis of total tokens :math:`n = x + y`, or
        the three axes :math:`x, y, K`, of which None marks one that makes no difference.
    seconds : tuple of number
        :math:`t` [s] at the grid points, the last axis varying fastest.
    between : {"linear", "next"}
        The rule between the entries; "next" needs a single axis.

    Raises
    ------
    InvalidArgument
        If an axis is not a strictly increasing list of nonnegative integers, or a time is
        not positive and finite, or their sizes differ.

    Examples
    --------
    >>> from queueing_llm.steptime import TableStepTime
    >>> TableStepTime.of_tokens([1, 101], [0.01, 0.02])(51)
    0.015
    """

    axes: tuple[Axis, ...]
    seconds: tuple[Real, ...]
    between: str = "linear"

    def __post_init__(self) -> None:
        if self.between not in ("linear", "next"):
            clause = nearest(str(self.between), ("linear", "next"))
            msg = f"between must be a known rule, got between={self.between!r}; {clause}."
            raise InvalidArgument(msg)
        if len(self.axes) not in ((1,) if self.between == "next" else (1, 3)):
            msg = (
                "axes must be one axis of total tokens or, with linear interpolation, three; "
                f"got {len(self.axes)} with between={self.between!r}."
            )
            raise InvalidArgument(msg)
        if all(axis is None for axis in self.axes):
            msg = "at least one axis must be given, got None for each of them."
            raise InvalidArgument(msg)
        for name, axis in zip(self._names, self.axes, strict=True):
            check_axis(name, axis, least=1 if self.between == "next" else 2)
        require_shape((len(self.seconds),), (math.prod(self._shape),))
        for value in self.seconds:
            check(value, "seconds", Seconds)

    @classmethod
    def of_tokens(
        cls, tokens: Sequence[int], seconds: Sequence[Real], *, between: str = "linear"
    ) -> "TableStepTime":
        """Return a law of the total tokens in a batch.

        Parameters
        ----------
        tokens : sequence of int, shape (N,)
            :math:`n` [tokens], strictly increasing.
        seconds : sequence of number, shape (N,)
            :math:`t(n)` [s].
        between : {"linear", "next"}
            Between two entries, interpolate, or take the value of the larger one: a batch is
            padded to the next tabulated size. With "next" the first entry also covers all
            smaller batches; with "linear" they are outside the table.

        Raises
        ------
        InvalidArgument
            If the lists differ in length, or hold values that a table cannot.

        Examples
        --------
        >>> from queueing_llm.steptime import TableStepTime
        >>> step = TableStepTime.of_tokens([128, 256], [0.04675, 0.08222], between="next")
        >>> step(129)
        0.08222
        """
        axis, _ = entries("tokens", tokens, dimensions=1)
        values, shape = entries("seconds", seconds, dimensions=1)
        require_shape(shape, (len(axis),))
        return cls((axis,), values, between)

    @classmethod
    def of_batches(
        cls,
        prefill_tokens: Sequence[int] | None,
        decode_tokens: Sequence[int] | None,
        kv_tokens: Sequence[int] | None,
        seconds: Any,
    ) -> "TableStepTime":
        """Return the multilinear interpolation of times on a grid of batches.

        Parameters
        ----------
        prefill_tokens, decode_tokens, kv_tokens : sequence of int, or None
            :math:`x`, :math:`y`, :math:`K` [tokens], strictly increasing, at least two each.
            None says that the time does not depend on this count.
        seconds : nested sequences of number, shape (X, Y, Z)
            :math:`t(x, y, K)` [s]; the length is 1 along an axis that is None.

        Raises
        ------
        InvalidArgument
            If the shapes do not match, or hold values that a table cannot.

        Examples
        --------
        >>> from queueing_llm.steptime import TableStepTime
        >>> step = TableStepTime.of_batches(
        ...     [0, 512], [0, 64], None, seconds=[[[0.01], [0.02]], [[0.05], [0.06]]]
        ... )
        >>> step(256, 32, 9000)
        0.035
        """
        given = zip(_BATCH, (prefill_tokens, decode_tokens, kv_tokens), strict=True)
        axes = tuple(
            None if counts is None else entries(name, counts, dimensions=1)[0]
            for name, counts in given
        )
        values, shape = entries("seconds", seconds, dimensions=3)
        require_shape(shape, tuple(1 if axis is None else len(axis) for axis in axes))
        return cls(axes, values)

    def __repr__(self) -> str:
        """Say what the table covers: its entries may be many thousands."""
        limits = zip(self._names, self.axes, strict=True)
        covers = [f"{axis[0]} to {axis[-1]} {name}" for name, axis in limits if axis]
        size = " x ".join(map(str, self._shape))
        return f"TableStepTime({size} entries, {', '.join(covers)}, between={self.between!r})"

    @property
    def kv_slope(self) -> Real | None:
        """Zero for a table of total tokens; None for a grid: no slope is assumed."""
        return 0 if len(self.axes) == 1 else None

    def candidate_batches(
        self, most_tokens: int, *, most_decode_tokens: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r"""Return batches among which one serves the most tokens per second.

        Parameters
        ----------
        most_tokens : int
            :math:`b` [tokens], most tokens in a batch.
        most_decode_tokens : int or None
            Most decode tokens in a batch; None stands for ``most_tokens``.

        Returns
        -------
        prefill_tokens : int64 array, shape (C,)
            :math:`x` [tokens] of each of ``C`` batches.
        decode_tokens : int64 array, shape (C,)
            :math:`y` [tokens].
        kv_tokens : int64 array, shape (C,)
            :math:`K` [tokens].

        Raises
        ------
        InvalidArgument
            If a limit is not a positive integer, or the table does not reach from the
            smallest to the largest count that such a batch may have.

        Notes
        -----
        For a grid the best is taken over the tabulated range of :math:`K`, and :math:`K = 0`
        if :math:`y = 0`. Within a cell, along one coordinate :math:`t` is linear, so
        :math:`(x + y) / t` is a ratio of linear functions and monotone: a best batch can be
        moved, first in :math:`K`, then in :math:`x`, then in :math:`y`, to the end of the
        range that the cell and the limits leave it, at no loss. There :math:`K` is a grid
        point, and either :math:`x` is one and :math:`y` is one or 1 or the decode limit, or
        :math:`x + y = b`. Along that last line :math:`t` is not linear, and all its integer
        points are listed.

        Examples
        --------
        >>> from queueing_llm.steptime import TableStepTime
        >>> step = TableStepTime.of_tokens([1, 64, 65], [0.01, 0.01, 0.02])
        >>> prefill, decode, kv = step.candidate_batches(65)
        >>> int(prefill[(prefill / step(prefill)).argmax()])
        64
        """
        check_limits(most_tokens, most_decode_tokens)
        if len(self.axes) == 1:
            self._require_reach(1, most_tokens)
            return every_token_count(most_tokens)
        most_decode = min(most_tokens, most_decode_tokens or most_tokens)
        self._require_reach(0, most_tokens, most_decode, 0)
        return best_vertices(self.axes, most_tokens=most_tokens, most_decode_tokens=most_decode)

    def kernel_form(self, most_tokens: int) -> KernelForm:
        """Return the table as plain arrays.

        A grid is returned whole, whatever ``most_tokens`` is. An axis that makes no
        difference gets two grid points far apart, with equal times.

        Parameters
        ----------
        most_tokens : int
            Most tokens in a batch.

        Returns
        -------
        KernelForm
            Rows for a table of total tokens, otherwise a grid.

        Raises
        ------
        InvalidArgument
            If ``most_tokens`` is not a positive integer, or a table of total tokens does not
            cover every batch of 1 to ``most_tokens`` tokens.
        """
        check(most_tokens, "most_tokens", Tokens)
        if len(self.axes) == 3:
            return self._grid_form()
        self._require_reach(1, most_tokens)
        first = min(1, self._limits(self.axes[0])[0])
        row = np.full(most_tokens + 1, -np.inf)
        row[first:] = self(np.arange(first, most_tokens + 1))
        return KernelForm.of_rows([row], [0])

    def _grid_form(self) -> KernelForm:
        times = np.reshape(coefficients(np.empty(0), *self.seconds), self._shape)
        for number, axis in enumerate(self.axes):
            if axis is None:
                times = np.repeat(times, 2, axis=number)
        grids = [np.asarray(_ANY_COUNT if axis is None else axis) for axis in self.axes]
        return KernelForm.of_grid(grids, times)

    def _seconds(self, x: Number, y: Number, kv: Number) -> Number:
        counts = (x + y,) if len(self.axes) == 1 else (x, y, kv)
        inside: list[Number] = []
        for name, axis, count in zip(self._names, self.axes, counts, strict=True):
            inside += _require_inside(name, count, self._limits(axis))
        if self.between == "linear":
            return where_known(interpolate(self.seconds, self.axes, counts), *inside)
        nodes, n = self.axes[0] or (), counts[0]
        # Nothing is beyond the last node but what has been refused, or will be NaN.
        seconds = pick(tabulated(self.seconds, n), position(nodes[:-1], n, side="left"))
        return where_known(seconds, *inside)

    def _require_reach(self, first: int, *last: int) -> None:
        """Raise unless each axis reaches from ``first`` to its largest count."""
        for name, axis, most in zip(self._names, self.axes, last, strict=True):
            low, high = self._limits(axis)
            if low > first or high < most:
                msg = (
                    f"the table must reach from {first} to {most} {name}, got {low} to {high}: "
                    "an engine may form a batch whose time is not known."
                )
                raise InvalidArgument(msg)

    def _limits(self, axis: Axis) -> tuple[float, float]:
        """Return the fewest and the most tokens for which an axis holds."""
        if axis is None:
            return 0, math.inf
        return (0 if self.between == "next" else axis[0]), axis[-1]

    @property
    def _names(self) -> tuple[str, ...]:
        return _TOKENS if len(self.axes) == 1 else _BATCH

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(1 if axis is None else len(axis) for axis in self.axes)


def _require_inside(
    name: str, count: Number, limits: tuple[float, float]
) -> tuple[Number, Number]:
    """Raise if a count is known to be outside; return the conditions to be inside."""
    first, last = limits
    if is_symbolic(count) and not count.is_number:
        msg = f"{name} must be a number to be looked up in a table, got {name}={count!r}."
        raise InvalidArgument(msg)
    conditions = count >= first, count <= last
    if any(map(is_false, conditions)):
        msg = f"{name} must lie in the table, {first} to {last} [tokens], got {name}={count!r}."
        raise InvalidArgument(msg)
    return conditions
