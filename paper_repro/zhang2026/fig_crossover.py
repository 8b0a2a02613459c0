"""What exclusive batches gain over mixed ones, by the number of requests that decode at a time.

Prop. 4 and Table 4: prompts of 512 and outputs of 256 tokens at concurrency 32, 512 and 2048.
Chosen here: as many slots as there are users, and the best refill.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.zhang2026.calibration import GPUS, H200, TRAFFIC, compared, winner
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USERS = (32, 512, 2048)
MEASURED = {32: (8_609, 11_584), 512: (27_207, 27_464), 2048: (27_198, 26_368)}
"""Exclusive and mixed on the H200 [tokens/s]."""


def compute(*, quick: bool = False) -> Computed:
    """Return gains of the model along the slots, and their signs where they were measured."""
    slots = np.geomspace(8, 2048, 17 if quick else 81)
    tables = {"gain": {"slots_requests": slots.tolist()}}
    for name, costs in GPUS.items():
        column = f"gain_{name.lower().replace(' ', '_')}"
        tables["gain"][column] = [_gain(costs, float(n)) for n in slots]
    rates = {
        name: [compared(costs, TRAFFIC, slots=n) for n in USERS] for name, costs in GPUS.items()
    }
    other = replace(H200, mixed_base=H200.decode_base)
    return Computed(
        values={
            "winners_h200": tuple(winner(*pair) for pair in rates["H200"]),
            "winners_rtx": tuple(winner(*pair) for pair in rates["RTX PRO 6000"]),
            "gains_h200": tuple(_gain(H200, n) for n in USERS),
            "gain_rtx_at_2048": _gain(GPUS["RTX PRO 6000"], 2048),
            "exclusive_h200_tokens_per_s": tuple(pair[0] for pair in rates["H200"]),
            "mixed_h200_tokens_per_s": tuple(pair[1] for pair in rates["H200"]),
            "crossover_requests": tuple(_crossover(costs) for costs in GPUS.values()),
            "winner_if_mixed_batches_cost_like_decodes": winner(
                *compared(other, TRAFFIC, slots=32)
            ),
        },
        tables=tables,
    )


def _gain(costs: ql.BatchingCosts, slots: float) -> float:
    """Return how much more exclusive batches serve, as a share [1]."""
    exclusive, mixed = compared(costs, TRAFFIC, slots=slots)
    return exclusive / mixed - 1


def _crossover(costs: ql.BatchingCosts) -> float:
    """Return the slots at which both kinds of batches serve the same [requests]."""
    low, high = 8.0, 2048.0
    for _ in range(50):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _gain(costs, middle) < 0 else (low, middle)
    return low


def plot(computed: Computed) -> "Figure":
    """Draw the gain over the number of slots."""
    figure, axes = framed(
        "Exclusive batches pay once enough requests decode at a time, sooner on slow memory",
        height=4.2,
    )
    table = computed.tables["gain"]
    slots = table["slots_requests"]
    for name, colour in (("H200", COLOURS[2]), ("RTX PRO 6000", COLOURS[0])):
        column = table[f"gain_{name.lower().replace(' ', '_')}"]
        axes.plot(slots, [100 * gain for gain in column], color=colour, label=f"{name}, model")
    gains = [100 * (exclusive / mixed - 1) for exclusive, mixed in MEASURED.values()]
    axes.plot(list(MEASURED), gains, "o", color=COLOURS[2], label="H200, measured (Table 4)")
    axes.plot([2048], [38], "s", color=COLOURS[0], label="RTX PRO 6000, measured")
    axes.axhline(0, color="0.3", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlabel("requests that decode at a time [requests]")
    axes.set_ylabel("gain of exclusive over mixed batches [%]")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return figure
