"""A queue served in batches at regular epochs: its law, and its mean against the load.

Left: the law of the queue at the epochs for batches of five and 4.5 arrivals an epoch, from the
chain cut off at 600 customers and from a simulated engine. Right: the mean against the load for
four sizes of batches, by the roots of the generating function, with simulated points.

Service takes one second exactly, whether anybody waits or not. Rates and sizes are chosen here.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.bailey1954.bulk_queue import distribution, mean_by_roots, roots, simulated
from queueing_llm.plots import COLOURS, two_panels
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CASES = {"3 of 5": (3.0, 5), "4.5 of 5": (4.5, 5), "0.7 of 1": (0.7, 1)}
BATCHES = (1, 2, 5, 20)
STATES = 600
SHOWN = 41
SEED = 1954


def compute(*, quick: bool = False) -> Computed:
    """Compute means by roots, by the chain and by simulation."""
    epochs, replications = (100_000, 8) if quick else (400_000, 16)
    values: dict[str, Any] = {}
    runs = {}
    for name, (rate, batch) in CASES.items():
        runs[name] = simulated(rate, batch, epochs=epochs, replications=replications, seed=SEED)
        chain = distribution(rate, batch, states=STATES)
        values[f"by_roots: {name}"] = mean_by_roots(rate, batch)
        values[f"by_chain: {name}"] = float(chain @ np.arange(STATES))
        values[f"simulated: {name}"] = runs[name].mean_requests
    values["roots_are_inside"] = all(
        abs(z) < 1 and abs(z**batch - np.exp(-rate * (1 - z))) < 1e-12
        for rate, batch in CASES.values()
        for z in roots(rate, batch)
    )
    values["pollaczek_khinchine"] = all(
        abs(mean - (load + load**2 / (2 * (1 - load)))) < 1e-9
        for load in (0.1, 0.5, 0.9)
        for mean in (
            mean_by_roots(load, 1),
            float(distribution(load, 1, states=STATES) @ np.arange(STATES)),
        )
    )
    values["critical_rate"] = critical_rate(5)
    return Computed(
        values,
        {
            "law": law(runs["4.5 of 5"]),
            "mean": means(),
            "simulated_mean": {
                "batch_customers": [batch for _, batch in CASES.values()],
                "load": [rate / batch for rate, batch in CASES.values()],
                "mean_customers": [runs[name].mean_requests.value for name in CASES],
            },
        },
    )


def critical_rate(batch: int) -> Any:
    """Return the arrival rate up to which the engine keeps up [requests/s]."""
    engine = ql.Engine(
        ql.AffineStepTime(base=1, per_token=0),
        token_budget=batch,
        first_token_from_prefill=True,
    )
    workload = ql.Workload.poisson(1, prompt_tokens=1, output_tokens=1)
    return ql.critical_rate(engine, workload, policy=ql.SARATHI).value


def law(run: ql.Run) -> dict[str, list[float]]:
    """Return the law of the queue by the chain, and how often a run was seen there."""
    rate, batch = CASES["4.5 of 5"]
    seen = run.requests_in_system[:, run.times >= run.warmup].astype(int)
    shares = np.bincount(seen.ravel(), minlength=SHOWN)[:SHOWN] / seen.size
    return {
        "queue_customers": list(range(SHOWN)),
        "probability": distribution(rate, batch, states=STATES)[:SHOWN].tolist(),
        "simulated_probability": shares.tolist(),
    }


def means() -> dict[str, list[float]]:
    """Return the mean queue against the load, one column for each size."""
    loads = np.linspace(0.05, 0.95, 37)
    return {"load": loads.tolist()} | {
        f"batch_{batch}_customers": [mean_by_roots(load * batch, batch) for load in loads]
        for batch in BATCHES
    }


def plot(computed: Computed) -> "Figure":
    """Draw the law beside the means."""
    figure, left, right = two_panels(
        "Three ways to the same queue: roots, a chain cut off far out, and a simulated engine",
        height=3.7,
    )
    table = computed.tables["law"]
    left.bar(table["queue_customers"], table["probability"], color=COLOURS[5], label="chain")
    left.plot(
        table["queue_customers"],
        table["simulated_probability"],
        ".",
        color=COLOURS[0],
        label="simulated",
    )
    left.set(xlabel="customers at an epoch", ylabel="probability")
    left.set_title("batches of 5, 4.5 arrivals an epoch", fontsize=10)
    curves, points = computed.tables["mean"], computed.tables["simulated_mean"]
    for batch, colour in zip(BATCHES, COLOURS, strict=False):
        column = curves[f"batch_{batch}_customers"]
        right.plot(curves["load"], column, color=colour, label=f"batches of {batch}")
    right.plot(points["load"], points["mean_customers"], "o", color="0.2", label="simulated")
    right.set(xlabel="load: arrivals an epoch over the batch [1]", ylabel="mean customers")
    right.set_yscale("log")
    right.yaxis.set_major_formatter("{x:g}")
    right.set_title("mean at the epochs, by roots", fontsize=10)
    for axes in (left, right):
        axes.legend(fontsize=8)
    return figure
