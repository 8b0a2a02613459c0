r"""KV memory alone makes every policy unstable above M / (b E[g]), however prompts are cut.

**Setting.** Every batch takes at least b seconds, and its members hold at most M slots at its
end: s prompt tokens come in chunks of 1 to c tokens, then o decode steps come one by one. A
policy may leave any request out of any batch, at no cost in memory.
**Claim.** Over its batches a request holds at least the least lifetime, which is at least the
formula g = s (1 + s/c) / 2 + s o + o (o + 1) / 2 of arXiv:2605.04595, with equality iff c
divides s. So if lambda E[g] b > M the lifetimes still to serve grow without bound. Full
chunks first, it holds at most s (1 - 1/c) more than the formula.
**Checked here.** With s = k c + r, 1 <= r <= c: the gaps between the three lifetimes of the
package are r (c - r) / (2 c) and k (c - r), as polynomials, and so is the last claim. All
cuts of up to 9 tokens into chunks: none holds less than the least lifetime. All policies on
all pairs of requests of up to 3 + 2 tokens, M up to 8: none finishes them within fewer
batches than their lifetimes over M. The published workload 1:1 by summation over its
integers, at 3.27 requests per second.
**Not checked here.** The sum over more than two requests, and the law of large numbers. That
a preempted request, which begins anew, only holds more.
**Argument.** The chunk that is i places before the last leaves at least s - i c slots held,
and there are at least k + 1 chunks, so a prompt holds sum_{i <= k} (s - i c) or more: the
least lifetime. In a batch the least that a request has still to hold falls by at most what
it holds at the end. Members hold M together, so N batches serve at most N M. In time T arrive
lambda T requests, of whose lifetimes at most M T / b are served.
**Source.** Overload is in arXiv:2605.04595, where c divides s; the rest is derived here.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import sympy

from proofs._claim import require
from queueing_llm.stability.memory._chunked_lifetime import (
    full_prefill,
    least_lifetime,
    least_prefill,
    lifetime_demand,
    smooth_prefill,
)

KIND = "theorem"

Request = tuple[int, int]
State = tuple[tuple[int, int, int], ...]
Lifetime = Callable[[int, int, int], Fraction]


def least(prompt: int, output: int, chunk: int) -> Fraction:
    """Return the least lifetime of a request, as the package has it."""
    return Fraction(least_lifetime(prompt, output, chunk=chunk))


def prove(bound: Lifetime = least, rate: Fraction = Fraction("3.27")) -> int:
    """Check the identities, all small cuts and policies, and the published workload."""
    comparisons = _identities()
    for prompt, chunk in itertools.product(range(1, 10), range(1, 10)):
        held = min(sum(itertools.accumulate(cut)) for cut in _cuts(prompt, chunk))
        claimed = bound(prompt, 0, chunk)
        require(held >= claimed, f"chunks of {chunk} hold {held} < {claimed}")
        formula = Fraction(lifetime_demand(prompt, 0, chunk=chunk))
        require(formula <= claimed, "the formula exceeds the least lifetime")
        require((formula == held) == (prompt % chunk == 0), "equality is elsewhere")
        comparisons += 3
    shapes = list(itertools.product((1, 2, 3), (0, 1, 2)))
    for first, second in itertools.combinations_with_replacement(shapes, 2):
        for chunk, capacity in ((1, 5), (2, 6), (3, 8)):
            batches = _fewest_batches((first, second), chunk, capacity)
            needed = (bound(*first, chunk) + bound(*second, chunk)) / capacity
            require(batches >= needed, f"{first}, {second} take {batches} < {needed} batches")
            comparisons += 1
    return comparisons + _published_workload(rate)


def _identities() -> int:
    k, c, r = sympy.symbols("k c r", positive=True)
    s = k * c + r
    smooth = smooth_prefill(s, s**2, chunk=c)
    shortest = (k + 1) * (2 * s - c * k) / 2
    longest = s + c * k * (k + 1) / 2
    for value, expected in (
        (shortest - smooth, r * (c - r) / (2 * c)),
        (longest - shortest, k * (c - r)),
        (
            s * (1 - 1 / c) - (longest - smooth),
            (2 * k * c * (r - 1) + r * (c + r - 2)) / (2 * c),
        ),
    ):
        require(sympy.expand(value - expected) == 0, f"not an identity: {value}")
    for values in itertools.product(range(4), range(1, 5), range(1, 5)):
        at = dict(zip((k, c, r), values, strict=True))
        prompt, chunk = int(s.subs(at)), values[1]
        if values[2] <= chunk:
            require(least_prefill(prompt, chunk=chunk) == shortest.subs(at), "other formula")
            require(full_prefill(prompt, chunk=chunk) == longest.subs(at), "other formula")
    return 3


def _cuts(prompt: int, chunk: int) -> Iterator[tuple[int, ...]]:
    """Yield every sequence of chunks that makes up a prompt."""
    if prompt == 0:
        yield ()
    for first in range(1, min(prompt, chunk) + 1):
        yield from ((first, *rest) for rest in _cuts(prompt - first, chunk))


def _fewest_batches(requests: tuple[Request, ...], chunk: int, capacity: int) -> int:
    """Return the fewest batches in which any policy finishes the requests."""
    states = {tuple((s, o, 0) for s, o in requests)}
    for batches in itertools.count():
        if any(all(s + o == 0 for s, o, _ in state) for state in states):
            return batches
        states = {after for state in states for after in _batches(state, chunk, capacity)}
    raise AssertionError


@functools.cache
def _batches(state: State, chunk: int, capacity: int) -> frozenset[State]:
    """Return what every batch of a state, with prompt, output left and held, leads to."""
    choices = []
    for s, o, held in state:
        taken = range(1, min(s, chunk) + 1) if s else range(1, min(o, 1) + 1)
        joins = [((s - x, o, held + x) if s else (s, o - x, held + x), held + x) for x in taken]
        choices.append([((s, o, held), 0), *joins])
    return frozenset(
        tuple(after for after, _ in batch)
        for batch in itertools.product(*choices)
        if 0 < sum(slots for _, slots in batch) <= capacity
    )


def _published_workload(rate: Fraction) -> int:
    """Compare what the 1:1 workload brings and what a batch of 0.0372 s can serve at most."""
    lengths = range(10, 1601)
    mean = Fraction(sum(lengths), len(lengths))
    square = Fraction(sum(n * n for n in lengths), len(lengths))
    prefill = smooth_prefill(mean, square, chunk=512)
    demand = prefill + mean * mean + (square + mean) / 2
    arriving = rate * Fraction("0.0372") * demand
    require(arriving > 131_000, f"{float(arriving):.0f} slots a batch arrive, not above M")
    return 1


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(bound=lambda s, o, c: least(s, o, c) + 1),
    lambda: prove(bound=lambda s, o, c: Fraction(full_prefill(s, chunk=c)) + s * o),
    lambda: prove(rate=Fraction("3.26")),
)
