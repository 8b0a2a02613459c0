"""Sarathi with a budget of 128 tokens holds the load of vertex C: its backlog stays bounded.

**Setting.** t(n) = 11.28 ms + 35.47 ms * ceil(n / 128), at most 100 requests in a batch. A
request of 290 prompt and 990 output tokens every 467.5 ms, into an empty engine.
**Claim.** Under SARATHI with a token budget of 128, never more than 100 requests and 50,780
tokens are present. From the 196th arrival on, each request starts when it arrives, and every
batch holds 29 prefill and 99 decode tokens.
**Checked here.** The exact trajectory up to the 197th arrival, on an integer clock and with
the shipped rule: the whole state at that arrival is the one at the arrival before; the
batches between them; the largest state on the way.
**Not checked here.** That the same state at an arrival has the same future, by which one
period is all periods.
**Argument.** The engine is deterministic, the next arrival is always one gap after the last,
and the state after the 197th arrival is the state after the 196th: so it is the state after
every later one, and what is largest up to there is largest for ever.
**Source.** Section 6.2 of arXiv:2504.07347v3, which reports the verdict; the numbers are
derived here.
"""

from collections.abc import Callable

import queueing_llm as ql
from proofs._claim import require
from proofs._vertex_c import GAP, Moment, replay

KIND = "theorem"


def prove(
    *,
    budget: int = 128,
    gap: int = GAP,
    arrival: int = 196,
    batch: tuple[int, int] = (29, 99),
    most_requests: int = 100,
    most_tokens: int = 50_780,
) -> int:
    """Replay until the arrival after ``arrival`` and compare the two states."""
    period, comparisons = [], 0
    for moment in replay(ql.SARATHI, budget=budget, gap=gap):
        present = len(moment.state.request)
        require(present <= most_requests, f"{present} requests are present")
        require(moment.backlog <= most_tokens, f"{moment.backlog} tokens are present")
        comparisons += 2
        if moment.tick >= arrival * gap:
            period.append(moment)
            require(moment.batch == batch, f"a batch holds {moment.batch} tokens")
            comparisons += 1
        if moment.tick >= (arrival + 1) * gap:
            break
    first, last = period[0], period[-1]
    require((first.tick, last.tick) == (arrival * gap, (arrival + 1) * gap), "no batch starts")
    require(_whole(first) == _whole(last), "the state does not come back")
    require((first.waiting, first.starting) == (1, 1), "the arrival does not start at once")
    return comparisons + 3


def _whole(moment: Moment) -> tuple[list[int], ...]:
    state = moment.state
    return state.prompt_left.tolist(), state.decode_left.tolist(), state.stored.tolist()


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(budget=256),
    lambda: prove(gap=GAP - 1),
    lambda: prove(arrival=195),
    lambda: prove(most_tokens=50_779),
    lambda: prove(batch=(28, 100)),
)
