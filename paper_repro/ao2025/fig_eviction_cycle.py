"""Eviction in the example with 12 KV slots: 3 completions a batch instead of 4.

The example of section 4.1 of arXiv:2504.11320 ("eviction cascade"): prompts and outputs of one
token, C = 12, 4 arrivals a batch, started with 6 prompts that wait and 3 requests that decode.
Every batch takes 1 s here. Two readings of "first come, first served" with eviction:

* as engines do: decodes come first and prompts take what is left; the newest residents are
  evicted if the decodes do not fit. All rules of the package do this.
* as the example is told: every waiting prompt is admitted, and residents are evicted to make
  room for it. Its first batches are recomputed here from that sentence; the paper does not say
  how it goes on.
"""

import itertools
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value
from queueing_llm.stability import lifetime_demand

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOTS, ARRIVALS, PROMPTS, DECODES = 12, 4, 6, 3
BATCHES = 400
SHOWN = 24
ENGINE = ql.Engine(
    step_time=ql.AffineStepTime(base=1, per_token=0), token_budget=64, kv_capacity=SLOTS
)


def compute(*, quick: bool = False) -> Computed:
    """Return completions batch by batch, of rules, of WAIT and of the example as told."""
    batches = BATCHES if quick else 4 * BATCHES
    watched = {name: _completions(rule, batches) for name, rule in ql.POLICIES.items()}
    done = {name: counts for name, (counts, _) in watched.items()}
    wait, wait_evicted = _completions(ql.Wait([ARRIVALS]), batches)
    told, evicted = _as_told(batches)
    late = batches // 2
    settled = {name: float(np.mean(counts[late:])) for name, counts in done.items()}
    orbit = list(itertools.accumulate(range(5), lambda s, _: min(SLOTS - 2 * s, 6), initial=3))
    values: dict[str, Value] = {
        "rules_settle_at": tuple(settled.values()),
        "within_three_and_a_half": all(3 <= mean <= 3.5 for mean in settled.values()),
        "wait_settles_at": float(np.mean(wait[late:])),
        "wait_evictions": wait_evicted,
        "most": SLOTS / lifetime_demand(1, 1, chunk=1),
        "orbit": tuple(orbit),
        "sarathi_cycle": tuple(done["sarathi"][late : late + 4]),
        "told_first": tuple(told[:2]),
        "told_evicts": tuple(evicted[:2]),
        "told_mean_of_four": float(np.mean(told[:4])),
        "told_in_the_end": told[-1],
    }
    columns = {
        "batch": list(range(SHOWN)),
        "sarathi_completions": done["sarathi"][:SHOWN],
        "wait_completions": wait[:SHOWN],
        "as_told_completions": told[:SHOWN],
    }
    return Computed(values, {"completions": columns})


def plot(computed: Computed) -> "Figure":
    """Draw what each batch completes."""
    table = computed.tables["completions"]
    figure, axes = framed(
        "A little off balance, greedy rules complete 6, 0, 6, 0 for ever",
        height=4.0,
    )
    for column, label, colour in (
        ("sarathi_completions", "Sarathi, Orca, vLLM v1: 3 a batch on average", COLOURS[0]),
        ("as_told_completions", "evicting for every arrival, as told: falls to 0", COLOURS[4]),
        ("wait_completions", "WAIT with threshold 4: 4 a batch", COLOURS[2]),
    ):
        axes.plot(table["batch"], table[column], "o-", color=colour, markersize=4, label=label)
    axes.set_xlabel("batch")
    axes.set_ylabel("completions [requests/batch]")
    axes.set_ylim(-0.2, 6.6)
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9)
    return figure


def _completions(policy: ql.Policy, batches: int) -> tuple[list[int], int]:
    """Return the completions of each batch, from the start of the example on, and evictions."""
    # The 3 that decode at the start are prefilled in a batch before it.
    times = [0] * DECODES + [1] * PROMPTS
    times += [t for t in range(2, batches + 2) for _ in range(ARRIVALS)]
    ones = [1] * len(times)
    load = ql.Workload.of_requests(times, prompt_tokens=ones, output_tokens=ones)
    watched = ql.watch(ENGINE, load, policy=policy, horizon=batches + 2)
    steps = list(itertools.islice(watched, 1, batches + 1))
    counts = [step.batch.decode_tokens(step.state) for step in steps]
    return counts, sum(int(step.preempted.sum()) for step in steps)


def _as_told(batches: int) -> tuple[list[int], list[int]]:
    """Return completions and evictions if residents make room for every waiting prompt."""
    waiting, decoding = PROMPTS, DECODES
    done, evicted = [], []
    for _ in range(batches):
        admitted = min(waiting, SLOTS)
        served = min(decoding, (SLOTS - admitted) // 2)
        done.append(served)
        evicted.append(decoding - served)
        waiting += ARRIVALS - admitted + decoding - served
        decoding = admitted
    return done, evicted
