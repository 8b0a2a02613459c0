"""The Lu-Kumar line: queues that come back larger, in the fluid and token by token.

Jobs visit stations A, B, B, A. A serves the last buffer before the first, B the second before
the third. Left: what waits in buffers 1 and 4 after a start with 4,000 jobs in buffer 1, from
the exact fluid path and from one simulated network. Right: by how much the first queue has
grown when it is back alone, against the arrival rate: formula, exact fluid path, simulation.

Chosen here, because the paper's numbers are not at hand: mean services 1/10, 3/5, 1/10, 3/5 s
and the rate 9/10 of the left panel. In the simulation arrivals are Poisson, services are
geometric numbers of steps of 1/10 s, and priorities do not interrupt a service; the paper's
jobs and machines are deterministic.
"""

from fractions import Fraction as F
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.lu_kumar1991.as_engines import as_engines
from paper_repro.lu_kumar1991.two_paths import draw_two_paths, two_paths
from queueing_llm.certificates import certify_growth, certify_network_stability
from queueing_llm.networks import (
    cycle_attraction,
    drift_margin,
    growing_cycle,
    priority_fluid,
    stability_pieces,
    station_loads,
    two_station_pieces,
    two_station_threshold,
    virtual_stations,
)
from queueing_llm.plots import COLOURS, two_panels
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEANS = (F(1, 10), F(3, 5), F(1, 10), F(3, 5))
CLASSIC = (F(1, 100), F(2, 3), F(1, 100), F(2, 3))
RATE, LOWER = F(9, 10), F(4, 5)
LAST_AND_SECOND = (1, 0, 1, 0)
"""The unstable priority: A serves buffer 4 before 1, B serves 2 before 3."""
START = 4000
ROUND = 3.5
"""Longer than a round in which the queue grows by a fifth, over the jobs at its start [s]."""
ROUTES = ("ABBA", "ABABA", "AABBA", "BABBA", "ABAAB")
SEED = 1991
LABELS = {"buffer_1_jobs": "buffer 1", "buffer_4_jobs": "buffer 4"}


def line(rate: F, *, means: tuple[F, ...] = MEANS, route: str = "ABBA") -> ql.MulticlassNetwork:
    """Return the line with this rate of arrivals [jobs/s]."""
    return ql.MulticlassNetwork.with_routes([route], mean_service=means, arrival_rates=[rate])


def factor(rate: F, *, means: tuple[F, ...] = MEANS) -> F:
    """Return the growth of the queue from round to round: alpha m_4 / (1 - alpha m_2)."""
    return rate * means[3] / (1 - rate * means[1])


def fluid_factor(rate: F, *, means: tuple[F, ...] = MEANS) -> F:
    """Return the same by following the fluid from (1, 0, 0, 0), event by event."""
    path = priority_fluid(
        line(rate, means=means), priority=LAST_AND_SECOND, start=[1, 0, 0, 0], max_phases=4
    )
    return path.states[-1][0]


def simulated_factor(rate: F, *, replications: int) -> ql.Estimate:
    """Return the queue as buffer 4 empties, over its start, in simulated networks."""
    run = ql.simulate_network(
        as_engines(line(rate), priority=LAST_AND_SECOND),
        horizon=ROUND * START,
        samples=int(ROUND * START),
        replications=replications,
        seed=SEED,
        start={"1": START},
    )
    # Buffer 4 fills once buffer 3 is served, after START m_2 / (1 - rate m_2) seconds.
    begun = int(START * float(MEANS[1] / (1 - rate * MEANS[1]))) + START // 4
    last = run.present[:, begun:, 3]
    assert (last[:, 0] > 0).all()
    assert (last == 0).any(axis=1).all()
    # The sample before, as the queue falls by up to ten jobs in the second after.
    before = begun + np.argmax(last == 0, axis=1) - 1
    factors = run.present[np.arange(replications), before, 0] / START
    return ql.Estimate.of(factors, "replications")


