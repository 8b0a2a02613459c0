r"""The batch worth most per second, at a price for each kind of token.

A batch fills at most :math:`k` places, one per request, with :math:`n` tokens. What matters
of a token is the most of its kind that one place can hold: one decode token, or the longest
prompt of a class. Decode tokens of all classes are therefore one kind, and prefill tokens of
classes with equal longest prompts are one kind, too.

Of the batches of :math:`n` tokens, one worth most has at most one place that is neither full
nor empty: of two such places, tokens moved to the one of the higher price never lower the
worth. So the best worth of full places is tabulated place by place, and one partly filled
place is added at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, final

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.linear._integers import whole

LARGEST = 2**60


@final
@dataclass(frozen=True, slots=True)
class TokenKinds:
    r"""What the batches of an engine may hold of each kind of token, and how long they take.

    Parameters
    ----------
    longest : tuple of int
        The most tokens of each kind in one place [tokens].
    places : int
        :math:`k`, the most requests in a batch.
    ticks : tuple of int
        :math:`t(1), t(2), \dots` [ticks].
    tick : Fraction
        [s].
    """

    longest: tuple[int, ...]
    places: int
    ticks: tuple[int, ...]
    tick: Fraction

    @classmethod
    def of(
        cls, longest: Sequence[int], places: int, *, seconds: Sequence[Real]
    ) -> "TokenKinds":
        """Return the kinds of the given lengths, with times as exact numbers [s]."""
        most = min(len(seconds), places * max(longest))
        ticks, per_second = whole(seconds[:most], "seconds")
        return cls(tuple(longest), places, ticks, Fraction(1, per_second))

    def seconds(self, tokens: int) -> Fraction:
        """Return the time of a batch of so many tokens [s]."""
        return self.ticks[tokens - 1] * self.tick


class KindBatch(NamedTuple):
    """The tokens of each kind in a batch [tokens], and the seconds it takes."""

    tokens: tuple[int, ...]
    seconds: Fraction


def best_batch(kinds: TokenKinds, prices: Sequence[Real]) -> KindBatch:
    r"""Return the batch with the largest :math:`\sum_i \pi_i x_i / t(n)`, of all allowed.

    Parameters
    ----------
    kinds : TokenKinds
        What is allowed.
    prices : sequence of number
        :math:`\pi_i` of each kind, integers or Fractions at least 0.

    Returns
    -------
    KindBatch
        Exact; of equally good batches the one of the fewest tokens.
    """
    values, _ = whole(prices, "prices")
    tables = _Tables.of(kinds, values)
    worths = tables.worths.max(axis=0).tolist()
    best = 1
    for tokens, (worth, time) in enumerate(zip(worths[1:], kinds.ticks, strict=True), start=1):
        if worth * kinds.ticks[best - 1] > worths[best] * time:
            best = tokens
    return KindBatch(tables.batch(best), kinds.seconds(best))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """The best worths by number of tokens, and how to form a batch of that worth.

    ``worths`` has a row for full places only and one for each kind that fills the last place
    partly; ``beside`` holds the worths of full places beside such a one, and ``steps[s]``
    what the place ``s`` adds: 0 for nothing, ``i + 1`` for kind ``i``.
    """

    kinds: TokenKinds
    values: tuple[int, ...]
    worths: np.ndarray
    beside: np.ndarray
    steps: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, kinds: TokenKinds, values: tuple[int, ...]) -> "_Tables":
        # Integers of 64 bits where no sum can exceed them, else of any length.
        most = max(values) * len(kinds.ticks) + 1
        dtype: Any = np.int64 if 5 * most < LARGEST else object
        nothing = -4 * most
        full = np.full(len(kinds.ticks) + 1, nothing, dtype=dtype)
        full[0] = 0
        beside, steps = full, []
        for _ in range(kinds.places):
            added = [
                _moved(full, longest, nothing=nothing) + value * longest
                for value, longest in zip(values, kinds.longest, strict=True)
            ]
            options = np.stack([full, *added])
            steps.append(options.argmax(axis=0).astype(np.int16))
            beside, full = full, options.max(axis=0)
        partly = [
            _partly_filled(beside, value, longest=longest, nothing=nothing)
            for value, longest in zip(values, kinds.longest, strict=True)
        ]
        return cls(kinds, values, np.stack([full, *partly]), beside, tuple(steps))

    def batch(self, tokens: int) -> tuple[int, ...]:
        """Return the tokens of each kind in a batch of the best worth."""
        held = [0] * len(self.values)
        place = self.kinds.places
        kind = int(self.worths[:, tokens].argmax()) - 1
        if kind >= 0:
            worth, value = self.worths[kind + 1, tokens], self.values[kind]
            held[kind] = next(
                part
                for part in range(1, self.kinds.longest[kind])
                if self.beside[tokens - part] + part * value == worth
            )
            tokens, place = tokens - held[kind], place - 1
        for step in reversed(self.steps[:place]):
            kind = int(step[tokens]) - 1
            if kind >= 0:
                held[kind] += self.kinds.longest[kind]
                tokens -= self.kinds.longest[kind]
        return tuple(held)


def _moved(table: np.ndarray, by: int, *, nothing: int) -> np.ndarray:
    """Return the table of the same worths with so many tokens more."""
    moved = np.full_like(table, nothing)
    moved[by:] = table[: len(table) - by]
    return moved


def _partly_filled(table: np.ndarray, value: int, *, longest: int, nothing: int) -> np.ndarray:
    """Return the best worths with 1 to ``longest - 1`` tokens of a kind beside the table.

    The worth of the sum is that of the kind for all tokens, plus what the others are worth
    more: the largest of these over a window, found by doubling it.
    """
    if longest == 1:
        return np.full_like(table, nothing)
    alone = np.arange(len(table)).astype(table.dtype) * value
    least = nothing - alone[-1]
    more = _moved(table - alone, 1, nothing=least)
    reach = 1
    while 2 * reach < longest:
        more = np.maximum(more, _moved(more, reach, nothing=least))
        reach *= 2
    return np.maximum(more, _moved(more, longest - 1 - reach, nothing=least)) + alone
