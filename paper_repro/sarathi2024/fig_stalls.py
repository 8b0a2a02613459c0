"""Time between tokens under four schedulers, and what they keep up with.

Left: the 99th percentile of the time between two tokens of a request, against the rate of
requests, with two levels at which serving is called good enough. Right: the share of gaps that
are longer than a time, at one rate. FasterTransformer finishes its batch before it reads
another prompt, vLLM and Orca read prompts first, Sarathi-Serve gives each batch the decodes
first and fills it with pieces of prompts.

Lengths are those of the arXiv summaries that the paper uses, as far as its authors publish
them for another simulator. Chosen here, because the paper's models and GPUs are not modelled:
the step time of CodeLlama-34B on an A100 (Figs. 5-6 of arXiv:2504.07347v3), 8,192 tokens in a
batch for whole prompts and 512 for pieces, the levels of 5 and 25 steps of decodes alone, and
memory that never binds.
"""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from queueing_llm.plots import COLOURS, two_panels
from queueing_llm.reproduce import Computed
from queueing_llm.verify import check_policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
WHOLE, PIECES = 8192, 512
SCHEDULERS = {
    "FasterTransformer": (ql.FASTER_TRANSFORMER, WHOLE),
    "vLLM": (ql.VANILLA_VLLM, WHOLE),
    "Orca": (ql.policy_named("orca:whole"), WHOLE),
    "Sarathi-Serve": (ql.SARATHI, PIECES),
}
DECODES_ALONE = float(STEP(32))
LEVELS = {"strict": 5 * DECODES_ALONE, "relaxed": 25 * DECODES_ALONE}
RATES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
SHOWN_RATE = 0.5
LONGEST_DELAY = 2.0
"""Median time in the queue at which serving is not good enough any more, chosen here [s]."""
SEED = 2024


def engine(budget: int) -> ql.Engine:
    """Return the engine with this many tokens in a batch."""
    return ql.Engine(step_time=STEP, token_budget=budget, first_token_from_prefill=True)


def workload(rate: float) -> ql.Workload:
    """Return Poisson arrivals of the summaries [requests/s]."""
    return ql.Workload.of(ql.PoissonArrivals(rate), ql.preset("arxiv-summarization").lengths)


def gaps(name: str, rate: float, *, horizon: float) -> np.ndarray:
    """Return every time between two tokens of a request, watched step by step [s]."""
    policy, budget = SCHEDULERS[name]
    last: dict[int, int] = {}
    found: list[int] = []
    for step in ql.watch(
        engine(budget), workload(rate), policy=policy, horizon=horizon, seed=SEED
    ):
        left, tokens = step.state.prompt_left, step.batch.tokens
        # A token comes of each decode, and of the piece that completes a prompt.
        for request in step.state.request[(tokens > 0) & (tokens >= left)].tolist():
            if request in last:
                found.append(step.end - last[request])
            last[request] = step.end
    return np.array(found) * 1e-9


def delay(name: str, rate: float, *, horizon: float) -> float:
    """Return the median time in the queue [s]; infinite if the backlog grows."""
    policy, budget = SCHEDULERS[name]
    run = ql.simulate(
        engine(budget),
        workload(rate),
        policy=policy,
        horizon=20 * horizon,
        warmup=2 * horizon,
        replications=4,
        seed=SEED,
        keep_requests=True,
    )
    return np.inf if run.grows else run.latency("queue_time", percentile=50).value


def compute(*, quick: bool = False) -> Computed:
    """Watch all schedulers at all rates."""
    horizon = 120 if quick else 500
    watched = {
        (name, rate): gaps(name, rate, horizon=horizon) for name in SCHEDULERS for rate in RATES
    }
    tail = {key: float(np.percentile(found, 99)) for key, found in watched.items()}
    kept = {
        (name, level): largest_rate(name, level, tail=tail, horizon=horizon)
        for name in SCHEDULERS
        for level in LEVELS
    }
    columns = {f"{name} [s]": [tail[name, rate] for rate in RATES] for name in SCHEDULERS}
    return Computed(
        stall_values(watched) | capacity_values(kept) | contracts() | budgets(),
        {
            "tail_of_gaps": {"rate_per_s": list(RATES)} | columns,
            "distribution_of_gaps": distribution(watched),
            "rate_at_level": {"level_s": list(LEVELS.values())}
            | {f"{name} [1/s]": [kept[name, level] for level in LEVELS] for name in SCHEDULERS},
        },
    )


