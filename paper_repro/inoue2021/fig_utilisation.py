r"""A server that batches is busy nearly always, long before its load is 1.

Fig. 5 (utilisation against load, Eq. 38) and the statement that energy efficiency rises with
the arrival rate. The paper has an energy per batch; read here: it is affine in the size of the
batch, so that jobs per joule rise exactly if the mean batch does.
"""

from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.inoue2021.batch_queue import jobs, stationary
from paper_repro.inoue2021.fig_latency import V100, floats
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOADS = np.concatenate([[0.005, 0.01], np.arange(0.02, 0.96, 0.02)])
TRIED = (0.05, 0.1, 0.2)


def compute(*, quick: bool = False) -> Computed:
    """Return utilisation and mean batch along the load, and simulated utilisations."""
    server = floats(V100)
    loads = LOADS[::2] if quick else LOADS
    rates = loads / server.per_job
    found = [stationary(server, rate, most_waiting=800) for rate in rates]
    busy = np.array([means.utilisation for means in found])
    batch = np.array([means.batch for means in found])
    by_equation = loads + rates * server.base / batch
    simulated = [_mean_of_runs(load, horizon=20.0 if quick else 100.0) for load in TRIED]
    at = [stationary(server, load / server.per_job).utilisation for load in TRIED]
    return Computed(
        values={
            "utilisation": tuple(at),
            "simulated_utilisation": tuple(simulated),
            "equation_38_differs_by": float(np.abs(by_equation - busy).max()),
            "batch_grows_with_the_rate": bool((np.diff(batch) > 0).all()),
        },
        tables={
            "curves": {
                "load": loads.tolist(),
                "utilisation": busy.tolist(),
                "mean_batch_jobs": batch.tolist(),
            },
            "simulated": {
                "load": list(TRIED),
                "utilisation": [estimate.value for estimate in simulated],
            },
        },
    )


def _mean_of_runs(load: float, *, horizon: float) -> ql.Estimate:
    """Return the utilisation of 20 token-exact runs of the V100."""
    server = floats(V100)
    run = ql.simulate(
        server.engine(),
        jobs(load / server.per_job),
        policy=ql.SARATHI,
        horizon=horizon,
        warmup=1.0,
        replications=20,
        seed=2021,
    )
    return run.utilisation


def plot(computed: Computed) -> "Figure":
    """Draw utilisation and load."""
    figure, axes = framed(
        "Small batches waste the GPU: at a tenth of its capacity it is busy 87 % of the time",
        height=3.8,
    )
    curve, dots = computed.tables["curves"], computed.tables["simulated"]
    axes.plot(curve["load"], curve["utilisation"], color="0.15", label="exact")
    axes.plot(dots["load"], dots["utilisation"], "o", color=COLOURS[0], label="simulated")
    axes.plot(
        [0, 1],
        [0, 1],
        color=COLOURS[2],
        linestyle=":",
        label="load, as in a queue of single jobs",
    )
    axes.set_xlabel(r"load $\lambda\alpha$ [1]")
    axes.set_ylabel("share of time busy [1]")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    return figure
