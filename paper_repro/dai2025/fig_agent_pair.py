"""Two agents that call each other: the backlog explodes or not with the priority alone.

Section 5.4 of arXiv:2504.07347v3, after Rybko and Stolyar. Requests of type A make a short hop
at engine 1, then a long one at engine 2, those of type B the reverse. Budget of 768 tokens, one
slot a batch, Poisson lengths of mean 32 + 32 and 512 + 32, Sarathi's rule in each engine,
strict priority among those that wait. If each engine prefers the hop that leaves through it,
the backlog swings ever higher; if it prefers the other one, it does not. Nor does it in the
simulation if each serves first come, first served, which no certificate here decides.

Not known from the paper: whether its load is 0.9, as in a reproduction and here; its horizon,
its arrivals and its curves. Chosen here: Poisson arrivals of 108/95 per slot and type, which
make the load 0.9, and the 4,500 slots of that reproduction. At first both engines may swing in
step, every hundred slots or so; the growth begins when chance parts them. A single peak is a
matter of chance, too: all later swings multiply the first large one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._networks import answer, proof
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.scenarios import load_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOTS = 4500
DRAWN = 5
SEED = 4
REPORTED = {"exit_first": 1_400_284, "short_first": 22_168}
"""Peaks that a reproduction reports [tokens]."""
SPREAD = (0.025, 0.975)
"""Quantiles between which a single run is no surprise."""


def compute(*, quick: bool = False) -> Computed:
    """Return verdicts with their proofs, and simulated backlogs and peaks."""
    exit_first = load_network("rybko-stolyar").network
    networks = {
        "exit_first": exit_first,
        "short_first": load_network("rybko-stolyar-stable").network,
        "first_come": exit_first.with_priorities({v.name: 0 for v in exit_first.visits}),
    }
    verdicts = {n: ql.check_network(net, find_scalings=False) for n, net in networks.items()}
    rng = np.random.default_rng(SEED)
    runs = {
        name: ql.simulate_network(
            network,
            horizon=SLOTS,
            samples=SLOTS // 5,
            replications=200 if quick else 400,
            seed=rng,
        )
        for name, network in networks.items()
    }
    peaks = {name: run.total_backlog_tokens.max(axis=1) for name, run in runs.items()}
    return Computed(
        {
            "loads": tuple(engine.load for engine in verdicts["exit_first"].engines),
            **{f"verdict_{name}": answer(verdict) for name, verdict in verdicts.items()},
            "status_exit_first": verdicts["exit_first"].status.name,
            "proofs": tuple(proof(verdicts[name]) for name in ("exit_first", "short_first")),
            "grows": tuple(runs[name].grows for name in ("exit_first", "short_first")),
            "first_come_grows": runs["first_come"].grows,
            "peaks_lie_apart": bool(peaks["exit_first"].min() > peaks["short_first"].max()),
            "reported_peaks_are_usual": tuple(
                is_usual(REPORTED[name], peaks[name]) for name in REPORTED
            ),
        },
        {
            "backlog": _paths(runs),
            "peaks": {f"{name}_tokens": found.tolist() for name, found in peaks.items()},
        },
    )


def _paths(runs: Mapping[str, ql.NetworkRun]) -> dict[str, list[float]]:
    """Return the backlogs of the runs that are drawn, a column each."""
    columns = {"time_slots": runs["exit_first"].times.tolist()}
    for name, run in runs.items():
        for i in range(DRAWN):
            columns[f"{name}_{i}_tokens"] = run.total_backlog_tokens[i].tolist()
    return columns


def is_usual(reported: float, found: np.ndarray) -> bool:
    """Return whether a number lies within the central 95 % of those found."""
    low, high = np.quantile(found, SPREAD)
    return bool(low <= reported <= high)


def plot(computed: Computed) -> "Figure":
    """Draw the backlog over time, five runs for each order of service."""
    title = "Two agents at load 0.9: the priority alone decides whether they explode"
    figure, axes = framed(title, height=4.4)
    table = computed.tables["backlog"]
    labels = {
        "exit_first": "exit first: unstable",
        "first_come": "first come first: undecided",
        "short_first": "short hops first: stable",
    }
    for (name, label), colour in zip(
        labels.items(), (*COLOURS[:1], *COLOURS[2:4]), strict=True
    ):
        for i in range(DRAWN):
            axes.plot(
                table["time_slots"],
                np.maximum(table[f"{name}_{i}_tokens"], 1) / np.float64(1000),
                color=colour,
                linewidth=1.6 if i == 0 else 0.6,
                alpha=1.0 if i == 0 else 0.45,
                label=label if i == 0 else None,
            )
    axes.set_yscale("log")
    axes.set_ylim(1, 3000)
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlim(0, SLOTS)
    axes.set_xlabel("time [slots, one batch each]")
    axes.set_ylabel("backlog of both engines\n[thousand tokens]")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