def compute(*, quick: bool = False) -> Computed:
    """Follow the line as a fluid and as a network of engines."""
    replications = 48 if quick else 192
    above = simulated_factor(RATE, replications=replications)
    below = simulated_factor(LOWER, replications=replications)
    values = fluid_values() | verdict_values() | buffer_order_values()
    values |= {"simulated_factor": above, "simulated_factor_at_lower_rate": below}
    others = [] if quick else [F(7, 10), F(5, 6), F(1)]
    points = {RATE: above, LOWER: below} | {
        rate: simulated_factor(rate, replications=replications // 4) for rate in others
    }
    return Computed(
        values,
        {
            "factor": factor_curve(),
            "simulated_factor": {
                "arrival_rate_per_s": [float(rate) for rate in sorted(points)],
                "factor": [points[rate].value for rate in sorted(points)],
                "standard_error": [points[rate].standard_error for rate in sorted(points)],
            },
            **two_paths(
                line(RATE),
                priority=LAST_AND_SECOND,
                start=START,
                shown={"buffer_1_jobs": 0, "buffer_4_jobs": 3},
                seed=SEED,
            ),
        },
    )


def fluid_values() -> dict[str, Any]:
    """Return what the exact fluid paths say."""
    path = priority_fluid(
        line(RATE), priority=LAST_AND_SECOND, start=[1, 0, 0, 0], max_phases=4
    )
    cycle = growing_cycle(line(RATE), priority=LAST_AND_SECOND)
    rates = [F(n, 20) for n in range(13, 24)]
    attraction = None if cycle is None else cycle_attraction(line(RATE), cycle)
    return {
        "phase_ends": path.times,
        "factor": path.states[-1][0],
        "factor_at_lower_rate": fluid_factor(LOWER),
        "factor_of_classic_numbers": fluid_factor(F(1), means=CLASSIC),
        "loads_of_classic_numbers": station_loads(line(F(1), means=CLASSIC)),
        "formula_is_the_path": all(fluid_factor(rate) == factor(rate) for rate in rates),
        "another_path_starts_there": not path.is_forced,
        "jobs_are_drawn_to_it": attraction is not None and attraction.attracts,
        "growth_is_certified": cycle is not None
        and certify_growth(line(RATE), cycle) is not None,
        "no_cycle_at_lower_rate": growing_cycle(line(LOWER), priority=LAST_AND_SECOND) is None,
    }


def verdict_values() -> dict[str, Any]:
    """Return what the library answers about the line, and where the answer changes."""
    grows = ql.check_network(as_engines(line(RATE), priority=LAST_AND_SECOND))
    holds = ql.check_network(as_engines(line(LOWER), priority=LAST_AND_SECOND))
    pieces, threshold = two_station_pieces(line(LOWER)), two_station_threshold(line(F(1)))
    virtual = virtual_stations(line(RATE), priority=LAST_AND_SECOND)
    assert pieces is not None
    assert threshold is not None
    assert virtual is not None
    return {
        "verdict": (grows.status.value, grows.evidence.value),
        "verdict_at_lower_rate": (holds.status.value, holds.evidence.value),
        "largest_load": max(station_loads(line(RATE))),
        "virtual_load": virtual[0].load,
        "threshold": threshold.scaling,
        "nominal_threshold": threshold.nominal_scaling,
        "drift_at_lower_rate": drift_margin(line(LOWER), pieces),
    }


def buffer_order_values() -> dict[str, Any]:
    """Return whether first and last buffers first are proved stable at load 99/100."""
    proved: dict[str, list[bool]] = {"first": [], "last": []}
    for route in ROUTES:
        means = tuple(F(1 + (3 * k) % 5, 10) for k in range(len(route)))
        unscaled = line(F(1), means=means, route=route)
        network = unscaled.scaled(F(99, 100) / max(station_loads(unscaled)))
        for word, sign in (("first", 1), ("last", -1)):
            ranks = [sign * k for k in range(network.class_count)]
            pieces = stability_pieces(network, priority=ranks)
            proved[word].append(
                pieces is not None and certify_network_stability(network, pieces) is not None
            )
    return {f"{word}_buffer_first_is_stable": all(found) for word, found in proved.items()}


def factor_curve() -> dict[str, list[float]]:
    """Return the factor against the arrival rate."""
    rates = np.linspace(0.65, 1.15, 101)
    means = np.array(MEANS, dtype=float)
    return {
        "arrival_rate_per_s": rates.tolist(),
        "factor": (rates * means[3] / (1 - rates * means[1])).tolist(),
    }


def plot(computed: Computed) -> "Figure":
    """Draw the path beside the factor."""
    figure, left, right = two_panels(
        "Both stations are loaded to 0.63, and yet the queue returns 27/23 times as long",
        height=3.9,
    )
    draw_two_paths(left, computed.tables, LABELS)
    left.set_ylabel("jobs waiting or in service")
    curve, points = computed.tables["factor"], computed.tables["simulated_factor"]
    right.plot(curve["arrival_rate_per_s"], curve["factor"], color=COLOURS[2], label="fluid")
    right.errorbar(
        points["arrival_rate_per_s"],
        points["factor"],
        yerr=[3 * error for error in points["standard_error"]],
        fmt="o",
        color=COLOURS[0],
        capsize=3,
        label="simulated, 3 standard errors",
    )
    right.axhline(1, color="0.4", linewidth=0.8)
    right.axvline(float(F(5, 6)), color="0.4", linewidth=0.8, linestyle="--")
    right.annotate("α (m₂ + m₄) = 1", (0.84, 1.95), fontsize=9, color="0.3")
    right.set(xlabel="arrival rate α [jobs/s]", ylabel="growth of the queue in a round")
    right.legend(loc="lower right", fontsize=8)
    return figure
