"""K engines behind join-shortest-queue keep up to K times the rate of one.

Proposition 3 and Remark 4 of arXiv:2504.07347v3. The backlog of K = 1 to 4 engines is simulated
token by token at 0.8 to 1.2 of the boundary; its growth is held against that of the fluid
limit, and what is served in overload against the boundary itself, a second route to it.

Chosen here, as the paper does not say it: Poisson arrivals of 100 + 100 tokens at a budget of
512 (the workload that a reproduction names; the paper's own is unknown), Sarathi's rule in
every engine, loads and horizons. The queue whose length counts is that of tokens of work left;
what the paper counts is unknown. Loads closer to the boundary than 5 % are left out: there
runs of this length look stable and unstable by turns.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._networks import draw_points, known
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.scenarios import load_scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERVERS = (1, 2, 3, 4)
LOADS = tuple(Fraction(percent, 100) for percent in (80, 90, 95, 105, 110, 120))
TOKENS = 200
SEED = 1


def compute(*, quick: bool = False) -> Computed:
    """Return boundaries by theorem, and growth and throughput by simulation."""
    scenario = load_scenario("theorem-2")
    engine, workload = scenario.engine, scenario.workload
    rates = [
        ql.critical_rate(engine, workload, policy=ql.SARATHI, servers=servers)
        for servers in SERVERS
    ]
    boundaries = [known(rate.value) for rate in rates]
    rng = np.random.default_rng(SEED)
    runs = {
        (servers, load): run_of(farm([engine] * servers, load), quick=quick, rng=rng)
        for servers in SERVERS
        for load in LOADS
    }

    def growth_at(percent: int) -> tuple[ql.Estimate, ...]:
        return tuple(runs[servers, Fraction(percent, 100)].growth for servers in SERVERS)

    return Computed(
        {
            "multiples": tuple(
                engines_served(runs[servers, LOADS[-1]], boundaries[0]) for servers in SERVERS
            ),
            "boundaries": tuple(boundaries),
            "evidence": tuple(rate.evidence.value for rate in rates),
            "growth_at_90": growth_at(90),
            "growth_at_95": growth_at(95),
            "growth_at_110": growth_at(110),
            "overload_rates": requests_served(runs[SERVERS[-1], LOADS[-1]]),
            "which_grow": tuple(
                tuple(k for k in SERVERS if runs[k, load].grows) for load in LOADS
            ),
        },
        {"growth": _table(runs, [float(boundary) for boundary in boundaries])},
    )


def farm(
    engines: Sequence[ql.Engine], load: Fraction, *, dispatch: str = "shortest"
) -> ql.AgentNetwork:
    """Return engines behind one router, at a share of what they can serve together."""
    graph = nx.DiGraph(engines={f"engine {i}": e for i, e in enumerate(engines, start=1)})
    graph.add_node(
        "request",
        engine=list(graph.graph["engines"]),
        prompt_tokens=100,
        output_tokens=100,
        arrival_rate=1,
        dispatch=dispatch,
    )
    network = ql.AgentNetwork(graph)
    return network.scaled(load * known(ql.network_load(network).capacity))


def run_of(
    network: ql.AgentNetwork, *, quick: bool, rng: np.random.Generator, **options: Any
) -> ql.NetworkRun:
    """Return a simulation from empty engines that leaves out its first fifth."""
    replications, horizon = (24, 500.0) if quick else (48, 1000.0)
    return ql.simulate_network(
        network,
        horizon=horizon,
        warmup=horizon / 5,
        replications=replications,
        seed=rng,
        **options,
    )


def requests_served(run: ql.NetworkRun) -> tuple[ql.Estimate, ...]:
    """Return what each engine serves, its tokens counted in whole requests [requests/s].

    Finished requests come in waves, as equal ones that start together end together; tokens
    do not.
    """
    return tuple(
        replace(rate, value=rate.value / TOKENS, standard_error=rate.standard_error / TOKENS)
        for rate in run.token_throughput
    )


def engines_served(run: ql.NetworkRun, boundary: Fraction) -> ql.Estimate:
    """Return what all engines serve together, as a multiple of the boundary of one [1].

    Their standard errors are added: an upper limit, however they depend on each other.
    """
    rates = requests_served(run)
    return replace(
        rates[0],
        value=sum(rate.value for rate in rates) / float(boundary),
        standard_error=sum(rate.standard_error for rate in rates) / float(boundary),
    )


def _table(
    runs: dict[tuple[int, Fraction], ql.NetworkRun], boundaries: Sequence[float]
) -> dict[str, list[Any]]:
    cells = [(k, load, runs[k, load].growth) for k, load in runs]
    return {
        "engines": [k for k, _, _ in cells],
        "load": [float(load) for _, load, _ in cells],
        "boundary_per_s": [boundaries[k - 1] for k, _, _ in cells],
        "arrival_rate_per_s": [float(load) * boundaries[k - 1] for k, load, _ in cells],
        "fluid_growth_tokens_per_s": [
            max(0.0, float(load) - 1) * boundaries[k - 1] * TOKENS for k, load, _ in cells
        ],
        "growth_tokens_per_s": [growth.value for _, _, growth in cells],
        "standard_error_tokens_per_s": [growth.standard_error for _, _, growth in cells],
    }


def plot(computed: Computed) -> "Figure":
    """Draw the growth of the backlog against the arrival rate, a hinge for each K."""
    title = "K engines behind join-shortest-queue keep up to K times the rate of one"
    figure, axes = framed(title, height=4.2)
    table = computed.tables["growth"]
    for servers, colour in zip(SERVERS, COLOURS, strict=False):
        boundary = table["boundary_per_s"][table["engines"].index(servers)]
        hinge = [0.78 * boundary, boundary, 1.22 * boundary]
        slope = [0, 0, 0.22 * boundary * TOKENS / 1000]
        axes.plot(hinge, slope, color=colour, linewidth=1.2, linestyle="--")
        draw_points(
            axes,
            table,
            ("arrival_rate_per_s", "growth_tokens_per_s", "standard_error_tokens_per_s"),
            where=("engines", servers),
            unit=1000,
            color=colour,
            label=f"K = {servers}: boundary {boundary:.2f}/s",
        )
    axes.plot([], [], color="0.3", linestyle="--", linewidth=1.2, label="fluid limit")
    axes.set_xlabel("arrival rate [requests/s]")
    axes.set_ylabel("growth of the backlog\n[thousand tokens/s], ± 3 standard errors")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure
