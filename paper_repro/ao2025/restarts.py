"""Greedy admission with eviction, where evicted requests begin anew or keep their tokens.

The model of arXiv:2504.11320 restarts a request that is evicted. The engines of the library do
as vLLM does: it keeps what it has generated, and one prefill recomputes all of it. How much
greedy admission loses depends on that, so this loop has both. First come, first served; decodes
come first; if they do not fit, the newest residents are evicted and wait at the head of the
queue; then prompts are admitted while they fit.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True, slots=True)
class Greedy:
    """What greedy admission did in the second half of its batches.

    Parameters
    ----------
    batches, completed, evicted : int
        How many there were of each.
    tokens : int
        Cached tokens of the members, summed over batches.
    """

    batches: int
    completed: int
    evicted: int
    tokens: int


def greedy(
    shapes: Sequence[tuple[int, int]],
    arrivals: Iterable[np.ndarray],
    *,
    kv_capacity: int,
    restart: bool,
) -> Greedy:
    """Return what greedy admission completes.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Prompt and output of each kind of request [tokens]; a prompt fits alone.
    arrivals : iterable of int array
        The kinds of the requests that arrive before each batch, in their order.
    kv_capacity : int
        Tokens that members of a batch may hold at its end.
    restart : bool
        Whether an evicted request begins anew; if not, it keeps what it has generated.

    Examples
    --------
    Without eviction, one request of 2 + 1 tokens a batch:

    >>> greedy([(2, 1)], [np.zeros(1, int)] * 10, kv_capacity=9, restart=True)
    Greedy(batches=5, completed=5, evicted=0, tokens=25)
    """
    prompts, outputs = np.array(shapes).T
    # Residents, the oldest first: tokens stored, decodes left, kind.
    residents = np.zeros((3, 0), dtype=np.int64)
    queue: deque[tuple[int, int, int]] = deque()
    log = []
    for kinds in arrivals:
        queue.extend((int(prompts[k]), int(outputs[k]), int(k)) for k in kinds)
        stored, left, kind = residents
        ends = np.cumsum(stored + 1)
        fitting = int(np.searchsorted(ends, kv_capacity, side="right"))
        for i in reversed(range(fitting, len(stored))):
            k = int(kind[i])
            anew = (int(prompts[k]), int(outputs[k]), k)
            queue.appendleft(anew if restart else (int(stored[i]), int(left[i]), k))
        held = int(ends[fitting - 1]) if fitting else 0
        admitted = []
        while queue and held + queue[0][0] <= kv_capacity:
            admitted.append(queue.popleft())
            held += admitted[-1][0]
        stays = left[:fitting] > 1
        log.append((int((~stays).sum()), len(stored) - fitting, held))
        served = np.array([stored + 1, left - 1, kind])[:, :fitting][:, stays]
        new = np.array(admitted, dtype=np.int64).reshape(-1, 3).T
        residents = np.concatenate([served, new], axis=1)
    late = log[len(log) // 2 :]
    completed, evicted, tokens = (sum(column) for column in zip(*late, strict=True))
    return Greedy(len(late), completed, evicted, tokens)
