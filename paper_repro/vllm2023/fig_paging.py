"""Memory in blocks: how many requests fit, how much is wasted, what that is worth.

Every request of 160 prompt and 352 output tokens stores up to 512 tokens. The same engine and
rule run with blocks of different sizes: of 2,048 tokens, a request's whole block is reserved at
once for the longest sequence, as in the paper's Orca (Max); of 512, for what it will come to,
as in Orca (Oracle); of 16, pages are taken as tokens come (vLLM). Left: the throughput in
overload against the size. Right: the share of the reserved memory that stores tokens.

Chosen here, because the paper's models, GPUs and traces are not modelled: the step time of
CodeLlama-34B on an A100 (Figs. 5-6 of arXiv:2504.07347v3), constant lengths, 16,384 tokens of
KV cache, batches of at most 2,560 tokens, and the rule of vLLM at its beginnings (prompts
first, not mixed with decodes) for all three.
"""

from fractions import Fraction as F
from typing import TYPE_CHECKING, Any

import queueing_llm as ql
from queueing_llm.plots import COLOURS, two_panels
from queueing_llm.reproduce import Computed
from queueing_llm.verify import check_policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
PROMPT, OUTPUT, CAPACITY, BUDGET = 160, 352, 16_384, 2560
SCHEMES = {"paging": 16, "oracle": 512, "max": 2048}
"""Tokens in a block: pages, what a request comes to, the longest sequence."""
SIZES = (1, 4, 16, 64, 128, 256, 512, 1024, 2048)
OVERLOAD = 4.0
SEED = 2023


def engine(block: int) -> ql.Engine:
    """Return the engine with blocks of this many tokens."""
    return ql.Engine(
        step_time=STEP,
        token_budget=BUDGET,
        kv_capacity=CAPACITY,
        kv_block_size=block,
        first_token_from_prefill=True,
    )


def workload() -> ql.Workload:
    """Return more requests than any of the engines can serve."""
    return ql.Workload.poisson(OVERLOAD, prompt_tokens=PROMPT, output_tokens=OUTPUT)


def overloaded(block: int, *, horizon: float, replications: int) -> ql.Run:
    """Return a run in overload."""
    return ql.simulate(
        engine(block),
        workload(),
        policy=ql.VANILLA_VLLM,
        horizon=horizon,
        warmup=horizon / 10,
        replications=replications,
        seed=SEED,
    )


