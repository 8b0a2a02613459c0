r"""Exclusive, mixed and switching batches, token by token, at the concurrencies of Table 4.

The costs of the H200 as the step time of an engine: pure prefills, pure decodes and mixed
batches by their own laws. Users do not think; there are as many as slots, and those of one
refill wait. Chosen here: a token budget that holds a refill, and at least 8,192 tokens. The
switching policy is the criterion of Prop. 4 in each state, without the hysteresis of the
published controller.
"""

import math
from typing import TYPE_CHECKING, Any

import queueing_llm as ql
from paper_repro.zhang2026.calibration import H200, TRAFFIC
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.stability import ObservedCrossover, best_refill_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROMPT, OUTPUT = TRAFFIC
TOKENS = PROMPT + OUTPUT
WARMUP = 10.0
"""Enough to fill all slots [s]: the first refills are prefills only."""
SLOTS = (32, 128, 512)
SWITCHING = (32, 512)


def compute(*, quick: bool = False) -> Computed:
    """Return simulated throughputs, and those of the formulas."""
    horizon, long = (25.0, 500.0) if quick else (60.0, 1200.0)
    exclusive = [
        _throughput(ql.ExclusiveBatching(n, _refill(n)), slots=n, horizon=horizon)
        for n in SLOTS
    ]
    mixed = [_throughput(ql.VLLM_V1, slots=n, horizon=long) for n in SLOTS]
    few, many = (_throughput(_switching(n), slots=n, horizon=horizon) for n in SWITCHING)
    always_mixed = _throughput(ql.VLLM_V1, slots=SWITCHING[0], horizon=horizon)
    formulas = [_formulas(n) for n in SLOTS]
    exact = [TOKENS / float(found.exact_exclusive_seconds or math.nan) for found in formulas]
    return Computed(
        values={
            "exclusive_tokens_per_s": tuple(exclusive),
            "exact_exclusive_tokens_per_s": tuple(exact),
            "mixed_tokens_per_s": tuple(mixed),
            "winners": tuple(
                "exclusive" if rate > other.value else "mixed"
                for rate, other in zip(exact, mixed, strict=True)
            ),
            "switching_is_mixed_at_32": few == always_mixed,
            "switching_at_512_tokens_per_s": many,
        },
        tables={
            "throughput": _table(exclusive, mixed, formulas),
            "switching": {
                "slots_requests": list(SWITCHING),
                "tokens_per_s": [few.value, many.value],
            },
        },
    )


def _table(
    exclusive: list[ql.Estimate],
    mixed: list[ql.Estimate],
    formulas: "list[ql.stability.BatchingComparison]",
) -> dict[str, list[Any]]:
    """Return the columns of simulated and computed throughputs."""
    return {
        "slots_requests": list(SLOTS),
        "exclusive_tokens_per_s": [estimate.value for estimate in exclusive],
        "exclusive_formula_tokens_per_s": [f.exclusive_tokens_per_second for f in formulas],
        "mixed_tokens_per_s": [estimate.value for estimate in mixed],
        "mixed_formula_tokens_per_s": [f.mixed_tokens_per_second for f in formulas],
    }


def _refill(slots: int) -> int:
    return max(1, round(best_refill_share(H200, OUTPUT) * slots))


def _formulas(slots: int) -> "ql.stability.BatchingComparison":
    return ql.compare_batching(
        H200, prompt_tokens=PROMPT, output_tokens=OUTPUT, slots=slots, refill=_refill(slots)
    )


def _switching(slots: int) -> ql.HybridBatching:
    exclusive = ql.ExclusiveBatching(slots, _refill(slots))
    return ql.HybridBatching(exclusive, ql.VLLM_V1, ObservedCrossover(H200))


def _step_time(budget: int, slots: int) -> ql.TableStepTime:
    """Return the costs as a table: exact for pure batches, linear between mixed entries."""
    prefills = sorted({0, 1, *range(PROMPT, budget + 1, PROMPT), budget})
    decodes = sorted({0, 1, *(slots * sixteenth // 16 for sixteenth in range(1, 17))})
    seconds = [[[_batch_seconds(x, y)] for y in decodes] for x in prefills]
    return ql.TableStepTime.of_batches(prefills, decodes, None, seconds)


def _batch_seconds(prefill: int, decode: int) -> float:
    if decode == 0:
        return float(H200.prefill_base + H200.prefill_per_token * prefill)
    if prefill == 0:
        return float(H200.decode_base + H200.decode_per_request * decode)
    tokens = prefill + decode
    return float(H200.mixed_base + H200.mixed_token_seconds(decode / tokens) * tokens)


def _throughput(policy: ql.Policy, *, slots: int, horizon: float) -> ql.Estimate:
    """Return the prompt and output tokens per second of a saturated engine."""
    budget = max(8192, PROMPT * (_refill(slots) + 1))
    engine = ql.Engine(
        step_time=_step_time(budget, slots), token_budget=budget, max_batch_size=slots
    )
    load = ql.Workload.closed(
        slots + _refill(slots),
        prompt_tokens=PROMPT,
        output_tokens=ql.GeometricLength(OUTPUT),
    )
    run = ql.simulate(
        engine, load, policy=policy, horizon=horizon, warmup=WARMUP, replications=5, seed=516
    )
    return run.token_throughput


def plot(computed: Computed) -> "Figure":
    """Draw simulated and computed throughputs."""
    figure, axes = framed(
        "Few requests want mixed batches, many exclusive ones; switching takes the better",
        height=4.2,
    )
    table, switching = computed.tables["throughput"], computed.tables["switching"]
    slots = table["slots_requests"]
    for kind, colour in (("mixed", COLOURS[2]), ("exclusive", COLOURS[0])):
        formula = [rate / 1000 for rate in table[f"{kind}_formula_tokens_per_s"]]
        simulated = [rate / 1000 for rate in table[f"{kind}_tokens_per_s"]]
        axes.plot(slots, formula, color=colour, linestyle="--", label=f"{kind}, formula")
        axes.plot(slots, simulated, "o", color=colour, label=f"{kind}, simulated")
    axes.plot(
        switching["slots_requests"],
        [rate / 1000 for rate in switching["tokens_per_s"]],
        "x",
        color="0.15",
        markersize=9,
        label="switching, simulated",
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(SLOTS)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlabel("slots [requests]")
    axes.set_ylabel("throughput [thousand tokens/s]")
    axes.set_ylim(0, None)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    return figure
