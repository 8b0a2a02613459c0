"""Simulated time: an integer number of ticks.

Ties decide outcomes: an arrival exactly at the end of a batch joins the next one. So time
is counted in integer ticks (a nanosecond unless told otherwise), both drivers round a step
time in the same way, and no error accumulates over a long horizon.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from queueing_llm._validate import Seconds, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.steptime import KernelForm

NANOSECOND = 1e-9
MOST_TICKS = 2**62
WORST_ROUNDING = 1e-6


@final
@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """The step-time law of an engine, in ticks.

    In the shape descriptions, ``n`` is the largest number of tokens in a batch, plus one.

    Parameters
    ----------
    tick : float
        Length of a tick [s].
    ticks_by_tokens : int64 array, shape (2, n)
        Ticks that the token count alone costs.
    ticks_per_kv : float64 array, shape (2,)
        Ticks per KV token read; a step lasts the larger of the two rows.
    form : KernelForm
        The law in seconds; its grid, if it has one, is used instead of the rows.
    """

    tick: float
    ticks_by_tokens: np.ndarray
    ticks_per_kv: np.ndarray
    form: KernelForm

    @classmethod
    def of(cls, engine: Engine, *, tick: float = NANOSECOND) -> "Clock":
        """Return the clock of an engine.

        Raises
        ------
        InvalidArgument
            If the tick is not positive, or rounding to it would change a step time by more
            than one part in 10^6.
        """
        check(tick, "tick", Seconds)
        form = engine.step_time.kernel_form(engine.batch_tokens_limit())
        shortest = _shortest_step(form)
        if tick > 2 * WORST_ROUNDING * shortest:
            msg = (
                f"tick must be at most 2e-6 of the shortest step ({shortest:g} s), "
                f"got tick={tick!r} s."
            )
            raise InvalidArgument(msg)
        rows = np.maximum(form.by_tokens / tick, -float(MOST_TICKS))
        return cls(tick, np.rint(rows).astype(np.int64), form.per_kv / tick, form)

    def ticks(self, seconds: Any) -> Any:
        """Return seconds as the nearest whole number of ticks, elementwise."""
        ticks = np.rint(np.asarray(seconds, dtype=np.float64) / self.tick)
        if ticks.size and not ticks.max() < MOST_TICKS:
            longest = float(np.max(seconds))
            msg = f"times must stay below {MOST_TICKS * self.tick:g} s, got {longest!r}."
            raise InvalidArgument(msg)
        return ticks.astype(np.int64)

    def arrival_ticks(self, seconds: np.ndarray) -> np.ndarray:
        """Return arrival times in ticks; those after every horizon share the last tick."""
        ticks = np.rint(seconds / self.tick)
        return np.minimum(ticks, float(MOST_TICKS)).astype(np.int64)

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows of ``ticks_by_tokens``; no second one if it is never the larger."""
        first, second = self.ticks_by_tokens
        unused = self.ticks_per_kv[1] == 0 and bool((second <= first).all())
        return first, None if unused else second

    def step_ticks(self, prefill_tokens: int, decode_tokens: int, kv_tokens: int) -> int:
        """Return the ticks that a batch lasts, rounded as the kernel does."""
        seconds = self.form.seconds_of(prefill_tokens, decode_tokens, kv_tokens)
        if self.form.seconds.size:
            return int(np.rint(seconds / self.tick))
        tokens = prefill_tokens + decode_tokens
        rows = self.ticks_by_tokens[:, tokens]
        return int(max(rows + np.rint(self.ticks_per_kv * kv_tokens).astype(np.int64)))


def _shortest_step(form: KernelForm) -> float:
    if form.seconds.size:
        return float(form.seconds.min())
    longest_row = form.by_tokens.max(axis=0)
    return float(longest_row[longest_row > 0].min())
