"""The boundary of Theorem 2, swept: growth of the backlog against the load.

Theorem 2: above the load 1 no policy is stable, below it every work-conserving one is. Ours are
the limits of FasterTransformer and vanilla vLLM, which the theorem does not give. Each backlog
grows at the slope of its fluid limit; this is compared with token-exact simulation from an
empty start, over the second half of each run, with independent arrivals in every cell. Loads
within 3 % of 1 are left out: there the engine forgets its start too slowly to measure a slope.
Workloads: 100 + 100 tokens, on which a reproduction tests the theorem, and the 129 + 112 of
Fig. 1. The budget of 512 and Poisson arrivals are chosen here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, final

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._published import COLOUR, ENGINE, POLICIES, fluid_growth, own_rate
from queueing_llm.plots import figure_class
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LENGTHS = ((100, 100), (129, 112))
PERCENT = (3, 30, 50, 60, 70, 80, 90, 95, 105, 110, 120)
"""Loads: arrival rate over the capacity of the engine."""
SEED = 7347
REJECTED = 0.001
"""Chance of such deviations or larger ones below which slopes are rejected."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One policy at one load: what is decided, and what is simulated."""

    lengths: tuple[int, int]
    name: str
    percent: int
    verdict: ql.Verdict
    run: ql.Run

    @property
    def key(self) -> str:
        """The cell in the names of values."""
        return f"{POLICIES[self.name].name}_{self.lengths[0]}_{self.lengths[1]}_{self.percent}"

    def is_below(self, name: str, lengths: tuple[int, int]) -> bool:
        """Whether the cell is one of a policy and a workload below load 1."""
        return (self.name, self.lengths) == (name, lengths) and self.percent < 100


def compute(*, quick: bool = False) -> Computed:
    """Decide and simulate every cell; ``quick`` takes shorter and fewer runs."""
    cells = list(_cells(quick=quick))
    values: dict[str, Value] = {
        "answers_above_1": _answers(cell for cell in cells if cell.percent > 100),
        "answers_below_1_if_work_conserving": _answers(
            cell
            for cell in cells
            if cell.percent < 100 and POLICIES[cell.name].is_work_conserving
        ),
        "verdict_and_simulation_agree": all(
            cell.run.grows == (cell.verdict.status is ql.Status.UNSTABLE) for cell in cells
        ),
        "cells": len(cells),
        "slopes_fit": _chance(cells) > REJECTED,
        "shifted_slopes_are_rejected": _chance(cells, shift=0.01) < REJECTED,
    }
    for cell in cells:
        values[f"growth_{cell.key}"] = cell.run.growth
        values[f"fluid_{cell.key}"] = fluid_growth(cell.verdict)
    for lengths in LENGTHS:
        workload = f"{lengths[0]}_{lengths[1]}"
        loads = {name: _own_load(lengths, policy) for name, policy in POLICIES.items()}
        values |= {
            f"critical_load_{POLICIES[name].name}_{workload}": load
            for name, load in loads.items()
        }
        values[f"throughput_optimal_{workload}"] = tuple(
            not any(cell.run.grows for cell in cells if cell.is_below(name, lengths))
            for name in POLICIES
        )
    return Computed(values=values, tables=_tables(cells))


def _cells(*, quick: bool) -> Iterator[Cell]:
    rng = np.random.default_rng(SEED)
    horizon, replications = (2000.0, 24) if quick else (4000.0, 96)
    for lengths in LENGTHS:
        for percent in PERCENT:
            workload = _workload(lengths, percent)
            for name, policy in POLICIES.items():
                run = ql.simulate(
                    ENGINE,
                    workload,
                    policy=policy,
                    horizon=horizon,
                    replications=replications,
                    samples=2,
                    seed=rng,
                )
                verdict = ql.check_stability(ENGINE, workload, policy=policy)
                yield Cell(lengths, name, percent, verdict, run)


