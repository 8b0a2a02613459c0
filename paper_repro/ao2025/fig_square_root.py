"""WAIT at the edge: queues grow like the square root of time; with slack they do not.

The theorem on WAIT and the lower bound on delays at C = M* of arXiv:2504.11320: with thresholds
that keep up with equality, throughput gaps vanish like T^(-1/2) and delays grow like T^(1/2);
with slack, gaps vanish like 1/T and delays stay bounded. The instance is ours: requests of
1 + 1 tokens, C = 12, threshold 4, d0 = 0.4 s and d1 = 0.05 s, so a batch takes 1 s and
4 requests/s are the edge.

Once its stages are full WAIT takes 4 prompts a second while 4 wait. At the edge the queue is
then a reflected random walk without drift and of variance 4 a second, whose mean grows like
sqrt(2 * 4 t / pi). The coefficient is estimated between t/4 and t, where constants cancel.
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.ao2025.engines import alike, engine_with
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value
from queueing_llm.stability import check_thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENGINE = engine_with(Fraction(2, 5), Fraction(1, 20), kv_capacity=12)
THRESHOLD = 4
EDGE, SLACK = Fraction(4), Fraction(18, 5)
SAMPLES = 64


def compute(*, quick: bool = False) -> Computed:
    """Return the growth of the queue at the edge and with slack, and the thresholds' slack."""
    # The relative noise of a root of time does not fall with time, only with replications.
    seconds, replications = (128.0, (120, 60)) if quick else (256.0, (400, 120))
    runs = {
        name: _run(rate, count, seconds=seconds)
        for name, rate, count in zip(
            ("edge", "slack"), (EDGE, SLACK), replications, strict=True
        )
    }
    needs = {
        name: check_thresholds(ENGINE, alike(rate, 1, 1), [THRESHOLD])
        for name, rate in (("edge", EDGE), ("slack", SLACK))
    }
    values: dict[str, Value] = {
        "slack_at_edge": Fraction(needs["edge"].slack_seconds[0]),
        "slack_below": Fraction(needs["slack"].slack_seconds[0]),
        "memory": Fraction(needs["edge"].memory_tokens),
        "growth_at_edge": _root_growth(runs["edge"]),
        "growth_below": _root_growth(runs["slack"]),
        "evictions": runs["edge"].preemptions + runs["slack"].preemptions,
    }
    return Computed(
        values,
        {
            "queue": {
                "time_s": runs["edge"].times.tolist(),
                "edge_requests": runs["edge"].requests_in_system.mean(axis=0).tolist(),
                "slack_requests": runs["slack"].requests_in_system.mean(axis=0).tolist(),
            }
        },
    )


def plot(computed: Computed) -> "Figure":
    """Draw the mean number in the system against the root of time."""
    table = computed.tables["queue"]
    roots = [math.sqrt(t) for t in table["time_s"]]
    figure, axes = framed(
        "At the edge the queue of WAIT grows like the root of time",
        height=4.0,
    )
    coefficient = math.sqrt(2 * THRESHOLD / math.pi)
    last, first = roots[-1], roots[len(roots) // 4]
    level = table["edge_requests"][-1] - coefficient * last
    for column, label, colour in (
        ("edge_requests", "4.0 requests/s: thresholds keep up with equality", COLOURS[0]),
        ("slack_requests", "3.6 requests/s: slack", COLOURS[2]),
    ):
        axes.plot(roots, table[column], color=colour, label=label)
    axes.plot(
        [first, last],
        [level + coefficient * first, level + coefficient * last],
        color="0.3",
        linestyle="--",
        label="slope of a driftless reflected walk, √(8/π)",
    )
    axes.set_xlabel("square root of time [√s]")
    axes.set_ylabel("mean requests in the system")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9)
    return figure


def _run(rate: Fraction, replications: int, *, seconds: float) -> ql.Run:
    return ql.simulate(
        ENGINE,
        alike(rate, 1, 1),
        policy=ql.Wait([THRESHOLD]),
        horizon=seconds,
        replications=replications,
        samples=SAMPLES,
        seed=29,
    )


def _root_growth(run: ql.Run) -> ql.Estimate:
    """Return the growth of the number in the system by the root of time, from t/4 to t."""
    paths = run.requests_in_system
    growth = (paths[:, -1] - paths[:, SAMPLES // 4]) / (math.sqrt(run.times[-1]) / 2)
    return ql.Estimate.of(np.asarray(growth, dtype=float), "replications")
