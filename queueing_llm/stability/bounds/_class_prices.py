"""Prices of kinds of tokens at which no batch is worth more than its time, exactly."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from queueing_llm._validate import Real
from queueing_llm.linear import exact_maximum, polytope_corners
from queueing_llm.stability.bounds._class_batches import KindBatch, TokenKinds, best_batch

PROPOSED = 2**32
"""Prices of up to so many units find most batches that are worth more, in fast integers."""


class KindPrices(NamedTuple):
    """A price for each kind of token [s/token], and what some rates are worth at them [1]."""

    prices: tuple[Fraction, ...]
    worth: Fraction


def dearest_prices(kinds: TokenKinds, rates: Sequence[Real]) -> KindPrices:
    r"""Return the valid prices at which the rates are worth the most.

    .. math:: \max_{\pi \ge 0} \{ \pi \cdot \lambda : \pi \cdot z \le t(z)
       \text{ for every allowed batch } z \}

    A linear programme with a row for each batch, of which those are written down that turn
    out to matter: while the prices that are best for them value another batch above its time,
    it joins them.

    Parameters
    ----------
    kinds : TokenKinds
        What is allowed.
    rates : sequence of number
        :math:`\lambda` [tokens/s] of each kind, integers or Fractions at least 0.

    Returns
    -------
    KindPrices
        Exact, valid for all batches.
    """
    batches = [best_batch(kinds, unit) for unit in _units(kinds)]
    while True:
        rows, seconds = zip(*batches, strict=True)
        found = exact_maximum(rates, rows, bounds=seconds)
        assert found is not None, "prices of 0 are valid"
        undervalued = worth_more(kinds, found.point)
        if undervalued is None:
            return KindPrices(found.point, found.value)
        batches.append(undervalued)


def facet_prices(kinds: TokenKinds) -> list[tuple[Fraction, ...]]:
    """Return all valid prices that are no mixture of, and nowhere exceeded by, valid ones."""
    limits = []
    for unit in _units(kinds):
        batch = best_batch(kinds, unit)
        limits.append(batch.seconds / worth(unit, batch.tokens))
    corners = polytope_corners(lambda prices: worth_more(kinds, prices), limits)
    # Where no tight batch has a token of some kind, its price could still be raised.
    return [
        corner.point
        for corner in corners
        if all(max(tokens) > 0 for tokens in zip(*corner.tight, strict=True))
    ]


def worth_more(kinds: TokenKinds, prices: Sequence[Real]) -> KindBatch | None:
    """Return an allowed batch that is worth more than its time; None if there is none."""
    unit = Fraction(max(prices)) / PROPOSED
    rounded = [int(price / unit) for price in prices] if unit else prices
    for proposed in (rounded, prices):
        batch = best_batch(kinds, proposed)
        if worth(prices, batch.tokens) > batch.seconds:
            return batch
    return None


def worth(prices: Sequence[Real], tokens: Sequence[Real]) -> Real:
    """Return what tokens, or tokens per second, are worth."""
    return sum(price * count for price, count in zip(prices, tokens, strict=True))


def _units(kinds: TokenKinds) -> list[tuple[int, ...]]:
    """Return the prices at which one kind of token is worth 1 and the others nothing."""
    size = range(len(kinds.longest))
    return [tuple(int(i == j) for i in size) for j in size]