def _answers(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return the different answers to these cells, each with its evidence."""
    answers = {f"{cell.verdict.status.value}, {cell.verdict.evidence.value}" for cell in cells}
    return tuple(sorted(answers))


def _workload(lengths: tuple[int, int], percent: int) -> ql.Workload:
    """Return the workload of a load, at an exact rate."""
    prompt, output = lengths
    workload = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    capacity = ql.capacity(ENGINE, workload).requests_per_second
    return workload.scale_to(Fraction(percent, 100) * capacity)


def _own_load(lengths: tuple[int, int], policy: ql.BatchRule) -> float:
    """Return the critical rate of a policy over the capacity of the engine."""
    workload = _workload(lengths, 100)
    return float(own_rate(workload, policy) / workload.arrival_rate)


def _chance(cells: list[Cell], *, shift: float = 0.0) -> float:
    """Return how likely the deviations from the fluid slopes are, all growing cells together.

    Fisher's combination of Student's tests. ``shift`` puts the slopes off, as if policies had
    lost that share of the offered work: a control, which must be rejected.
    """
    from scipy.stats import combine_pvalues, t

    chances = []
    for cell in cells:
        if cell.verdict.status is not ql.Status.UNSTABLE:
            continue
        found, slope = cell.run.growth, float(fluid_growth(cell.verdict))
        slope += shift * float(cell.verdict.arrival_rate) * sum(cell.lengths)
        score = abs(found.value - slope) / found.standard_error
        chances.append(2 * t.sf(score, found.observations - 1))
    return float(combine_pvalues(chances, method="fisher").pvalue)


def _tables(cells: list[Cell]) -> dict[str, dict[str, list]]:
    """Return one table per workload, a row per cell."""
    return {
        f"growth_{lengths[0]}_{lengths[1]}": {
            "policy": [cell.name for cell in chosen],
            "load": [cell.percent / 100 for cell in chosen],
            "fluid_growth_tokens_per_s": [float(fluid_growth(cell.verdict)) for cell in chosen],
            "simulated_growth_tokens_per_s": [cell.run.growth.value for cell in chosen],
            "standard_error_tokens_per_s": [cell.run.growth.standard_error for cell in chosen],
            "verdict": [cell.verdict.status.value for cell in chosen],
            "evidence": [cell.verdict.evidence.value for cell in chosen],
        }
        for lengths in LENGTHS
        for chosen in [[cell for cell in cells if cell.lengths == lengths]]
    }


def plot(computed: Computed) -> "Figure":
    """Draw growth against load, one panel per workload."""
    figure = figure_class()(figsize=(7.2, 4.6), layout="constrained")
    figure.suptitle(
        "Work-conserving schedulers keep up to load 1 (Theorem 2), the others do not.\n"
        "Beyond its own limit each backlog grows at the slope of its fluid limit",
        x=0.02,
        ha="left",
        fontsize=11,
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axes, lengths in zip(panels, LENGTHS, strict=True):
        _draw_panel(axes, computed, lengths)
    panels[0].set_ylabel("growth of the backlog [tokens/s]")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
        title="lines: fluid limits; points: simulated, with three standard errors",
        title_fontsize=9,
    )
    return figure


def _draw_panel(axes: "Axes", computed: Computed, lengths: tuple[int, int]) -> None:
    """Draw the fluid slopes as lines and the simulated ones as points with three errors."""
    prompt, output = lengths
    table = computed.tables[f"growth_{prompt}_{output}"]
    for name in POLICIES:
        rows = [i for i, policy in enumerate(table["policy"]) if policy == name]
        loads, fluid, simulated, errors = (
            np.array([table[column][i] for i in rows])
            for column in (
                "load",
                "fluid_growth_tokens_per_s",
                "simulated_growth_tokens_per_s",
                "standard_error_tokens_per_s",
            )
        )
        own = computed[f"critical_load_{POLICIES[name].name}_{prompt}_{output}"]
        x, y = np.array([*loads, own]), np.array([*fluid, 0.0])
        order = np.argsort(x)
        filled = name != "Orca"
        axes.plot(x[order], y[order], color=COLOUR[name], linewidth=1.3)
        axes.errorbar(
            loads,
            simulated,
            yerr=3 * errors,
            fmt="o" if filled else "s",
            markersize=4 if filled else 7,
            markerfacecolor=COLOUR[name] if filled else "none",
            color=COLOUR[name],
            linewidth=1,
            label=name,
        )
    axes.axvline(1, color="0.4", linestyle=":", linewidth=1)
    axes.set_title(f"{prompt} prompt + {output} output tokens", loc="left", fontsize=9.5)
    axes.set_xlabel("load: arrival rate / capacity [1]")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