def largest_rate(
    name: str, level: str, *, tail: dict[tuple[str, float], float], horizon: float
) -> float:
    """Return the largest of the rates up to which serving is good enough; 0 if none is."""
    best = 0.0
    for rate in RATES:
        if tail[name, rate] > LEVELS[level]:
            break
        if delay(name, rate, horizon=horizon) > LONGEST_DELAY:
            break
        best = rate
    return best


def stall_values(watched: dict[tuple[str, float], np.ndarray]) -> dict[str, Any]:
    """Return the longest gaps."""
    longest = {
        name: max(float(watched[name, rate].max()) for rate in RATES) for name in SCHEDULERS
    }
    return {
        "longest_gap_of_sarathi": longest["Sarathi-Serve"],
        "longest_gap_of_faster_transformer_is_a_decode_step": longest["FasterTransformer"]
        <= DECODES_ALONE * (1 + 1e-9),
        "vllm_stalls_for_a_second": longest["vLLM"] > 1,
        "orca_stalls_for_a_second": longest["Orca"] > 1,
    }


def capacity_values(kept: dict[tuple[str, str], float]) -> dict[str, bool]:
    """Return how the rates at both levels compare."""
    sarathi, faster = "Sarathi-Serve", "FasterTransformer"
    others = [name for name in SCHEDULERS if name != sarathi]
    return {
        "sarathi_serves_most_at_strict_level": all(
            kept[sarathi, "strict"] > kept[name, "strict"] for name in others
        ),
        "sarathi_doubles_vllm_at_strict_level": kept[sarathi, "strict"]
        > 2 * kept["vLLM", "strict"],
        "vllm_serves_less_at_strict_level": kept["vLLM", "strict"] < kept["vLLM", "relaxed"],
        "faster_transformer_serves_least_at_relaxed_level": all(
            kept[faster, "relaxed"] < kept[name, "relaxed"]
            for name in SCHEDULERS
            if name != faster
        ),
    }


def contracts() -> dict[str, str]:
    """Return whether the rules keep the promise that no decode waits while a prompt is read."""
    return {
        f"stall_free: {name}": check_policy(policy, contracts=["stall_free"])
        .findings[0]
        .outcome.value
        for name, (policy, _) in SCHEDULERS.items()
    }


def budgets() -> dict[str, Any]:
    """Return what smaller pieces cost: steps and rates for budgets of 128, 512 and 2,048."""
    sizes = (128, 512, 2048)
    found = [ql.critical_rate(engine(size), workload(1), policy=ql.SARATHI) for size in sizes]
    return {
        "steps_of_budgets": tuple(float(STEP(size)) for size in sizes),
        "smaller_pieces_cost_throughput": all(
            smaller.high < larger.low for smaller, larger in itertools.pairwise(found)
        ),
    }


def distribution(watched: dict[tuple[str, float], np.ndarray]) -> dict[str, list[float]]:
    """Return the share of gaps longer than a time, at the rate that is shown."""
    times = np.geomspace(0.04, 4, 120)
    return {"gap_s": times.tolist()} | {
        f"{name} [share longer]": [
            float((watched[name, SHOWN_RATE] > time).mean()) for time in times
        ]
        for name in SCHEDULERS
    }


def plot(computed: Computed) -> "Figure":
    """Draw the tails beside the distributions."""
    figure, left, right = two_panels(
        "Prompts in pieces behind the decodes: no token waits for more than one step of 153 ms",
        height=3.9,
    )
    colours = dict(
        zip(SCHEDULERS, (COLOURS[1], COLOURS[0], COLOURS[4], COLOURS[2]), strict=True)
    )
    tail, shares = (computed.tables[n] for n in ("tail_of_gaps", "distribution_of_gaps"))
    for name, colour in colours.items():
        left.plot(tail["rate_per_s"], tail[f"{name} [s]"], "o-", color=colour, label=name)
        longer = [share or np.nan for share in shares[f"{name} [share longer]"]]
        right.plot(shares["gap_s"], longer, color=colour, label=name)
    for word, level in LEVELS.items():
        left.axhline(level, color="0.4", linewidth=0.8, linestyle="--")
        left.annotate(word, (0.1, level), (0, 3), textcoords="offset points", fontsize=8)
    left.set_yscale("log")
    left.set(xlabel="rate of requests [1/s]", ylabel="time between tokens, 99 % below [s]")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set(xlabel="time between tokens [s]", ylabel="share of gaps that are longer")
    right.set_title(f"{SHOWN_RATE} requests/s", fontsize=10)
    right.legend(fontsize=8, loc="upper right")
    for axis in (left.yaxis, right.xaxis):
        axis.set_major_formatter("{x:g}")
    return figure
