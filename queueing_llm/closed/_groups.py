r"""Groups that prefill together and then decode until the last of them has finished.

A rule that serves decodes first and does not mix phases lets nobody join, so its engine goes
through groups. The state is how many requests wait when a group begins. In the shape
descriptions, ``S`` counts the states, ``P`` parts of the prompt law, ``L`` decode steps, of
which a long law is looked at in bundles.
"""

from typing import NamedTuple

import numpy as np

from queueing_llm.closed._chain import Means, binomial, stationary
from queueing_llm.closed._turns import TurnLaw

BUNDLES = 200
NORMAL_NODES = np.array([-1.35, -0.76, -0.35, 0.0, 0.35, 0.76, 1.35]) * 1.17
"""Equally likely parts of a normal law, of variance 1 together."""


class Parting(NamedTuple):
    """How groups decode until all have finished.

    Parameters
    ----------
    seconds, steps, reads : float64 arrays, shape (S, P)
        Time, decode steps and KV tokens read of a group.
    leaves : float64 array, shape (L,)
        Probability that a member finishes just before a bundle of steps begins, or, last,
        after all of them.
    remaining : float64 array, shape (S, P, L)
        How long the others still decode then [s].
    """

    seconds: np.ndarray
    steps: np.ndarray
    reads: np.ndarray
    leaves: np.ndarray
    remaining: np.ndarray


def group_means(law: TurnLaw, *, users: int, think: float) -> Means:
    """Return the long-run means over groups."""
    waiting = np.arange(1, users + 1)
    turns = law(waiting[:, None].astype(np.float64), np.zeros((users, 1)))
    together, prefill, steps = (a[:, 0, :] for a in (turns.prompts, turns.seconds, turns.steps))
    parting = _parting(law, together)
    seconds = prefill + parting.seconds
    back, waited = _returns(parting.remaining, think)
    back, waited = back @ parting.leaves, waited @ parting.leaves
    others_back, others_waited = _returns(seconds, think)
    moves, empty = _moves(users, waiting, together, back=back, others_back=others_back)
    frequency = stationary(moves)

    def per_group(values: np.ndarray) -> float:
        return float(frequency @ values.mean(axis=1))

    served, busy = per_group(together), per_group(seconds)
    total = busy + float(frequency @ empty) * think / users
    count = per_group(steps + parting.steps)
    left = (waiting[:, None] - together).clip(0)
    unanswered = waiting[:, None] * prefill + left * parting.seconds + together * waited
    unanswered = unanswered + (users - waiting)[:, None] * others_waited
    first = law.seconds_of(np.zeros(1), together, together * law.demand.stored)
    decode = served * law.demand.steps / count
    return Means(
        throughput=served / total,
        decode_rate=served * law.demand.decodes / total,
        unanswered=per_group(unanswered) / total,
        held_back=0.0,
        next_step=per_group(together * first) / served,
        prefill=per_group(turns.prefill[:, 0, :] * steps) / count,
        decode=decode,
        kv=per_group(parting.reads) / count,
        step_seconds=busy / count,
        utilisation=busy / total,
    )


def _parting(law: TurnLaw, together: np.ndarray) -> Parting:
    """Return how groups of so many decode, shape (S, P) of each."""
    beyond = law.demand.steps_beyond
    size = -(-len(beyond) // BUNDLES)
    padded = np.append(beyond, np.zeros(-len(beyond) % size)).reshape(-1, size)
    stays, context = padded.mean(axis=1), law.demand.prompt + size * (np.arange(len(padded)))
    group = together[..., None]
    anyone = 1 - (1 - stays) ** group
    some = np.maximum(group * stays / np.maximum(anyone, 1e-300), 1.0)
    spread = np.sqrt(group * stays * (1 - stays))
    each = np.zeros(anyone.shape)
    for node in NORMAL_NODES:
        decode = np.clip(some + node * spread, 1.0, np.maximum(group, 1.0))
        each += law.seconds_of(np.zeros(1), decode, decode * context) / len(NORMAL_NODES)
    lasts = size * anyone * each
    beside = size * each * (1 - (1 - stays) ** np.maximum(group - 1, 0.0))
    after = np.cumsum(beside[..., ::-1], axis=-1)[..., ::-1]
    remaining = np.concatenate([after, np.zeros((*together.shape, 1))], axis=-1)
    # Who finishes within a bundle leaves in the middle of it.
    within = 0.0 if size == 1 else 0.5
    remaining[..., 1:] += within * (remaining[..., :-1] - remaining[..., 1:])
    ends = np.append(padded[:, 0], 0.0)
    return Parting(
        seconds=lasts.sum(axis=-1),
        steps=size * anyone.sum(axis=-1),
        reads=(group * stays * context * size).sum(axis=-1),
        leaves=np.append(1 - ends[0], -np.diff(ends)),
        remaining=remaining,
    )


def _returns(remaining: np.ndarray, think: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance to be back within a time, and the mean wait until it is over [s]."""
    if think == 0:
        return np.ones_like(remaining), remaining
    with np.errstate(over="ignore"):
        back = -np.expm1(-remaining / think)
    return back, remaining - think * back


def _moves(
    users: int,
    waiting: np.ndarray,
    together: np.ndarray,
    *,
    back: np.ndarray,
    others_back: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chances of the next state, (S, S), and of nobody waiting at the end, (S,)."""
    moves = np.zeros((users, users + 1))
    parts = together.shape[1]
    for fewer, share in (
        (np.floor(together + 1e-9), 1 - together % 1),
        (np.floor(together + 1e-9) + 1, together % 1),
    ):
        whole = np.abs(together - np.rint(together)) < 1e-9
        share = np.where(whole, fewer <= together + 1e-9, share)
        for part in range(parts):
            group = np.minimum(fewer[:, part], waiting).astype(np.int64)
            members = binomial(group, back[:, part])
            others = binomial(users - waiting, others_back[:, part])
            for row in np.flatnonzero(share[:, part] > 0):
                joins = np.convolve(members[row], others[row])
                first = waiting[row] - group[row]
                joins = joins[: users + 1 - first]
                moves[row, first : first + len(joins)] += share[row, part] / parts * joins
    moves /= moves.sum(axis=1, keepdims=True)
    empty = moves[:, 0].copy()
    # An idle engine begins with the first who comes.
    moves[:, 1] += empty
    return moves[:, 1:], empty
