"""Sarathi with a budget of 1024 tokens loses the load of vertex C: its backlog grows for ever.

**Setting.** t(n) = 11.28 ms + 35.47 ms * ceil(n / 128), at most 100 requests in a batch. A
request of 290 prompt and 990 output tokens every 467.5 ms, into an empty engine.
**Claim.** Under SARATHI with a token budget of 1024, from 46.76219 s on, the engine repeats a
cycle of 991 batches, 56.97025 s and 100 completions for ever. At least 21 requests more are
present after each cycle, and exactly 40,881 more after every 1870 cycles. In 891 batches of
each cycle 100 requests decode and none is prefilled.
**Checked here.** The exact trajectory until the end of the first cycle, on an integer clock
and with the shipped rule: the tokens left of the requests that have started are the same at
both ends, and more requests wait; in every batch of the cycle, one more waiting request gets
nothing and changes nothing; the requests that wait at the end, and those that arrive since at
the latest, are enough for the same batches to follow.
**Not checked here.** The induction over waiting requests and over cycles.
**Argument.** *More requests that wait change nothing.* A rule that serves first come, first
served looks at waiting requests in order and stops at the first that gets nothing, so those
behind it are never seen. *The next cycle is the same.* A batch could differ only if a request
that started with it were missing. In a time s, at least floor(s / gap) requests arrive,
whatever the phase, and with those waiting at the end of the first cycle these are enough, at
every batch. Since at least as many arrive in a cycle as start in it, they are enough in every
later cycle too. *Growth.* Each cycle completes 100 requests and lasts 56970.25 / 467.5 > 121
gaps; 1870 cycles last 227,881 gaps exactly.
**Source.** Section 6.2 of arXiv:2504.07347v3, which reports the verdict; the cycle, the lemma
and the growth are derived here.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np

import queueing_llm as ql
from proofs._claim import require
from proofs._vertex_c import GAP, OUTPUT, PROMPT, Moment, replay, state_of

KIND = "counterexample"

CYCLE = (4_676_219, 5_697_025)
"""Begin and length of the cycle [ticks]."""
BATCHES, COMPLETIONS = 991, 100


def prove(
    *,
    budget: int = 1024,
    gap: int = GAP,
    cycle: tuple[int, int] = CYCLE,
    grows_by: int = 21,
    cycles: int = 1870,
    exactly: int = 40_881,
) -> int:
    """Replay one cycle, and check that it is followed by itself."""
    *moments, last = _moments(budget, gap, *cycle)
    first, length = moments[0], cycle[1]
    require((first.tick, last.tick - first.tick) == cycle, "no batch starts with the cycle")
    require(first.begun == last.begun, "the requests that have started differ")
    require(last.waiting > first.waiting, "no more requests wait than before")
    kinds = Counter(moment.batch for moment in moments)
    require(kinds == {(0, 100): 891, (290, 99): 100}, f"the batches are {kinds}")
    started = 0
    for moment in moments:
        _check_one_more_waiting_changes_nothing(moment, budget)
        started += moment.starting
        supply = last.waiting + (moment.tick - first.tick) // gap
        require(started <= supply, "the next cycle runs out of requests")
    require(len(moments) == BATCHES, "the cycle has another number of batches")
    # As many start as are completed, since those begun are the same at both ends.
    require(started == COMPLETIONS, f"{started} requests start in a cycle")
    require(length // gap - started >= grows_by, "a cycle may grow by less")
    require(cycles * length % gap == 0, "the cycles are not a whole number of gaps")
    require(cycles * length // gap - cycles * started == exactly, "the growth is another")
    return 2 * len(moments) + 8


def _moments(budget: int, gap: int, begin: int, length: int) -> list[Moment]:
    """Return the batches of a cycle and the first one after it."""
    moments: list[Moment] = []
    for moment in replay(ql.SARATHI, budget=budget, gap=gap):
        if moment.tick >= begin:
            moments.append(moment)
        if moment.tick >= begin + length:
            break
    return moments


def _check_one_more_waiting_changes_nothing(moment: Moment, budget: int) -> None:
    state = moment.state
    more = state_of(
        np.append(state.prompt_left, PROMPT),
        np.append(state.decode_left, OUTPUT),
        np.append(state.stored, 0),
        budget=budget,
    )
    same = np.array_equal(ql.SARATHI(more).tokens, np.append(moment.tokens, 0))
    require(same, f"one more waiting request changes the batch at {moment.tick}")


# The second and third are cycles indeed, of engines that hold their load.
CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(gap=57_000),
    lambda: prove(budget=128, cycle=(196 * GAP, GAP)),
    lambda: prove(gap=56_000, cycle=(43_903_527, 23_800_000)),
    lambda: prove(cycle=(CYCLE[0], 2 * CYCLE[1])),
    lambda: prove(grows_by=22),
    lambda: prove(exactly=40_882),
)
