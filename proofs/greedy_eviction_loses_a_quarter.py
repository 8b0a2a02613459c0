r"""Greedy admission with eviction serves 3 requests a batch where pacing serves 4.

**Setting.** Requests of one prompt and one output token, KV memory of 12 slots, no other
limit, always more requests than fit. In each batch every decode takes its second slot, the
newest being evicted where they do not fit, and prompts then take all slots that are left.
**Claim.** The number of decodes served follows s -> min(12 - 2 s, 6). Only the start s = 4
keeps 4 completions a batch, the most that any policy has; all others fall into 6, 0, 6, 0,
at most 3 batches later, so they complete 3 a batch for ever, a quarter less. Admitting 4 a
batch completes 4 a batch without an eviction.
**Checked here.** All starts 0 to 6; the batches of the shipped SARATHI, ORCA and VLLM_V1 from
an empty engine, which follow the map from s = 0; 4 a batch for the paced policy; and that 4 is
12 slots over a lifetime of 3.
**Not checked here.** Starts with more than 6 decodes, of which the first batch serves 6.
**Argument.** s served decodes hold 2 s slots, so 12 - 2 s prompts are admitted; of these at
most 6 can be decoded in the next batch, since each then holds 2 of 12 slots, and the others
are evicted and begin anew. The slope -2 at the fixed point 4 drives every other start away.
**Source.** The example is in arXiv:2504.11320; the exact cycle is derived here.
"""

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np

import queueing_llm as ql
from proofs._claim import require
from queueing_llm.stability.memory._chunked_lifetime import lifetime_demand

KIND = "counterexample"

SLOTS = 12
RULES = (ql.SARATHI, ql.ORCA, ql.VLLM_V1)


def following(served: int) -> int:
    """Return how many decodes the next batch serves."""
    return min(SLOTS - 2 * served, SLOTS // 2)


def paced(state: ql.EngineState) -> ql.Batch:
    """Decode all residents and admit the 4 oldest prompts."""
    tokens = (state.prompt_left == 0).astype(np.int64)
    tokens[state.prefilling[:4]] = 1
    return ql.Batch(tokens)


def prove(
    policies: tuple[ql.Policy, ...] = RULES, *, mean: Fraction = Fraction(3), fixed: int = 4
) -> int:
    """Check the map from every start, the rules that follow it, and what pacing does."""
    comparisons = 0
    for start in range(SLOTS // 2 + 1):
        orbit = _orbit(start, 40)
        cycle = orbit[3:5]
        settled = all(served == cycle[i % 2] for i, served in enumerate(orbit[3:]))
        require(settled, f"no cycle from {start}: {orbit[:8]}")
        expected = 4 if start == fixed else mean
        require(Fraction(sum(cycle), 2) == expected, f"{cycle} from {start}")
        comparisons += 2
    for policy in policies:
        served, evicted = _decodes(policy, batches=40)
        require(served == _orbit(0, 40), f"the batches serve {served[:8]} decodes")
        require(evicted > 0, "nothing is evicted")
        comparisons += 2
    served, evicted = _decodes(paced, batches=40)
    require(set(served[1:]) == {4}, f"pacing serves {served[:8]}")
    require(evicted == 0, "pacing evicts")
    require(SLOTS / lifetime_demand(1, 1, chunk=1) == 4, "4 is not the most")
    return comparisons + 3


def _orbit(start: int, batches: int) -> list[int]:
    """Return the decodes served by consecutive batches."""
    return list(
        itertools.accumulate(range(batches - 1), lambda s, _: following(s), initial=start)
    )


def _decodes(policy: ql.Policy, *, batches: int) -> tuple[list[int], int]:
    """Return the decodes of each batch of a full engine, and how many requests it evicts."""
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=SLOTS, kv_capacity=SLOTS)
    count = SLOTS * batches
    load = ql.Workload.of_requests(
        [0] * count, prompt_tokens=[1] * count, output_tokens=[1] * count
    )
    steps = list(ql.watch(engine, load, policy=policy, horizon=batches))
    served = [step.batch.decode_tokens(step.state) for step in steps]
    return served, sum(int(step.preempted.sum()) for step in steps)


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(mean=Fraction(7, 2)),
    lambda: prove(fixed=3),
    lambda: prove((paced,)),
)