def eight_residents(horizon: float, replications: int) -> ql.Estimate:
    """Return the throughput without a cache, if no more than 16,384 / 2,048 requests start."""
    run = ql.simulate(
        ql.Engine(STEP, BUDGET, CAPACITY // SCHEMES["max"], first_token_from_prefill=True),
        workload(),
        policy=ql.VANILLA_VLLM.variant(limit_counts="residents"),
        horizon=horizon,
        warmup=horizon / 10,
        replications=replications,
        seed=SEED,
    )
    return run.throughput


def memory(block: int, *, horizon: float) -> dict[str, float]:
    """Return the mean residents, the share of reserved memory that stores tokens, the waste.

    Watched step by step in overload, after 60 s; the waste is the most that one request holds
    without a token in it.
    """
    residents, stored, reserved, waste, steps = 0, 0, 0, 0, 0
    watched = ql.watch(
        engine(block), workload(), policy=ql.VANILLA_VLLM, horizon=horizon, seed=SEED
    )
    for step in watched:
        held = step.state.stored[step.state.stored > 0]
        slots = block * step.state.blocks_of(held)
        waste = max(waste, int((slots - held).max(initial=0)))
        if step.start > 60 / 1e-9:
            residents, steps = residents + len(held), steps + 1
            stored, reserved = stored + int(held.sum()), reserved + int(slots.sum())
    return {
        "residents": residents / steps,
        "stored_share": stored / reserved,
        "waste_tokens": waste,
    }


def compute(*, quick: bool = False) -> Computed:
    """Run all sizes of blocks, and count what fits."""
    horizon, replications = (3000.0, 4) if quick else (12000.0, 8)
    runs = {
        block: overloaded(block, horizon=horizon, replications=replications) for block in SIZES
    }
    watched = {block: memory(block, horizon=100 if quick else 250) for block in SIZES}
    rates = {name: runs[block].throughput for name, block in SCHEMES.items()}
    over_max = rates["paging"].value / rates["max"].value
    over_oracle = rates["paging"].value / rates["oracle"].value
    return Computed(
        arithmetic()
        | preemptions(runs)
        | {f"waste: {name}": watched[block]["waste_tokens"] for name, block in SCHEMES.items()}
        | {
            "paging_beats_oracle_beats_max": rates["paging"].value
            > rates["oracle"].value
            > rates["max"].value,
            "max_is_eight_residents": eight_residents(horizon, replications) == rates["max"],
            "gain_over_max_in_range": 2.7 <= over_max <= 8,
            "gain_over_oracle_in_range": 1.7 <= over_oracle <= 2.7,
            "more_at_once_than_oracle": watched[16]["residents"] > watched[512]["residents"],
            "max_wastes_sixty_percent": watched[2048]["stored_share"] < 0.4,
            "paging_wastes_four_percent": watched[16]["stored_share"] > 0.96,
        },
        {
            "blocks": {
                "block_tokens": list(SIZES),
                "throughput_per_s": [runs[block].throughput.value for block in SIZES],
                "residents": [watched[block]["residents"] for block in SIZES],
                "stored_share": [watched[block]["stored_share"] for block in SIZES],
            }
        },
    )


def preemptions(runs: dict[int, ql.Run]) -> dict[str, Any]:
    """Return who is preempted, and in which order."""
    report = check_policy(ql.VANILLA_VLLM, contracts=["newest_preempted_first"])
    return {
        "preempts: paging": runs[SCHEMES["paging"]].preemptions > 0,
        "never preempts: oracle": runs[SCHEMES["oracle"]].preemptions == 0,
        "never preempts: max": runs[SCHEMES["max"]].preemptions == 0,
        "newest_preempted_first": report.findings[0].outcome.value,
    }


def kv_bytes(layers: int, heads: int, head_size: int, *, number: int = 2) -> int:
    """Return the bytes of the keys and values of one token, 2 numbers for each head and layer.

    Parameters
    ----------
    layers, heads, head_size : int
        Of the model; heads that keep keys and values.
    number : int, optional
        Bytes of a number.

    Examples
    --------
    >>> kv_bytes(32, 8, 128)
    131072
    """
    return 2 * layers * heads * head_size * number


def arithmetic() -> dict[str, Any]:
    """Return what follows from the shape of OPT-13B alone."""
    opt = kv_bytes(40, 40, 128)
    return {
        "opt_13b_kilobytes": F(opt, 1024),
        "opt_13b_gigabytes": F(2048 * opt, 1024**3),
    }


def plot(computed: Computed) -> "Figure":
    """Draw throughput and memory against the size of the blocks."""
    table = computed.tables["blocks"]
    throughput = dict(zip(table["block_tokens"], table["throughput_per_s"], strict=True))
    gain = throughput[SCHEMES["paging"]] / throughput[SCHEMES["max"]]
    figure, left, right = two_panels(
        f"Pages of 16 tokens serve {gain:.1f} times what reserving 2,048 does",
        height=3.8,
    )
    left.plot(table["block_tokens"], table["throughput_per_s"], "o-", color=COLOURS[2])
    left.set_ylabel("requests/s served in overload")
    left.set_ylim(0, 2.4)
    shares = [100 * share for share in table["stored_share"]]
    right.plot(table["block_tokens"], shares, "o-", color=COLOURS[2])
    right.set_ylabel("reserved memory that stores tokens [%]")
    right.set_ylim(0, 115)
    words = {
        "paging": ("pages (vLLM)", (30, 10)),
        "oracle": ("own length (Oracle)", (-8, -12)),
        "max": ("longest (Max)", (-10, -4)),
    }
    for name, block in SCHEMES.items():
        at = table["block_tokens"].index(block)
        for axes, column in ((left, table["throughput_per_s"]), (right, shares)):
            axes.plot([block], [column[at]], "o", color=COLOURS[0], markersize=9)
            axes.annotate(
                words[name][0],
                (block, column[at]),
                words[name][1],
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(SIZES, [str(size) for size in SIZES], fontsize=8)
        axes.set_xlabel("tokens in a block")
    return figure
