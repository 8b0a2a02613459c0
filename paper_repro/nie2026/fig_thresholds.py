"""Thresholds of the three workloads against the GPU, and a simulated vLLM between them.

From Table 1 of arXiv:2605.04595: M = 131,000 KV slots, chunks of 512 tokens, uniform lengths,
the printed batch time of each workload. The simulation is ours: the rule of vLLM v1 with
chunked prefill on an engine whose batches all take that time. Its residents keep their cache
and recompute it when they are evicted, which the theorems of the paper leave out; so where it
saturates is not known from them. Chosen here: an overload of 1.5 times the threshold, four
replications. Unknown: how long the GPU was measured, and its times beside the median.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.nie2026.table_mixture import gap_percent
from paper_repro.nie2026.workloads import WORKLOADS, Lengths
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPLICATIONS = 4
JUST_ABOVE = Fraction(1005, 1000)


def compute(*, quick: bool = False) -> Computed:
    """Return thresholds, gaps to the measurement, saturated rates and certificates."""
    hours = 20 if quick else 60
    thresholds = [row.threshold() for row in WORKLOADS]
    saturated = [_saturated_rate(row, seconds=3600 * hours) for row in WORKLOADS]
    values: dict[str, Value] = {
        "measured_above": tuple(
            row.measured > found.unstable_above
            for row, found in zip(WORKLOADS, thresholds, strict=True)
        ),
        "overload_is_proved": tuple(map(_overload_is_proved, WORKLOADS)),
        "saturates_between": tuple(
            _is_between(rate, found) for rate, found in zip(saturated, thresholds, strict=True)
        ),
        "batch_seconds_of_measured_1_1": Fraction(thresholds[0].unstable_above)
        * WORKLOADS[0].batch_seconds
        / WORKLOADS[0].measured,
    }
    for row, found in zip(WORKLOADS, thresholds, strict=True):
        printed = round(Fraction(found.unstable_above), 3)
        values[f"lifetime_{row.key}"] = Fraction(found.lifetime)
        values[f"threshold_{row.key}"] = Fraction(found.unstable_above)
        values[f"stable_below_{row.key}"] = Fraction(found.published_stable_below or 0)
        values[f"guaranteed_below_{row.key}"] = Fraction(found.stable_below or 0)
        values[f"gap_{row.key}"] = gap_percent(printed, row.measured)
    return Computed(values, {"workloads": _table(thresholds, saturated)})


def plot(computed: Computed) -> "Figure":
    """Draw the open band of each workload, what the GPU did and what the model does."""
    table = computed.tables["workloads"]
    figure, axes = framed(
        "A simulated vLLM saturates between the thresholds, the GPU does not",
        height=3.6,
    )
    lows, highs = table["stable_below_requests_per_s"], table["threshold_requests_per_s"]
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        axes.fill_betweenx([i - 0.28, i + 0.28], low, high, color=COLOURS[5], alpha=0.5)
        axes.plot([high, high], [i - 0.28, i + 0.28], color=COLOURS[2], linewidth=2)
    places = range(len(WORKLOADS))
    axes.fill_betweenx([], [], [], color=COLOURS[5], alpha=0.5, label="open: μ(1−δ) to μ")
    axes.plot([], [], color=COLOURS[2], linewidth=2, label="μ: above it no policy is stable")
    axes.errorbar(
        table["saturated_requests_per_s"],
        places,
        xerr=[3 * error for error in table["saturated_standard_error_requests_per_s"]],
        fmt="o",
        color=COLOURS[3],
        label="vLLM v1, simulated in overload (± 3 standard errors)",
    )
    axes.plot(
        table["measured_requests_per_s"],
        places,
        "X",
        color=COLOURS[0],
        markersize=9,
        label="measured on an A100 (Table 1)",
    )
    axes.set_yticks(list(places), [row.name for row in WORKLOADS])
    axes.set_ylabel("workload, prompt : output")
    axes.set_ylim(2.6, -0.6)
    axes.set_xlabel("completed requests [requests/s]")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _saturated_rate(row: Lengths, *, seconds: float) -> ql.Estimate:
    run = ql.simulate(
        row.engine,
        row.at(1.5 * float(row.threshold().unstable_above)),
        policy=ql.VLLM_V1,
        horizon=seconds,
        warmup=seconds / 10,
        replications=REPLICATIONS,
        seed=11,
    )
    return run.throughput


def _overload_is_proved(row: Lengths) -> bool:
    """Whether a certificate shows that no policy keeps up half a per cent above μ."""
    rate = JUST_ABOVE * Fraction(row.threshold().unstable_above)
    certificate = ql.certify_overload(row.engine, row.at(rate))
    return certificate is not None and certificate.check().kind == "overload"


def _is_between(rate: ql.Estimate, found: ql.MemoryThreshold) -> bool:
    """Whether a rate is in the band that the theorems leave open, 3 standard errors inside."""
    low, high = found.published_stable_below, found.unstable_above
    room = 3 * rate.standard_error
    return low is not None and bool(low < rate.value - room and rate.value + room < high)


def _table(
    thresholds: list[ql.MemoryThreshold], saturated: list[ql.Estimate]
) -> dict[str, list[object]]:
    return {
        "workload": [row.name for row in WORKLOADS],
        "batch_s": [float(row.batch_seconds) for row in WORKLOADS],
        "lifetime_token_batches": [float(found.lifetime) for found in thresholds],
        "stable_below_requests_per_s": [
            float(found.published_stable_below or 0) for found in thresholds
        ],
        "threshold_requests_per_s": [float(found.unstable_above) for found in thresholds],
        "measured_requests_per_s": [float(row.measured) for row in WORKLOADS],
        "saturated_requests_per_s": [rate.value for rate in saturated],
        "saturated_standard_error_requests_per_s": [rate.standard_error for rate in saturated],
    }
