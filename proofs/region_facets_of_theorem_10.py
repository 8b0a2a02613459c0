"""With at most 100 requests a batch, the stability region is this polygon, vertex C included.

**Setting.** CodeLlama-34B on one A100: t(n) = 11.28 ms + 35.47 ms * ceil(n / 128). A batch
(x, y) of prefill and decode tokens has x + y <= b, and y <= 100, or y <= 99 beside prefill. R
is the set of token rates (u, v) >= 0 up to some point of the hull of all (x, y) / t(x + y).
**Claim.** For b = 128, 256, 512 and 1024, R is the polygon between the axes and the vertices
(b, 0) / t(b), then (b - 99, 99) / t(b) unless b = 128, then C = (29, 99) / t(128), then
(0, 100) / t(100). With t(n) = c + a * ceil(n / 128), its edges have, in this order, the token
price t(b) / b for either kind; unless b = 128 the block price, a / 128 for prefill and
a / 128 + c / 99 for decode; and the slot price, t(100) / 100 for decode and a 29th for prefill.
**Checked here.** For each edge, that its prices value no batch of any allowed (x, y) above its
time, batch by batch in integers; that both its ends are worth exactly one second per second;
that each vertex is the rate of an allowed batch; that the vertices run from axis to axis; and
that the shipped ``stability_region`` returns the same vertices.
**Not checked here.** That rates outside R make every policy unstable, and that rates inside are
sustained: the law of large numbers, and a mixture of the batches at the vertices.
**Argument.** The prices are positive, so if no batch is worth more than its time, no point of R
is worth more than 1: a ray from the origin has left R when it crosses an edge. The vertices
are in R, which is convex and contains all smaller rates: the polygon lies in R.
**Source.** Derived here; the region is that of Theorem 10 of arXiv:2504.07347v3, where C is
published.
"""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import queueing_llm as ql
from proofs._claim import require

KIND = "theorem"

OVERHEAD, PER_BLOCK, BLOCK = Fraction(1128, 100_000), Fraction(3547, 100_000), 128
BUDGETS = (128, 256, 512, 1024)
TINY = Fraction(1, 10**9)

Pair: TypeAlias = tuple[Fraction, Fraction]


def seconds(tokens: int) -> Fraction:
    """Return t(n) [s]."""
    return OVERHEAD + PER_BLOCK * -(-tokens // BLOCK)


def corner_batches(budget: int) -> list[tuple[int, int]]:
    """Return the claimed batches (x, y), from the prefill axis to the decode axis."""
    beside = [] if budget == BLOCK else [(budget - 99, 99)]
    return [(budget, 0), *beside, (29, 99), (0, 100)]


def edge_prices(budget: int) -> list[Pair]:
    """Return the claimed prices (prefill, decode) of the edges between them [s/token]."""
    token, slot = seconds(budget) / budget, seconds(100) / 100
    block = (PER_BLOCK / BLOCK, PER_BLOCK / BLOCK + OVERHEAD / 99)
    beside = [] if budget == BLOCK else [block]
    return [(token, token), *beside, (slot / 29, slot)]


def prove(
    *,
    budgets: tuple[int, ...] = BUDGETS,
    corner_c: Callable[[Pair], Pair] = lambda rates: rates,
    prices_of: Callable[[int], list[Pair]] = edge_prices,
) -> int:
    """Check the prices of every edge on all batches, and the ends of every edge."""
    comparisons = 0
    for budget in budgets:
        batches = corner_batches(budget)
        vertices = [_rates(batch) for batch in batches]
        vertices[-2] = corner_c(vertices[-2])
        edges = list(itertools.pairwise(vertices))
        for prices, ends in zip(prices_of(budget), edges, strict=True):
            require(min(prices) > 0, f"{prices} are not positive")
            comparisons += 1 + values_no_batch_above_its_time(prices, budget, most_requests=100)
            for rates in ends:
                worth = prices[0] * rates[0] + prices[1] * rates[1]
                require(worth == 1, f"{rates} are worth {worth} at {prices}")
                comparisons += 1
        for (x, y), rates in zip(batches, vertices, strict=True):
            require(x + y <= budget and y + (x > 0) <= 100, f"({x}, {y}) is not allowed")
            require(rates == _rates((x, y)), f"({x}, {y}) does not run at {rates}")
            comparisons += 2
        require(vertices[0][1] == vertices[-1][0] == 0, "an end is not on its axis")
        require(_shipped_vertices(budget) == tuple(vertices), "stability_region differs")
        comparisons += 2
    return comparisons


def values_no_batch_above_its_time(prices: Pair, budget: int, *, most_requests: int) -> int:
    """Compare the worth of every allowed batch with its time; return how many there are."""
    times = [seconds(n) for n in range(1, budget + 1)]
    unit = math.lcm(*(number.denominator for number in (*prices, *times)))
    prefill, decode = (int(price * unit) for price in prices)
    ticks = [0, *(int(time * unit) for time in times)]
    batches = 0
    for x in range(budget + 1):
        for y in range(0 if x else 1, min(budget - x, most_requests - (x > 0)) + 1):
            fits = prefill * x + decode * y <= ticks[x + y]
            require(fits, f"the batch ({x}, {y}) is worth more than its time at {prices}")
            batches += 1
    return batches


def _rates(batch: tuple[int, int]) -> Pair:
    x, y = batch
    return x / seconds(x + y), y / seconds(x + y)


def _shipped_vertices(budget: int) -> tuple[Pair, ...]:
    step = ql.StaircaseStepTime(OVERHEAD, PER_BLOCK, BLOCK)
    engine = ql.Engine(step_time=step, token_budget=budget, max_batch_size=100)
    return ql.stability_region(engine).vertices[1:]


def _lowered(edge: int, kind: int) -> Callable[[int], list[Pair]]:
    """Return the prices with one of them lowered by a billionth of a second."""

    def prices(budget: int) -> list[Pair]:
        listed = [list(pair) for pair in edge_prices(budget)]
        listed[edge][kind] -= TINY
        return [(pair[0], pair[1]) for pair in listed]

    return prices


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(budgets=(256,), corner_c=lambda rates: (rates[0] + TINY, rates[1])),
    lambda: prove(budgets=(256,), corner_c=lambda rates: (rates[0], rates[1] + TINY)),
    *(
        lambda edge=edge, kind=kind: prove(budgets=(256,), prices_of=_lowered(edge, kind))
        for edge in range(3)
        for kind in (0, 1)
    ),
    # With as many requests as the block has tokens, the slot price is infeasible from b = 256.
    lambda: values_no_batch_above_its_time(
        (seconds(128) / 128, seconds(128) / 128), 256, most_requests=128
    ),
    # And so is the block price: a batch of 128 decodes needs no request for prefill.
    lambda: values_no_batch_above_its_time(
        (PER_BLOCK / BLOCK, PER_BLOCK / BLOCK + OVERHEAD / 127), 128, most_requests=128
    ),
)
