"""The global stability region of the line AABBA in the plane of two services, with trials.

Jobs arrive once a second; buffers 1, 2 and 4 take 3/10, 1/10 and 1/10 s, those of buffers 3
and 5 vary. Loads allow a rectangle, virtual stations cut a triangle off, a push start bends
what is left: buffer 1, served first, takes 3/10 of station A from buffer 5. Two points are
simulated job by job under the priority that the theory calls the worst, from 4,000 jobs.

The line is chosen here. Services in the simulation are geometric numbers of steps of 1/10 s.
"""

from fractions import Fraction as F
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.lu_kumar1991.as_engines import as_engines
from queueing_llm.networks import growing_cycle, is_globally_stable
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST, SECOND, FOURTH = F(3, 10), F(1, 10), F(1, 10)
WORST = (0, 2, 0, 1, 1)
"""A serves buffers 1, 5, 2 in this order, B serves 3 before 4."""
INSIDE, OUTSIDE = (F(4, 10), F(4, 10)), (F(5, 10), F(4, 10))
START = 4000
BITS = 30
SEED = 2000


def line(third: F, fifth: F) -> ql.MulticlassNetwork:
    """Return the line with these services of buffers 3 and 5 [s]."""
    services = [FIRST, SECOND, third, FOURTH, fifth]
    return ql.MulticlassNetwork.with_routes(["AABBA"], mean_service=services, arrival_rates=[1])


def largest_fifth(third: F) -> F:
    """Return up to which service of buffer 5 every rule is stable, within 1e-9 s."""
    low, high = F(0), F(1)
    for _ in range(BITS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_globally_stable(line(third, middle)) else (low, middle)
    return low


def growth(services: tuple[F, F], *, replications: int) -> ql.NetworkRun:
    """Return a simulated network under the worst priority."""
    return ql.simulate_network(
        as_engines(line(*services), priority=WORST),
        horizon=25 * START,
        replications=replications,
        seed=SEED,
        start={"1": START},
    )


def compute(*, quick: bool = False) -> Computed:
    """Follow the boundary, and simulate a point on either side of it."""
    thirds = [F(n, 20) for n in range(1, 18)] if quick else [F(n, 40) for n in range(1, 36)]
    fifths = [largest_fifth(third) for third in thirds]
    replications = 4 if quick else 16
    inside, outside = (growth(at, replications=replications) for at in (INSIDE, OUTSIDE))
    cycle = growing_cycle(line(*OUTSIDE), priority=WORST)
    assert cycle is not None
    return Computed(
        {
            "boundary_at_half": largest_fifth(F(1, 2)),
            "inside": is_globally_stable(line(*INSIDE)),
            "outside_some_rule_is_unstable": not is_globally_stable(line(*OUTSIDE)),
            "virtual_load_outside": sum(OUTSIDE),
            "inside_does_not_grow": not inside.grows,
            "outside_grows": outside.grows,
            "factor_outside": cycle.factor,
        },
        {
            "boundary": {
                "third_service_s": list(map(float, thirds)),
                "fifth_service_s": list(map(float, fifths)),
                "virtual_stations_s": [float(min(1 - m, F(6, 10))) for m in thirds],
            },
            "jobs": {
                "time_s": inside.times.tolist(),
                "inside_jobs": inside.sessions_in_system.mean(axis=0).tolist(),
                "outside_jobs": outside.sessions_in_system.mean(axis=0).tolist(),
            },
        },
    )


def plot(computed: Computed) -> "Figure":
    """Draw the region and the two points."""
    figure, axes = framed(
        "A push start makes unstable what virtual stations would allow", height=4.2
    )
    table = computed.tables["boundary"]
    thirds = table["third_service_s"]
    axes.fill_between(thirds, 0, table["fifth_service_s"], color=COLOURS[3], alpha=0.25)
    axes.plot(thirds, table["fifth_service_s"], color=COLOURS[3], label="exact boundary")
    axes.plot(
        thirds,
        table["virtual_stations_s"],
        color=COLOURS[2],
        linestyle="--",
        label="loads and virtual stations alone",
    )
    for (third, fifth), word, colour, beside in (
        (INSIDE, "drains", COLOURS[3], (-40, -4)),
        (OUTSIDE, "grows", COLOURS[0], (-14, 8)),
    ):
        at = float(third), float(fifth)
        axes.scatter(*at, color=colour, zorder=3, s=40)
        axes.annotate(word, at, beside, textcoords="offset points", fontsize=9)
    axes.annotate(
        "stable whatever is served first\n(points: simulated)",
        (0.08, 0.25),
        fontsize=9,
        color="0.25",
    )
    axes.set(xlabel="mean service of buffer 3 [s]", ylabel="mean service of buffer 5 [s]")
    axes.set(xlim=(0, 0.9), ylim=(0, 0.7))
    axes.legend(loc="upper right", fontsize=8)
    return figure
