"""Activation budgets of arXiv:2604.11001: what memory allows, and what budgets keep.

A batch takes one unit of time. A request of prompt l and output o is in o batches and holds
l + 1, l + 2, ..., l + o KV slots, w = l o + o (o + 1) / 2 in all. At most b of a class may
start with each batch. Classes (10, 20), (10, 40) and (10, 60) share 16,492 slots.

Chosen here: Poisson arrivals, as many of each class; and greedy admission beside it, which
starts whatever fits and evicts the newest when memory runs out. Unknown: the workloads and
engines of the paper's experiments, which are not tried, and what an evicted request keeps. In
the library it keeps what it has generated, as with vLLM; a loop tries that it begins anew.

Two routes each. The necessary condition: memory load against a certificate from prices. The
peak and the growth: closed forms against requests simulated token by token, and against the
queue recursion Q <- (Q + arrivals - b)^+ over long times. In the token-exact engine a prompt
has a batch of its own, so such a request is one of l + 1 prompt and o - 1 output tokens.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.ao2025.restarts import greedy as greedy_admission
from queueing_llm.plots import COLOURS, figure_class
from queueing_llm.reproduce import Computed, Value
from queueing_llm.stability import FlowControl, flow_control, kv_lifetime

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHAPES = ((10, 20), (10, 40), (10, 60))
CAPACITY = 16_492
BUDGET = 4
ENGINE = ql.Engine(ql.AffineStepTime(1, 0), token_budget=CAPACITY, kv_capacity=CAPACITY)
"""A batch takes 1 s, and nothing but memory limits it."""
RATES = tuple(Fraction(rate, 20) for rate in range(72, 101, 2))
TINY = Fraction(1, 10**6)
BETWEEN = Fraction("4.05")
"""Above the budgets, and below what memory allows [requests/batch]."""
BATCHES = 1000


def compute(*, quick: bool = False) -> Computed:
    """Find the thresholds, and simulate budgets and greedy admission around them."""
    batches, runs = (40_000, 8) if quick else (120_000, 12)
    lifetimes = tuple(kv_lifetime(ENGINE, _class_alone(*shape)) for shape in SHAPES)
    found = _control(lifetimes, 5)
    budgets = _simulate(_start_budgets, 5, batches=BATCHES, runs=4)
    greedy = _simulate(ql.SARATHI, 5, batches=batches / 10, runs=runs)
    values: dict[str, Value] = {
        "lifetimes": lifetimes,
        "lifetimes_by_formula": tuple(l * o + o * (o + 1) // 2 for l, o in SHAPES),
        "peak": found.peak_tokens,
        "peak_simulated": int(_held(budgets).max()),
        "growth_at_5": sum(found.growth),
        "growth_at_5_simulated": _growth(budgets),
        **_threshold(lifetimes),
        **{
            f"growth_at_{float(rate):g}_recursion": _recursion(rate, batches, runs)
            for rate in (Fraction("3.6"), BETWEEN, Fraction(5))
        },
        "evicted_by_budgets": budgets.preemptions,
        "greedy_evicts": greedy.preemptions > 0,
        "greedy_completes": greedy.throughput,
        "greedy_completes_anew": _greedy_anew(batches // 10),
    }
    tables = {
        "memory": {
            "batch": list(range(BATCHES)),
            "budgets_slots": _held(budgets)[:BATCHES].tolist(),
            "greedy_slots": _held(greedy)[:BATCHES].tolist(),
            "greedy_evicted_requests": greedy.batches()["preempted"][:BATCHES].tolist(),
        },
        "growth": _growth_by_rate(RATES[::4] if quick else RATES, lifetimes, batches, runs),
    }
    return Computed(values, tables)


def _class_alone(prompt: int, output: int) -> ql.Workload:
    return ql.Workload.poisson(1, prompt_tokens=prompt + 1, output_tokens=output - 1)


def _load(rate: Fraction | int) -> ql.Workload:
    """Return Poisson arrivals of the three classes, each at a rate [requests/batch]."""
    classes = [
        ql.RequestClass(
            f"{prompt}+{output}",
            ql.IndependentLengths(
                ql.DeterministicLength(prompt + 1), ql.DeterministicLength(output - 1)
            ),
        )
        for prompt, output in SHAPES
    ]
    return ql.Workload(ql.PoissonArrivals(len(SHAPES) * rate), classes)


def _control(
    lifetimes: Sequence[Any], rate: Fraction | int, budget: int = BUDGET
) -> FlowControl:
    budgets, rates = [budget] * len(SHAPES), [rate] * len(SHAPES)
    return flow_control(lifetimes, budgets, arrivals_per_batch=rates, kv_capacity=CAPACITY)


def _start_budgets(state: ql.EngineState) -> ql.Batch:
    """Decode all that have started, and start at most four of each class."""
    tokens = np.where(state.prompt_left == 0, 1, 0)
    for number in range(len(SHAPES)):
        waiting = np.flatnonzero((state.prompt_left > 0) & (state.class_index == number))
        tokens[waiting[:BUDGET]] = state.prompt_left[waiting[:BUDGET]]
    return ql.Batch(tokens)


def _simulate(policy: ql.Policy, rate: Fraction | int, *, batches: float, runs: int) -> ql.Run:
    return ql.simulate(
        ENGINE,
        _load(rate),
        policy=policy,
        horizon=float(batches),
        replications=runs,
        seed=11,
        warmup=float(batches) / 2,
        log_batches=BATCHES,
    )


def _greedy_anew(batches: int) -> ql.Estimate:
    """Estimate what greedy admission completes in overload if the evicted begin anew."""
    shapes = [(prompt + 1, output - 1) for prompt, output in SHAPES]
    rng, kinds = np.random.default_rng(12), np.arange(len(SHAPES))
    rates = []
    for _ in range(4):
        arrivals = (
            rng.permutation(np.repeat(kinds, counts))
            for counts in rng.poisson(5, (batches, len(SHAPES)))
        )
        done = greedy_admission(shapes, arrivals, kv_capacity=CAPACITY, restart=True)
        rates.append(done.completed / done.batches)
    return ql.Estimate.of(np.array(rates), "replications")


def _held(run: ql.Run) -> np.ndarray:
    """Return the slots held at the end of each logged batch, int64 array [tokens]."""
    log = run.batches()
    return log["kv_tokens"] + log["prefill_tokens"] + log["decode_tokens"]


def _growth(run: ql.Run) -> ql.Estimate:
    """Estimate the growth of the requests present over the second half [requests/batch]."""
    half = len(run.times) // 2
    present, times = run.requests_in_system, run.times
    slopes = (present[:, -1] - present[:, half]) / (times[-1] - times[half])
    return ql.Estimate.of(slopes, "replications")


def _recursion(rate: Fraction | int, batches: int, runs: int) -> ql.Estimate:
    """Estimate the growth of Q <- (Q + arrivals - b)^+, all classes together."""
    rng = np.random.default_rng(int(100 * rate))
    slopes = []
    for _ in range(4 * runs):
        waiting = _waiting(rng.poisson(float(rate), (len(SHAPES), batches)))
        grown = waiting[:, -1] - waiting[:, batches // 2]
        slopes.append(grown.sum() / (batches - 1 - batches // 2))
    return ql.Estimate.of(np.array(slopes), "replications")


def _waiting(arrivals: np.ndarray) -> np.ndarray:
    """Return who waits after each batch; int64 arrays, shape (classes, batches) [requests]."""
    walk = np.cumsum(arrivals - BUDGET, axis=-1)
    return walk - np.minimum(0, np.minimum.accumulate(walk, axis=-1))


def _threshold(lifetimes: Sequence[Any]) -> dict[str, Value]:
    """Return the common rate that memory allows, its proof, and the largest common budget."""
    rate = 1 / _control(lifetimes, 1).memory_load
    capacity = ql.capacity(ENGINE, _load(1)).requests_per_second
    above = ql.certify_overload(ENGINE, _load(rate * (1 + TINY)))
    fitting = [b for b in range(1, 10) if _control(lifetimes, 1, budget=b).fits]
    between = _control(lifetimes, BETWEEN)
    return {
        "largest_rate": rate,
        "largest_rate_by_prices": capacity / len(SHAPES),
        "certified_above": above is not None and above.check().kind == "overload",
        "certified_at": ql.certify_overload(ENGINE, _load(rate)) is not None,
        "largest_common_budget": max(fitting),
        "stable_at_3.9": _control(lifetimes, Fraction(39, 10)).is_stable,
        "between": (between.memory_load < 1, between.is_stable),
        "growth_at_4.05": sum(between.growth),
    }


def _growth_by_rate(
    rates: Sequence[Fraction], lifetimes: Sequence[Any], batches: int, runs: int
) -> dict[str, Sequence[Any]]:
    """Return growth under budgets, by formula and recursion, and under greedy admission."""
    greedy = [
        _growth(_simulate(ql.SARATHI, rate, batches=batches / 10, runs=runs)) for rate in rates
    ]
    return {
        "arrivals_per_batch_and_class": [float(rate) for rate in rates],
        "budgets_formula_requests_per_batch": [
            float(sum(_control(lifetimes, rate).growth)) for rate in rates
        ],
        "budgets_recursion_requests_per_batch": [
            _recursion(rate, batches, runs).value for rate in rates
        ],
        "greedy_requests_per_batch": [estimate.value for estimate in greedy],
    }


def plot(computed: Computed) -> "Figure":
    """Draw the memory held over time in overload, and growth by arrival rate."""
    figure = figure_class()(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_memory(left, computed.tables["memory"])
    _draw_growth(right, computed.tables["growth"])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure


def _draw_memory(axes: "Axes", table: Any) -> None:
    last = 301
    evicted = np.mean(table["greedy_evicted_requests"][last:])
    for column, colour, label in (
        (
            "greedy_slots",
            COLOURS[0],
            f"greedy admission, evicting {evicted:.0f} requests a batch",
        ),
        ("budgets_slots", COLOURS[2], "at most 4 of each class start a batch"),
    ):
        axes.plot(table["batch"][:last], table[column][:last], color=colour, label=label)
    axes.axhline(CAPACITY, color="0.3", linestyle="--", linewidth=1.1, label="KV cache")
    axes.set_title("Overload, 5 arrivals of each class: budgets\nnever overflow the cache",
                   loc="left", fontsize=11)  # fmt: skip
    axes.set_xlabel("batch")
    axes.set_ylabel("KV slots held [tokens]")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlim(0, last - 1)
    axes.set_ylim(0, 1.05 * CAPACITY)
    axes.legend(loc="lower right", fontsize=9, frameon=False)


def _draw_growth(axes: "Axes", table: Any) -> None:
    rates = table["arrivals_per_batch_and_class"]
    for column, style, label in (
        ("budgets_formula_requests_per_batch", "-", "budgets, formula"),
        ("budgets_recursion_requests_per_batch", "o", "budgets, recursion"),
        ("greedy_requests_per_batch", "s", "greedy admission, simulated"),
    ):
        colour = COLOURS[0] if column.startswith("greedy") else COLOURS[2]
        axes.plot(rates, table[column], style, color=colour, markersize=5, label=label)
    axes.axvspan(CAPACITY / 4060, rates[-1], color="0.9", label="no policy keeps up: proved")
    axes.set_title("Budgets of 4 give away 1.5 % of what memory\nallows", loc="left",
                   fontsize=11)  # fmt: skip
    axes.set_xlabel("arrivals of each class [requests/batch]")
    axes.set_ylabel("growth of all requests [requests/batch]")
    axes.set_xlim(rates[0], rates[-1])
    axes.legend(loc="upper left", fontsize=9, frameon=False)
