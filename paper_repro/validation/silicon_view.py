"""Part 1 as text and tables."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl

from paper_repro.validation.silicon_fit import LONGEST_ANSWER, TRAINING_TP
from paper_repro.validation.silicon_host import HostCosts
from paper_repro.validation.silicon_plot import plot
from paper_repro.validation.silicon_summary import summary
from paper_repro.validation.tables import markdown, share

ESTIMATES = ("predicted", "bare", "closed_form", "mean_step")
QUANTITIES = ("ttft", "tpot", "rate", "peak_rate")
WORDS = ("TTFT", "TPOT", "rate", "rate at saturation")
COUNTS = ("runs", "for TTFT", "at saturation")
EXPLAINED = (
    "`predicted` is the simulation, `bare` the same without time of the host, `closed_form` "
    "the estimate of aiconfigurator itself, `mean_step` a step at the mean operating point. "
    "The sample holds TTFT and TPOT: a rate, measured or predicted, is users / (TTFT + (OSL - "
    "1) TPOT), so it is no test of its own. TTFT is of the runs whose users fit into the KV "
    "cache by prediction. At saturation: the most users of a series, where the last step "
    "multiplied the rate by less than the square root of the factor of the users."
)
GROUPED = (
    "Median absolute errors of `predicted` (`closed_form`) by model, GPU and backend, and by "
    "where the settings are from, of the runs with another TP, as in the figure:"
)
CHOSEN = (
    "Policies, settings of the engines, the form of the time of the host and the rules of "
    "exclusion were chosen with all runs at hand, so no run tests those."
)


def text(frame: pl.DataFrame) -> str:
    """Return the section: what was left out, errors, and errors by group."""
    held_out = frame.filter(~pl.col("training"))
    kinds = {f"TP {TRAINING_TP}": frame.filter("training"), "others": held_out}
    head = (
        f"{frame.height} runs of {', '.join(sorted(frame['model'].unique()))}"
        f"{_exclusions(frame)}. The {len(fields(HostCosts))} constants of the host were fitted "
        f"to every second run with TP {TRAINING_TP} and at most {LONGEST_ANSWER} tokens of "
        "answer; the targets are held against the runs with another TP. "
        f"{CHOSEN} Median (90 %) absolute errors:"
    )
    rows = [
        (name, estimate, *_cells(summary(runs, by=(), estimate=estimate), tail=True)[0])
        for name, runs in kinds.items()
        if runs["excluded"].null_count()
        for estimate in ESTIMATES
    ]
    counts = [
        (name, *(str(summary(runs, by=()).row(0, named=True)[c]) for c in _COUNTED))
        for name, runs in kinds.items()
    ]
    parts = [
        head,
        markdown(("runs", "estimate", *WORDS), rows),
        "Runs behind these figures (all / for TTFT / at saturation): "
        + "; ".join(f"{n}: {a} / {b} / {c}" for n, a, b, c in counts)
        + ".",
        EXPLAINED,
        GROUPED,
        markdown(("group", *COUNTS, *WORDS[:3]), _groups(held_out)),
    ]
    return "\n\n".join(parts)


_COUNTED = ("runs", "ttft_runs", "peak_runs")


def _exclusions(frame: pl.DataFrame) -> str:
    reasons = frame["excluded"].drop_nulls().value_counts().sort("excluded")
    if not reasons.height:
        return ""
    words = ", ".join(f"{count} ({reason})" for reason, count in reasons.iter_rows())
    return f", of which are left out {words}"


def _cells(found: pl.DataFrame, *, tail: bool) -> list[tuple[str, ...]]:
    """Return the figures of each row, with the 90 % quantile or not."""

    def cell(row: dict[str, Any], name: str) -> str:
        median, most = row.get(f"{name}_median"), row.get(f"{name}_p90")
        if median is None or most is None:
            return "—"
        return f"{share(median)} ({share(most)})" if tail else share(median)

    rows = found.iter_rows(named=True)
    return [tuple(cell(row, name) for name in QUANTITIES) for row in rows]


def _groups(frame: pl.DataFrame) -> list[tuple[str, ...]]:
    frame = frame.with_columns(settings=pl.col("note").str.split(":").list.first())
    rows = []
    for by in (("model", "system", "backend"), ("settings",)):
        found = summary(frame, by=by)
        others = _cells(summary(frame, by=by, estimate="closed_form"), tail=False)
        ours = _cells(found, tail=False)
        for row, mine, theirs in zip(found.iter_rows(named=True), ours, others, strict=True):
            name = ", ".join(str(row[column]) for column in by)
            name = f"settings: {name}" if by == ("settings",) else name
            pairs = (f"{a} ({b})" for a, b in zip(mine[:3], theirs[:3], strict=True))
            rows.append((name, *(str(row[c]) for c in _COUNTED), *pairs))
    return rows


def pictures(frame: pl.DataFrame, out: Path) -> tuple[Path, ...]:
    """Draw the errors of the runs not fitted to, if any is counted."""
    held_out = frame.filter(~pl.col("training"))
    if not held_out["excluded"].null_count():
        return ()
    plot(held_out, out / "silicon.png")
    return (out / "silicon.png",)
