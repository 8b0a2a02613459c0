"""A measured law as a table: where to sample it, and how far off the table is between."""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime._grid import Axis, interpolate
from queueing_llm.steptime._table import TableStepTime
from queueing_llm.steptime.measured._host_costs import HostCosts
from queueing_llm.steptime.measured._law import MeasuredLaw

_RATIOS = (1.25, 1.15, 1.1, 1.07)
_KV_RATIO = 2.0
_FIRST_KV = 64
_STEP = 0.02
_TRIALS = 1500
_LONGEST_READ = 16384


@final
@dataclass(frozen=True, slots=True)
class TableLimits:
    """The largest counts that a table is to cover."""

    tokens: int
    decode_tokens: int
    kv_tokens: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class SampledTable:
    """A table, and batches that it was not made from with their times by the law."""

    table: TableStepTime
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray]
    expected: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """The relative errors of the table on these batches."""
        return _errors(self.table.seconds, self.table.axes, self.held_out, self.expected)


@functools.lru_cache(maxsize=32)
def with_host(sampled: SampledTable, host: HostCosts, layers: int) -> SampledTable:
    """Return the table of the law with what a step takes beside its operators.

    That is linear between the points of the grid, of which 0 and 1 prefill tokens are two.
    """
    axes = sampled.table.axes
    x, y, _ = np.meshgrid(*(np.asarray(axis, dtype=float) for axis in axes), indexing="ij")
    times = np.reshape(sampled.table.seconds, x.shape)
    times = host.added_to(times, layers, prefill_tokens=x, decode_tokens=y)
    x, y, _ = sampled.held_out
    expected = host.added_to(sampled.expected, layers, prefill_tokens=x, decode_tokens=y)
    table = TableStepTime(axes, tuple(times.ravel().tolist()))
    return SampledTable(table, sampled.held_out, expected)


@functools.lru_cache(maxsize=64)
def sampled_table(law: MeasuredLaw, limits: TableLimits, relative_error: float) -> SampledTable:
    """Return the coarsest table of a few whose mean error is at most ``relative_error``.

    The table is chosen on some random batches and its errors are those on others.
    """
    smooth = replace(law, most_tokens=limits.tokens)
    trial, held_out = (_some_batches(limits, np.random.default_rng(seed)) for seed in (0, 1))
    expected = law.seconds(*trial)
    mean = math.inf
    for ratio in _RATIOS:
        axes = _axes(law, limits, ratio)
        grid = np.meshgrid(*(np.asarray(axis, dtype=float) for axis in axes), indexing="ij")
        times = smooth.seconds(*grid)
        seconds = tuple(times.ravel().tolist())
        mean = float(_errors(seconds, axes, trial, expected).mean())
        if mean <= relative_error:
            return SampledTable(TableStepTime(axes, seconds), held_out, law.seconds(*held_out))
    msg = (
        f"relative_error must be at least {mean:.2g} for a table of this law, "
        f"got relative_error={relative_error!r}."
    )
    raise InvalidArgument(msg)


def _axes(law: MeasuredLaw, limits: TableLimits, ratio: float) -> tuple[tuple[int, ...], ...]:
    steps = _steps(law, limits.tokens)
    return (
        _axis(limits.tokens, ratio, first=16, also=[1, law.prompt_tokens, *steps]),
        _axis(limits.decode_tokens, ratio, first=1, also=steps),
        _axis(limits.kv_tokens, _KV_RATIO, first=_FIRST_KV),
    )


def _axis(last: int, ratio: float, *, first: int, also: Iterable[int] = ()) -> tuple[int, ...]:
    """Return 0, ``last``, and a ladder between them whose rungs grow by a ratio."""
    rungs, rung = {0, last, *(n for n in also if n < last)}, float(first)
    while rung < last:
        rungs.add(round(rung))
        rung = max(rung + 1, rung * ratio)
    return tuple(sorted(rungs))


def _steps(law: MeasuredLaw, most: int) -> list[int]:
    """Return the counts on both sides of where one more token makes a large difference."""
    seconds = [law.engine.shared_seconds(n) for n in range(1, most + 1)]
    below = np.flatnonzero(np.abs(np.diff(seconds)) > _STEP * np.asarray(seconds[:-1])) + 1
    return [*below.tolist(), *(below + 1).tolist()]


def _some_batches(
    limits: TableLimits, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random batches: half decodes alone, a quarter full, a quarter anything."""
    kind = rng.integers(4, size=_TRIALS)
    most_decodes = min(limits.decode_tokens, limits.tokens)
    y = np.floor((most_decodes + 1) ** rng.random(_TRIALS)) - (kind == 3)
    room = limits.tokens - y
    x = np.select([kind < 2, kind == 2], [0 * room, room], np.floor(rng.random(_TRIALS) * room))
    each = np.floor(np.exp(rng.uniform(math.log(16), math.log(_LONGEST_READ), _TRIALS)))
    return x, y, np.minimum(y * each, limits.kv_tokens)


def _errors(
    seconds: Sequence[Real],
    axes: Sequence[Axis],
    batches: Sequence[np.ndarray],
    expected: np.ndarray,
) -> np.ndarray:
    found = interpolate(seconds, axes, batches)
    return np.asarray(np.abs(found / expected - 1))
