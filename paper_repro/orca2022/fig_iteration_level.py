"""Batches of requests against batches of iterations, on the same engine.

Left: the median of the normalised latency, end to end over tokens generated, against the rate
of requests, when a batch runs until its last request has finished (FasterTransformer) and when
the batch is formed anew at each iteration (Orca). Right: the rates that both keep up with, for
constant outputs and for outputs that vary.

From the paper: Poisson arrivals, prompts uniform between 32 and 512 tokens, outputs between 1
and 128. Chosen here, because the paper's GPT-3 models and GPUs are not modelled: the step time
of CodeLlama-34B on an A100 (Figs. 5-6 of arXiv:2504.07347v3), at most 4,096 tokens in a batch
instead of a number of requests, and memory that never binds. Both rules drop finished requests
from the batch; the FasterTransformer of the paper keeps their rows until all have finished.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from queueing_llm.model import DeterministicLength, EmpiricalLengths, ScheduledArrivals
from queueing_llm.plots import COLOURS, two_panels
from queueing_llm.reproduce import Computed
from queueing_llm.verify import check_policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
ENGINE = ql.Engine(step_time=STEP, token_budget=4096)
PROMPT, OUTPUT = ql.UniformLength(32, 512), ql.UniformLength(1, 128)
LEVEL = 0.190
"""Normalised latency at which rates are compared, chosen here [s/token]."""
OVERLOAD = 5.0
POLICIES = {"requests": ql.FASTER_TRANSFORMER, "iterations": ql.ORCA}
RATES = {"requests": (0.2, 2.4), "iterations": (0.2, 11.0)}
SEED = 2022


def workload(rate: float, *, output: Any = OUTPUT) -> ql.Workload:
    """Return Poisson arrivals of these requests [requests/s]."""
    return ql.Workload.poisson(rate, prompt_tokens=PROMPT, output_tokens=output)


def normalised(rate: float, *, by: str, horizon: float) -> float:
    """Return the median of the latency over the tokens generated [s/token]."""
    run = ql.simulate(
        ENGINE,
        workload(rate),
        policy=POLICIES[by],
        horizon=horizon,
        warmup=horizon / 10,
        seed=SEED,
        keep_requests=True,
    )
    log = run.requests()
    counted = (log.finish >= 0) & (log.arrival * run.tick >= run.warmup)
    seconds = (log.finish - log.arrival)[counted] * run.tick
    return float(np.median(seconds / log.decode_steps[counted]))


def compute(*, quick: bool = False) -> Computed:
    """Follow both curves, and ask for the rates that the rules keep up with."""
    points, horizon = (10, 4000.0) if quick else (24, 16000.0)
    tables: dict[str, dict[str, list[float]]] = {}
    at_level = {}
    for by, (low, high) in RATES.items():
        rates = np.linspace(low, high, points)
        medians = [normalised(rate, by=by, horizon=horizon) for rate in rates]
        tables[f"batches_of_{by}"] = {
            "rate_per_s": rates.tolist(),
            "median_normalised_latency_s_per_token": medians,
        }
        at_level[by] = float(np.interp(LEVEL, medians, rates))
    rates_kept, values = sustained()
    tables["sustained"] = rates_kept
    gain = at_level["iterations"] / at_level["requests"]
    tables["rate_at_190_ms"] = {f"{by}_per_s": [at_level[by]] for by in POLICIES}
    return Computed(
        values
        | overload(8 if quick else 32)
        | newcomer()
        | contracts()
        | {"gain_exceeds_three": gain > 3},
        tables,
    )


def rate_kept(by: str, output: Any) -> float:
    """Return the largest rate that a rule keeps up with [requests/s]."""
    found = ql.critical_rate(ENGINE, workload(1, output=output), policy=POLICIES[by])
    assert found.value is not None
    return float(found.value)


def sustained() -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return the rates that both rules keep up with, for varying and constant outputs."""
    outputs = {"1 to 127": ql.UniformLength(1, 127), "64": DeterministicLength(64)}
    kept = {
        (by, name): rate_kept(by, output) for by in POLICIES for name, output in outputs.items()
    }
    table = {"output_tokens": list(outputs)} | {
        f"batches_of_{by}_per_s": [kept[by, name] for name in outputs] for by in POLICIES
    }
    return table, {
        "iterations_keep_up_with_more": all(
            kept["iterations", name] > kept["requests", name] for name in outputs
        ),
        "varying_outputs_cost_requests": kept["requests", "1 to 127"]
        < 0.7 * kept["requests", "64"],
        "varying_outputs_cost_iterations_nothing": kept["iterations", "1 to 127"]
        == kept["iterations", "64"],
        "rate_of_requests": kept["requests", "1 to 127"],
        "rate_of_iterations": kept["iterations", "1 to 127"],
    }


