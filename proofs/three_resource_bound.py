"""Tokens, requests per batch and KV memory bound the rate of every policy.

**Setting.** A batch of x prompt and y decode tokens, one per decode, holds n = x + y <= b
tokens, y <= k decodes and M KV slots, and takes at least c + beta n + gamma K when its decodes
read K stored tokens. A request has p prompt tokens, D decode steps, work w = p + D, G KV reads,
and holds at least g = p + D + G slots, summed over its batches. Policies may split prompts,
idle residents and preempt; a preempted request computes again what it had stored and, where
the end of a prefill yields a token, is spared one decode step by it.
**Claim.** lambda (beta w + c max(w / b, D / k, g / M) + r G) <= 1 under every policy, where
r = gamma, or min(beta, gamma) where a prefill yields a token. With r = gamma there it is false.
**Checked here.** Three price vectors are worth no batch more than its time, as polynomial
identities; and the least time in which any policy whatsoever finishes up to three requests, by
a search through all legal batches of 64 toy systems, is never below the bound.
**Not checked here.** That the factors of the identities are nonnegative, which is read off; the
law of large numbers that turns times into rates.
**Argument.** (beta + c/b) n, beta n + (c/k) y and beta n + c/M * M are at most c + beta n, with
slack c (b - n)/b, c (k - y)/k and 0. Summed over batches, the time is at least the worth of all
tokens served, slots held and tokens read. A decode step of s stored tokens that is replaced by
computing s + 1 tokens again counts as one decode and as s tokens worth r <= beta each.
**Source.** Derived here; its first term is Theorem 2(a) of arXiv:2504.07347v3, its third with
beta = 0 the overload condition of arXiv:2605.04595.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, final

import sympy

from proofs._claim import require

KIND = "theorem"

Present: TypeAlias = tuple[tuple[int, int, int], ...]
"""Prompt tokens left, decode steps left and slots held, for each request, sorted."""

REQUESTS = (
    ((1, 3),),
    ((3, 1),),
    ((1, 3), (1, 3)),
    ((2, 2), (1, 1)),
    ((1, 2), (1, 1), (1, 1)),
)
"""Prompt tokens and decode steps of the requests to finish."""


@final
@dataclass(frozen=True, slots=True)
class Toy:
    """An engine small enough to try every policy on it."""

    times: tuple[int, ...]
    """Seconds of a batch of 1, 2, ..., b tokens that reads nothing."""
    places: int
    slots: int
    per_read: int
    prefill_yields: bool

    @property
    def budget(self) -> int:
        """The token budget, b."""
        return len(self.times)

    @property
    def per_token(self) -> int:
        """The slope beta of times that are affine."""
        return self.times[1] - self.times[0]

    @property
    def base(self) -> int:
        """The constant c of times that are affine."""
        return self.times[0] - self.per_token


def prove(
    *,
    per_read: Callable[[Toy], int] = lambda toy: (
        min(toy.per_read, toy.per_token) if toy.prefill_yields else toy.per_read
    ),
    slots_spared: int = 0,
    place: int = 0,
) -> int:
    """Check the identities, then the bound against the best of all policies on each toy.

    The parameters are the price of a read, slots that every batch is said to lack, and places.
    """
    comparisons = _identities()
    for toy, requests in itertools.product(_toys(), REQUESTS):
        work = sum(p + d for p, d in requests)
        decodes = sum(d for _, d in requests)
        reads = sum(p * d + d * (d - 1) // 2 for p, d in requests)
        batches = max(
            Fraction(work, toy.budget),
            Fraction(decodes, toy.places - place) if toy.places > place else Fraction(0),
            Fraction(work + reads, toy.slots - slots_spared),
        )
        bound = toy.per_token * work + toy.base * batches + per_read(toy) * reads
        least = least_time(toy, requests)
        require(bound <= least, f"{bound} s is above the {least} s of a policy on {toy}")
        comparisons += 1
    return comparisons


def least_time(toy: Toy, requests: tuple[tuple[int, int], ...]) -> int:
    """Return the least time in which any policy finishes the requests (Dijkstra)."""
    start: Present = tuple(sorted((p, d, 0) for p, d in requests))
    ahead, known = [(0, start)], {start: 0}
    while True:
        time, present = heapq.heappop(ahead)
        if not present:
            return time
        for seconds, following in _batches(toy, present):
            if time + seconds < known.get(following, time + seconds + 1):
                known[following] = time + seconds
                heapq.heappush(ahead, (time + seconds, following))


def _batches(toy: Toy, present: Present) -> Iterator[tuple[int, Present]]:
    """Yield the time of every legal batch and what is present after it."""
    options = [list(_grants(toy, *request)) for request in present]
    for grants in itertools.product(*options):
        tokens = sum(grant[0] for grant in grants)
        members = sum(grant[0] > 0 for grant in grants)
        held = sum(grant[2][2] for grant in grants)
        if 1 <= tokens <= toy.budget and members <= toy.places and held <= toy.slots:
            reads = sum(grant[1] for grant in grants)
            left = (grant[2] for grant in grants if grant[2][:2] != (0, 0))
            yield toy.times[tokens - 1] + toy.per_read * reads, tuple(sorted(left))


def _grants(
    toy: Toy, prompt: int, decode: int, held: int
) -> Iterator[tuple[int, int, tuple[int, int, int]]]:
    """Yield the tokens that a request can be given, what they read, and what it becomes."""
    for tokens in range(min(prompt, toy.budget) + 1):
        yield tokens, 0, (prompt - tokens, decode, held + tokens)
    if prompt == 0:
        yield 1, held, (0, decode - 1, held + 1)
    if held:
        spared = int(prompt == 0 and toy.prefill_yields)
        yield 0, 0, (prompt + held + spared, decode - spared, 0)


def _toys() -> Iterator[Toy]:
    for budget, places, slots, prices, prefill_yields in itertools.product(
        (2, 4), (1, 2), (4, 7), ((4, 1, 0), (2, 1, 3), (1, 2, 1), (3, 0, 1)), (False, True)
    ):
        base, per_token, per_read = prices
        times = tuple(base + per_token * n for n in range(1, budget + 1))
        yield Toy(times, places, slots, per_read, prefill_yields)


def _identities() -> int:
    """Check that three price vectors leave a nonnegative slack to every batch."""
    x, y, b, k, M, c, beta = sympy.symbols("x y b k M c beta", positive=True)
    seconds = c + beta * (x + y)
    for worth, slack in (
        ((beta + c / b) * (x + y), c * (b - x - y) / b),
        (beta * x + (beta + c / k) * y, c * (k - y) / k),
        (beta * (x + y) + c / M * M, 0),
    ):
        require(sympy.simplify(seconds - worth - slack) == 0, f"{worth} leaves another slack")
    return 3


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(per_read=lambda toy: toy.per_read),
    lambda: prove(slots_spared=1),
    lambda: prove(place=1),
)
