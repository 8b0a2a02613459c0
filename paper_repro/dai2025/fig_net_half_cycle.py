"""From load 0.5588 on, half a cycle of the agent pair multiplies its backlog.

The configuration is that of section 5.4 of arXiv:2504.07347v3; what follows is ours. If the
exit has priority, the long hops of both types are hardly ever served at the same time, so they
share one virtual server, and a queue of one type's short hops comes back as one of the other
type's, larger by lambda m / (1 - lambda m), m = 17/24 slot the time of a long hop. That is
above 1 from lambda = 12/17 on, a load of 19/34 = 0.5588. Three routes: the exact path of the
fluid model, certificates for and against every work-conserving rule, and a token-exact
simulation from a long queue, whose error is nearly that of chance alone.

If an engine may also put prefills before decodes and the reverse, as no rule that finishes
requests in order does, the worst case begins at lambda = 24/35, a load of 19/35 = 0.5429.
"""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._networks import answer, draw_points, known
from queueing_llm.networks import (
    FluidClasses,
    growing_cycle,
    is_globally_stable,
    multiclass,
    priority_fluid,
    two_station_threshold,
    virtual_stations,
)
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.scenarios import load_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOADS = tuple(map(Fraction, ("0.5", "0.53", "0.59", "0.62", "0.7", "0.9")))
BETWEEN = Fraction("0.55")
LONG_HOP = Fraction(17, 24)
SEED = 5


def compute(*, quick: bool = False) -> Computed:
    """Return thresholds and factors: exact, certified, simulated."""
    rng = np.random.default_rng(SEED)
    factors = {load: simulated_factors(load, quick=quick, rng=rng) for load in LOADS}
    estimates = {load: ql.Estimate.of(found, "replications") for load, found in factors.items()}
    thresholds = _thresholds()
    return Computed(
        {
            **thresholds,
            **_between(),
            "path_factors": tuple(path_factor(load) for load in LOADS),
            "path_factor_at_90": path_factor(LOADS[-1]),
            "simulated_factors": tuple(estimates[load] for load in LOADS[:-1]),
            "simulated_at_90": estimates[LOADS[-1]],
            "simulated_threshold": _crossing(factors, LOADS[1], LOADS[2]),
            "reversed_empties": _reversed_empties(rng),
        },
        {
            "factor": {
                "load": [float(load) for load in LOADS],
                "fluid_factor": [float(fluid_factor(load)) for load in LOADS],
                "simulated_factor": [e.value for e in estimates.values()],
                "standard_error": [e.standard_error for e in estimates.values()],
            },
            "thresholds": {
                "rule": ["finishes requests in order", "prefills and decodes in any order"],
                "load": [float(thresholds[f"{who}_load"]) for who in ("safe", "any_order")],
            },
        },
    )


def pair(load: Fraction) -> ql.AgentNetwork:
    """Return the pair with exit priority at a load of both engines."""
    return load_network("rybko-stolyar").network.scaled(load / Fraction(9, 10))


def rate_at(load: Fraction) -> Fraction:
    """Return the arrival rate of each type [requests/slot]."""
    return load * Fraction(768, 608)


def fluid_factor(load: Fraction) -> Fraction:
    """Return what half a cycle multiplies the backlog by [1]."""
    long = rate_at(load) * LONG_HOP
    return long / (1 - long)


def path_factor(load: Fraction) -> Fraction:
    """Return the same by following the fluid of the network from type A's short hops."""
    classes = fluid(load)
    path = priority_fluid(
        classes.network, priority=known(classes.priority), start=(1, 0, 0, 0), max_phases=2
    )
    emptied, _, other, last = path.states[-1]
    assert emptied == last == 0, "half a cycle ends with one class"
    return other


def fluid(load: Fraction, *, split_phases: bool = False) -> FluidClasses:
    """Return the pair as a multiclass network, prefills and decodes apart or not."""
    classes = multiclass(pair(load), split_phases=split_phases)
    assert isinstance(classes, FluidClasses), "the pair has a fluid model"
    return classes


def _thresholds() -> dict[str, Any]:
    """Return what the verdicts say of the pair, in loads and in rates per type and slot."""
    load, rate = LOADS[-1], rate_at(LOADS[-1])
    at_90 = ql.check_network(pair(load))
    classes = fluid(load)
    (heavy,) = known(virtual_stations(classes.network, priority=classes.priority))
    near = (Fraction("0.5588"), Fraction("0.5589"))
    answers = [ql.check_network(pair(at), find_scalings=False) for at in near]
    return {
        "safe_load": known(at_90.any_policy_scaling) * load,
        "safe_rate": known(at_90.any_policy_scaling) * rate,
        "unsafe_load": known(at_90.unstable_scaling) * load,
        "whole_factor": at_90.growth_factor,
        "virtual_load": heavy.load,
        "any_order_load": known(at_90.any_order_scaling) * load,
        "any_order_rate": known(at_90.any_order_scaling) * rate,
        "near_threshold": tuple(map(answer, answers)),
    }


