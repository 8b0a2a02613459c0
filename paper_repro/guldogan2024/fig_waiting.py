r"""What bins cost: requests wait until their bin is full.

The paper analyses latency with infinitely many servers, so that a request waits for its batch
to fill and no longer: :math:`k (B - 1) / (2 \lambda)` on average (derived here). Token-exact
runs have one server, so batches queue, too. Chosen here: as in the figure of throughput.
"""

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.guldogan2024.bins import (
    BATCH,
    LONGEST,
    STEP,
    MultiBinBatching,
    engine,
    equal_bins,
    throughput,
)
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS, FEW_BINS = (1, 2, 4, 8), (1, 2, 4)
MEAN_LENGTH = Fraction(LONGEST + 1, 2)
LIGHT, HEAVY = 4, 66
LOADS = ("1/5", "1/2", "7/10", "17/20", "19/20")


def compute(*, quick: bool = False) -> Computed:
    """Return mean waits by simulation and by the filling of bins."""
    horizon, replications = (60.0, 20) if quick else (120.0, 30)
    waits = [
        _mean_wait(_light_run(k, horizon=horizon, replications=replications)) for k in FEW_BINS
    ]
    growth = [_run(k, HEAVY, requests=8_000 if quick else 16_000).growth for k in (1, 4)]
    excess = (HEAVY - throughput(equal_bins(1))) * MEAN_LENGTH
    rows = _curves(quick=quick)
    return Computed(
        values={
            "wait_at_light_load_s": tuple(waits),
            "filling_at_light_load_s": tuple(_filling(k, LIGHT) for k in FEW_BINS),
            "more_bins_wait_longer_at_light_load": all(
                a.value < b.value for a, b in pairwise(waits)
            ),
            "growth_tokens_per_s": tuple(growth),
            "growth_by_the_formula_tokens_per_s": float(excess),
        },
        tables={"wait": rows},
    )


def _filling(bins: int, rate: Fraction | int) -> Fraction:
    """Return how long a request waits on average until its batch is full [s]."""
    return Fraction(bins * (BATCH - 1), 2) / rate


def _light_run(bins: int, *, horizon: float, replications: int) -> ql.Run:
    """Simulate many short runs of a lightly loaded server, begun when the bins are mixed."""
    return ql.simulate(
        engine(),
        _load(LIGHT),
        policy=MultiBinBatching(equal_bins(bins)),
        horizon=horizon,
        warmup=20.0,
        replications=replications,
        seed=504 + bins,
    )


def _run(bins: int, rate: Fraction | int, *, requests: int) -> ql.Run:
    """Simulate ten runs with so many requests in all."""
    horizon = requests / 10 / float(rate)
    return ql.simulate(
        engine(),
        _load(rate),
        policy=MultiBinBatching(equal_bins(bins)),
        horizon=horizon,
        warmup=0.3 * horizon,
        replications=10,
        seed=504 + bins,
    )


def _load(rate: Fraction | int) -> ql.Workload:
    lengths = ql.UniformLength(1, LONGEST)
    return ql.Workload.poisson(float(rate), prompt_tokens=1, output_tokens=lengths)


def _mean_wait(run: ql.Run) -> ql.Estimate:
    """Return the mean time until the batch of a request starts, by Little's law [s]."""
    rate, served = float(run.workload.arrival_rate), float(MEAN_LENGTH * STEP)
    present = run.mean_requests
    return ql.Estimate(
        present.value / rate - served,
        present.standard_error / rate,
        present.observations,
        present.method,
    )


def _curves(*, quick: bool) -> dict[str, list[float]]:
    """Return mean waits along the load of each number of bins."""
    rows: dict[str, list[float]] = {"bins": [], "rate_per_s": [], "wait_s": [], "filling_s": []}
    for bins in (1, 4) if quick else BINS:
        for load in LOADS[1::2] if quick else LOADS:
            rate = Fraction(load) * throughput(equal_bins(bins))
            run = _run(bins, rate, requests=1_000 if quick else 4_000)
            rows["bins"].append(bins)
            rows["rate_per_s"].append(float(rate))
            rows["wait_s"].append(_mean_wait(run).value)
            rows["filling_s"].append(float(_filling(bins, rate)))
    return rows


def plot(computed: Computed) -> "Figure":
    """Draw the wait over the arrival rate."""
    figure, axes = framed(
        "Bins make requests wait while load is light, and serve loads that one bin cannot",
        height=4.2,
    )
    rows = computed.tables["wait"]
    cells = list(zip(rows["bins"], rows["rate_per_s"], rows["wait_s"], strict=True))
    rates = range(4, 100)
    for bins, colour in zip(sorted(set(rows["bins"])), COLOURS, strict=False):
        capacity = float(throughput(equal_bins(int(bins))))
        below = [rate for rate in rates if rate <= capacity]
        filling = [float(_filling(int(bins), Fraction(rate))) for rate in below]
        axes.plot(below, filling, color=colour, linestyle="--", linewidth=1)
        chosen = [(rate, wait) for own, rate, wait in cells if own == bins]
        label = "1 bin" if bins == 1 else f"{bins} bins"
        axes.plot(*zip(*chosen, strict=True), "o", color=colour, markersize=5, label=label)
        axes.axvline(capacity, color=colour, linestyle=":", linewidth=1.2)
    axes.plot([], [], color="0.3", linestyle="--", label="filling, no queue")
    axes.plot([], [], color="0.3", linestyle=":", label="capacity")
    axes.set_xlabel("arrival rate [requests/s]")
    axes.set_ylabel("mean wait until the batch starts [s]")
    axes.set_xlim(0, 125)
    axes.set_ylim(0, 2)
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    return figure
