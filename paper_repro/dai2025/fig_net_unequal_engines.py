"""Join-shortest-queue uses unequal engines fully; a router that ignores queues does not.

Proposition 3 of arXiv:2504.07347v3 is about equal engines. That routing to the least work left
keeps engines of any speeds stable up to the sum of their rates is ours (a quadratic Lyapunov
function), and so is this experiment: two engines and one that is twice as fast, against a
router that sends each request to any of the three with equal chance.

Chosen here: speeds, workload (100 + 100 tokens), loads. In the fluid limit an even split lets
the slow engines overflow above 3/4 of the capacity. The library bounds the capacity by static
planning; it has no certificate for routing by queue length to unequal engines and says
UNDECIDED, so that they keep up below load 1 is simulated.
"""

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._networks import draw_points
from paper_repro.dai2025.fig_jsq import TOKENS, farm, run_of
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.scenarios import load_scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEEDS = (1, 1, 2)
LOADS = tuple(Fraction(percent, 100) for percent in (60, 70, 80, 90, 95, 105, 110))
EVEN = (Fraction(1, 3),) * 3
ROUTERS = {"shortest": "join-shortest-queue", "planned": "any engine, by chance"}
SEED = 2


def compute(*, quick: bool = False) -> Computed:
    """Return the capacity, the growth under two routers, and the share that each sustains."""
    one = load_scenario("theorem-2").engine
    engines = [faster(one, speed) for speed in SPEEDS]
    rng = np.random.default_rng(SEED)
    full = farm(engines, Fraction(1))
    growth: dict[tuple[str, Fraction], ql.Estimate] = {}
    for router in ROUTERS:
        shares = {"request": EVEN} if router == "planned" else None
        for load in LOADS:
            network = farm(engines, load, dispatch=router)
            run = run_of(network, quick=quick, rng=rng, shares=shares)
            growth[router, load] = run.growth
    capacity = full.arrival_rate
    even = len(SPEEDS) * min(
        ql.capacity(engine, load_scenario("theorem-2").workload).requests_per_second
        for engine in engines
    )
    verdict = ql.check_network(farm(engines, Fraction(9, 10)), find_scalings=False)

    def at(router: str, *percents: int) -> tuple[ql.Estimate, ...]:
        return tuple(growth[router, Fraction(percent, 100)] for percent in percents)

    return Computed(
        {
            "capacity": capacity,
            "even_split": even,
            "shortest_below": at("shortest", 80, 90, 95),
            "shortest_above": at("shortest", 110),
            "even_below": at("planned", 60, 70),
            "even_above": at("planned", 90, 95, 110),
            "verdict_on_shortest": verdict.status.name,
        },
        {"growth": _table(growth, float(capacity))},
    )


def faster(engine: ql.Engine, speed: int) -> ql.Engine:
    """Return an engine whose steps take that part of the time."""
    law = engine.step_time
    assert isinstance(law, ql.StaircaseStepTime), "the packaged law"
    shorter = replace(law, overhead=law.overhead / speed, per_block=law.per_block / speed)
    return replace(engine, step_time=shorter)


def fluid_growth(load: float, capacity: float, *, router: str) -> float:
    """Return the growth of the backlog in the fluid limit [tokens/s]."""
    offered, total = load * capacity * TOKENS, capacity * TOKENS
    if router == "shortest":
        return max(0.0, offered - total)
    rates = [total * speed / sum(SPEEDS) for speed in SPEEDS]
    return sum(max(0.0, offered / len(rates) - rate) for rate in rates)


def _table(
    growth: dict[tuple[str, Fraction], ql.Estimate], capacity: float
) -> dict[str, list[Any]]:
    cells = list(growth.items())
    return {
        "router": [ROUTERS[router] for (router, _), _ in cells],
        "load": [float(load) for (_, load), _ in cells],
        "capacity_per_s": [capacity for _ in cells],
        "fluid_growth_tokens_per_s": [
            fluid_growth(float(load), capacity, router=router) for (router, load), _ in cells
        ],
        "growth_tokens_per_s": [estimate.value for _, estimate in cells],
        "standard_error_tokens_per_s": [estimate.standard_error for _, estimate in cells],
    }


def plot(computed: Computed) -> "Figure":
    """Draw the growth of the backlog against the load, for both routers."""
    title = (
        "With one engine twice as fast, join-shortest-queue keeps up to load 1, an even split"
        " only to 3/4"
    )
    figure, axes = framed(title, height=4.0)
    table = computed.tables["growth"]
    capacity = table["capacity_per_s"][0]
    grid = np.linspace(0.58, 1.12, 217)
    for (router, name), colour in zip(ROUTERS.items(), COLOURS[2:], strict=False):
        fluid = [fluid_growth(load, capacity, router=router) / 1000 for load in grid]
        axes.plot(grid, fluid, color=colour, linewidth=1.2, linestyle="--")
        draw_points(
            axes,
            table,
            ("load", "growth_tokens_per_s", "standard_error_tokens_per_s"),
            where=("router", name),
            unit=1000,
            color=colour,
            label=name,
        )
    axes.plot([], [], color="0.3", linestyle="--", linewidth=1.2, label="fluid limit")
    axes.set_xlabel(f"load [1], of {capacity:.2f} requests/s that the engines serve together")
    axes.set_ylabel("growth of the backlog\n[thousand tokens/s], ± 3 standard errors")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure
