r"""How long an exclusive engine decodes until enough slots are free.

The formula :math:`\mu_O (\beta_d k + \alpha_d \zeta)` with :math:`\zeta = -\ln(1 - k/N)`,
against the exact mean of the chain of residents and against drawn outputs. Chosen here: 256
slots and outputs of 100 tokens in the mean; decode times of the H200.
"""

from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.zhang2026.calibration import H200
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.stability import decode_phase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOTS, OUTPUT = 256, 100
TRIED = (8, 32, 96)
FREED = 32


def compute(*, quick: bool = False) -> Computed:
    """Return the length of a phase by the formula, exactly and drawn."""
    refills = np.unique(np.geomspace(1, 192, 12 if quick else 40).astype(int))
    phases = [decode_phase(H200, OUTPUT, slots=SLOTS, refill=int(k)) for k in refills]
    drawn = [_drawn(k, phases=10_000 if quick else 40_000) for k in TRIED]
    at = decode_phase(H200, OUTPUT, slots=SLOTS, refill=FREED)
    return Computed(
        values={
            "by_the_formula_s": float(at.fluid_seconds),
            "exact_s": float(at.exact_seconds or 0),
            "drawn_at_three_refills_s": tuple(drawn),
        },
        tables={
            "phase": {
                "refill_requests": refills.tolist(),
                "formula_s": [float(phase.fluid_seconds) for phase in phases],
                "exact_s": [phase.exact_seconds for phase in phases],
            },
            "drawn": {
                "refill_requests": list(TRIED),
                "seconds": [estimate.value for estimate in drawn],
                "standard_error_s": [estimate.standard_error for estimate in drawn],
            },
        },
    )


def _drawn(refill: int, *, phases: int) -> ql.Estimate:
    """Return the mean length of phases whose outputs are drawn [s]."""
    rng = np.random.default_rng(606)
    ends = np.sort(rng.geometric(1 / OUTPUT, (phases, SLOTS)), axis=1)
    steps = ends[:, refill - 1]
    # A request that ends with step s takes part in the steps 1, ..., s.
    tokens = np.minimum(ends, steps[:, None]).sum(axis=1)
    seconds = float(H200.decode_base) * steps + float(H200.decode_per_request) * tokens
    return ql.Estimate.of(seconds, "replications")


def plot(computed: Computed) -> "Figure":
    """Draw the length of a phase over the slots that end it."""
    figure, axes = framed(
        "The published decode time is a fluid limit, low while few slots end a phase",
        height=4.0,
    )
    table, drawn = computed.tables["phase"], computed.tables["drawn"]
    refills = table["refill_requests"]
    axes.plot(refills, table["exact_s"], color="0.15", label="exact mean")
    axes.plot(
        refills, table["formula_s"], color=COLOURS[0], linestyle="--", label="published formula"
    )
    axes.plot(
        drawn["refill_requests"], drawn["seconds"], "o", color=COLOURS[2], label="drawn outputs"
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlabel("free slots that end a decode phase, of 256 [requests]")
    axes.set_ylabel("mean decode phase [s]")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return figure