def overload(replications: int) -> dict[str, Any]:
    """Return what both rules do at a rate between those that they keep up with."""
    load = workload(OVERLOAD, output=ql.UniformLength(1, 127))
    runs = {
        by: ql.simulate(
            ENGINE,
            load,
            policy=policy,
            horizon=4000,
            warmup=400,
            replications=replications,
            seed=SEED,
        )
        for by, policy in POLICIES.items()
    }
    return {
        "requests_blow_up": runs["requests"].grows,
        "iterations_keep_up": not runs["iterations"].grows,
        "throughput_of_requests": runs["requests"].throughput,
        "throughput_of_iterations": runs["iterations"].throughput,
    }


def newcomer() -> dict[str, bool]:
    """Return what becomes of a short request that arrives behind a long one."""
    lengths = EmpiricalLengths([100, 100], [100, 5], in_order=True)
    load = ql.Workload.of(ScheduledArrivals([0.0, 0.5]), lengths)
    logs = {
        by: ql.simulate(ENGINE, load, policy=policy, horizon=60, keep_requests=True).requests()
        for by, policy in POLICIES.items()
    }
    longest_step = float(STEP(200)) / 1e-9
    waits = {by: int(log.start[1] - log.arrival[1]) for by, log in logs.items()}
    return {
        "newcomer_waits_for_the_batch": bool(
            logs["requests"].start[1] >= logs["requests"].finish[0]
        ),
        "newcomer_waits_for_an_iteration_at_most": waits["iterations"] <= longest_step,
        "short_one_returns_first": bool(
            logs["iterations"].finish[1] < logs["iterations"].finish[0]
        ),
    }


def contracts() -> dict[str, str]:
    """Return what the property tests find of the order in which both rules serve."""
    return {
        f"first_come_first_served: {by}": check_policy(
            policy, contracts=["first_come_first_served"]
        )
        .findings[0]
        .outcome.value
        for by, policy in POLICIES.items()
    }


def plot(computed: Computed) -> "Figure":
    """Draw the curves beside the rates."""
    at_level = computed.tables["rate_at_190_ms"]
    gain = at_level["iterations_per_s"][0] / at_level["requests_per_s"][0]
    figure, left, right = two_panels(
        "Forming the batch anew at each iteration: "
        f"{gain:.1f} times the requests at 190 ms a token, on the same engine",
        height=3.8,
        width_ratios=(3, 2),
    )
    names = {"requests": "batches of requests", "iterations": "batches of iterations"}
    colours = {"requests": COLOURS[0], "iterations": COLOURS[2]}
    for by, name in names.items():
        table = computed.tables[f"batches_of_{by}"]
        milliseconds = [1000 * m for m in table["median_normalised_latency_s_per_token"]]
        left.plot(table["rate_per_s"], milliseconds, ".-", color=colours[by], label=name)
    left.axhline(1000 * LEVEL, color="0.4", linewidth=0.8, linestyle="--")
    left.set_ylim(0, 600)
    left.set(xlabel="rate of requests [1/s]", ylabel="median latency a token [ms]")
    left.legend(loc="upper center", fontsize=8)
    table = computed.tables["sustained"]
    places = np.arange(len(table["output_tokens"]))
    for shift, (by, name) in zip((-0.2, 0.2), names.items(), strict=True):
        heights = table[f"batches_of_{by}_per_s"]
        bars = right.bar(places + shift, heights, width=0.36, color=colours[by], label=name)
        right.bar_label(bars, fmt="%.1f", fontsize=8)
    right.set_xticks(
        places, [f"outputs of\n{words} tokens" for words in table["output_tokens"]]
    )
    right.set_ylabel("largest rate kept up with [requests/s]")
    return figure
