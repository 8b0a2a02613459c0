"""Error distributions of the predicted runs."""

from collections.abc import Sequence

import polars as pl

_QUANTITIES = ("ttft", "tpot", "rate")


def summary(
    frame: pl.DataFrame,
    *,
    by: Sequence[str] = ("model", "system", "backend", "precision"),
    estimate: str = "predicted",
    counted: bool = True,
) -> pl.DataFrame:
    """Return the distribution of errors, overall and by group.

    Parameters
    ----------
    frame : polars.DataFrame
        What :func:`compute` returns.
    by : sequence of str
        Columns that make groups; empty for all runs together.
    estimate : {"predicted", "bare", "closed_form", "mean_step"}
        Whose errors.
    counted : bool
        Whether to leave out the runs that a rule excludes.

    Returns
    -------
    polars.DataFrame
        Per group the number of runs and, of TTFT, TPOT and rate, the median absolute error,
        its 90 % quantile, and the median signed error (bias). TTFT is that of the runs below
        the limit of memory; a group without any has null there. ``peak_rate`` is of the runs
        at saturation: see :func:`measured_runs`. ``ttft_runs`` and ``peak_runs`` count them.
    """
    rows = frame.filter(pl.col("excluded").is_null()) if counted else frame
    figures = [
        pl.len().alias("runs"),
        (pl.col("load") == "below").sum().alias("ttft_runs"),
        pl.col("peak").sum().alias("peak_runs"),
    ]
    for quantity in _QUANTITIES:
        if f"{estimate}_{quantity}" in frame.columns:
            error = pl.col(f"{estimate}_{quantity}") / pl.col(quantity) - 1
            kept = error.filter(pl.col("load") == "below") if quantity == "ttft" else error
            figures += _distribution(quantity, kept)
            if quantity == "rate":
                figures += _distribution("peak_rate", error.filter(pl.col("peak")))
    if not by:
        return rows.select(figures)
    return rows.group_by(by).agg(figures).sort(by, nulls_last=True)


def _distribution(name: str, error: pl.Expr) -> list[pl.Expr]:
    return [
        error.abs().median().alias(f"{name}_median"),
        error.abs().quantile(0.9).alias(f"{name}_p90"),
        error.median().alias(f"{name}_bias"),
    ]
