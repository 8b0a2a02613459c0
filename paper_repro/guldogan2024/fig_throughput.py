"""What more bins gain: formula, critical rates of the library, and token-exact runs.

The throughput of k bins of equal width for uniform lengths, against that of one request per
step and slot. Chosen here: batches of 8, lengths uniform from 1 to 16 tokens, 10 ms a step;
the batches, lengths and servers of the paper's own figures are not known here.
"""

from fractions import Fraction
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.guldogan2024.bins import (
    BATCH,
    LONGEST,
    STEP,
    engine,
    equal_bins,
    saturated,
    throughput,
    throughput_of_the_library,
)
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = (1, 2, 4, 8, 16)


def compute(*, quick: bool = False) -> Computed:
    """Return throughputs by the number of bins, three ways."""
    horizon = 6.0 if quick else 18.0
    formula = [throughput(equal_bins(bins)) for bins in BINS]
    library = [throughput_of_the_library(equal_bins(bins)) for bins in BINS]
    simulated = [saturated(equal_bins(b), horizon=horizon) for b in BINS]
    lengths = ql.UniformLength(1, LONGEST)
    load = ql.Workload.poisson(1, prompt_tokens=1, output_tokens=lengths)
    ceiling = ql.capacity(engine(), load).requests_per_second
    return Computed(
        values={
            "throughput_per_s": tuple(float(rate) for rate in formula),
            "simulated_per_s": tuple(simulated),
            "library_differs_by": max(
                abs(own / float(rate) - 1) for own, rate in zip(library, formula, strict=True)
            ),
            "more_bins_serve_more": all(a < b for a, b in pairwise(formula)),
            "one_bin_for_each_length_per_s": formula[-1],
            "ceiling_per_s": ceiling,
            "best_ends_of_four_bins": _best_ends(4),
            "continuous_error_at_four_bins": float(_continuous(4) / formula[2] - 1),
            "batch_for_70_percent": _batch_for(Fraction(7, 10)),
        },
        tables={
            "throughput": {
                "bins": list(BINS),
                "formula_requests_per_s": [float(rate) for rate in formula],
                "library_requests_per_s": library,
            },
            "simulated": {
                "bins": list(BINS),
                "requests_per_s": [estimate.value for estimate in simulated],
                "standard_error_per_s": [estimate.standard_error for estimate in simulated],
            },
        },
    )


def _best_ends(bins: int) -> tuple[int, ...]:
    """Return the ends of bins with the largest throughput, by trying all of them [tokens]."""
    cuts = combinations(range(1, LONGEST), bins - 1)
    return max(((*inner, LONGEST) for inner in cuts), key=throughput)


def _continuous(bins: int) -> Fraction:
    r"""Return the throughput for lengths uniform on an interval of the same mean and width.

    .. math:: \frac{B}{E[\ell] + \frac{\ell_{\max} - \ell_{\min}}{2k} \frac{B - 1}{B + 1}}
    """
    mean, width = Fraction(LONGEST + 1, 2), Fraction(LONGEST)
    return BATCH / ((mean + width / (2 * bins) * Fraction(BATCH - 1, BATCH + 1)) * STEP)


def _batch_for(gain: Fraction) -> int:
    """Return the smallest batch whose gain by bins can exceed this, for lengths from 0."""
    return next(size for size in range(1, 1000) if Fraction(size - 1, size + 1) >= gain)


def plot(computed: Computed) -> "Figure":
    """Draw the throughput over the number of bins."""
    figure, axes = framed(
        "Batches of requests alike in length: few bins gain most of what there is to gain",
        height=4.0,
    )
    table, dots = computed.tables["throughput"], computed.tables["simulated"]
    axes.axhline(
        table["formula_requests_per_s"][-1],
        color="0.3",
        linestyle=":",
        label="capacity: every slot always serves",
    )
    axes.plot(
        table["bins"], table["formula_requests_per_s"], "o-", color=COLOURS[2], label="formula"
    )
    axes.errorbar(
        dots["bins"],
        dots["requests_per_s"],
        yerr=[3 * error for error in dots["standard_error_per_s"]],
        fmt="s",
        color=COLOURS[0],
        markersize=4,
        capsize=3,
        label="simulated, 3 standard errors",
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(BINS)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlabel("bins")
    axes.set_ylabel("throughput [requests/s]")
    axes.set_ylim(0, 105)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    return figure