def _between() -> dict[str, Any]:
    """Return what holds at load 0.55, with prefills and decodes in order and apart."""
    verdict = ql.check_network(pair(BETWEEN), find_scalings=False)
    document = known(verdict.certificate).document
    largest = max(Fraction(*weight) for piece in document["weights"] for weight in piece)
    split = fluid(BETWEEN, split_phases=True).network
    worst = known(known(two_station_threshold(split)).binding.priority)
    cycle = growing_cycle(split, priority=worst)
    return {
        "margin_at_55": Fraction(*document["margin"]) / largest,
        "grows_at_55": cycle is not None and cycle.factor > 1,
        "holds_at_5428": is_globally_stable(
            fluid(Fraction("0.5428"), split_phases=True).network
        ),
    }


def simulated_factors(load: Fraction, *, quick: bool, rng: np.random.Generator) -> np.ndarray:
    """Return what half a cycle multiplied a long queue of short hops by, in each run [1].

    Type A's short hops wait at engine 1. The half cycle ends when engine 2 has no long hop of
    type A any more; until then type B's short hops have piled up there.
    """
    start, replications = (16_000, 16) if quick else (48_000, 24)
    long = float(rate_at(load) * LONG_HOP)
    slots = int(1.1 * start * float(LONG_HOP) / (1 - long)) + 500
    network = pair(load)
    enters_a, leaves_a, enters_b, _ = range(len(network.visits))
    first = {network.visits[enters_a].name: start}
    factors = []
    for _ in range(replications):
        run = ql.simulate_network(network, horizon=slots, samples=slots, seed=rng, start=first)
        present = run.present[0]
        begun = int(np.argmax(present[:, leaves_a] > 0))
        over = begun + int(np.argmax(present[begun:, leaves_a] == 0))
        assert present[over, leaves_a] == 0, "the horizon covers half a cycle"
        factors.append(present[: over + 1, enters_b].max() / start)
    return np.array(factors)


def _crossing(
    factors: dict[Fraction, np.ndarray], low: Fraction, high: Fraction
) -> ql.Estimate:
    """Return the load at which the factor passes 1, straight in the logarithm between two."""
    before, after = -np.log(factors[low]), np.log(factors[high])
    loads = float(low) + float(high - low) * before / (before + after)
    return ql.Estimate.of(loads, "replications")


def _reversed_empties(rng: np.random.Generator) -> bool:
    """Return whether the same long queue at load 0.9 is gone later, short hops first."""
    network = load_network("rybko-stolyar-stable").network
    start, slots = 4000, 60_000
    run = ql.simulate_network(
        network, horizon=slots, seed=rng, start={network.visits[0].name: start}, replications=8
    )
    return bool((run.sessions_in_system[:, -1] < start / 10).all())


def plot(computed: Computed) -> "Figure":
    """Draw the factor of half a cycle against the load."""
    title = "From load 0.5588 on, each half cycle of the agent pair is larger"
    figure, axes = framed(title, height=4.2)
    safe, any_order = computed.tables["thresholds"]["load"]
    loads = [percent / 100 for percent in range(48, 93)]
    factors = [float(fluid_factor(Fraction(percent, 100))) for percent in range(48, 93)]
    axes.axvspan(any_order, safe, color=COLOURS[4], alpha=0.25, linewidth=0)
    axes.axhline(1, color="0.4", linewidth=0.8)
    axes.plot(loads, factors, color=COLOURS[0], linewidth=1.4, label="fluid model, exit first")
    draw_points(
        axes,
        computed.tables["factor"],
        ("load", "simulated_factor", "standard_error"),
        color=COLOURS[2],
        label="simulated, ± 3 standard errors",
    )
    for text, point, at in (
        (
            f"load {safe:.4f}: below, every rule that\nfinishes requests in order is stable",
            (safe, 1),
            (0.585, 0.62),
        ),
        (
            f"from {any_order:.4f} on, some order\nof prefills and decodes grows",
            ((any_order + safe) / 2, 2.0),
            (0.58, 2.5),
        ),
    ):
        line = {"arrowstyle": "-", "color": "0.4", "linewidth": 0.8}
        axes.annotate(text, point, xytext=at, fontsize=8.5, arrowprops=line)
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 4], ["1", "2", "4"])
    axes.set_yticks([], minor=True)
    axes.set_xlim(0.48, 0.92)
    axes.set_ylim(0.55, 5.5)
    axes.set_xlabel("load of each engine [1]")
    axes.set_ylabel("queue after half a cycle\nover queue before [1]")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure
