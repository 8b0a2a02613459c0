"""What the thresholds give for the other rows of Tables 1 to 4 of arXiv:2605.04595.

The "mixed" row of Table 1 sends requests of 2:1 first and of 1:2 in the second half; Table 3
has eight replicas. The batch times of these rows are not printed, so they are tried with
those of the rows of Table 1, and the batch time that would give the printed value is stated.
LongBench v2 (Table 2) and prompts eight times as long as outputs (Table 4) cannot be tried:
neither lengths nor batch times are printed. Gaps of all rows are recomputed from the rates
as they are printed.
"""

from collections.abc import Sequence
from fractions import Fraction

from paper_repro.nie2026.workloads import (
    EQUAL,
    KV_CAPACITY,
    OUTPUTS,
    PROMPTS,
    WORKLOADS,
    Lengths,
    word_for,
)
from queueing_llm.reproduce import Computed
from queueing_llm.stability import mixture_rate

REPLICAS = 8
RATES = (8, 24, 40, 160, 400)
"""Arrival rates of Figure 4, at eight replicas [requests/s]."""
PRINTED = {
    "mixed": ("3.385", "3.137"),
    "longbench": ("0.561", "0.610"),
    "eight": ("25.808", "26.710"),
    "trimmed_5": ("4.977", "5.470"),
    "trimmed_10": ("5.862", "5.470"),
}
"""Rate by theory and measured rate, by row [requests/s]."""


def gap_percent(theory: Fraction, measured: Fraction) -> Fraction:
    r"""Return :math:`|\mu - \mu_{gpu}| / \mu_{gpu}` in per cent.

    Examples
    --------
    >>> float(gap_percent(Fraction(3), Fraction(4)))
    25.0
    """
    return 100 * abs(theory - measured) / measured


def compute(*, quick: bool = False) -> Computed:
    """Return mixtures, replicas and gaps; both modes are the same."""
    rates = {row.key: Fraction(row.threshold().unstable_above) for row in (PROMPTS, OUTPUTS)}
    alone = Fraction(EQUAL.threshold().unstable_above)
    eight = EQUAL.threshold(REPLICAS)
    halves = list(rates.values())
    gaps = {
        row: gap_percent(Fraction(theory), Fraction(measured))
        for row, (theory, measured) in PRINTED.items()
    }
    values = {
        "mixture_of_halves": Fraction(mixture_rate(halves, [1, 1])),
        "mixture_of_thirds": Fraction(mixture_rate([alone, *halves], [1, 1, 1])),
        "mean_of_halves": sum(halves) / 2,
        "mixed_batch_seconds": _batch_seconds(Fraction("3.385"), (PROMPTS, OUTPUTS)),
        "eight_replicas": Fraction(eight.unstable_above),
        "eight_batch_seconds": _batch_seconds(Fraction("25.808") / REPLICAS, (EQUAL,)),
        "eight_words": tuple(word_for(rate, eight) for rate in RATES),
        **{f"gap_{row}": gap for row, gap in gaps.items()},
        "all_gaps_below_10": max(*gaps.values(), *_gaps_of_table_1()) < 10,
    }
    rows: dict[str, Sequence[object]] = {
        "row": list(PRINTED),
        "theory_requests_per_s": [float(theory) for theory, _ in PRINTED.values()],
        "measured_requests_per_s": [float(measured) for _, measured in PRINTED.values()],
        "gap_percent": [float(gap) for gap in gaps.values()],
    }
    return Computed(values, {"rows": rows})


def _gaps_of_table_1() -> list[Fraction]:
    """Return the gaps of the three workloads, from thresholds rounded as they are printed."""
    return [
        gap_percent(round(Fraction(row.threshold().unstable_above), 3), row.measured)
        for row in WORKLOADS
    ]


def _batch_seconds(rate: Fraction, rows: Sequence[Lengths]) -> Fraction:
    """Return the batch time at which equal shares of the rows have that threshold [s]."""
    lifetimes = [Fraction(row.threshold().lifetime) for row in rows]
    return KV_CAPACITY * len(rows) / (rate * sum(lifetimes))
