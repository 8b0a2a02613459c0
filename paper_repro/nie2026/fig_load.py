"""Mean number of requests in the system against the load, for the three workloads.

The load is the arrival rate over the threshold of arXiv:2605.04595; its theorems say stable
below 1 - delta and unstable above 1, and leave the band between open. Simulated with the rule
of vLLM v1 in the model: constant batch times, 131,000 KV slots, a budget of 512 tokens. The
figure is ours: the paper shows no sweep of the load.
"""

from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.nie2026.workloads import WORKLOADS, Lengths
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOADS = (0.3, 0.5, 0.7, 0.8, 0.86, 0.9, 0.93, 0.95, 0.97, 1.0, 1.03, 1.06, 1.1)
BELOW, ABOVE = 0.93, 1.06


def compute(*, quick: bool = False) -> Computed:
    """Return whether backlogs grow below and above the band, and the means by load."""
    hours, replications = (2, 4) if quick else (6, 6)
    means: dict[str, list[float]] = {}
    grows: dict[float, list[bool]] = {BELOW: [], ABOVE: []}
    served: list[Value] = []
    for row in WORKLOADS:
        column = means.setdefault(f"mean_requests_{row.key}", [])
        for load in LOADS:
            run = _run(row, load, seconds=3600 * hours, replications=replications)
            column.append(run.mean_requests.value)
            if load in grows:
                grows[load].append(run.grows)
            if load == BELOW:
                served.append(_share(run))
    values: dict[str, Value] = {
        "grows_below": tuple(grows[BELOW]),
        "grows_above": tuple(grows[ABOVE]),
        "served_share_below": tuple(served),
    }
    return Computed(values, {"load": {"load": list(LOADS), **means}})


def plot(computed: Computed) -> "Figure":
    """Draw the means; beyond load 1 they only say how long was simulated."""
    table = computed.tables["load"]
    figure, axes = framed(
        "Backlogs explode inside the band that the two theorems leave open",
        height=4.0,
    )
    widest = min(
        float(found.published_stable_below or 0) / float(found.unstable_above)
        for found in (row.threshold() for row in WORKLOADS)
    )
    axes.axvspan(widest, 1, color=COLOURS[5], alpha=0.4, label="open: 1 − δ to 1")
    axes.axvline(1, color="0.3", linestyle="--", label="no policy is stable beyond")
    for row, colour in zip(WORKLOADS, (COLOURS[2], COLOURS[0], COLOURS[3]), strict=True):
        column = table[f"mean_requests_{row.key}"]
        label = f"{row.name}, vLLM v1"
        axes.plot(table["load"], column, "o-", color=colour, markersize=4, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("load: arrival rate / threshold")
    axes.set_ylabel("mean requests in the system")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _run(row: Lengths, load: float, *, seconds: float, replications: int) -> ql.Run:
    return ql.simulate(
        row.engine,
        row.at(load * float(row.threshold().unstable_above)),
        policy=ql.VLLM_V1,
        horizon=seconds,
        warmup=seconds / 10,
        replications=replications,
        seed=13,
    )


def _share(run: ql.Run) -> ql.Estimate:
    """Return what is completed of what is offered, in each replication [1]."""
    done, rate = run.throughput, float(run.workload.arrival_rate)
    return ql.Estimate(
        done.value / rate, done.standard_error / rate, done.observations, done.method
    )
