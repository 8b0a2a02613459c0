r"""A limit on the batch leaves the latency alone until its own capacity is near.

Section 4, Fig. 8: batches of at most :math:`b_{\max}` jobs, stable iff :math:`\lambda <
b_{\max} / (\alpha b_{\max} + \tau_0)`. Which limits the paper draws is not known here; 4, 8, 16
and 32 are chosen. In the library the limit is a token budget, its capacity is Theorem 2 of
arXiv:2504.07347v3, and the condition without a limit is the limit of that formula.
"""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.inoue2021.batch_queue import Server, bounds, jobs, stationary
from paper_repro.inoue2021.fig_latency import MS, V100, floats, mean_of_runs, scaled
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMITS = (4, 8, 16, 32)
SHARES = np.array([0.05, 0.2, 0.35, 0.5, 0.6, 0.7, 0.78, 0.84, 0.88, 0.92, 0.95])


def compute(*, quick: bool = False) -> Computed:
    """Return capacities, verdicts beside them, and the latency under each limit."""
    servers = [Server(V100.per_job, V100.base, limit) for limit in LIMITS]
    published = [
        Fraction(limit) / server.batch_seconds(limit)
        for limit, server in zip(LIMITS, servers, strict=True)
    ]
    capacities = [ql.capacity(s.engine(), jobs(1)).requests_per_second for s in servers]
    own = [ql.critical_rate(s.engine(), jobs(1), policy=ql.SARATHI).value for s in servers]
    rate = published[1] * Fraction(7, 10)
    limited = stationary(floats(servers[1]), float(rate))
    return Computed(
        values={
            "capacity": tuple(capacities),
            "capacity_is_the_published_formula": capacities == own == published,
            "without_a_limit": _capacity_without_a_limit(),
            "verdicts": tuple(
                _verdict(server, rate * share)
                for server, rate in zip(servers, published, strict=True)
                for share in (Fraction(99, 100), Fraction(101, 100))
            ),
            "limited_latency_ms": MS * limited.latency,
            "limited_simulated_ms": scaled(
                mean_of_runs(servers[1], rate, horizon=50.0 if quick else 200.0), MS
            ),
            "limited_over_bound": limited.latency / float(min(bounds(V100, rate))),
        },
        tables={
            "latency": _curves(servers, published),
            "capacity": {
                "largest_batch_jobs": list(LIMITS),
                "capacity_per_s": [float(capacity) for capacity in capacities],
            },
        },
    )


def _capacity_without_a_limit() -> Fraction:
    """Return the capacity as the token budget grows without end, by SymPy [jobs/s]."""
    import sympy

    formula = ql.symbolic.capacity("affine", first_token_from_prefill=True).expression
    letters = {symbol.name: symbol for symbol in formula.free_symbols}
    of_jobs = formula.subs({letters["m_p"]: 1, letters["m_d"]: 1})
    limit = sympy.limit(of_jobs, letters["b"], sympy.oo)
    per_job = sympy.Rational(V100.per_job.numerator, V100.per_job.denominator)
    return Fraction(str(limit.subs(letters["beta"], per_job)))


def _verdict(server: Server, rate: Fraction) -> str:
    """Return the verdict of the library as a word."""
    found = ql.check_stability(server.engine(), jobs(rate), policy=ql.SARATHI)
    return f"{found.status.name}, {found.evidence.name}".lower()


def _curves(servers: list[Server], capacities: list[Fraction]) -> dict[str, list[Any]]:
    """Return the latency under each limit and the bound without one."""
    rows: dict[str, list[Any]] = {
        "largest_batch_jobs": [],
        "rate_per_s": [],
        "latency_ms": [],
        "unlimited_bound_ms": [],
    }
    for server, capacity in zip(servers, capacities, strict=True):
        for rate in SHARES * float(capacity):
            found = stationary(floats(server), rate, most_waiting=600)
            rows["largest_batch_jobs"].append(server.largest_batch)
            rows["rate_per_s"].append(float(rate))
            rows["latency_ms"].append(MS * found.latency)
            rows["unlimited_bound_ms"].append(MS * min(bounds(floats(V100), rate)))
    return rows


def plot(computed: Computed) -> "Figure":
    """Draw latency over the arrival rate, a curve for each limit."""
    figure, axes = framed(
        "A limit on the batch costs little until its own capacity is near", height=4.0
    )
    curve = computed.tables["latency"]
    capacities = computed.tables["capacity"]["capacity_per_s"]
    limits = np.array(curve["largest_batch_jobs"])
    rates, latency = np.array(curve["rate_per_s"]), np.array(curve["latency_ms"])
    order = np.argsort(rates)
    bound = np.array(curve["unlimited_bound_ms"])[order]
    axes.plot(rates[order] / MS, bound, color="0.15", linestyle="--", label="no limit, bound")
    for limit, colour, capacity in zip(LIMITS, COLOURS, capacities, strict=False):
        chosen = limits == limit
        axes.plot(
            rates[chosen] / MS,
            latency[chosen],
            "o-",
            color=colour,
            markersize=3.5,
            label=f"at most {limit} jobs",
        )
        axes.axvline(capacity / MS, color=colour, linestyle=":", linewidth=1.2)
    axes.plot([], [], color="0.4", linestyle=":", label="capacity of the limit")
    axes.set_xlabel("arrival rate [jobs/ms]")
    axes.set_ylabel("mean latency [ms]")
    axes.set_xlim(0, None)
    axes.set_ylim(0, 16)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return figure
