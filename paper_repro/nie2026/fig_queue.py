"""Requests in the system over time, below and above the threshold (form of Figure 2).

Figure 2 of arXiv:2605.04595 shows the queue of one GPU with workload 1:1 at 1, 3, 5, 20 and
50 requests/s: short at the first two, growing in a line at the others. Here the rule of
vLLM v1 is simulated in the model: batches of 0.0372 s, 131,000 KV slots, a budget of 512
tokens. Chosen here: 1,000 s from an empty engine; the curves count all requests in the
system, those being served too, since the figure of the paper was not at hand point by point.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.nie2026.workloads import EQUAL, word_for
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = (1, 3, 5, 20, 50)
OVERLOADED = 5
SECONDS = 1000.0


def compute(*, quick: bool = False) -> Computed:
    """Return verdicts by theorem, certificate and simulation, and the paths."""
    found = EQUAL.threshold()
    replications = dict.fromkeys(RATES, 4 if quick else 16) | {OVERLOADED: 16}
    runs = {rate: _run(rate, count) for rate, count in replications.items()}
    verdict = ql.check_stability(EQUAL.engine, EQUAL.at(3), policy=ql.VLLM_V1, seed=5)
    values: dict[str, Value] = {
        "words": tuple(word_for(rate, found) for rate in RATES),
        "grows": tuple(runs[rate].grows for rate in RATES),
        "is_proved": tuple(_overload_is_proved(rate) for rate in RATES),
        "verdict_at_3": (verdict.status.name, verdict.evidence.value),
        "growth_at_5": _growth(runs[OVERLOADED]),
        "grows_at_least_at_5": _grows_at_least(runs[OVERLOADED], found),
    }
    paths = {f"at_{rate}_requests": runs[rate].requests_in_system[0].tolist() for rate in RATES}
    return Computed(values, {"queue": {"time_s": runs[1].times.tolist(), **paths}})


def plot(computed: Computed) -> "Figure":
    """Draw the five paths, cut off where the steepest leave the paper's kind of axis."""
    table = computed.tables["queue"]
    figure, axes = framed(
        "Up to 3 requests/s the queue stays short; from 5 on it grows in a line",
        height=4.2,
    )
    for rate, colour in zip(RATES, COLOURS, strict=False):
        stable = "stable" if rate < OVERLOADED else "no policy is stable"
        label = f"λ = {rate}/s: {stable}"
        axes.plot(table["time_s"], table[f"at_{rate}_requests"], color=colour, label=label)
    axes.set_ylim(0, 2000)
    axes.set_xlim(0, SECONDS)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("requests in the system")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _run(rate: float, replications: int) -> ql.Run:
    return ql.simulate(
        EQUAL.engine,
        EQUAL.at(rate),
        policy=ql.VLLM_V1,
        horizon=SECONDS,
        replications=replications,
        seed=7,
    )


def _overload_is_proved(rate: int) -> bool:
    certificate = ql.certify_overload(EQUAL.engine, EQUAL.at(Fraction(rate)))
    return certificate is not None and certificate.check().kind == "overload"


def _growth(run: ql.Run) -> ql.Estimate:
    """Return the growth of the requests in the system, second half of the run [requests/s]."""
    paths = run.requests_in_system
    half = paths.shape[1] // 2
    slopes = (paths[:, -1] - paths[:, half]) / (run.times[-1] - run.times[half])
    return ql.Estimate.of(np.asarray(slopes), "replications")


def _grows_at_least(run: ql.Run, found: ql.MemoryThreshold) -> bool:
    r"""Whether the growth is at least :math:`\lambda - \mu`, within 3 standard errors."""
    growth = _growth(run)
    least = float(run.workload.arrival_rate) - float(found.unstable_above)
    return growth.value > 0 and bool(growth.value + 3 * growth.standard_error >= least)
