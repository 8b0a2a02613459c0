"""A workflow of a planner, two workers side by side and an aggregator carries 3.34 per second.

Section 5 of arXiv:2504.07347v3: every work-conserving rule is throughput-optimal for fork-join
workflows. Here each of the four agents has an engine of its own, which for itself would carry
6.69, 3.34, 3.71 and 4.46 workflows per second; so the first worker decides. A certificate shows
that every work-conserving rule keeps up at 3.34/s and none at 3.35/s, and a simulation, token
by token, shows the backlog at each engine below and above.

Chosen here, as the paper does not say it: tokens of the four visits (400 + 100, 800 + 200,
600 + 300, 600 + 150), the step time of its CodeLlama-34B for all engines, a budget of 512,
Sarathi's rule, Poisson arrivals. The exact statement of the theorem is unknown. Loads
closer than 5 % to the limits of the two workers are left out.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._networks import answer, draw_points, known, proof
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.scenarios import load_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOADS = tuple(Fraction(percent, 100) for percent in (80, 90, 95, 105, 120, 130))
JUST_BELOW, JUST_ABOVE = Fraction(334, 100), Fraction(335, 100)
SEED = 3


def compute(*, quick: bool = False) -> Computed:
    """Return limits and verdicts, exact, and simulated growth and throughput."""
    network = load_network("fork-join").network
    load = ql.network_load(network)
    rng = np.random.default_rng(SEED)
    replications, horizon = (24, 2000.0) if quick else (48, 4000.0)
    runs = [
        ql.simulate_network(
            network.scaled(share * known(load.scaling)),
            horizon=horizon,
            warmup=horizon / 5,
            replications=replications,
            seed=rng,
            samples=500,
        )
        for share in LOADS
    ]
    growth = [engine_growth(run) for run in runs]
    return Computed(
        {
            **_exact(network, load),
            "overload_tokens": runs[-1].token_throughput[1],
            "growth_below": tuple(growth[1]),
            "growth_at_105": tuple(growth[3]),
            "growth_at_130": tuple(growth[5]),
            "grows": tuple(run.grows for run in runs),
        },
        {"growth": _table(growth, load)},
    )


def _exact(network: ql.AgentNetwork, load: ql.NetworkLoad) -> dict[str, Any]:
    """Return what needs no simulation."""
    verdict = ql.check_network(network)
    below, above = (at_rate(network, rate) for rate in (JUST_BELOW, JUST_ABOVE))
    return {
        "limits": tuple(load.session_rate / known(engine.load) for engine in load.engines),
        "capacity": known(load.capacity),
        "bottleneck": load.bottleneck,
        "just_below": answer(below),
        "status_just_below": below.status.name,
        "just_above": answer(above),
        "proofs": (proof(below), proof(above)),
        "boundaries": tuple(
            known(scaling) * load.session_rate
            for scaling in (verdict.any_order_scaling, verdict.unstable_scaling)
        ),
    }


def at_rate(network: ql.AgentNetwork, rate: Fraction) -> ql.NetworkVerdict:
    """Return the verdict at an arrival rate of workflows [1/s]."""
    return ql.check_network(network.scaled(rate / network.arrival_rate), find_scalings=False)


def engine_growth(run: ql.NetworkRun) -> tuple[ql.Estimate, ...]:
    """Return the growth of the backlog at each engine after the warm-up [tokens/s].

    As for ``run.growth``: mean of the second half less that of the first, over half the time.
    """
    kept = run.times >= run.warmup
    first, second = np.array_split(run.backlog_tokens[:, kept], 2, axis=1)
    slopes = (second.mean(axis=1) - first.mean(axis=1)) / ((run.horizon - run.warmup) / 2)
    return tuple(ql.Estimate.of(slopes[:, e], "replications") for e in range(slopes.shape[1]))


def fluid_growth(rate: float, load: ql.NetworkLoad) -> tuple[float, ...]:
    """Return the growth at each engine in the fluid limit of a fork-join [tokens/s].

    Planner, workers, aggregator: what leaves the planner comes to both workers, and the
    aggregator gets as much as the slower worker finishes.
    """
    offered = [
        float((e.prefill_rate + e.decode_rate) / load.session_rate) for e in load.engines
    ]
    served = [float((e.prefill_rate + e.decode_rate) / e.load) for e in load.engines if e.load]
    planned = min(rate, served[0] / offered[0])
    joined = min(planned, served[1] / offered[1], served[2] / offered[2])
    flows = (rate, planned, planned, joined)
    return tuple(max(0.0, f * w - r) for f, w, r in zip(flows, offered, served, strict=True))


def _table(
    growth: Sequence[tuple[ql.Estimate, ...]], load: ql.NetworkLoad
) -> dict[str, list[Any]]:
    cells = []
    names = [engine.name for engine in load.engines]
    for share, found in zip(LOADS, growth, strict=True):
        rate = float(share * known(load.capacity))
        for row in zip(names, fluid_growth(rate, load), found, strict=True):
            cells.append((rate, *row))
    return {
        "workflows_per_s": [rate for rate, _, _, _ in cells],
        "engine": [name for _, name, _, _ in cells],
        "fluid_growth_tokens_per_s": [fluid for _, _, fluid, _ in cells],
        "growth_tokens_per_s": [estimate.value for _, _, _, estimate in cells],
        "standard_error_tokens_per_s": [e.standard_error for _, _, _, e in cells],
    }


def plot(computed: Computed) -> "Figure":
    """Draw the growth of the backlog at each engine against the rate of workflows."""
    title = "A fork-join of agents keeps up as long as its slowest worker does"
    figure, axes = framed(title, height=4.2)
    table = computed.tables["growth"]
    load = ql.network_load(load_network("fork-join").network)
    grid = np.linspace(2.6, 4.45, 371)
    fluid = np.array([fluid_growth(rate, load) for rate in grid])
    for i, engine in enumerate(load.engines):
        limit = float(load.session_rate / known(engine.load))
        axes.plot(grid, fluid[:, i], color=COLOURS[i], linewidth=1.2, linestyle="--")
        draw_points(
            axes,
            table,
            ("workflows_per_s", "growth_tokens_per_s", "standard_error_tokens_per_s"),
            where=("engine", engine.name),
            color=COLOURS[i],
            fmt="os^D"[i],
            # Larger below, so that equal points can be told apart.
            markersize=9 - 1.5 * i,
            label=f"{engine.name.replace('_', ' ')}: alone {limit:.2f}/s",
        )
    axes.plot([], [], color="0.3", linestyle="--", linewidth=1.2, label="fluid limit")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlabel("arrival rate [workflows/s]")
    axes.set_ylabel("growth of the backlog at the engine\n[tokens/s], ± 3 standard errors")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure
