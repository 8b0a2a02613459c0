"""The contrast of Fig. 1: requests in the system over time under the four schedulers.

Published: an A100 at 14 requests/s, 129 prompt and 112 output tokens on average; there
FasterTransformer and vanilla vLLM blow up, Orca and Sarathi-Serve do not. Not known: curves,
horizon, trace, token budget. Here: the published step time, a budget of 512, lengths all alike,
Poisson arrivals, an empty start, 1000 s. In this model three rates say three things:
14/s is above what any policy sustains; 12/s is the geometric mean of the limits of vanilla vLLM
(10.50/s) and of the engine (13.87/s), as far in proportion from one as from the other, and
shows the contrast; 10.4/s, where a reproduction draws it, is just below the limit of vanilla
vLLM, whose many requests are then a plateau.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._published import COLOUR, ENGINE, POLICIES, fluid_growth, own_rate
from queueing_llm.plots import figure_class
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LENGTHS = {"prompt_tokens": 129, "output_tokens": 112}
RATES = {"10.4": Fraction(52, 5), "12": 12, "14": 14}
HORIZON = 1000.0
SEED = 2504
REPORTED_AT = 90
"""When a reproduction counts the requests in the system [s], at 10.4 requests/s."""
REPORTED = {"FasterTransformer": 941, "vanilla vLLM": 557, "Orca": 100, "Sarathi-Serve": 100}
SPREAD = (0.025, 0.975)
"""Quantiles between which a single run is no surprise."""
CEILING = {"10.4": 1600, "12": 5000, "14": 10_000}


def compute(*, quick: bool = False) -> Computed:
    """Simulate and predict every rate and policy; ``quick`` takes 24 replications, not 96."""
    rng = np.random.default_rng(SEED)
    replications = 24 if quick else 96
    values: dict[str, Value] = _limits()
    tables = {}
    for label, rate in RATES.items():
        workload = ql.Workload.poisson(rate, **LENGTHS)
        verdicts = [ql.check_stability(ENGINE, workload, policy=p) for p in POLICIES.values()]
        runs = [
            ql.simulate(
                ENGINE,
                workload,
                policy=policy,
                horizon=HORIZON,
                replications=replications,
                seed=rng,
            )
            for policy in POLICIES.values()
        ]
        values |= _of_rate(label, verdicts, runs)
        tables[f"at_{label}"] = _paths(workload, runs)
    values |= _reported(rng)
    return Computed(values=values, tables=tables)


def _limits() -> dict[str, Value]:
    """Return the limit of the engine and those of the policies, without simulation."""
    workload = ql.Workload.poisson(1, **LENGTHS)
    return {
        "capacity": ql.capacity(ENGINE, workload).requests_per_second,
        **{f"critical_{p.name}": own_rate(workload, p) for p in POLICIES.values()},
    }


def _of_rate(label: str, verdicts: list[ql.Verdict], runs: list[ql.Run]) -> dict[str, Value]:
    """Return what is decided and what is simulated at one arrival rate."""
    values: dict[str, Value] = {
        f"verdicts_{label}": tuple(verdict.status.value for verdict in verdicts),
        f"evidence_{label}": tuple(verdict.evidence.value for verdict in verdicts),
        f"grows_{label}": tuple(run.grows for run in runs),
    }
    for policy, verdict, run in zip(POLICIES.values(), verdicts, runs, strict=True):
        values[f"fluid_growth_{policy.name}_{label}"] = fluid_growth(verdict)
        values[f"growth_{policy.name}_{label}"] = run.growth
    return values


def _reported(rng: np.random.Generator) -> dict[str, Value]:
    """Return whether what a reproduction saw in one run is within the spread of runs here."""
    workload = ql.Workload.poisson(RATES["10.4"], **LENGTHS)
    within = []
    for name, policy in POLICIES.items():
        run = ql.simulate(
            ENGINE,
            workload,
            policy=policy,
            horizon=REPORTED_AT,
            replications=1000,
            samples=1,
            seed=rng,
        )
        low, high = np.quantile(run.requests_in_system[:, -1], SPREAD)
        within.append(bool(low <= REPORTED[name] <= high))
    return {"reported_within_spread": tuple(within)}


def _paths(workload: ql.Workload, runs: list[ql.Run]) -> dict[str, list[float]]:
    """Return mean requests in the system, simulated and in the fluid limit."""
    times = runs[0].times
    columns = {"time_s": times.tolist()}
    for name, run in zip(POLICIES, runs, strict=True):
        path = ql.fluid_path(ENGINE, workload, policy=POLICIES[name])
        states = [path.at(time) for time in times]
        columns[f"{name} [requests]"] = run.requests_in_system.mean(axis=0).tolist()
        # Who waits in bulk has all of its prompt or all of its output left.
        columns[f"{name}, fluid [requests]"] = [
            float(state.prompt_tokens) / LENGTHS["prompt_tokens"]
            + float(state.decode_tokens) / LENGTHS["output_tokens"]
            for state in states
        ]
    return columns


def plot(computed: Computed) -> "Figure":
    """Draw one panel per arrival rate."""
    figure = figure_class()(figsize=(7.2, 7.4), layout="constrained")
    figure.suptitle(
        "Between their own limits and that of the engine, only the schedulers that do not mix\n"
        "phases blow up; at 14 requests/s, in this model, all four do",
        x=0.02,
        ha="left",
        fontsize=11,
    )
    remarks = {
        "10.4": "below the limit of vanilla vLLM, 10.50/s, which stays on a plateau",
        "12": "between the limits of vanilla vLLM, 10.50/s, and of the engine, 13.87/s",
        "14": "above the limit of the engine, 13.87/s: all grow, two of them slowly",
    }
    panels = figure.subplots(3, 1, sharex=True)
    for axes, label in zip(panels, RATES, strict=True):
        _draw_panel(axes, computed, label)
        axes.set_title(f"{label} requests/s, {remarks[label]}", loc="left", fontsize=9.5)
    panels[-1].set_xlabel("time [s]")
    panels[0].plot([], [], color="0.35", linestyle=":", label="fluid limits")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9
    )
    return figure


def _draw_panel(axes: "Axes", computed: Computed, label: str) -> None:
    table = computed.tables[f"at_{label}"]
    for name in POLICIES:
        axes.plot(
            table["time_s"],
            table[f"{name} [requests]"],
            color=COLOUR[name],
            linewidth=2,
            linestyle="--" if name == "Sarathi-Serve" else "-",
            label=name,
        )
        axes.plot(
            table["time_s"], table[f"{name}, fluid [requests]"], color="0.35", linestyle=":"
        )
    axes.set_xlim(0, HORIZON)
    axes.set_ylim(0, CEILING[label])
    axes.set_ylabel("mean requests in system")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
