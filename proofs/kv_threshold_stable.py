r"""Batches that leave no slot to a request that fits keep KV memory stable below M - L slots.

**Setting.** Every batch takes b seconds. Its members hold at most M slots at its end, a prompt
comes in full chunks and the rest last, and a request left out of a batch costs no memory.
Arrivals are Poisson, lengths independent with s + o <= L <= M. A batch is work-conserving if
the next chunk or decode step of no request left out would fit beside it.
**Claim.** A request left out means that the batch holds more than M - L slots, and the
lifetimes still to serve fall by what it holds. With mu = M / (b E[g]) for the lifetime g of
that schedule, and delta = L / M, they have negative drift iff lambda < mu (1 - delta). The
formula of arXiv:2605.04595 in place of g proves too much where chunks do not divide prompts.
**Checked here.** The first part for all maximal batches of up to M + 1 requests, M <= 6. The
second on all requests of up to 6 + 4 tokens: what they hold sums to the lifetime of the
package. The third as an identity of the package's threshold. For prompts of 8 in chunks of
512, 1 decode step, M = 1000: the rate at which every policy is unstable is below the one that
the formula calls stable.
**Not checked here.** Foster's criterion. Engines whose residents keep their cache while they
wait: their batches are not work-conserving in this sense.
**Argument.** A request left out needs at most L slots and does not fit, so the batch holds
more than M - L. If none is left out, every request is a member, so at most M are present:
together with bounded lengths this is a finite set. Outside it the lifetimes still to serve
change on average by lambda b E[g] - (M - L) at most, and Foster's criterion applies.
**Source.** The two sides are arXiv:2605.04595; this reading of work conservation, and the
lifetimes of unequal chunks, are derived here.
"""

import itertools
from collections.abc import Callable

import sympy

from proofs._claim import require
from queueing_llm.stability.memory._chunked_lifetime import (
    full_chunk_lifetime,
    least_lifetime,
    lifetime_demand,
)
from queueing_llm.stability.memory._memory_threshold import threshold_rate

KIND = "theorem"

Slots = tuple[int, ...]
Admits = Callable[[Slots, int, int], bool]


def fits(members: Slots, new: int, capacity: int) -> bool:
    """Whether one more request fits by what it holds at the end of the batch."""
    return sum(members) + new <= capacity


def prove(admits: Admits = fits, *, final: int = 1, spare: int = 0, slack: int = 1) -> int:
    """Check the batches, the lifetimes, the drift, and where the formula says too much.

    The largest request has ``final`` times the slots that it needs next.
    """
    comparisons = 0
    for capacity in range(1, 7):
        for count in range(1, capacity + 2):
            for needs in itertools.combinations_with_replacement(range(1, capacity + 1), count):
                comparisons += _check_batches(
                    needs, capacity, admits, spare - (final - 1) * max(needs)
                )
    for s, o, chunk in itertools.product(range(1, 7), range(5), range(1, 8)):
        held = [min(n, s) for n in range(chunk, s + chunk, chunk)]
        held += [s + j for j in range(1, o + 1)]
        require(sum(held) == full_chunk_lifetime(s, o, chunk=chunk), "not the lifetime")
        comparisons += 1
    rate, b, g, capacity, largest = sympy.symbols("lambda b g M L", positive=True)
    below = threshold_rate(capacity, b, g) * (1 - slack * largest / capacity)
    drift = rate * b * g - (capacity - largest)
    require(sympy.expand(b * g * (rate - below) - drift) == 0, "the drift has another root")
    request = {"prompt": 8, "output": 1, "chunk": 512}
    called_stable = threshold_rate(1000 - 9, 1, lifetime_demand(**request))
    unstable_above = threshold_rate(1000, 1, least_lifetime(**request))
    require(unstable_above < called_stable, "the formula is right here")
    return comparisons + 2


def _check_batches(needs: Slots, capacity: int, admits: Admits, spare: int) -> int:
    """Check every batch that leaves out some request and cannot take any other."""
    everyone, checked = range(len(needs)), 0
    for size in range(len(needs)):
        for batch in itertools.combinations(everyone, size):
            members = tuple(needs[i] for i in batch)
            others = [needs[i] for i in everyone if i not in batch]
            if sum(members) > capacity or any(admits(members, n, capacity) for n in others):
                continue
            least = capacity - max(needs) + 1 + spare
            require(sum(members) >= least, f"{members} leave out {others}, {capacity} slots")
            checked += 1
    return checked


def reserves(members: Slots, new: int, capacity: int) -> bool:
    """Whether one more request fits if all will end with twice the slots: full reservation."""
    return 2 * (sum(members) + new) <= capacity


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(admits=reserves, final=2),
    lambda: prove(spare=1),
    lambda: prove(slack=2),
)
