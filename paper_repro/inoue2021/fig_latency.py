r"""Mean latency against load, its closed-form bound, and two ways to the exact value.

Fig. 4 and Theorem 2 (Eqs. 41 to 43): a Tesla V100 with :math:`\alpha` = 0.1438 ms and
:math:`\tau_0` = 1.8874 ms, batches without a limit. The bound, the stationary law of the batch
sizes, and token-exact runs of the library, for which a job is a prompt of one token whose
prefill is all its work. Chosen here: the loads, and a second server, 0.1 s per job and 0.2 s
per batch, whose idle times are long enough to tell the two bounds apart.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.inoue2021.batch_queue import (
    Server,
    bounds,
    jobs,
    latency_by_equation_36,
    latency_if_mean_batch,
    stationary,
)
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

V100 = Server(Fraction("0.0001438"), Fraction("0.0018874"))
SLOW = Server(Fraction("0.1"), Fraction("0.2"))
LOADS = ("3/10", "1/2", "7/10", "4/5", "9/10")
RATES = ("3/10", "4/5", "2", "4", "7", "9")
CROSSING = float(V100.per_job / (V100.per_job + V100.base))
CURVE = np.concatenate([[0.002], np.arange(0.02, 0.96, 0.02)])
MS = 1000.0
ROUNDING = 1e-9
"""At high load exact mean and bound agree to this many digits, which are those of a float."""


def compute(*, quick: bool = False) -> Computed:
    """Return bounds, exact means and simulated means."""
    curve = _curve(np.union1d(CURVE[::2] if quick else CURVE, [CROSSING]))
    rounded_up = curve["bound_ms"] * (1 + ROUNDING)
    horizon = 100.0 if quick else 400.0
    rates = [Fraction(load) / V100.per_job for load in LOADS]
    slow_rates = [Fraction(rate) for rate in RATES]
    simulated = [scaled(mean_of_runs(V100, rate, horizon=horizon), MS) for rate in rates]
    # Near capacity what happens is correlated for longer.
    longer = [200 if rate < 8 else 500 for rate in slow_rates]
    slow = [
        mean_of_runs(SLOW, rate, horizon=times * horizon)
        for rate, times in zip(slow_rates, longer, strict=True)
    ]
    exact, exact_slow = _exact(V100, rates), _exact(SLOW, slow_rates)
    return Computed(
        values={
            "exact_ms": tuple(MS * latency for latency, _ in exact),
            "bound_ms": tuple(1000 * min(bounds(V100, rate)) for rate in rates),
            "simulated_ms": tuple(simulated),
            "slow_exact_s": tuple(latency for latency, _ in exact_slow),
            "slow_bound_s": tuple(min(bounds(SLOW, rate)) for rate in slow_rates),
            "slow_simulated_s": tuple(slow),
            "equation_36_differs_by": max(abs(b / a - 1) for a, b in (*exact, *exact_slow)),
            "bounds_are_derived": _bounds_are_derived(),
            "bounds_cross_where_said": _bounds_cross(),
            "latency_is_below_the_bound": bool((curve["exact_ms"] < rounded_up).all()),
            "largest_gap_of_the_bound": float(
                (curve["bound_ms"] / curve["exact_ms"]).max() - 1
            ),
        },
        tables={
            "bounds": {name: column.tolist() for name, column in curve.items()},
            "simulated": {
                "load": [float(Fraction(load)) for load in LOADS],
                "latency_ms": [estimate.value for estimate in simulated],
                "standard_error_ms": [estimate.standard_error for estimate in simulated],
            },
        },
    )


def _exact(server: Server, rates: list[Fraction]) -> list[tuple[float, float]]:
    """Return the mean latency at each rate by renewal reward and by Eq. 36 [s]."""
    server = floats(server)
    found = [stationary(server, float(rate)) for rate in rates]
    return [
        (means.latency, latency_by_equation_36(server, float(rate), means))
        for rate, means in zip(rates, found, strict=True)
    ]


def floats(server: Server) -> Server:
    """Return the server with its constants as floats."""
    return Server(float(server.per_job), float(server.base), server.largest_batch)


def scaled(estimate: ql.Estimate, factor: float) -> ql.Estimate:
    """Return an estimate in another unit."""
    value, error = estimate.value * factor, estimate.standard_error * factor
    return ql.Estimate(value, error, estimate.observations, estimate.method)


def mean_of_runs(server: Server, rate: Fraction, *, horizon: float) -> ql.Estimate:
    """Return the mean latency of 20 token-exact runs [s], by Little's law."""
    run = ql.simulate(
        floats(server).engine(),
        jobs(float(rate)),
        policy=ql.SARATHI,
        horizon=horizon,
        warmup=0.1 * horizon,
        replications=20,
        seed=1912,
    )
    return scaled(run.mean_requests, 1 / float(rate))


def _curve(loads: np.ndarray) -> dict[str, np.ndarray]:
    """Return exact means and bounds of the V100 along the loads [ms]."""
    server = floats(V100)
    rates = loads / server.per_job
    exact = [stationary(server, rate, most_waiting=800).latency for rate in rates]
    first, second = (MS * np.asarray(bound) for bound in bounds(server, rates))
    return {
        "load": loads,
        "exact_ms": MS * np.array(exact),
        "first_bound_ms": first,
        "second_bound_ms": second,
        "bound_ms": np.minimum(first, second),
    }


def _bounds_are_derived() -> bool:
    """Whether Eqs. 41 and 42 are Eq. 36 at the two lower bounds of the mean batch, exactly."""
    differences = []
    for server in (V100, SLOW):
        for load in LOADS:
            rate = Fraction(load) / server.per_job
            least = (Fraction(1), rate * server.base / (1 - Fraction(load)))
            implied = (latency_if_mean_batch(server, rate, batch) for batch in least)
            differences += [b - i for b, i in zip(bounds(server, rate), implied, strict=True)]
    return not any(differences)


def _bounds_cross() -> bool:
    """Whether Eqs. 41 and 42 are equal at 1 / (alpha + tau_0) and change order there."""
    rate = 1 / (V100.per_job + V100.base)
    first, second = bounds(V100, rate)
    below = bounds(V100, rate * Fraction(99, 100))
    above = bounds(V100, rate * Fraction(101, 100))
    return below[0] < below[1] and first == second and above[0] > above[1]


def plot(computed: Computed) -> "Figure":
    """Draw latency over load."""
    figure, axes = framed(
        "Once the server hardly idles, the closed-form bound is its mean latency", height=4.2
    )
    curve, dots = computed.tables["bounds"], computed.tables["simulated"]
    for column, label, colour in (
        ("first_bound_ms", "bound, mean batch 1 (Eq. 41)", COLOURS[4]),
        ("second_bound_ms", "bound, server never idle (Eq. 42)", COLOURS[5]),
    ):
        axes.plot(curve["load"], curve[column], color=colour, linewidth=4, label=label)
    axes.plot(
        curve["load"],
        curve["exact_ms"],
        color="0.15",
        linewidth=1.2,
        label="exact, stationary batch sizes",
    )
    axes.errorbar(
        dots["load"],
        dots["latency_ms"],
        yerr=[3 * error for error in dots["standard_error_ms"]],
        fmt="o",
        color=COLOURS[0],
        markersize=5,
        label="simulated, 3 standard errors",
    )
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    axes.set_xlabel(r"load $\lambda\alpha$ [1]")
    axes.set_ylabel("mean latency [ms]")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 62)
    return figure
