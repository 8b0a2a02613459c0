"""The Rybko-Stolyar network: three orders of service for the same calls.

Calls of one type visit station A, then B, those of the other B, then A. Left: the calls of each
type that wait to enter, if those that leave go first, from the exact fluid path and from one
simulated network. Right: all calls in the network under three orders of service.

Chosen here, because the paper's numbers are not at hand: mean services 1/10 s for the first hop
and 3/5 s for the second, 9/10 calls/s of each type on the left and 9/7 on the right, where
both stations are loaded to 9/10. In the simulation services are geometric numbers of steps of
1/10 s, and priorities do not interrupt.
"""

from fractions import Fraction as F
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.lu_kumar1991.as_engines import as_engines
from paper_repro.lu_kumar1991.two_paths import draw_two_paths, two_paths
from queueing_llm.certificates import certify_growth
from queueing_llm.networks import (
    LyapunovPieces,
    cycle_attraction,
    drift_margin,
    growing_cycle,
    priority_fluid,
    station_loads,
    two_station_threshold,
    virtual_stations,
)
from queueing_llm.plots import COLOURS, two_panels
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORT, LONG = F(1, 10), F(3, 5)
RATE, LOWER, HIGHER = F(9, 10), F(4, 5), F(9, 7)
ORDERS = {
    "leaving calls first": (1, 0, 1, 0),
    "first come, first served": (0, 0, 0, 0),
    "entering calls first": (0, 1, 0, 1),
}
LEAVING_FIRST = ORDERS["leaving calls first"]
START = 4000
HORIZON = 20 * START
SEED = 1992
LABELS = {
    "enter_at_a_calls": "waiting to enter at A",
    "enter_at_b_calls": "waiting to enter at B",
}


def pair(
    rate: F, *, rates: tuple[int, int] = (1, 1), long: tuple[F, F] = (LONG, LONG)
) -> ql.MulticlassNetwork:
    """Return the network, with ``rate`` times ``rates`` arrivals of the two types [calls/s]."""
    return ql.MulticlassNetwork.with_routes(
        ["AB", "BA"],
        mean_service=[SHORT, long[0], SHORT, long[1]],
        arrival_rates=[rate * times for times in rates],
    )


