"""The model against the measured throughputs of Fig. 3: 1,024 slots on an H200.

Measured values are those in the legend of the figure of the paper, as the artifact repeats
them. Not known: how many requests the KV cache held at a time, and so whether all slots were
taken.
"""

from typing import TYPE_CHECKING

from paper_repro.zhang2026.calibration import H200, WORKLOADS, compared, winner
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOTS = 1024
MEASURED = {
    "decode-heavy": (15_725, 13_974),
    "balanced": (20_937, 19_509),
    "prefill-heavy": (32_863, 32_228),
}
"""Exclusive and mixed [tokens/s]."""


def compute(*, quick: bool = False) -> Computed:
    """Return the throughputs of the model beside the measured ones (no quicker if quick)."""
    model = {name: compared(H200, lengths, slots=SLOTS) for name, lengths in WORKLOADS.items()}
    measured_gains = [exclusive / mixed - 1 for exclusive, mixed in MEASURED.values()]
    return Computed(
        values={
            "gains": tuple(exclusive / mixed - 1 for exclusive, mixed in model.values()),
            "measured_gains": tuple(measured_gains),
            "winners": tuple(winner(*rates) for rates in model.values()),
            "exclusive_tokens_per_s": tuple(exclusive for exclusive, _ in model.values()),
            "mixed_tokens_per_s": tuple(mixed for _, mixed in model.values()),
        },
        tables={
            "throughput": {
                "workload": list(WORKLOADS),
                "exclusive_model_tokens_per_s": [rates[0] for rates in model.values()],
                "exclusive_measured_tokens_per_s": [rates[0] for rates in MEASURED.values()],
                "mixed_model_tokens_per_s": [rates[1] for rates in model.values()],
                "mixed_measured_tokens_per_s": [rates[1] for rates in MEASURED.values()],
            }
        },
    )


def plot(computed: Computed) -> "Figure":
    """Draw measured and modelled throughput side by side."""
    figure, axes = framed(
        "The model knows which batches are better, and overstates by how much", height=4.0
    )
    table = computed.tables["throughput"]
    bars = (
        ("mixed_measured_tokens_per_s", "mixed, measured", COLOURS[2], 0.5),
        ("mixed_model_tokens_per_s", "mixed, model", COLOURS[2], 1.0),
        ("exclusive_measured_tokens_per_s", "exclusive, measured", COLOURS[0], 0.5),
        ("exclusive_model_tokens_per_s", "exclusive, model", COLOURS[0], 1.0),
    )
    for i, (column, label, colour, opacity) in enumerate(bars):
        places = [place + (i - 1.5) * 0.2 for place in range(len(table["workload"]))]
        heights = [rate / 1000 for rate in table[column]]
        axes.bar(places, heights, width=0.18, color=colour, alpha=opacity, label=label)
    ticks = [
        f"{name}\n{prompt} + {output} tokens" for name, (prompt, output) in WORKLOADS.items()
    ]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("throughput [thousand tokens/s]")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return figure
