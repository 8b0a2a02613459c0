r"""What a token of a mixed batch costs, by the share of decode tokens in the batch.

Eq. 11: :math:`\beta_{MB}(r) = a + b r + c r^2`, fitted by the authors to three throughputs of
vLLM with mixed batches, against :math:`\beta_d` of pure decode. The share from which mixing is
dearer than pure decode is read here as the root of :math:`\beta_{MB}(r) = \beta_d`; how the
paper measured the shares of its abstract is not known here.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.zhang2026.calibration import GPUS, H200, WORKLOADS
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURED = {"decode-heavy": 12_081, "balanced": 18_317, "prefill-heavy": 32_374}
"""Throughputs that the curve of the H200 is fitted to [tokens/s]."""
MICRO = 1e6


def compute(*, quick: bool = False) -> Computed:
    """Return the fitted curves, what they are fitted to, and where they cross pure decode."""
    shares = np.linspace(0, 1, 21 if quick else 101)
    columns: dict[str, list[float]] = {"decode_share": shares.tolist()}
    for name, costs in GPUS.items():
        label = name.lower().replace(" ", "_")
        seconds = [costs.mixed_token_seconds(float(share)) for share in shares]
        columns[f"mixed_{label}_us_per_token"] = [MICRO * value for value in seconds]
    return Computed(
        values={
            "mixed_tokens_per_s": tuple(
                1 / H200.mixed_token_seconds(float(share)) for share in _decode_shares()
            ),
            "dearer_than_decode_above": tuple(_crossing(costs) for costs in GPUS.values()),
        },
        tables={"token_cost": columns},
    )


def _decode_shares() -> list[Fraction]:
    """Return the share of decode tokens in each workload, exact [1]."""
    return [Fraction(output, prompt + output) for prompt, output in WORKLOADS.values()]


def _crossing(costs: ql.BatchingCosts) -> float:
    """Return the decode share at which a mixed token costs what a decode token does [1]."""
    flat, linear, quadratic = (float(value) for value in costs.mixed_per_token)
    over = float(costs.decode_per_request) - flat
    return 2 * over / (linear + (linear**2 + 4 * quadratic * over) ** 0.5)


def plot(computed: Computed) -> "Figure":
    """Draw the cost of a token over the decode share."""
    figure, axes = framed(
        "Mixed tokens are dearer than decode tokens from a fifth of decodes on slow memory",
        height=4.2,
    )
    columns = computed.tables["token_cost"]
    shares = columns["decode_share"]
    for (name, costs), colour in zip(GPUS.items(), (COLOURS[2], COLOURS[0]), strict=True):
        label = name.lower().replace(" ", "_")
        curve = columns[f"mixed_{label}_us_per_token"]
        axes.plot(shares, curve, color=colour, label=f"{name}, mixed")
        decode = MICRO * float(costs.decode_per_request)
        axes.axhline(decode, color=colour, linestyle=":", label=f"{name}, pure decode")
        axes.plot([_crossing(costs)], [decode], "o", color=colour)
    axes.plot(
        [float(share) for share in _decode_shares()],
        [MICRO / rate for rate in MEASURED.values()],
        "s",
        color="0.15",
        markersize=4,
        label="H200, measured by the authors",
    )
    axes.set_xlabel("share of decode tokens in a batch [1]")
    axes.set_ylabel("time per token [µs]")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, None)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return figure