def simulated_factor(rate: F, *, replications: int) -> ql.Estimate:
    """Return the second type's queue when the first type's has gone, over the start."""
    seconds = int(START * float(LONG / (1 - rate * LONG)))
    run = ql.simulate_network(
        as_engines(pair(rate), priority=LEAVING_FIRST),
        horizon=2 * seconds,
        samples=2 * seconds,
        replications=replications,
        seed=SEED,
        start={"1": START},
    )
    last = run.present[:, seconds // 4 :, 1]
    assert (last[:, 0] > 0).all()
    assert (last == 0).any(axis=1).all()
    # The sample before, as the other queue falls by up to ten calls in the second after.
    before = seconds // 4 + np.argmax(last == 0, axis=1) - 1
    factors = run.present[np.arange(replications), before, 2] / START
    return ql.Estimate.of(factors, "replications")


def compute(*, quick: bool = False) -> Computed:
    """Follow the network as a fluid, and as engines under three orders of service."""
    replications = 48 if quick else 192
    totals, drained = totals_by_order(4 if quick else 16)
    values = fluid_values() | verdict_values() | drained
    values["simulated_half_factor"] = simulated_factor(RATE, replications=replications)
    values["simulated_half_factor_at_lower_rate"] = simulated_factor(
        LOWER, replications=replications
    )
    paths = two_paths(
        pair(RATE),
        priority=LEAVING_FIRST,
        start=START,
        shown={"enter_at_a_calls": 0, "enter_at_b_calls": 2},
        seed=SEED,
    )
    return Computed(values, paths | {"total_calls": totals})


def fluid_values() -> dict[str, Any]:
    """Return what the exact fluid paths say."""
    path = priority_fluid(pair(RATE), priority=LEAVING_FIRST, start=[1, 0, 0, 0], max_phases=4)
    cycle = growing_cycle(pair(RATE), priority=LEAVING_FIRST)
    assert cycle is not None
    attraction = cycle_attraction(pair(RATE), cycle)
    weights = tuple(tuple(map(F, piece)) for piece in ((1, 0, 1, 1), (1, 1, 1, 0)))
    mixture = ((F(0), F(1)), (F(1), F(0)))
    return {
        "half_factor": path.states[1][2],
        "factor": cycle.factor,
        "half_time": path.times[1],
        "path_is_the_only_one": path.is_forced,
        "calls_are_drawn_to_it": attraction.attracts,
        "growth_is_certified": certify_growth(pair(RATE), cycle) is not None,
        "drift_at_lower_rate": drift_margin(
            pair(LOWER), LyapunovPieces(weights, mixture, None, (), F(0))
        ),
    }


def verdict_values() -> dict[str, Any]:
    """Return the library's answers, and the rates at which they change."""
    verdicts = {
        name: ql.check_network(as_engines(pair(RATE), priority=ranks), find_scalings=False)
        for name, ranks in ORDERS.items()
    }
    equal = two_station_threshold(pair(F(1)))
    unequal = two_station_threshold(pair(F(1), rates=(1, 2), long=(LONG, LONG / 2)))
    virtual = virtual_stations(pair(RATE), priority=LEAVING_FIRST)
    assert equal is not None
    assert unequal is not None
    assert virtual is not None
    return {
        "largest_load": max(station_loads(pair(RATE))),
        "virtual_load": virtual[0].load,
        "threshold": equal.scaling,
        "threshold_of_unequal_types": unequal.scaling,
        "nominal_threshold_of_unequal_types": unequal.nominal_scaling,
    } | {
        f"verdict: {name}": (verdict.status.value, verdict.evidence.value)
        for name, verdict in verdicts.items()
    }


def totals_by_order(replications: int) -> tuple[dict[str, list[float]], dict[str, bool]]:
    """Return the mean number of calls in the network over time, and whether it drained."""
    columns: dict[str, list[float]] = {}
    drained: dict[str, bool] = {}
    for name, ranks in ORDERS.items():
        run = ql.simulate_network(
            as_engines(pair(HIGHER), priority=ranks),
            horizon=HORIZON,
            replications=replications,
            seed=SEED,
            start={"1": START},
        )
        columns["time_s"] = run.times.tolist()
        columns[f"{name} [calls]"] = run.sessions_in_system.mean(axis=0).tolist()
        # A stable network of this load holds some dozens of calls.
        emptied = run.sessions_in_system.min(axis=1) < 10
        drained[f"drains: {name}"] = bool(emptied.all())
        drained[f"keeps its backlog: {name}"] = not emptied.any()
    return columns, drained


def plot(computed: Computed) -> "Figure":
    """Draw the two queues beside the totals."""
    figure, left, right = two_panels(
        "Serving first what leaves makes the queues grow; first come, first served drains them",
        height=3.9,
    )
    draw_two_paths(left, computed.tables, LABELS)
    left.set_ylabel("calls")
    left.set_title("leaving calls first, load 0.63", fontsize=10)
    totals = computed.tables["total_calls"]
    hours = [seconds / 3600 for seconds in totals["time_s"]]
    for name, colour in zip(ORDERS, (COLOURS[0], COLOURS[3], COLOURS[2]), strict=True):
        counts = [max(count, 1) for count in totals[f"{name} [calls]"]]
        right.plot(hours, counts, color=colour, label=name)
    right.set(xlabel="time [hours]", ylabel="calls in the network, mean")
    right.set_title("load 0.9", fontsize=10)
    right.set_yscale("log")
    right.legend(loc="center right", fontsize=8)
    return figure
