"""A larger budget that serves less: two tokens above a block of the staircase.

Assumption 1 lets the block divide the token budget. Ours, by the argument of Theorem 2: if it
does not, work conservation fills a batch that is not the best one. At 130 tokens a full batch
serves 1,581 tokens/s, at 128 it serves 2,738. Between the two rates Sarathi-Serve diverges with
the larger budget and is stable with the smaller. Workload 100 + 100 tokens, Poisson arrivals.
"""

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._published import ENGINE, fluid_growth
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGETS = (128, 130)
OFFERED = (1400, 1700, 2000, 2500)
"""Work that arrives [tokens/s]."""
WORK = 200
SEED = 130


def compute(*, quick: bool = False) -> Computed:
    """Decide and simulate both budgets; ``quick`` takes 12 replications, not 48."""
    rng = np.random.default_rng(SEED)
    values: dict[str, Value] = {}
    columns: dict[str, list[float]] = {"offered_tokens_per_s": list(OFFERED)}
    for budget in BUDGETS:
        engine = replace(ENGINE, token_budget=budget)
        growths = []
        for offered in OFFERED:
            workload = ql.Workload.poisson(
                Fraction(offered, WORK), prompt_tokens=100, output_tokens=100
            )
            verdict = ql.check_stability(engine, workload, policy=ql.SARATHI)
            run = ql.simulate(
                engine,
                workload,
                policy=ql.SARATHI,
                horizon=2000,
                replications=12 if quick else 48,
                seed=rng,
            )
            values[f"status_{budget}_{offered}"] = verdict.status.value
            values[f"fluid_{budget}_{offered}"] = fluid_growth(verdict)
            values[f"growth_{budget}_{offered}"] = run.growth
            growths.append((float(fluid_growth(verdict)), run.growth))
        columns[f"fluid_growth_{budget}_tokens_per_s"] = [fluid for fluid, _ in growths]
        columns[f"growth_{budget}_tokens_per_s"] = [found.value for _, found in growths]
        columns[f"error_{budget}_tokens_per_s"] = [e.standard_error for _, e in growths]
    values["status_at_2000"] = tuple(values[f"status_{b}_2000"] for b in BUDGETS)
    return Computed(values=values, tables={"budgets": columns})


def plot(computed: Computed) -> "Figure":
    """Draw the growth under both budgets."""
    figure, axes = framed(
        "Two more tokens in the budget cost 42 % of the engine: where a budget of 128 is "
        "stable, 130 diverges under the same work-conserving scheduler",
        height=4.0,
    )
    table = computed.tables["budgets"]
    offered = np.array(table["offered_tokens_per_s"])
    for budget, colour in zip(BUDGETS, (COLOURS[3], COLOURS[0]), strict=True):
        serves = float(budget / ENGINE.step_time(budget))
        fine = np.linspace(offered[0], offered[-1], 200)
        axes.plot(fine, np.maximum(0, fine - serves), color=colour, linewidth=1.3)
        axes.errorbar(
            offered,
            table[f"growth_{budget}_tokens_per_s"],
            yerr=3 * np.array(table[f"error_{budget}_tokens_per_s"]),
            fmt="o",
            markersize=5,
            color=colour,
            label=f"budget {budget}: a full batch serves {serves:,.0f} tokens/s",
        )
    axes.set_xlabel("work that arrives [tokens/s]")
    axes.set_ylabel("growth of the backlog [tokens/s]")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(
        loc="upper left",
        frameon=False,
        fontsize=9,
        title="Sarathi-Serve; points: simulated, lines: fluid limit",
        alignment="left",
    )
    return figure
