"""What a saturated engine with a batch-size limit serves depends on how it was filled.

Ours, with the engine and the requests of section 6.2 of arXiv:2504.07347v3. In Sarathi with
1024 tokens, a request holds one of 100 places for the batch of its prompt and for its 990
decodes, so batches are 9.91 to a completion. A batch without prefill takes 46.75 ms; one with
a prompt takes three blocks longer, one with two prompts five, one with three seven. So the
rate depends on how many requests run in step. Equal requests that once run in step do so for
ever: slow arrivals fill the engine one by one, a burst fills it in threes. Outputs of geometric
length are out of step at once. Then the prompts in a batch are a Markov chain: those finished
by the batch before, binomial of the places that decoded.

Drawn: requests completed per second in the third quarter of a run against the last quarter.
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._published import STEP_TIME
from paper_repro.dai2025._vertex_c import (
    GAP,
    OUTPUT,
    PLACES,
    PROMPT,
    engine,
    evenly,
    poisson,
)
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCHES = Fraction(1 + OUTPUT, PLACES)
"""To a completion: one for the prompt and one for each decode, shared by the places."""
GEOMETRIC = ql.GeometricLength(OUTPUT)
SLOW, FAST = Fraction(9, 10), Fraction(4)
CASES: dict[str, tuple[int | ql.GeometricLength, Fraction, str, str]] = {
    "constant outputs, filled at 0.9 C": (OUTPUT, SLOW, COLOURS[2], "o"),
    "constant outputs, filled at 4 C": (OUTPUT, FAST, COLOURS[0], "s"),
    "geometric outputs, filled at 0.9 C": (GEOMETRIC, SLOW, COLOURS[3], "^"),
    "geometric outputs, filled at 4 C": (GEOMETRIC, FAST, COLOURS[4], "v"),
}
SATURATED = Fraction(3, 2)
CALM = Fraction("0.56")
"""Between arrivals that Sarathi with 1024 tokens serves, unless a surge came first [s]."""
SURGE, AFTER = 300, 100_000
SECONDS = 80_000
MOST_AT_ONCE = 20
"""Completions of a batch that are told apart: more are rarer than 1 in 10^20."""


def compute(*, quick: bool = False) -> Computed:
    """Follow saturated engines from different starts, exactly and by simulation."""
    runs = 12 if quick else 24
    rates = {
        name: _two_quarters(output, load, runs) for name, (output, load, *_) in CASES.items()
    }
    rows = [
        (name, run, *pair)
        for name, quarters in rates.items()
        for run, pair in enumerate(quarters.tolist())
    ]
    names = ("case", "run", "third_quarter_requests_per_s", "last_quarter_requests_per_s")
    cycles = _cycles()
    values = {
        **cycles,
        **_by_case(rates),
        **_geometric(runs),
        "calm_after_surge": _after_surge(),
    }
    tables: dict[str, dict[str, list[Any]]] = {
        "completed": dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)),
        "cycles": {
            "requests": ["alone", "in threes"],
            "requests_per_s": [float(cycles[f"rate_from_{s}"]) for s in ("empty", "burst")],
        },
    }
    return Computed(values, tables)


def _two_quarters(output: int | ql.GeometricLength, load: Fraction, runs: int) -> np.ndarray:
    """Return completions per second, float64 array, shape (runs, 2) [requests/s]."""
    run = ql.simulate(
        engine(1024),
        poisson(load, output=output),
        policy=ql.SARATHI,
        horizon=SECONDS,
        replications=runs,
        seed=int(100 * load),
        keep_requests=True,
    )
    edges = np.array([2, 3, 4]) * SECONDS / 4
    finishes = (np.sort(log.finish[log.finish >= 0]) for log in map(run.requests, range(runs)))
    counts = [np.searchsorted(finish * run.tick, edges) for finish in finishes]
    return np.diff(counts, axis=1) / (SECONDS / 4)


def _by_case(rates: dict[str, np.ndarray]) -> dict[str, Value]:
    """Return the mean rate of the last quarter, and whether runs keep their rates."""
    slow, fast, *geometric = rates.values()
    return {
        "rate_slow_fill": ql.Estimate.of(slow[:, 1], "replications"),
        "rate_fast_fill": ql.Estimate.of(fast[:, 1], "replications"),
        "constant_runs_keep_rates": _keeps_rates(slow) and _keeps_rates(fast),
        "geometric_runs_keep_rates": any(_keeps_rates(quarters) for quarters in geometric),
    }


def _keeps_rates(quarters: np.ndarray) -> bool:
    """Whether runs differ much more from each other than from themselves later on."""
    changes = np.diff(quarters, axis=1).std()
    return bool(changes < 0.5 * quarters.mean(axis=1).std())


def _cycles() -> dict[str, Fraction]:
    """Return the rates of equal requests in the cycles that different starts lead to."""
    values: dict[str, Fraction] = {}
    for start in ("empty", "burst"):
        found = ql.limit_cycle(engine(1024), evenly(), policy=ql.SARATHI, start=start)
        assert found is not None, "a saturated engine of equal requests runs into a cycle"
        values[f"rate_from_{start}"] = found.rate
    calm = ql.limit_cycle(engine(1024), evenly(GAP / CALM), policy=ql.SARATHI, start="empty")
    assert calm is not None
    assert calm.growth is not None
    return values | {
        "rate_by_places": 1 / (BATCHES * STEP_TIME(PLACES) + 3 * STEP_TIME.per_block),
        "calm_growth": calm.growth,
    }


def _after_surge() -> float:
    """Simulate the calm arrivals after a surge at vertex C; growth [requests/s]."""
    surge = [float(GAP * i) for i in range(1, SURGE + 1)]
    calm = [float(GAP * SURGE + CALM * i) for i in range(1, AFTER + 1)]
    count = SURGE + AFTER
    run = ql.simulate(
        engine(1024),
        ql.Workload.of_requests(
            [*surge, *calm], prompt_tokens=[PROMPT] * count, output_tokens=[OUTPUT] * count
        ),
        policy=ql.SARATHI,
        horizon=calm[-1],
        samples=2,
    )
    before, after = run.requests_in_system[0, 1:]
    return float((after - before) / (calm[-1] / 2))


def _geometric(runs: int) -> dict[str, Value]:
    """Return the rates that geometric outputs leave to budgets, and one by its chain."""
    values: dict[str, Value] = {}
    for budget in (128, 256, 1024):
        values[f"geometric_{budget}"] = ql.simulate(
            engine(budget),
            poisson(SATURATED, output=GEOMETRIC),
            policy=ql.SARATHI,
            horizon=2 * SECONDS,
            warmup=SECONDS,
            replications=runs,
            seed=budget,
        ).throughput
    return values | {"geometric_1024_by_chain": _rate_of_chain()}


def _rate_of_chain() -> float:
    """Return completions per second if a batch prefills whom the batch before finished.

    Of 100 requests, j prefill their prompts and 100 - j decode, each of which finishes with
    probability 1/990. A fourth prompt would not fit whole: that is left out.
    """
    at_once = range(MOST_AT_ONCE)
    moves = np.array(
        [[_binomial(PLACES - j, 1 / OUTPUT, finished) for finished in at_once] for j in at_once]
    )
    share = np.linalg.matrix_power(moves, 64)[0]
    seconds = [float(STEP_TIME(PROMPT * j + PLACES - j)) for j in at_once]
    return float(share @ np.arange(MOST_AT_ONCE) / (share @ seconds))


def _binomial(trials: int, chance: float, successes: int) -> float:
    return (
        math.comb(trials, successes) * chance**successes * (1 - chance) ** (trials - successes)
    )


def plot(computed: Computed) -> "Figure":
    """Draw the rate of each run in one stretch of time against that in the next."""
    title = (
        "Sarathi, b = 1024, saturated: equal requests keep the rate that their start gave "
        "them; with geometric outputs no start is remembered"
    )
    figure, axes = framed(title, height=5.4)
    table = computed.tables["completed"]
    for case, (_, _, colour, marker) in CASES.items():
        pairs = [
            (third, last)
            for name, third, last in zip(
                table["case"],
                table["third_quarter_requests_per_s"],
                table["last_quarter_requests_per_s"],
                strict=True,
            )
            if name == case
        ]
        axes.plot(
            *zip(*pairs, strict=True), marker, color=colour, markersize=5, alpha=0.7, label=case
        )
    lowest, highest = 1.73, 1.84
    axes.plot((lowest, highest), (lowest, highest), color="0.7", linewidth=1, zorder=0)
    cycles = computed.tables["cycles"]
    for words, rate in zip(cycles["requests"], cycles["requests_per_s"], strict=True):
        axes.axhline(rate, color="0.5", linestyle=":", linewidth=1)
        axes.annotate(
            f"cycle of requests {words}: {rate:.4f}/s", (highest, rate), ha="right",
            xytext=(-4, 3), textcoords="offset points", fontsize=9, color="0.35",
        )  # fmt: skip
    axes.set_xlim(lowest, highest)
    axes.set_ylim(lowest, highest)
    axes.set_xlabel("completions in the third quarter [requests/s]")
    axes.set_ylabel("completions in the last quarter [requests/s]")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
